import assert from 'node:assert/strict';
import type { VmCase } from '../../case.js';

export const vmCase: VmCase = {
  title: 'two queues for two CPUs, and a clean stop and start of the back-end under load',
  mainMiB: 64,
  spareMiB: 16,
  vcpus: 2,
  steps: {
    'expect-queues': async (vm, expected) => {
      const { client } = await vm.remapctl.status();
      assert.ok(client.connected, 'the guest is connected');
      assert.equal(client.queues, Number(expected), 'queues in use');
    },
    restart: async (vm) => {
      await vm.stopBackEnd();
      await vm.startBackEnd();
    },
  },
};
