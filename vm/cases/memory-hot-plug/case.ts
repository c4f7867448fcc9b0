import assert from 'node:assert/strict';
import type { VmCase } from '../../case.js';
import type { Vm } from '../../vm.js';

const DIMM_MIB = 128;

let errorsOfUnshared = 0;

export const vmCase: VmCase = {
  title: 'memory is plugged in under load; a DIMM that is not shared fails its own requests only',
  mainMiB: 64,
  spareMiB: 16,
  qemuOptions: ['-m', 'slots=4,maxmem=2G'],
  prepare: async () => {
    errorsOfUnshared = 0;
  },
  steps: {
    'plug-dimm': async (vm, id, share) => {
      const qmp = await vm.qmp;
      await qmp.run('object-add', {
        'qom-type': 'memory-backend-memfd',
        id: `ram-${id}`,
        size: DIMM_MIB * 1024 * 1024,
        share: share === 'shared',
      });
      await qmp.run('device_add', { driver: 'pc-dimm', id, memdev: `ram-${id}` });
    },
    'unplug-dimm': async (vm, id) => {
      const qmp = await vm.qmp;
      const gone = qmp.next('DEVICE_DELETED', ({ data }) => data?.device === id);
      await qmp.run('device_del', { id });
      await gone;
      await qmp.run('object-del', { id: `ram-${id}` });
    },
    'no-errors': async (vm) => {
      assert.equal(await errors(vm), errorsOfUnshared, 'requests that failed');
    },
    'some-errors': async (vm) => {
      const count = await errors(vm);
      assert.ok(count > errorsOfUnshared, 'no request failed in memory that is not shared');
      errorsOfUnshared = count;
    },
  },
  verify: async (vm) => {
    const { client, state, remaps, pending } = await vm.remapctl.status();
    assert.equal(state, 'healthy');
    assert.equal(remaps.sectors + pending.sectors, 0, 'no block counts as bad');
    assert.ok(!client.connected);
    return `${errorsOfUnshared} requests failed in memory that is not shared, and no other`;
  },
};

const errors = async (vm: Vm): Promise<number> => (await vm.remapctl.status()).io.errors;
