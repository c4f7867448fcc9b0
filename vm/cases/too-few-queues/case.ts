import type { VmCase } from '../../case.js';

export const vmCase: VmCase = {
  title: 'a guest with more CPUs than the back-end has queues is told what to change',
  mainMiB: 64,
  spareMiB: 16,
  vcpus: 2,
  backEndOptions: ['--num-queues=1'],
  fails: 'too-few-queues',
};
