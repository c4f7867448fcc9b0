import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import type { VmCase } from '../../case.js';
import { flushesOf, missingLoop } from '../../loop-device.js';
import type { Vm } from '../../vm.js';

const sectorsUsed = async (vm: Vm): Promise<number> => (await stat(vm.mainPath)).blocks;

let full = 0;
let before = { onDevice: 0, ofGuest: 0 };

const flushes = async (vm: Vm) => ({
  onDevice: flushesOf(vm.mainDevice),
  ofGuest: (await vm.remapctl.status()).io.flushes,
});

export const vmCase: VmCase = {
  inSuite: [],
  title: "main is a block device: discards reach it, and the guest's choice of cache",
  mainMiB: 64,
  spareMiB: 16,
  mainOnLoop: true,
  missing: missingLoop,
  steps: {
    'count-flushes': async (vm) => {
      before = await flushes(vm);
    },
    /** Since count-flushes: of the guest exactly; at the device at least so many, or none. */
    'expect-flushes': async (vm, ofGuest, onDevice) => {
      const now = await flushes(vm);
      const found = now.onDevice - before.onDevice;
      assert.equal(now.ofGuest - before.ofGuest, Number(ofGuest), 'flushes of the guest');
      if (onDevice === '0') assert.equal(found, 0, 'flushes at the device');
      else assert.ok(found >= Number(onDevice), `${found} flushes at the device`);
      return `${ofGuest} of the guest, ${found} at the device`;
    },
    'blocks-full': async (vm) => {
      full = await sectorsUsed(vm);
    },
    'blocks-given-back': async (vm, mib) => {
      const left = await sectorsUsed(vm);
      assert.ok(full - left >= Number(mib) * 2048, `${full} sectors were used, ${left} still are`);
      return `${full} sectors used before, ${left} after`;
    },
  },
  verify: async (vm) => {
    const { io, state } = await vm.remapctl.status();
    assert.equal(state, 'healthy');
    assert.equal(io.errors, 0, 'the guest saw no error');
  },
};
