import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VolumeStatus } from '../../../src/protocol/messages.js';
import type { VmCase } from '../../case.js';
import { breakSectors, randomSectors, slowSectors } from '../../faults.js';
import { finishedOutOfOrder, type InflightEntry, inflightEntries } from '../../inflight.js';
import { rounds, roundsTimeoutMs } from '../../rounds.js';
import type { Vm } from '../../vm.js';

const KILLS = rounds(3);
/** fio works on the first 24 MiB. */
const AREA_SECTORS = 49152;
const SLOW_SECTORS = 128;

let remapsSeen = 0;
let killsOutOfOrder = 0;
let inFlightAtKills = 0;
let before: InflightEntry[] = [];

/** What the volume looks like once the guest writes, and some of it went to the spare. */
async function underLoad(vm: Vm): Promise<VolumeStatus> {
  const { writes } = (await vm.remapctl.status()).io;
  return vm.remapctl.statusWhen(
    ({ io, remaps }) => io.writes > writes && remaps.sectors > 0,
    'the guest writes and blocks are remapped',
  );
}

const OVERTAKEN_MS = 60_000;

/** Waits for a moment at which a request is overdue and a later one has been answered. */
async function outOfOrder(vm: Vm): Promise<void> {
  const deadline = performance.now() + OVERTAKEN_MS;
  while (performance.now() < deadline) {
    if (finishedOutOfOrder(before, inflightEntries(vm.qemuPid))) return;
    await sleep(1);
  }
}

/** New bad sectors keep commits under way; slow ones let later requests overtake. */
async function unsettle(vm: Vm, badSectors: number): Promise<void> {
  await breakSectors(vm, randomSectors(badSectors, AREA_SECTORS));
  const starts = randomSectors(24, AREA_SECTORS - SLOW_SECTORS);
  await slowSectors(vm, starts, SLOW_SECTORS, 5 + Math.floor(Math.random() * 40));
}

export const vmCase: VmCase = {
  title: 'kill -9 of the back-end with answers out of order; QEMU reconnects, nothing is lost',
  mainMiB: 64,
  spareMiB: 16,
  timeoutMs: roundsTimeoutMs(KILLS),
  prepare: async (vm) => {
    remapsSeen = 0;
    killsOutOfOrder = 0;
    inFlightAtKills = 0;
    before = [];
    await unsettle(vm, 200);
  },
  steps: {
    kills: async () => String(KILLS),
    'kill-and-restart': async (vm) => {
      const { remaps } = await underLoad(vm);
      assert.ok(remaps.sectors >= remapsSeen, `${remaps.sectors} remaps left of ${remapsSeen}`);
      remapsSeen = remaps.sectors;
      await sleep(Math.random() * 100);
      await outOfOrder(vm);
      await vm.stopBackEnd('SIGKILL');
      const left = inflightEntries(vm.qemuPid);
      inFlightAtKills += left.filter(({ inflight }) => inflight).length;
      if (finishedOutOfOrder(before, left)) killsOutOfOrder += 1;
      before = left;
      await vm.startBackEnd();
      await unsettle(vm, 20);
    },
  },
  verify: async (vm) => {
    assert.ok(
      killsOutOfOrder * 2 > KILLS,
      `only ${killsOutOfOrder} of ${KILLS} kills met answers out of order`,
    );
    const { remaps, io } = await vm.remapctl.status();
    assert.ok(remaps.sectors >= remapsSeen, `${remaps.sectors} remaps left of ${remapsSeen}`);
    assert.equal(io.errors, 0, 'the guest saw no error');
    const mean = (inFlightAtKills / KILLS).toFixed(1);
    return `${KILLS} kills, ${killsOutOfOrder} with answers out of order, ${mean} in flight`;
  },
};
