import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import t from 'tap';
import { sectorCount } from '../../src/core/units.js';
import type { BlockDevice } from '../../src/device/block-device.js';
import { contentsOf, describe, probe, probeOffsets } from '../../src/device/signature.js';

const MIB = 1024 * 1024;

/** A device of `size` bytes over the file at `path`, read through the page cache. */
function device(path: string, size: number): BlockDevice {
  return {
    path,
    sizeSectors: sectorCount(size / 512),
    logicalBlockSize: 512,
    readOnly: true,
    async read(buffer, offset) {
      const handle = await open(path, 'r');
      await handle.read(buffer, 0, buffer.length, offset);
      await handle.close();
    },
    async write() {},
    async flush() {},
    async close() {},
  };
}

function image(dir: string, size: number, at = 0, bytes = Buffer.alloc(0)): string {
  const path = join(dir, 'disk.img');
  const whole = Buffer.alloc(size);
  bytes.copy(whole, at);
  writeFileSync(path, whole);
  return path;
}

t.test('zeroes are blank, one other byte is not, wherever it stands', async (t) => {
  const dir = t.testdir();
  const size = 8 * MIB + 512;
  t.equal(await contentsOf(device(image(dir, size), size)), undefined);
  for (const at of [0, 5 * MIB + 77, size - 1]) {
    const path = image(dir, size, at, Buffer.from([1]));
    t.equal(await contentsOf(device(path, size)), 'data that is not zero', `${at}`);
  }
});

t.test('names a file system, and its label', async (t) => {
  const dir = t.testdir();
  const path = image(dir, 4 * MIB);
  try {
    execFileSync('/usr/sbin/mkfs.ext4', ['-q', '-F', '-L', 'backup', path]);
  } catch {
    console.log('SKIP mkfs.ext4');
    return;
  }
  const words = 'a file system of type ext4 labelled "backup"';
  t.equal(await contentsOf(device(path, 4 * MIB)), words);
});

t.test('names a partition table', async (t) => {
  const mbr = Buffer.alloc(512);
  mbr.set([0x80, 0, 2, 0, 0x83, 0, 10, 0, 1, 0, 0, 0, 100, 0, 0, 0], 446);
  mbr.set([0x55, 0xaa], 510);
  const path = image(t.testdir(), MIB, 0, mbr);
  const found = await probe(path);
  if (found === undefined) console.log('SKIP blkid');
  else t.equal(found, 'a partition table of type dos');
});

t.test('turns what blkid says into words', async (t) => {
  t.equal(describe(''), undefined);
  t.equal(describe('DEVNAME=/dev/x\n'), undefined);
  t.equal(
    describe('TYPE=linux_raid_member\nUSAGE=raid\n'),
    'a RAID member of type linux_raid_member',
  );
  t.equal(describe('TYPE=crypto_LUKS\nUSAGE=crypto\n'), 'an encrypted volume of type crypto_LUKS');
  t.equal(describe('PTTYPE=gpt\n'), 'a partition table of type gpt');
});

t.test('samples of a large device reach both ends and never past them', async (t) => {
  t.same(probeOffsets(3 * MIB), [0, MIB, 2 * MIB]);
  for (const size of [65 * MIB, 10_737_418_240, 4_000_787_030_016]) {
    const offsets = probeOffsets(size);
    t.ok(offsets.length >= 60 && offsets.length <= 66, `${offsets.length}`);
    t.equal(offsets[0], 0);
    t.equal(offsets.at(-1), size - MIB);
    t.ok(offsets.every((o) => o % 512 === 0 && o + MIB <= size));
    const quarter = Math.floor((size - MIB) / 4 / MIB) * MIB;
    t.ok(offsets.includes(quarter), 'where the second copy of the metadata would stand');
  }
});
