import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { tableEntry } from '../../src/ondisk/entry.js';
import { GROUP_BLOCKS, layoutOf } from '../../src/ondisk/layout.js';
import { SparePool, type SpareRun } from '../../src/remap/spare-pool.js';

const MIB = 1024 * 1024;

type Step =
  | { what: 'allocate'; blocks: number; near: number }
  | { what: 'release'; pick: number }
  | { what: 'retire'; pick: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      what: fc.constant('allocate' as const),
      blocks: fc.integer({ min: 1, max: 700 }),
      near: fc.nat(1000),
    }),
  },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('release' as const), pick: fc.nat(1e6) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('retire' as const), pick: fc.nat(1e6) }) },
);

for (const blockSize of [512, 4096]) {
  t.test(`gives out each block once, blocks of ${blockSize}`, async (t) => {
    const layouts = [layoutOf(8 * MIB, blockSize), layoutOf(12 * MIB, blockSize)];
    const unit = blockSize / 512;
    const total = layouts.reduce((sum, l) => sum + l.dataSectors, 0);
    const blocksOf = ({ spareIndex, spareStart, count }: SpareRun): string[] =>
      Array.from({ length: count / unit }, (_, i) => `${spareIndex}:${spareStart + i * unit}`);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const pool = new SparePool(layouts);
        const held: SpareRun[] = [];
        const used = new Set<string>();
        let retired = 0;
        for (const s of steps) {
          if (s.what === 'allocate') {
            const last = held[s.near];
            const near = last && { ...last, spareStart: last.spareStart + last.count };
            const runs = pool.allocate(s.blocks * unit, near);
            const free = total - used.size * unit;
            const got = runs.reduce((sum, run) => sum + run.count, 0);
            assert.equal(got, free < s.blocks * unit ? 0 : s.blocks * unit);
            for (const run of runs) {
              assert.ok(layouts[run.spareIndex]?.holdsExtent(run.spareStart, run.count));
              for (const block of blocksOf(run)) {
                assert.ok(!used.has(block), block);
                used.add(block);
              }
              held.push(run);
            }
          } else if (held.length > 0) {
            const run = held.splice(s.pick % held.length, 1)[0] as SpareRun;
            if (s.what === 'release') {
              pool.release(run);
              for (const block of blocksOf(run)) used.delete(block);
            } else {
              pool.retire(run);
              retired += run.count;
            }
          }
        }
        const totals = pool.totals();
        const sum = (f: (s: (typeof totals)[number]) => number) =>
          totals.reduce((n, s) => n + f(s), 0);
        assert.equal(
          sum((s) => s.totalSectors),
          total,
        );
        assert.equal(
          sum((s) => s.freeSectors),
          total - used.size * unit,
        );
        assert.equal(
          sum((s) => s.retiredSectors),
          retired,
        );
      }),
      { numRuns: 40 },
    );
    t.pass('holds');
  });
}

t.test('a pool made anew from the table gives out the rest and no other', async (t) => {
  const layout = layoutOf(8 * MIB, 512);
  const made = { cause: 'write-error', timeSeconds: 1_700_000_000 } as const;
  const pool = new SparePool([layout]);
  const runs = pool.allocate(300);
  const bad = pool.allocate(5);
  const again = new SparePool([layout]);
  again.load(
    runs.map((run, i) => tableEntry({ ...made, ...run, kind: 'remapped', start: i * 1000 })),
    bad.map(({ spareStart, count }) =>
      tableEntry({ ...made, kind: 'retired', start: spareStart, count }),
    ),
  );
  for (const run of bad) pool.retire(run);
  t.same(again.totals(), pool.totals());
  t.same(again.allocate(1), pool.allocate(1));
  t.equal(again.allocate(layout.dataSectors - 305).length, 0, 'one is given out by now');
  t.not(again.allocate(layout.dataSectors - 306).length, 0);
  t.equal(again.totals()[0]?.freeSectors, 0);
});

t.test('continues where the run before it ends', async (t) => {
  const layout = layoutOf(8 * MIB, 512);
  const pool = new SparePool([layout]);
  const start = layout.groupAt(0).firstBlock;
  const [hole] = pool.allocate(10);
  pool.allocate(20);
  pool.release(hole as SpareRun);
  const near = { spareIndex: 0, spareStart: start + 30 };
  t.same(pool.allocate(4, near), [{ spareIndex: 0, spareStart: start + 30, count: 4 }]);
  t.same(pool.allocate(1, near), [{ spareIndex: 0, spareStart: start, count: 1 }], 'it is taken');
  const end = { spareIndex: 0, spareStart: start + GROUP_BLOCKS };
  t.same(pool.allocate(1, end), [{ spareIndex: 0, spareStart: start + 1, count: 1 }], 'no block');
});

t.test('refuses a table that uses a block twice, or one that is none', async (t) => {
  const layout = layoutOf(8 * MIB, 512);
  const start = layout.groupAt(0).firstBlock;
  const entry = (spareStart: number, count: number, spareIndex = 0) =>
    tableEntry({
      kind: 'remapped',
      start: spareStart * 10,
      count,
      spareIndex,
      spareStart,
      cause: 'write-error',
      timeSeconds: 1_700_000_000,
    });
  const load = (...entries: ReturnType<typeof entry>[]) =>
    new SparePool([layout]).load(entries, []);
  load(entry(start, 4), entry(start + 4, 4));
  t.throws(() => load(entry(start, 4), entry(start + 3, 4)), /used twice/);
  t.throws(() => load(entry(8, 4)), RangeError, 'inside the metadata');
  t.throws(() => load(entry(start + GROUP_BLOCKS - 1, 2)), RangeError, 'across groups');
  t.throws(() => load(entry(start, 4, 1)), RangeError, 'no such spare');
});

t.test('a spare that failed is not used, and frees nothing', async (t) => {
  const pool = new SparePool([layoutOf(8 * MIB, 512), layoutOf(8 * MIB, 512)]);
  t.equal(pool.allocate(1)[0]?.spareIndex, 0);
  pool.disable(0);
  t.equal(pool.allocate(1)[0]?.spareIndex, 1);
  t.equal(pool.totals()[0]?.usable, false);
});

t.test('a spare of 16 TiB costs little until it is used', async (t) => {
  const layout = layoutOf(16 * 1024 * 1024 * MIB, 512);
  const used = () => process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
  const before = used();
  const pool = new SparePool([layout]);
  t.equal(pool.allocate(1).length, 1);
  pool.load(
    Array.from({ length: 20_000 }, (_, i) =>
      tableEntry({
        kind: 'remapped',
        start: i,
        count: 1,
        spareStart: layout.groupAt(1 + i * 10).firstBlock,
        cause: 'write-error',
        timeSeconds: 1_700_000_000,
      }),
    ),
    [],
  );
  // One bit a block of all of it would be 4 GiB; a chunk of 1024 groups is 34 KiB.
  const mebibytes = (used() - before) / MIB;
  t.ok(mebibytes < 128, `${mebibytes} MiB`);
  t.equal(pool.allocate(1).length, 1);
});
