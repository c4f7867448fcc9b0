import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { SortedExtents, sortByStart } from '../../src/remap/sorted-extents.js';

interface Run {
  start: number;
  count: number;
}

/** Runs of up to 4 sectors with gaps, none overlapping. */
const disjoint = (max: number): fc.Arbitrary<Run[]> =>
  fc
    .array(fc.record({ gap: fc.nat(5), count: fc.integer({ min: 1, max: 4 }) }), { maxLength: max })
    .map((steps) => {
      let at = 0;
      return steps.map(({ gap, count }) => {
        const run = { start: at + gap, count };
        at = run.start + count;
        return run;
      });
    });

t.test('loads in any order and finds what a scan finds', async (t) => {
  fc.assert(
    fc.property(
      disjoint(3000),
      fc.nat(100),
      fc.array(fc.record({ start: fc.nat(9000), count: fc.integer({ min: 1, max: 300 }) })),
      (runs, turn, queries) => {
        const set = new SortedExtents<Run>();
        set.load([...runs.slice(turn), ...runs.slice(0, turn)].reverse());
        assert.deepEqual(set.toArray(), runs);
        assert.equal(set.size, runs.length);
        for (const { start, count } of queries) {
          const expected = runs.filter((r) => r.start < start + count && start < r.start + r.count);
          assert.deepEqual(set.overlapping(start, count), expected);
        }
      },
    ),
    { numRuns: 30 },
  );
  t.pass('holds');
});

t.test('adds and removes as a sorted array does', async (t) => {
  fc.assert(
    fc.property(disjoint(2000), fc.infiniteStream(fc.nat(1_000_000)), (runs, dice) => {
      const set = new SortedExtents<Run>();
      const inside: Run[] = [];
      const outside = [...runs];
      const roll = (n: number): number => (dice.next().value as number) % n;
      for (let i = 0; i < runs.length * 2; i++) {
        const adding = outside.length > 0 && (inside.length === 0 || roll(3) > 0);
        const [from, to] = adding ? [outside, inside] : [inside, outside];
        const run = from.splice(roll(from.length), 1)[0] as Run;
        to.push(run);
        if (adding) set.add(run);
        else set.remove(run);
      }
      assert.deepEqual(
        set.toArray(),
        inside.sort((a, b) => a.start - b.start),
      );
      assert.equal(set.size, inside.length);
    }),
    { numRuns: 20 },
  );
  t.pass('holds');
});

t.test('refuses what overlaps and what is not there', async (t) => {
  const set = new SortedExtents<Run>();
  const run = { start: 10, count: 5 };
  set.add(run);
  t.throws(() => set.add({ start: 14, count: 1 }), RangeError);
  t.throws(() => set.add({ start: 8, count: 3 }), RangeError);
  t.throws(() => set.remove({ start: 10, count: 5 }), RangeError);
  const pair = [run, { start: 12, count: 1 }];
  t.throws(() => set.load(pair), RangeError);
  set.remove(run);
  t.same(set.toArray(), []);
});

t.test('a million runs in random order load in a small multiple of a bare sort', async (t) => {
  const runs = Array.from({ length: 1_000_000 }, (_, i) => {
    return { start: ((i * 7_368_787) % 1_000_003) * 1000, count: 8 };
  });
  const begin = performance.now();
  Float64Array.from(runs, (run) => run.start).sort();
  const bareMs = performance.now() - begin;
  const set = new SortedExtents<Run>();
  set.load(runs);
  const loadMs = performance.now() - begin - bareMs;
  t.equal(set.size, 1_000_000);
  // 3 to 5 times on an idle machine; a load that is quadratic anywhere takes thousands.
  t.ok(loadMs < 50 * bareMs, `${loadMs} ms against ${bareMs} ms`);
});

t.test('sorts runs that all fall into one bucket', async (t) => {
  const runs = [
    { start: 1e12, count: 1 },
    ...Array.from({ length: 500 }, (_, i) => {
      return { start: 500 - i, count: 1 };
    }),
  ];
  t.same(
    sortByStart(runs).map((r) => r.start),
    [...Array.from({ length: 500 }, (_, i) => i + 1), 1e12],
  );
});
