/** A file system on a disk whose sectors go bad while it is mounted. */
import assert from 'node:assert/strict';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { Prng } from '../test/fixtures/prng.js';
import type { VmCase } from './case.js';
import { breakSectors, failedSectors, remappedSectors } from './faults.js';
import { inPart } from './parts.js';
import type { Vm } from './vm.js';

const SECTOR = 512;
const BLOCK = 4096;
const SECTORS_PER_BLOCK = BLOCK / SECTOR;
const STAGES = 4;
const BAD_PER_STAGE = 250;
/** As many are to be written to: the rest of the disk may stay unused by the file system. */
const MET_MIN = 500;

/** Guest time: on a machine that is busy with other things as well. */
const GUEST_MS = 1_500_000;

/**
 * Writes to 250 sectors fail from each stage on, half of them anywhere and half where something was
 * written before. What was moved off them cannot be read where it was from then on.
 */
export function failingDiskCase(what: string, mainMiB: number): VmCase {
  const random = new Prng(Number(process.env.FAILING_DISK_SEED ?? Date.now()));
  const bad = new Set<number>();
  const lost = new Set<number>();
  return {
    title: `${what} on a disk of which 1,000 sectors go bad in stages while it is mounted`,
    inSuite: [],
    needs: ['file-systems'],
    mainMiB,
    spareMiB: 16,
    memoryMiB: 768,
    moreInitrd: inPart('file-systems', 'initrd'),
    timeoutMs: GUEST_MS,
    fill: () => {
      bad.clear();
      lost.clear();
    },
    steps: {
      'break-sectors': async (vm) => {
        const fresh = freshBadSectors(vm, bad, random);
        await breakSectors(vm, fresh);
        for (const sector of fresh) bad.add(sector);
        const { remaps, io } = await vm.remapctl.status();
        const so = `${remaps.sectors} moved so far, after ${io.writes} writes`;
        return `${bad.size} bad (seed ${random.seed}), ${so}`;
      },
      'lose-moved': async (vm) => {
        const moved = (await remappedSectors(vm)).filter((sector) => !lost.has(sector));
        if (moved.length > 0) await breakSectors(vm, moved, 'read-error');
        for (const sector of moved) lost.add(sector);
        return `${lost.size} moved, and unreadable where they were`;
      },
    },
    verify: async (vm) => {
      assert.equal(bad.size, STAGES * BAD_PER_STAGE, 'all sectors went bad');
      const moved = await remappedSectors(vm);
      assert.deepEqual(moved, [...new Set(await failedSectors(vm))], 'moved is what failed');
      assert.ok(moved.length >= MET_MIN, `only ${moved.length} bad sectors were written to`);
      const { io, pending, remaps } = await vm.remapctl.status();
      assert.equal(remaps.sectors, moved.length, 'status counts the moved sectors');
      assert.deepEqual([pending.sectors, io.errors], [0, 0], 'nothing pending, no error');
      const after = `${lost.size} of them read-bad as well; ${io.writes} writes`;
      return `${bad.size} bad, ${moved.length} met and moved, ${after}; seed ${random.seed}`;
    },
  };
}

function freshBadSectors(vm: Vm, bad: ReadonlySet<number>, random: Prng): Set<number> {
  const { size, used } = usedBlocks(vm.mainPath);
  const fresh = new Set<number>();
  const add = (sector: number): void => {
    if (!bad.has(sector)) fresh.add(sector);
  };
  while (fresh.size < BAD_PER_STAGE / 2) {
    add(random.pick(used) * SECTORS_PER_BLOCK + random.below(SECTORS_PER_BLOCK));
  }
  while (fresh.size < BAD_PER_STAGE) add(random.below(size));
  return fresh;
}

/** Size in sectors, and the blocks that hold something. */
function usedBlocks(file: string): { size: number; used: number[] } {
  const fd = openSync(file, 'r');
  try {
    const blocks = fstatSync(fd).size / BLOCK;
    const block = Buffer.alloc(BLOCK);
    const zeros = Buffer.alloc(BLOCK);
    const used: number[] = [];
    for (let index = 0; index < blocks; index += 1) {
      readSync(fd, block, 0, BLOCK, index * BLOCK);
      if (!block.equals(zeros)) used.push(index);
    }
    return { size: blocks * SECTORS_PER_BLOCK, used };
  } finally {
    closeSync(fd);
  }
}
