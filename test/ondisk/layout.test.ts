import fc from 'fast-check';
import { test } from 'tap';
import { generation } from '../../src/core/units.js';
import {
  COPY_ON_WRITE_PAGES,
  DIRECTORY_PAGES_MAX,
  layoutOf,
  PAGE_ENTRIES,
  SUPERBLOCK_SIZE,
  TABLE_PAGE_SIZE,
  usableSectors,
} from '../../src/ondisk/layout.js';
import { inlineCapacity } from '../../src/ondisk/table-section.js';

const MIB = 1024 * 1024;
const GIB = 1024 * MIB;
const blockSizes = [512, 4096] as const;
const sizes = fc.integer({ min: 8 * 256, max: 2 ** 31 }).map((pages) => pages * 4096);

test('the smallest spare', async (t) => {
  const layout = layoutOf(8 * MIB, 512);
  t.equal(layout.zoneSize, MIB);
  t.equal(layout.pageCapacity, 30);
  t.strictSame(
    layout.zoneOffsets,
    [0, 1, 3, 5, 7].map((n) => n * MIB),
  );
  t.equal(layout.groupCount, 3 * 7);
  t.equal(layout.dataSectors, 21 * 248);
  t.equal(usableSectors(8 * MIB, 512), 21 * 248);
  t.equal(layout.slotOffset(0, generation(2n)), 0);
  t.equal(layout.slotOffset(2, generation(7n)), 3 * MIB + 24 * 1024);
  t.equal(layout.pageOffset(4, 29), 7 * MIB + 48 * 1024 + 29 * 32 * 1024);
  t.match(layout.groupAt(0), { start: 4096, firstBlock: 4112, blocks: 248 });
  t.equal(layout.blockSector(0), 4112);
  t.equal(layout.blockSector(248), 4096 + 264 + 16);
});

test('groups of 4096-byte blocks', async (t) => {
  const layout = layoutOf(64 * MIB, 4096);
  const first = layout.groupAt(0);
  t.equal(first.start, MIB / 512);
  t.equal(first.firstBlock, MIB / 512 + 16);
  t.equal(layout.groupAt(1).start - first.start, (1000 * 1024) / 512);
  t.equal(layout.blockSector(1) - layout.blockSector(0), 8);
  t.equal(layout.blockOfSector(layout.blockSector(5) + 7), 5);
});

test('what is too small is refused with both numbers', async (t) => {
  t.throws(() => layoutOf(8 * MIB - 512, 512), {
    code: 'SPARE_TOO_SMALL',
    message: /8388096 bytes.*8388608/,
    context: { have: 8388096, need: 8388608 },
  });
  t.throws(() => layoutOf(16 * MIB, 1024), RangeError);
  t.throws(() => layoutOf(2 ** 53, 512), RangeError);
});

test('a size that is no multiple of 4096 is rounded down', async (t) => {
  t.equal(layoutOf(9 * MIB + 4095, 512).sizeBytes, 9 * MIB);
});

test('no zone is larger than a directory can use', async (t) => {
  for (const size of [8 * GIB, 1024 * GIB, 2 ** 52]) {
    const layout = layoutOf(size, 512);
    t.equal(layout.zoneSize, 35 * MIB);
    t.equal(layout.pagesMax, DIRECTORY_PAGES_MAX);
  }
  t.ok(inlineCapacity(DIRECTORY_PAGES_MAX) >= 100);
});

test('property: zones and groups never overlap and lie on the spare', async (t) => {
  const property = fc.property(sizes, fc.constantFrom(...blockSizes), (size, blockSize) => {
    const layout = layoutOf(size, blockSize);
    const { zoneOffsets, zoneSize } = layout;
    const used = zoneOffsets.map((offset) => ({ from: offset, to: offset + zoneSize }));
    const probes = [0, 1, layout.groupCount >> 1, layout.groupCount - 2, layout.groupCount - 1];
    const indexes = new Set(probes.filter((i) => i >= 0 && i < layout.groupCount));
    for (const index of indexes) {
      const group = layout.groupAt(index);
      const from = group.start * 512;
      const to = group.firstBlock * 512 + group.blocks * blockSize;
      used.push({ from, to });
      if (from % 4096 !== 0 || group.firstBlock - group.start !== 16) return false;
    }
    used.sort((a, b) => a.from - b.from);
    return used.every(({ from, to }, i) => {
      return from % 4096 === 0 && to <= (used[i + 1]?.from ?? layout.sizeBytes);
    });
  });
  t.doesNotThrow(() => fc.assert(property));
});

test('property: a zone has room to name every block, or all a directory can name', async (t) => {
  const property = fc.property(sizes, fc.constantFrom(...blockSizes), (size, blockSize) => {
    const layout = layoutOf(size, blockSize);
    const wanted = Math.min(DIRECTORY_PAGES_MAX, Math.ceil(layout.blockCount / PAGE_ENTRIES));
    const room = layout.pageCapacity - COPY_ON_WRITE_PAGES;
    const last = layout.pageOffset(0, layout.pageCapacity - 1) + TABLE_PAGE_SIZE;
    return room >= wanted && last <= layout.zoneSize && layout.pagesMax <= room;
  });
  t.doesNotThrow(() => fc.assert(property));
});

test('property: sector, block and group are found again', async (t) => {
  const property = fc.property(
    sizes,
    fc.constantFrom(...blockSizes),
    fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    (size, blockSize, where) => {
      const layout = layoutOf(size, blockSize);
      const block = Math.floor(where * layout.blockCount);
      const sector = layout.blockSector(block);
      const group = layout.groupOfSector(sector);
      if (group === undefined || layout.blockOfSector(sector) !== block) return false;
      const blockSectors = blockSize / 512;
      const end = group.firstBlock + group.blocks * blockSectors;
      return (
        layout.groupAt(group.index).start === group.start &&
        layout.groupOfSector(group.start) === undefined &&
        layout.groupOfSector(end)?.index !== group.index &&
        layout.holdsExtent(sector, end - sector) &&
        !layout.holdsExtent(sector, end - sector + 1)
      );
    },
  );
  t.doesNotThrow(() => fc.assert(property));
});

test('metadata is in no block', async (t) => {
  const layout = layoutOf(100 * MIB, 512);
  for (const offset of layout.zoneOffsets) {
    for (const at of [0, SUPERBLOCK_SIZE, layout.zoneSize - 512]) {
      t.equal(layout.groupOfSector((offset + at) / 512), undefined);
    }
  }
  t.equal(layout.groupOfSector(100 * MIB), undefined);
  t.throws(() => layout.groupAt(layout.groupCount), RangeError);
  t.throws(() => layout.pageOffset(0, layout.pageCapacity), RangeError);
  t.throws(() => layout.zoneOffset(5), RangeError);
});
