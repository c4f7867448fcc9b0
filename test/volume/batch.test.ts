import t from 'tap';
import { BadFlag, Operation } from '../../src/native/abi.js';
import type { BadExtent, ParkedRequest } from '../../src/native/backend.js';
import { type TableEntry, tableEntry } from '../../src/ondisk/entry.js';
import { RemapTable } from '../../src/remap/remap-table.js';
import { planBatch, type TableView } from '../../src/volume/batch.js';

const made = { cause: 'read-error', timeSeconds: 1_700_000_000 } as const;
const remapped = (start: number, count: number, spareIndex = 0): TableEntry =>
  tableEntry({ ...made, kind: 'remapped', start, count, spareIndex, spareStart: start + 5000 });
const pending = (start: number, count: number): TableEntry =>
  tableEntry({ ...made, kind: 'pending', start, count });

/** A table whose entries are as old as `epochs` says; 0 unless named. */
function view(entries: TableEntry[], epochs = new Map<TableEntry, number>()): TableView {
  const table = new RemapTable();
  table.load(entries);
  return {
    remappedIn: (start, count) => table.remappedIn(start, count),
    pendingIn: (start, count) => table.pendingIn(start, count),
    epochOf: (entry) => epochs.get(entry) ?? 0,
  };
}

let tokens = 0n;
function parked(operation: number, ...bad: Partial<BadExtent>[]): ParkedRequest {
  const whole = bad.map((b) => ({ lba: 0, count: 1, error: 5, flags: 0, device: 0, ...b }));
  return { token: ++tokens, queue: 0, operation, bad: whole };
}
const write = (...bad: Partial<BadExtent>[]) => parked(Operation.write, ...bad);
const read = (...bad: Partial<BadExtent>[]) => parked(Operation.read, ...bad);

const plan = (requests: ParkedRequest[], table: TableView, epoch = 0) =>
  planBatch(
    requests.map((request) => ({ request, epoch })),
    table,
  );

t.test('a failed write is placed, a failed read becomes pending', async (t) => {
  const w = write({ lba: 10, count: 2 }, { lba: 20 });
  const r = read({ lba: 30, count: 2 }, { lba: 40 });
  const result = plan([w, r], view([]));
  t.same(
    result.place.map(({ start, count, cause, tried }) => [start, count, cause, tried]),
    [
      [10, 2, 'write-error', true],
      [20, 1, 'write-error', true],
    ],
  );
  t.same(result.writes, [w]);
  t.same(result.reads, [r]);
  t.same(result.pending, [
    { start: 30, count: 2 },
    { start: 40, count: 1 },
  ]);
  t.same(result.retry, []);
});

t.test('two writes to one bad block: the second is run again', async (t) => {
  const first = write({ lba: 10, count: 4 });
  const second = write({ lba: 13, count: 2 }, { lba: 50 });
  const third = write({ lba: 50 });
  const result = plan([first, second, third], view([]));
  t.same(result.writes, [first, third]);
  t.same(result.retry, [second]);
});

t.test('a read of a block that is being placed is run again', async (t) => {
  const w = write({ lba: 10 });
  const r = read({ lba: 10 });
  const result = plan([r, w], view([]));
  t.same(result.retry, [r]);
  t.same(result.pending, []);
});

t.test('what failed on main and is remapped by now is run again', async (t) => {
  const table = view([remapped(8, 8)]);
  const w = write({ lba: 15, count: 2 });
  const r = read({ lba: 12 });
  t.same(plan([w, r], table).retry, [w, r]);
});

t.test('a bad spare block is replaced once, not twice', async (t) => {
  const entry = remapped(8, 8);
  const bad = { lba: 9, flags: BadFlag.onSpare, device: 1 };
  t.equal(plan([write(bad)], view([entry])).place.length, 1);
  const newer = view([entry], new Map([[entry, 3]]));
  t.equal(plan([write(bad)], newer, 2).retry.length, 1, 'replaced since the request came');
  t.equal(plan([write(bad)], newer, 3).place.length, 1, 'the new one is bad as well');
  t.equal(plan([write({ ...bad, device: 2 })], view([entry])).retry.length, 1, 'another spare');
  t.equal(plan([write(bad)], view([])).retry.length, 1, 'no remap any more');
  t.equal(plan([read(bad)], newer, 2).retry.length, 1);
  t.same(plan([read(bad)], newer, 3).pending, [{ start: 9, count: 1 }]);
});

t.test('a write to a pending block is placed, with the cause on record', async (t) => {
  const table = view([pending(8, 8), remapped(12, 2)]);
  const flags = BadFlag.pending;
  const w = write(
    { lba: 8, count: 4, flags },
    { lba: 12, count: 2, flags: flags | BadFlag.onSpare, device: 1 },
  );
  const result = plan([w], table);
  t.same(
    result.place.map(({ start, count, cause, tried }) => [start, count, cause, tried]),
    [
      [8, 4, 'read-error', false],
      [12, 2, 'read-error', false],
    ],
  );
  const late = write({ lba: 15, count: 2, flags });
  t.same(plan([late], table).retry, [late], 'a part of it is pending no more');
});

t.test('blocks pending already are not put on record again', async (t) => {
  const r1 = read({ lba: 6, count: 6 });
  const r2 = read({ lba: 9, count: 6 });
  const result = plan([r1, r2], view([pending(8, 2)]));
  t.same(result.pending, [
    { start: 6, count: 2 },
    { start: 10, count: 5 },
  ]);
  t.same(result.reads, [r1, r2]);
  t.same(plan([read({ lba: 8, count: 2 })], view([pending(8, 2)])).pending, []);
});
