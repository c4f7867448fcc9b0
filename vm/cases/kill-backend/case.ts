import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VmCase } from '../../case.js';
import { breakSectors, randomSectors } from '../../faults.js';

const BAD_SECTORS = 200;
/** fio works on the first 32 MiB. */
const AREA_SECTORS = 65536;

let remapsSeen = 0;

export const vmCase: VmCase = {
  title: 'kill -9 of the back-end under load; QEMU reconnects and nothing is lost',
  mainMiB: 64,
  spareMiB: 16,
  prepare: (vm) => breakSectors(vm, randomSectors(BAD_SECTORS, AREA_SECTORS)),
  steps: {
    'kill-and-restart': async (vm) => {
      remapsSeen = Math.max(remapsSeen, (await vm.remapctl.status()).remaps.sectors);
      await vm.stopBackEnd('SIGKILL');
      await sleep(300);
      await vm.startBackEnd();
    },
  },
  verify: async (vm) => {
    assert.ok(remapsSeen > 0, 'some sectors were remapped before the kill');
    const { remaps } = await vm.remapctl.status();
    assert.ok(remaps.sectors >= remapsSeen, `${remaps.sectors} remaps left of ${remapsSeen}`);
  },
};
