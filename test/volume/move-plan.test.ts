import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { MOVE_BATCH_EXTENTS, MOVE_EXTENT_MAX_SECTORS } from '../../src/core/limits.js';
import { batches, checkExtents, lockRanges } from '../../src/volume/move-plan.js';

const volume = { sizeSectors: 10_000, blockSectors: 8 };

t.test('takes extents in any order, refuses what makes no sense', async (t) => {
  const runs = checkExtents(
    [
      { lba: 800, count: 8 },
      { lba: 0, count: 16 },
      { lba: 16, count: 8 },
    ],
    volume,
  );
  t.same(
    runs.map((run) => run.start),
    [0, 16, 800],
  );
  const refuses = (why: RegExp, ...extents: [number, number][]) =>
    t.throws(
      () =>
        checkExtents(
          extents.map(([lba, count]) => ({ lba, count })),
          volume,
        ),
      { code: 'RANGE', message: why },
    );
  refuses(/ends at sector 10000/, [9992, 16]);
  refuses(/whole blocks of 8/, [4, 8]);
  refuses(/whole blocks of 8/, [8, 4]);
  refuses(/overlap the 16 sectors at 0/, [8, 8], [0, 16]);
});

t.test('batches hold everything once, in order, within their bounds', async (t) => {
  const runs = fc
    .array(fc.record({ gap: fc.nat(3000), count: fc.integer({ min: 1, max: 9000 }) }), {
      maxLength: 3000,
      size: 'max',
    })
    .map((steps) => {
      let at = 0;
      return steps.map(({ gap, count }) => {
        const run = { start: at + gap, count };
        at = run.start + count;
        return run;
      });
    });
  fc.assert(
    fc.property(runs, (given) => {
      let at = 0;
      let total = 0;
      for (const batch of batches(given)) {
        assert.ok(batch.length <= MOVE_BATCH_EXTENTS);
        assert.ok(lockRanges(batch).length <= 512);
        for (const { start, count } of batch) {
          assert.ok(start >= at);
          assert.ok(count <= MOVE_EXTENT_MAX_SECTORS);
          at = start + count;
          total += count;
        }
      }
      assert.equal(
        total,
        given.reduce((sum, run) => sum + run.count, 0),
      );
    }),
    { numRuns: 20 },
  );
  t.pass('holds');
});

t.test('neighbours share a lock, others do not', async (t) => {
  const batch = [
    { start: 0, count: 8 },
    { start: 8, count: 8 },
    { start: 80, count: 8 },
    { start: 1000, count: 8 },
  ];
  t.same(lockRanges(batch), [
    { start: 0, count: 88 },
    { start: 1000, count: 8 },
  ]);
});

t.test('extents far apart come in batches of 512', async (t) => {
  const runs = Array.from({ length: 1100 }, (_, i) => ({ start: i * 1000, count: 1 }));
  t.same(
    [...batches(runs)].map((batch) => batch.length),
    [512, 512, 76],
  );
});
