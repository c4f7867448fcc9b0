import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { SPARE_ATTEMPTS_MAX } from '../../src/core/limits.js';
import { layoutOf } from '../../src/ondisk/layout.js';
import { SparePool } from '../../src/remap/spare-pool.js';
import {
  type PlacementMeans,
  type PlaceOrder,
  place,
  type Target,
  type WriteOutcome,
} from '../../src/volume/placement.js';

const MIB = 1024 * 1024;
/** Of one block: the first, and one after each delay. */
const TRIES = 4;
const layout = layoutOf(8 * MIB, 512);
const firstBlock = layout.groupAt(0).firstBlock;

const order = (start: number, count: number, owner = 'a'): PlaceOrder<string> => ({
  owner,
  start,
  count,
  cause: 'write-error',
});

interface World extends PlacementMeans<string> {
  pool: SparePool;
  writes: Target[];
  slept: number;
}

/** Means whose writes end as `judge` says, each after a turn of its own. */
function world(judge: (target: Target, order: PlaceOrder<string>) => WriteOutcome): World {
  const made: World = {
    pool: new SparePool([layout, layoutOf(8 * MIB, 512)]),
    blockSectors: 1,
    writes: [],
    slept: 0,
    spareAfter: () => undefined,
    async write(part, target) {
      made.writes.push(target);
      await new Promise((resolve) => setImmediate(resolve));
      return judge(target, part);
    },
    async sleepMs() {
      made.slept++;
    },
  };
  return made;
}

const overlaps = (target: Target, spareIndex: number, sector: number): boolean =>
  target.spareIndex === spareIndex &&
  target.spareStart <= sector &&
  sector < target.spareStart + target.count;

t.test('neighbours that fail apart stand side by side', async (t) => {
  const w = world(() => 'done');
  const result = await place([order(101, 1, 'b'), order(100, 1), order(50, 1)], w);
  t.same(
    result.placed.map(({ start, spareStart, owner }) => [start, spareStart, owner]),
    [
      [50, firstBlock, 'a'],
      [100, firstBlock + 1, 'a'],
      [101, firstBlock + 2, 'b'],
    ],
  );
  t.same(result.failed, []);
});

t.test('goes on where the remap before it ends', async (t) => {
  const w = world(() => 'done');
  const spareAfter = (start: number) =>
    start === 200 ? { spareIndex: 1, spareStart: firstBlock + 40 } : undefined;
  const result = await place([order(10, 1), order(200, 2), order(202, 1)], { ...w, spareAfter });
  t.same(
    result.placed.map(({ start, spareIndex, spareStart }) => [start, spareIndex, spareStart]),
    [
      [10, 0, firstBlock],
      [200, 1, firstBlock + 40],
      [202, 1, firstBlock + 42],
    ],
  );
});

t.test('retires the one bad block of a run and puts its data elsewhere', async (t) => {
  const bad = firstBlock + 5;
  const w = world((target) => (overlaps(target, 0, bad) ? 'spare-bad' : 'done'));
  const result = await place([order(100, 16)], w);
  t.same(
    result.retired.map(({ spareIndex, spareStart, count }) => [spareIndex, spareStart, count]),
    [[0, bad, 1]],
  );
  const where = new Map<number, number>();
  for (const p of result.placed) {
    for (let i = 0; i < p.count; i++) where.set(p.start + i, p.spareStart + i);
  }
  t.equal(where.size, 16);
  t.equal(where.get(104), firstBlock + 4);
  t.equal(where.get(105), firstBlock + 16, 'the next free block');
  t.equal(where.get(106), firstBlock + 6);
  t.equal(w.pool.totals()[0]?.retiredSectors, 1);
});

t.test('says which blocks could not be read, after some tries, and takes no spare', async (t) => {
  const w = world((target) =>
    target.start <= 103 && 103 < target.start + target.count ? 'source-bad' : 'done',
  );
  const result = await place([order(100, 8)], w);
  t.same(
    result.failed.map(({ start, count, reason }) => [start, count, reason]),
    [[103, 1, 'source-bad']],
  );
  t.equal(
    result.placed.reduce((n, p) => n + p.count, 0),
    7,
  );
  t.equal(w.slept, 3);
  t.equal(w.pool.totals()[0]?.freeSectors, layout.dataSectors - 7);
});

t.test('a source that reads at the second try is not lost', async (t) => {
  let tries = 0;
  const w = world(() => (++tries === 1 ? 'source-bad' : 'done'));
  const result = await place([order(100, 1)], w);
  t.equal(result.placed.length, 1);
  t.same(result.failed, []);
});

t.test('a spare that is gone is left for the next one', async (t) => {
  const w = world((target) => (target.spareIndex === 0 ? 'spare-gone' : 'done'));
  const result = await place([order(100, 4)], w);
  t.equal(result.placed[0]?.spareIndex, 1);
  t.equal(w.pool.totals()[0]?.usable, false);
  t.same(result.retired, []);
});

t.test('gives up after a number of bad blocks, and retires just those', async (t) => {
  const w = world((_, { start }) => (start === 100 ? 'spare-bad' : 'done'));
  const result = await place([order(100, 1), order(200, 1)], w);
  t.equal(w.writes.length, 1 + TRIES * SPARE_ATTEMPTS_MAX);
  t.equal(result.retired.length, SPARE_ATTEMPTS_MAX);
  t.equal(w.pool.totals()[0]?.retiredSectors, SPARE_ATTEMPTS_MAX);
  t.equal(result.failed[0]?.reason, 'exhausted');
});

t.test('a spare that takes nothing at all loses none of its blocks', async (t) => {
  const w = world(() => 'spare-bad');
  const result = await place([order(100, 1)], w);
  t.equal(w.writes.length, TRIES * SPARE_ATTEMPTS_MAX);
  t.same(result.retired, []);
  t.match(w.pool.totals()[0], { retiredSectors: 0, freeSectors: layout.dataSectors });
  t.equal(result.failed[0]?.reason, 'refused');
});

t.test('a spare block that takes the data at the second try is not retired', async (t) => {
  let tries = 0;
  const w = world(() => (++tries === 1 ? 'spare-bad' : 'done'));
  const result = await place([order(100, 1)], w);
  t.equal(result.placed[0]?.spareStart, firstBlock);
  t.same(result.retired, []);
});

t.test('no space is not a bad block', async (t) => {
  const w = world(() => 'refused');
  const result = await place([order(100, 3)], w);
  t.equal(result.failed[0]?.reason, 'refused');
  t.same(result.retired, []);
  t.equal(w.pool.totals()[0]?.freeSectors, layout.dataSectors);
});

t.test('an exhausted spare fails what does not fit, and the rest goes on', async (t) => {
  const w = world(() => 'done');
  w.pool.disable(1);
  w.pool.allocate(layout.dataSectors - 3);
  const result = await place([order(100, 4), order(200, 2), order(300, 1)], w);
  t.same(
    result.failed.map(({ start, reason }) => [start, reason]),
    [[100, 'exhausted']],
  );
  t.equal(result.placed.length, 2);
});

t.test('every sector ends in one place, and the pool knows no other', async (t) => {
  const orders = fc
    .array(fc.record({ gap: fc.nat(3), count: fc.integer({ min: 1, max: 40 }) }), { maxLength: 20 })
    .map((steps) => {
      let at = 0;
      return steps.map(({ gap, count }, i) => {
        const made = order(at + gap, count, `o${i}`);
        at = made.start + count;
        return made;
      });
    });
  const badSpare = fc.uniqueArray(fc.nat(300), { maxLength: 40 });
  const badSource = fc.uniqueArray(fc.nat(300), { maxLength: 10 });
  await fc.assert(
    fc.asyncProperty(orders, badSpare, badSource, async (given, spareBlocks, sourceBlocks) => {
      const w = world((target) => {
        const hits = (n: number, start: number) => start <= n && n < start + target.count;
        if (sourceBlocks.some((n) => hits(n, target.start))) return 'source-bad';
        const bad = spareBlocks.some((n) => overlaps(target, 0, firstBlock + n));
        return bad ? 'spare-bad' : 'done';
      });
      const result = await place(given, w);
      const seen = new Map<number, string>();
      const spots = new Set<string>();
      for (const p of result.placed) {
        for (let i = 0; i < p.count; i++) {
          assert.ok(!seen.has(p.start + i));
          seen.set(p.start + i, p.owner);
          const spot = `${p.spareIndex}:${p.spareStart + i}`;
          assert.ok(!spots.has(spot));
          spots.add(spot);
          if (p.spareIndex === 0) assert.ok(!spareBlocks.includes(p.spareStart + i - firstBlock));
        }
      }
      for (const f of result.failed) {
        assert.equal(f.reason, 'source-bad');
        for (let i = 0; i < f.count; i++) seen.set(f.start + i, f.owner);
      }
      for (const o of given) {
        for (let i = 0; i < o.count; i++) assert.equal(seen.get(o.start + i), o.owner);
      }
      const totals = w.pool.totals();
      const used = totals.reduce((n, s) => n + s.totalSectors - s.freeSectors, 0);
      assert.equal(used, spots.size + result.retired.length);
    }),
    { numRuns: 60 },
  );
  t.pass('holds');
});
