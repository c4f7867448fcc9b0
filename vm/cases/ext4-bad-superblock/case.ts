import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { VmCase } from '../../case.js';
import { assertOnlyFailedRemapped, breakSectors, failedSectors } from '../../faults.js';
import type { Vm } from '../../vm.js';

const MAIN_MIB = 256;
const SECTORS_PER_BLOCK = 8;

// Boot sector, both halves of the superblock's first KiB, group descriptors, and the backup of the
// superblock in the second group.
const SUPERBLOCK_AREA = [0, 2, 3, 8, 13, 32768 * SECTORS_PER_BLOCK + 1];

export const vmCase: VmCase = {
  title: 'ext4 on a disk whose superblock and journal are write-bad; only those are remapped',
  mainMiB: MAIN_MIB,
  spareMiB: 16,
  prepare: async (vm) => {
    const [journal = 0] = journalBlocks(vm);
    // Every third sector of the first 20 blocks of the journal.
    const inJournal = Array.from({ length: 50 }, (_, n) => journal * SECTORS_PER_BLOCK + n * 3);
    await breakSectors(vm, [...SUPERBLOCK_AREA, ...inJournal]);
  },
  verify: async (vm) => {
    const failed = await failedSectors(vm);
    for (const sector of [0, 2]) assert.ok(failed.includes(sector), `sector ${sector} was met`);
    const count = await assertOnlyFailedRemapped(vm);
    assert.ok(count >= 50, `only ${count} of the bad sectors were met`);
  },
};

/** Where mkfs.ext4 puts the journal: seen on an empty image of the same size. */
function journalBlocks(vm: Vm): number[] {
  const image = path.join(vm.dir, 'layout.img');
  writeFileSync(image, '');
  truncateSync(image, MAIN_MIB * 1024 * 1024);
  const options = ['-q', '-F', '-b', '4096', '-J', 'size=4', '-E', 'lazy_itable_init=0'];
  execFileSync('/usr/sbin/mkfs.ext4', [...options, image]);
  const blocks = execFileSync('/usr/sbin/debugfs', ['-R', 'blocks <8>', image], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return blocks.trim().split(/\s+/).map(Number);
}
