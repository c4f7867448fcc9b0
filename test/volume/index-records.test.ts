import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { type IndexChange, IndexFlag } from '../../src/native/abi.js';
import { type TableEntry, tableEntry } from '../../src/ondisk/entry.js';
import { RemapTable } from '../../src/remap/remap-table.js';
import { indexChanges, wholeIndex } from '../../src/volume/index-records.js';

const MAIN = 60;
const made = { cause: 'write-error', timeSeconds: 1_700_000_000 } as const;

const runs = fc
  .array(fc.record({ gap: fc.nat(4), count: fc.integer({ min: 1, max: 6 }) }), { maxLength: 8 })
  .map((steps) => {
    let at = 0;
    return steps.flatMap(({ gap, count }) => {
      const run = { start: at + gap, count };
      at = run.start + count;
      return at <= MAIN ? [run] : [];
    });
  });

const tableOf = fc.tuple(runs, runs).map(([remaps, pendings]) => {
  const table = new RemapTable();
  table.load([
    ...remaps.map((run, i) =>
      tableEntry({
        ...made,
        ...run,
        kind: 'remapped',
        spareIndex: i % 2,
        spareStart: 3000 + i * 100,
      }),
    ),
    ...pendings.map((run) => tableEntry({ ...made, ...run, kind: 'pending' })),
  ]);
  return table;
});

/** One line a sector: what a data plane that was given `records` does with it. */
function picture(cells: string[], records: Iterable<IndexChange>): string[] {
  for (const { lba, count, target, device, flags } of records) {
    assert.ok(count > 0);
    assert.equal(device !== 0, (flags & IndexFlag.remapped) !== 0);
    if (device === 0) assert.equal(target, lba);
    for (let i = 0; i < count; i++) {
      cells[lba + i] = `${device}:${target + i}${flags & IndexFlag.pending ? ' pending' : ''}`;
    }
  }
  return cells;
}

const plain = (): string[] => Array.from({ length: MAIN }, (_, i) => `0:${i}`);

function expected(table: RemapTable): string[] {
  const find = (entries: TableEntry[]): TableEntry | undefined => entries[0];
  return plain().map((cell, i) => {
    const entry = find(table.remappedIn(i, 1));
    const place = entry ? `${entry.spareIndex + 1}:${entry.spareStart + i - entry.start}` : cell;
    return table.pendingIn(i, 1).length > 0 ? `${place} pending` : place;
  });
}

t.test('the whole table, sector by sector', async (t) => {
  fc.assert(
    fc.property(tableOf, (table) => {
      assert.deepEqual(picture(plain(), wholeIndex(table)), expected(table));
    }),
  );
  t.pass('holds');
});

t.test('changed ranges come out as the table says, and no other sector is named', async (t) => {
  fc.assert(
    fc.property(tableOf, runs, runs, (table, ranges, more) => {
      const cells = Array.from({ length: MAIN }, () => 'as before');
      picture(cells, indexChanges(table, [...ranges, ...more]));
      const inside = (i: number) =>
        [...ranges, ...more].some((r) => r.start <= i && i < r.start + r.count);
      const wanted = expected(table).map((cell, i) => (inside(i) ? cell : 'as before'));
      assert.deepEqual(cells, wanted);
    }),
  );
  t.pass('holds');
});
