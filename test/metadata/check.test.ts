import { test } from 'tap';
import { generation } from '../../src/core/units.js';
import { checkSpares } from '../../src/metadata/check.js';
import { DescriptorStore } from '../../src/metadata/descriptors.js';
import { brokenRules } from '../../src/metadata/table-rules.js';
import { type TableEntry, tableEntry } from '../../src/ondisk/entry.js';
import { layoutOf, SUPERBLOCK_SIZE } from '../../src/ondisk/layout.js';
import { fixedClock, MAIN, MIB, remaps, simVolume } from '../fixtures/metadata.js';
import { SimDevice } from '../fixtures/sim-device.js';

const check = (spares: readonly SimDevice[], repair = false) =>
  checkSpares(spares, { repair, clock: fixedClock });

/** A volume whose descriptors say what its table does. */
async function sample() {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  const entries = remaps(layout, 0, 1000);
  const descriptors = new DescriptorStore(spares, {
    volumeUuid: store.volumeUuid,
    logicalBlockSize: 512,
    layouts: store.layouts,
  });
  const changes = entries.map(({ spareIndex, spareStart, count, start }) => {
    return { spareIndex, spareStart, count, mainStart: start, state: 'used' as const };
  });
  await descriptors.update(changes, generation(2n));
  await store.commit({ add: entries });
  return { spares, spare, store, layout, entries, descriptors };
}

test('a whole volume has no problems', async (t) => {
  const { spares, spare, store } = await sample();
  const before = spare.clone();
  t.match(await check(spares), {
    verdict: 'whole',
    volumeUuid: store.volumeUuid,
    name: 'test',
    generation: 2,
    entries: 1000,
    problems: [],
    moreProblems: 0,
  });
  await check(spares, true);
  t.ok(spare.equals(before), 'and there is nothing to repair');
});

test('bad copies, pages and descriptors are named, and mended when asked', async (t) => {
  const { spares, spare, layout, store } = await sample();
  spare.damage(layout.zoneOffset(1), Buffer.alloc(2 * SUPERBLOCK_SIZE, 1));
  spare.damage(layout.pageOffset(2, 0), Buffer.alloc(512, 1));
  spare.damage(layout.groupAt(3).start * 512, Buffer.alloc(8192));
  const before = spare.clone();
  const found = await check(spares);
  t.equal(found.verdict, 'degraded');
  const codes = found.problems.map((problem) => problem.code);
  t.strictSame(
    ['COPY_BAD', 'PAGE_BAD', 'DESCRIPTOR_WRONG'].map((c) => codes.filter((d) => c === d).length),
    [1, 1, 248],
  );
  t.match(found.problems[0], { where: { device: 'spare0', copy: 1 }, repaired: false });
  t.ok(spare.equals(before));

  const mended = await check(spares, true);
  t.equal(mended.verdict, 'whole');
  t.ok(mended.problems.length === 250 && mended.problems.every((problem) => problem.repaired));
  t.match(await check(spares), { verdict: 'whole', problems: [], generation: 2 });
  t.equal(store.generation, 2n);
});

test('what cannot be mended stays a problem', async (t) => {
  const { spares, spare, layout } = await sample();
  spare.damage(layout.zoneOffset(1), Buffer.alloc(2 * SUPERBLOCK_SIZE, 1));
  spare.makeUnwritable(layout.zoneOffset(1), 2 * SUPERBLOCK_SIZE);
  t.match(await check(spares, true), {
    verdict: 'degraded',
    problems: [{ code: 'COPY_BAD', repaired: false }],
  });
});

test('metadata that cannot be opened is one problem', async (t) => {
  const { spares, spare, layout } = await sample();
  for (const offset of layout.zoneOffsets) spare.damage(offset, Buffer.alloc(MIB, 1));
  const before = spare.clone();
  t.match(await check(spares, true), {
    verdict: 'unusable',
    volumeUuid: null,
    problems: [{ code: 'META_LOST', where: { device: 'spare0' }, repaired: false }],
  });
  t.ok(spare.equals(before));
  t.match(await check([new SimDevice(8 * MIB)]), { problems: [{ code: 'META_ABSENT' }] });
});

test('a lone survivor is held against what the blocks say', async (t) => {
  const { spares, spare, layout, store, descriptors, entries } = await sample();
  spare.makeUnwritable(layout.zoneOffset(2), 2 * SUPERBLOCK_SIZE);
  const [entry] = entries as [TableEntry];
  const change = { spareIndex: 0, spareStart: entry.spareStart, count: 1, mainStart: 77 };
  await descriptors.update([{ ...change, state: 'used' }], generation(3n));
  await store.commit({});
  spare.heal();
  for (const copy of [0, 1, 3, 4]) {
    spare.damage(layout.zoneOffset(copy), Buffer.alloc(2 * SUPERBLOCK_SIZE, 1));
  }
  const { problems } = await check(spares);
  t.match(problems[0], { code: 'META_OLD', message: /of generation 2, .* of generation 3/ });
  spare.makeUnreadable(layout.groupAt(0).start * 512, 8192);
  const unproven = await check(spares);
  t.match(unproven.problems[0], { code: 'MAY_BE_OLD', repaired: false });
});

test('entries that break the rules of the table', async (t) => {
  const layout = layoutOf(64 * MIB, 4096);
  const config = {
    name: '',
    logicalBlockSize: 4096,
    main: { ...MAIN, uuid: '', sizeSectors: 80_000 },
    spares: [],
  };
  const spareStart = layout.blockSector(0);
  const common = { cause: 'write-error', timeSeconds: 0 } as const;
  const remap = (start: number, at: number, count = 8): TableEntry =>
    tableEntry({ kind: 'remapped', start, count, spareStart: at, ...common });
  const pending = (start: number, count = 8): TableEntry =>
    tableEntry({ kind: 'pending', start, count, ...common });
  const retired = (start: number, spareIndex = 0): TableEntry =>
    tableEntry({ kind: 'retired', start, count: 8, spareIndex, ...common });
  const broken = (...entries: TableEntry[]): string[] =>
    brokenRules(entries, config, [layout]).map(({ rule }) => rule);

  const good = [
    remap(0, spareStart, 16),
    remap(16, spareStart + 16),
    pending(0),
    retired(spareStart + 24),
  ];
  t.strictSame(broken(...good), []);
  t.strictSame(broken(remap(4, spareStart)), ['ENTRY_ALIGNMENT']);
  t.strictSame(broken(remap(0, spareStart + 4)), ['ENTRY_ALIGNMENT']);
  t.strictSame(broken(pending(0, 12)), ['ENTRY_ALIGNMENT']);
  t.strictSame(broken(pending(79_992)), []);
  t.strictSame(broken(pending(80_000)), ['ENTRY_OUTSIDE_MAIN']);
  t.strictSame(broken(remap(0, 0)), ['ENTRY_OUTSIDE_SPARE']);
  t.strictSame(broken(remap(0, layout.blockSector(247), 16)), ['ENTRY_OUTSIDE_SPARE']);
  t.strictSame(broken(retired(spareStart, 1)), ['ENTRY_OUTSIDE_SPARE']);
  t.strictSame(broken(remap(0, spareStart, 16), remap(8, spareStart + 16)), ['ENTRY_OVERLAP_MAIN']);
  t.strictSame(broken(pending(0, 16), pending(8)), ['ENTRY_OVERLAP_MAIN']);
  t.strictSame(broken(remap(0, spareStart, 16), remap(16, spareStart + 8)), [
    'ENTRY_OVERLAP_SPARE',
  ]);
  t.strictSame(broken(remap(0, spareStart), retired(spareStart)), ['ENTRY_OVERLAP_SPARE']);
});
