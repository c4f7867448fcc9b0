import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import type { VmCase } from '../../case.js';

const MIB = 1024 * 1024;
const MAIN_MIB = 32;
/** Served from the spare. */
const MOVED = { lba: 4096, count: 64 };

let content = '';

const sha256 = (file: string): string =>
  createHash('sha256').update(readFileSync(file)).digest('hex');

export const vmCase: VmCase = {
  inSuite: [],
  title: 'QEMU listens and the back-end connects, again after it was killed; the disk is read-only',
  mainMiB: MAIN_MIB,
  spareMiB: 16,
  connects: true,
  fill: (vm) => {
    writeFileSync(vm.mainPath, randomBytes(MAIN_MIB * MIB));
    content = sha256(vm.mainPath);
  },
  prepare: async (vm) => {
    await vm.remapctl.run('remap', 'add', String(MOVED.lba), String(MOVED.count));
    await vm.stopBackEnd();
    await vm.startBackEnd(['--read-only']);
  },
  steps: {
    content: async () => content,
    'kill-and-restart': async (vm) => {
      const { reads } = (await vm.remapctl.status()).io;
      assert.ok(reads > 0, 'the guest reads');
      await vm.stopBackEnd('SIGKILL');
      await vm.startBackEnd(['--read-only']);
    },
  },
  verify: async (vm) => {
    const { io, readOnly, remaps } = await vm.remapctl.status();
    assert.ok(readOnly);
    assert.equal(remaps.sectors, MOVED.count);
    assert.ok(io.remappedReads > 0, 'what was moved is read from the spare');
    assert.equal(io.writes, 0, 'no write was served');
    assert.equal(sha256(vm.mainPath), content, 'main is as it was');
  },
};
