import assert from 'node:assert/strict';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { FrontEnd } from '../../../test/fixtures/front-end.js';
import { bootCase } from '../../boot-case.js';
import { sectorsOfFile } from '../../boot-disk.js';
import type { VmCase } from '../../case.js';
import { assertOnlyFailedRemapped, breakSectors } from '../../faults.js';
import type { Vm } from '../../vm.js';

const SECTOR = 512;
const JUNK = Buffer.alloc(SECTOR, 0xdb);
/** Writes of ours in flight: fewer than a queue holds. */
const DEPTH = 32;

const common = bootCase('seabios', false);
/** What belongs on each bad sector; main holds junk there. */
let wanted = new Map<number, Buffer>();

export const vmCase: VmCase = {
  ...common,
  title: 'SeaBIOS boots from a disk whose boot sectors, loader and kernel stand on spare blocks',
  fill: (vm) => {
    const disk = common.fill(vm);
    const file = openSync(vm.mainPath, 'r+');
    wanted = new Map();
    for (const sector of badSectors(vm, disk.loaderSectors, disk.filesystemStart)) {
      const content = Buffer.alloc(SECTOR);
      readSync(file, content, 0, SECTOR, sector * SECTOR);
      writeSync(file, JUNK, 0, SECTOR, sector * SECTOR);
      wanted.set(sector, content);
    }
    closeSync(file);
  },
  prepare: async (vm) => {
    await breakSectors(vm, wanted.keys());
    const frontEnd = await FrontEnd.attach({ socketPath: vm.socketPath });
    const rest = [...wanted];
    while (rest.length > 0) {
      const writes = rest.splice(0, DEPTH).map(([at, content]) => frontEnd.write(at, content));
      await Promise.all(writes);
    }
    frontEnd.close();
    await breakSectors(vm, wanted.keys(), 'read-error');
  },
  verify: async (vm) => {
    assert.equal(await assertOnlyFailedRemapped(vm), wanted.size, 'all the bad sectors were met');
    assert.ok((await vm.remapctl.status()).io.remappedReads > 0, 'spare blocks were read');
  },
};

/** The first sectors, every third of the loader, the superblock, and some of each file's blocks. */
function badSectors(vm: Vm, loaderSectors: number, filesystemStart: number): Set<number> {
  const loader = Array.from({ length: Math.ceil(loaderSectors / 3) }, (_, index) => index * 3);
  const some = (name: string, every: number) =>
    sectorsOfFile(vm.mainPath, name).filter((_, index) => index % every === 0);
  const files = [...some('/grub.cfg', 1), ...some('/vmlinuz', 40), ...some('/data', 10)];
  return new Set([0, 1, 2, ...loader, filesystemStart + 2, filesystemStart + 3, ...files]);
}
