import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VmCase } from '../../case.js';
import { breakSectors, randomSectors } from '../../faults.js';
import { rounds, roundsTimeoutMs } from '../../rounds.js';
import type { Vm } from '../../vm.js';

const ROUNDS = rounds(1);
/** Each back-end meets sectors of its own that fail. */
const BAD_SECTORS = 100;
/** fio works on the first 24 MiB. */
const AREA_SECTORS = 49152;
const SIDES = 2;

let sides = 0;
let remaps: number[] = [];
let downtimes: number[] = [];

const breakSome = (vm: Vm): Promise<void> =>
  breakSectors(vm, randomSectors(BAD_SECTORS, AREA_SECTORS));

const REMAPPED_MS = 30_000;

/** The back-end the guest is on has remapped something by itself; how much there is in all. */
async function moreRemaps(vm: Vm): Promise<number> {
  const before = remaps.at(-1) ?? 0;
  const deadline = performance.now() + REMAPPED_MS;
  while (performance.now() < deadline) {
    const { state, remaps: now } = await vm.remapctl.status();
    if (state !== 'standby' && now.sectors > before) return now.sectors;
    await sleep(50);
  }
  throw new Error(`nothing was remapped for ${REMAPPED_MS / 1000} s`);
}

export const vmCase: VmCase = {
  title: 'live migration to another QEMU and back-end and back, under load',
  mainMiB: 64,
  spareMiB: 16,
  backEndOptions: ['--shared-storage'],
  timeoutMs: roundsTimeoutMs(ROUNDS),
  prepare: async (vm) => {
    [sides, remaps, downtimes] = [1, [], []];
    await breakSome(vm);
  },
  steps: {
    migrations: async () => String(2 * ROUNDS),
    migrate: async (vm) => {
      if (remaps.length < SIDES) remaps.push(await moreRemaps(vm));
      const sourceLog = vm.backEndLog;
      const downtime = await vm.migrate(async () => {
        assert.equal((await vm.remapctl.status()).state, 'standby', 'it does not hold the disk');
        if (sides < SIDES) await breakSome(vm);
        sides = SIDES;
      });
      downtimes.push(downtime);
      assert.ok(
        sourceLog.some((line) => line.includes('dirty log')),
        'QEMU asked for a dirty log',
      );
    },
  },
  verify: async (vm) => {
    assert.equal(downtimes.length, 2 * ROUNDS);
    const [first = 0, second = 0] = remaps;
    assert.ok(first > 0 && second > first, `remaps were made on both sides: ${remaps}`);
    const status = await vm.remapctl.status();
    assert.ok(status.remaps.sectors >= second, `${status.remaps.sectors} remaps left of ${second}`);
    assert.equal(status.io.malformed + status.io.errors, 0, 'every request was good');
  },
};
