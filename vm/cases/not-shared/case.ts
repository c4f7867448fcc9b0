import type { VmCase } from '../../case.js';

export const vmCase: VmCase = {
  title: 'QEMU without shared memory is told what to add to its command line',
  mainMiB: 64,
  spareMiB: 16,
  sharedMemory: false,
  fails: 'memory-not-shared',
};
