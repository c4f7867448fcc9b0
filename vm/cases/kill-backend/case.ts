import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VolumeStatus } from '../../../src/protocol/messages.js';
import type { VmCase } from '../../case.js';
import { breakSectors, randomSectors } from '../../faults.js';
import type { Vm } from '../../vm.js';

const BAD_SECTORS = 200;
/** fio works on the first 24 MiB. */
const AREA_SECTORS = 49152;

let remapsSeen = 0;

const WRITES_AGAIN_MS = 20_000;

/** Waits until the guest writes; what the volume looks like then. */
async function underLoad(vm: Vm): Promise<VolumeStatus> {
  const { writes } = (await vm.remapctl.status()).io;
  const deadline = performance.now() + WRITES_AGAIN_MS;
  while (performance.now() < deadline) {
    const status = await vm.remapctl.status();
    if (status.io.writes > writes) return status;
  }
  throw new Error(`the guest has not written for ${WRITES_AGAIN_MS / 1000} s`);
}

export const vmCase: VmCase = {
  title: 'kill -9 of the back-end under load; QEMU reconnects and nothing is lost',
  mainMiB: 64,
  spareMiB: 16,
  prepare: (vm) => breakSectors(vm, randomSectors(BAD_SECTORS, AREA_SECTORS)),
  steps: {
    'kill-and-restart': async (vm) => {
      remapsSeen = (await underLoad(vm)).remaps.sectors;
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
