import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import type { VmCase } from '../../case.js';
import { assertOnlyFailedRemapped, breakSectors } from '../../faults.js';
import { negotiatedFeatures } from '../../virtio.js';
import type { Vm } from '../../vm.js';

const SECTOR = 512;
const MAIN_MIB = 64;
const END = (MAIN_MIB * 1024 * 1024) / SECTOR;
const COUNT = 128;
const FIRST = 0;
const LAST = END - COUNT;
/** Some sectors of the second copy cannot be written. */
const COPY = 30_000;
const BAD = [COPY, COPY + 1, COPY + 17, COPY + COUNT - 1];
const COPY_OF_COPY = 70_001;
const COPY_OF_LAST = 90_000;

const hex = (value: number): string => `0x${value.toString(16)}`;

export const vmCase: VmCase = {
  title: 'the driver of U-Boot, which never flushes, copies sectors; some go to spare blocks',
  mainMiB: MAIN_MIB,
  spareMiB: 16,
  inSuite: ['7.2', '10'],
  needs: ['boot-loaders'],
  firmware: 'u-boot',
  fill: (vm) => {
    const file = openSync(vm.mainPath, 'r+');
    for (const at of [FIRST, LAST])
      writeSync(file, randomBytes(COUNT * SECTOR), 0, null, at * SECTOR);
    closeSync(file);
  },
  prepare: (vm) => breakSectors(vm, BAD),
  commands: async (vm, uBoot) => {
    await uBoot.run('virtio scan');
    assert.match(await uBoot.run('virtio info'), new RegExp(`\\(${END} x ${SECTOR}\\)`));
    for (const [from, to] of [
      [FIRST, COPY],
      [COPY, COPY_OF_COPY],
      [LAST, COPY_OF_LAST],
    ] as const) {
      const memory = `0x4000000 ${hex(from)} ${hex(COUNT)}`;
      assert.match(await uBoot.run(`virtio read ${memory}`), /128 blocks read: OK/);
      const other = `0x4000000 ${hex(to)} ${hex(COUNT)}`;
      assert.match(await uBoot.run(`virtio write ${other}`), /128 blocks written: OK/);
    }
    const { client } = await vm.remapctl.status();
    assert.ok(client.writeThrough, 'each write is made durable');
    const features = await negotiatedFeatures(vm);
    assert.ok(!features.includes('FLUSH'), `FLUSH in ${features}`);
  },
  verify: async (vm) => {
    assert.deepEqual(sectors(vm, COPY_OF_COPY), sectors(vm, FIRST), 'a copy of the copy');
    assert.deepEqual(sectors(vm, COPY_OF_LAST), sectors(vm, LAST), 'a copy of the last sectors');
    const copy = sectors(vm, COPY);
    for (const lba of BAD) {
      const at = (lba - COPY) * SECTOR;
      assert.ok(
        copy.subarray(at, at + SECTOR).every((byte) => byte === 0),
        `main keeps ${lba}`,
      );
    }
    assert.equal(await assertOnlyFailedRemapped(vm), BAD.length, 'all the bad sectors were met');
    const { io } = await vm.remapctl.status();
    assert.equal(io.flushes, 0);
  },
};

function sectors(vm: Vm, lba: number): Buffer {
  const content = Buffer.alloc(COUNT * SECTOR);
  const file = openSync(vm.mainPath, 'r');
  readSync(file, content, 0, content.length, lba * SECTOR);
  closeSync(file);
  return content;
}
