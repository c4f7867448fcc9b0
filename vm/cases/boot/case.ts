import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import type { VmCase } from '../../case.js';

const MIB = 1024 * 1024;

export const vmCase: VmCase = {
  title: 'a guest attaches the disk, writes, reads, and powers off',
  mainMiB: 64,
  spareMiB: 16,
  steps: {
    'same-on-main': async (vm, expected) => {
      const main = await open(vm.mainPath);
      try {
        for (const offset of [0, 30, 61]) {
          const { buffer } = await main.read(Buffer.alloc(3 * MIB), 0, 3 * MIB, offset * MIB);
          const found = createHash('sha256').update(buffer).digest('hex');
          assert.equal(found, expected, `main at ${offset} MiB`);
        }
      } finally {
        await main.close();
      }
    },
  },
};
