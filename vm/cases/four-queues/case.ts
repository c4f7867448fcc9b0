import assert from 'node:assert/strict';
import type { VmCase } from '../../case.js';
import { assertOnlyFailedRemapped, breakSectors, randomSectors } from '../../faults.js';

const QUEUES = 4;
const BAD_SECTORS = 100;
/** The four jobs of fio work on the first 32 MiB. */
const AREA_SECTORS = 65536;

export const vmCase: VmCase = {
  title: 'four CPUs write and verify through a queue each, over sectors that go bad',
  mainMiB: 64,
  spareMiB: 16,
  vcpus: QUEUES,
  inSuite: [],
  prepare: (vm) => breakSectors(vm, randomSectors(BAD_SECTORS, AREA_SECTORS)),
  steps: {
    'every-queue-works': async (vm) => {
      const { client } = await vm.remapctl.status();
      assert.equal(client.queues, QUEUES, 'queues in use');
      const busy = client.requests.slice(0, QUEUES);
      assert.ok(Math.min(...busy) >= 1000, `requests of the queues: ${busy}`);
      assert.equal(Math.max(...client.requests.slice(QUEUES)), 0, 'and no other queue');
      return `requests of the queues: ${busy}`;
    },
  },
  verify: async (vm) => {
    assert.equal(await assertOnlyFailedRemapped(vm), BAD_SECTORS, 'all the bad sectors were met');
  },
};
