import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { type EntryCause, type TableEntry, tableEntry } from '../../src/ondisk/entry.js';
import { RemapTable, type TableEdits } from '../../src/remap/remap-table.js';

const MAIN = 48;
const CAUSES: EntryCause[] = ['write-error', 'read-error', 'administrator'];

/** One sector a cell: what a table of entries says, spelled out. */
interface Model {
  remapped: Map<number, string>;
  pending: Map<number, string>;
  retired: Set<string>;
}

interface Step {
  what: 'remap' | 'pend' | 'plain' | 'retire';
  start: number;
  count: number;
  cause: EntryCause;
  spare: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  what: fc.constantFrom('remap', 'remap', 'pend', 'plain', 'retire'),
  start: fc.nat(MAIN - 1),
  count: fc.integer({ min: 1, max: 9 }),
  cause: fc.constantFrom(...CAUSES),
  spare: fc.nat(1),
});

const sectors = ({ start, count }: { start: number; count: number }): number[] =>
  Array.from({ length: count }, (_, i) => start + i);

function spell(entries: Iterable<TableEntry>, cell: (e: TableEntry, i: number) => string) {
  const out = new Map<number, string>();
  for (const e of entries) for (const s of sectors(e)) out.set(s, cell(e, s - e.start));
  return out;
}

/** The edits of a step and what it does to the model; undefined when it would do nothing. */
function edit(model: Model, s: Step, now: number, nextSpare: number[]): TableEdits {
  const { start, cause, spare } = s;
  const count = Math.min(s.count, MAIN - start);
  const run = { start, count };
  const made = { ...run, cause, timeSeconds: now };
  if (s.what === 'remap') {
    const spareStart = nextSpare[spare] as number;
    nextSpare[spare] = spareStart + count;
    for (const x of sectors(run)) {
      model.remapped.set(x, `${spare}:${spareStart + x - start} ${cause}`);
      model.pending.delete(x);
    }
    return { remapped: [tableEntry({ ...made, kind: 'remapped', spareIndex: spare, spareStart })] };
  }
  if (s.what === 'plain') {
    for (const x of sectors(run)) model.remapped.delete(x);
    return { plain: [run] };
  }
  if (s.what === 'pend') {
    const fresh = sectors(run).filter((x) => !model.pending.has(x));
    for (const x of fresh) model.pending.set(x, cause);
    return {
      pending: fresh.map((x) => tableEntry({ ...made, kind: 'pending', start: x, count: 1 })),
    };
  }
  const spareStart = nextSpare[spare] as number;
  nextSpare[spare] = spareStart + count;
  for (const x of sectors({ start: spareStart, count })) model.retired.add(`${spare}:${x}`);
  return {
    retired: [tableEntry({ ...made, kind: 'retired', spareIndex: spare, start: spareStart })],
  };
}

t.test('says the same as a model of single sectors, after any edits and a reload', async (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const model: Model = { remapped: new Map(), pending: new Map(), retired: new Set() };
      const table = new RemapTable();
      const durable = new Set<TableEntry>();
      const nextSpare = [1000, 1000];
      steps.forEach((s, i) => {
        const before = JSON.stringify([...durable]);
        const change = table.plan(edit(model, s, 1_600_000_000 + i, nextSpare));
        assert.equal(JSON.stringify([...durable]), before);
        for (const entry of change.remove)
          assert.ok(durable.delete(entry), 'removes what is there');
        for (const entry of change.add) durable.add(entry);
        table.apply(change);
        check(table, model);
      });
      const loaded = new RemapTable();
      loaded.load([...durable].reverse());
      check(loaded, model);
      assert.deepEqual(loaded.totals, table.totals);
    }),
    { numRuns: 150 },
  );
  t.pass('holds');
});

function check(table: RemapTable, model: Model): void {
  const order = (map: Map<number, string>) => [...map].sort(([a], [b]) => a - b);
  const remapped = spell(table.remapped(), (e, i) => {
    return `${e.spareIndex}:${e.spareStart + i} ${e.cause}`;
  });
  assert.deepEqual(order(remapped), order(model.remapped));
  assert.deepEqual(order(spell(table.pending(), (e) => e.cause)), order(model.pending));
  const retired = [...table.retired()].flatMap((e) =>
    sectors(e).map((s) => `${e.spareIndex}:${s}`),
  );
  assert.deepEqual(retired.sort(), [...model.retired].sort());
  const totals = table.totals;
  assert.equal(totals.sectors, model.remapped.size);
  assert.equal(totals.pendingSectors, model.pending.size);
  assert.equal(totals.retiredSectors, model.retired.size);
  const list = table.remapped();
  assert.equal(totals.extents, list.length);
  list.forEach((e, i) => {
    const next = list[i + 1];
    if (next === undefined || next.cause !== e.cause || next.spareIndex !== e.spareIndex) return;
    const joins = e.start + e.count === next.start && e.spareStart + e.count === next.spareStart;
    assert.ok(!joins, 'neighbours are one extent');
  });
}

t.test('joins a run of bad blocks, and names the entries that change', async (t) => {
  const table = new RemapTable();
  const at = (start: number, spareStart: number, count = 1): TableEntry =>
    tableEntry({
      kind: 'remapped',
      start,
      count,
      spareStart,
      cause: 'write-error',
      timeSeconds: 1_700_000_000,
    });
  table.load([at(10, 2064), at(12, 2066), at(30, 2080)]);
  const old = table.remapped();
  const change = table.plan({ remapped: [at(11, 2065)] });
  t.same(change.add, [at(10, 2064, 3)]);
  t.same(change.remove, old.slice(0, 2), 'the far one is not touched');
  t.same(table.totals.extents, 3, 'a plan changes nothing');
  table.apply(change);
  t.same(table.remapped(), [at(10, 2064, 3), at(30, 2080)]);
  const beside = table.plan({ remapped: [at(13, 3000), at(29, 3010)] });
  t.same(beside.remove, [], 'what merely stands beside is not touched');
});

t.test(
  'a block written to a second spare block leaves its neighbours where they are',
  async (t) => {
    const table = new RemapTable();
    const made = { kind: 'remapped', cause: 'write-error', timeSeconds: 1_700_000_000 } as const;
    table.load([tableEntry({ ...made, start: 8, count: 3, spareStart: 2064 })]);
    const moved = tableEntry({ ...made, start: 9, count: 1, spareStart: 4000 });
    table.apply(table.plan({ remapped: [moved] }));
    t.same(
      table.remapped().map(({ start, count, spareStart }) => [start, count, spareStart]),
      [
        [8, 1, 2064],
        [9, 1, 4000],
        [10, 1, 2066],
      ],
    );
  },
);

t.test('pending and remapped may overlap: a spare block that cannot be read', async (t) => {
  const table = new RemapTable();
  const made = { start: 8, count: 4, cause: 'read-error', timeSeconds: 1_700_000_000 } as const;
  table.load([
    tableEntry({ ...made, kind: 'remapped', spareStart: 2064 }),
    tableEntry({ ...made, kind: 'pending' }),
  ]);
  t.equal(table.remappedIn(9, 1).length, 1);
  t.equal(table.pendingIn(9, 1).length, 1);
  t.same(table.totals, {
    extents: 1,
    sectors: 4,
    pendingExtents: 1,
    pendingSectors: 4,
    retiredSectors: 0,
  });
});

t.test('refuses a table whose entries overlap', async (t) => {
  const made = { kind: 'remapped', cause: 'write-error', timeSeconds: 1_700_000_000 } as const;
  const pair = [
    tableEntry({ ...made, start: 8, count: 4, spareStart: 2064 }),
    tableEntry({ ...made, start: 11, count: 4, spareStart: 3064 }),
  ];
  t.throws(() => new RemapTable().load(pair), RangeError);
});
