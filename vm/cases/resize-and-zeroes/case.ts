import assert from 'node:assert/strict';
import { truncateSync } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import type { VmCase } from '../../case.js';
import { breakSectors } from '../../faults.js';
import type { Vm } from '../../vm.js';

const MIB = 1024 * 1024;
const GROWN_MIB = 96;
/** In the area the guest writes and then zeroes: alone, as a run, and at a block's end. */
const BAD_SECTORS = [8192, 8200, 8201, 8202, 12287];

const blocksUsed = async (vm: Vm): Promise<number> => (await stat(vm.mainPath)).blocks;

let full = 0;

export const vmCase: VmCase = {
  title: 'the disk grows under the guest; discard gives space back, zeroes go over remapped blocks',
  mainMiB: 64,
  spareMiB: 16,
  prepare: (vm) => breakSectors(vm, BAD_SECTORS),
  steps: {
    grow: async (vm) => {
      truncateSync(vm.mainPath, GROWN_MIB * MIB);
      await vm.remapctl.run('resize');
      const { sizeSectors } = await vm.remapctl.status();
      assert.equal(sizeSectors, GROWN_MIB * 2048);
    },
    /** The old end is at 64 MiB. */
    'same-beyond-the-end': async (vm, first) => {
      const main = await open(vm.mainPath);
      try {
        const { buffer } = await main.read(Buffer.alloc(16), 0, 16, 64 * MIB);
        assert.equal(buffer.toString('hex'), first);
      } finally {
        await main.close();
      }
    },
    'all-remapped': async (vm) => {
      const { remaps, io } = await vm.remapctl.status();
      assert.equal(remaps.sectors, BAD_SECTORS.length, 'the bad sectors are remapped');
      assert.ok(io.remappedWrites > 0);
    },
    'blocks-full': async (vm) => {
      full = await blocksUsed(vm);
    },
    /** At least so many MiB fewer than at `blocks-full`. */
    'blocks-given-back': async (vm, mib) => {
      const left = await blocksUsed(vm);
      const least = Number(mib) * 2048;
      assert.ok(full - left >= least, `${full} sectors were used and ${left} still are`);
      return `${full} sectors used before, ${left} after`;
    },
  },
  verify: async (vm) => {
    const { io, state, remaps } = await vm.remapctl.status();
    assert.equal(state, 'healthy');
    assert.equal(io.errors, 0, 'the guest saw no error');
    assert.ok(io.discards > 0, 'discards came');
    assert.equal(remaps.sectors, BAD_SECTORS.length);
  },
};
