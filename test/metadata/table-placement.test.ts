import fc from 'fast-check';
import { test } from 'tap';
import { generation } from '../../src/core/units.js';
import { TablePlacement, type TablePlan } from '../../src/metadata/table-placement.js';
import { type TableEntry, tableEntry } from '../../src/ondisk/entry.js';
import { type DirectoryEntry, inlineCapacity } from '../../src/ondisk/table-section.js';
import { Prng } from '../fixtures/prng.js';

let next = 0;
const fresh = (count: number): TableEntry[] =>
  Array.from({ length: count }, () =>
    tableEntry({ kind: 'pending', start: next++, count: 1, cause: 'read-error', timeSeconds: 0 }),
  );

const place = (index: number): DirectoryEntry => ({
  pageCrc: 0,
  location: index,
  generation: generation(1n),
});

const apply = (table: TablePlacement, plan: TablePlan): void =>
  table.apply(plan, new Map([...plan.pages.keys()].map((index) => [index, place(index)])));

function change(
  table: TablePlacement,
  add: readonly TableEntry[],
  remove: readonly TableEntry[] = [],
): TablePlan {
  const plan = table.plan(add, remove);
  apply(table, plan);
  return plan;
}

test('new entries go to the superblock until it is full, then all move to one page', async (t) => {
  const table = new TablePlacement(100, [], []);
  t.equal(change(table, fresh(850)).pages.size, 0);
  const plan = change(table, fresh(1));
  t.strictSame([...plan.pages.keys()], [0]);
  t.equal(plan.inline.length, 0);
  t.equal(table.size, 851);
  t.equal(change(table, fresh(849)).pages.size, 0, 'and the superblock has room again');
});

test('a commit of up to a hundred new entries changes one page at most', async (t) => {
  const table = new TablePlacement(1100, [], []);
  change(table, fresh(100_000));
  const prng = new Prng(5);
  let most = 0;
  for (let i = 0; i < 2000; i++) {
    most = Math.max(most, change(table, fresh(prng.between(1, 100))).pages.size);
  }
  t.equal(most, 1);
});

test('a page with little room is no place to move to', async (t) => {
  const table = new TablePlacement(1100, [], []);
  change(table, fresh(20_000));
  const few = table.directory.flatMap((_, index) => table.pageEntries(index).slice(0, 10));
  change(table, [], few);
  let most = 0;
  for (let i = 0; i < 100; i++) most = Math.max(most, change(table, fresh(100)).pages.size);
  t.equal(most, 1);
});

test('a batch larger than the superblock goes straight to pages, and fills them', async (t) => {
  const table = new TablePlacement(1100, [], []);
  const plan = change(table, fresh(100_000));
  t.equal(plan.pageCount, Math.ceil((100_000 - 800) / 1362));
});

test('a removal changes the page the entry is on, and only that', async (t) => {
  const table = new TablePlacement(100, [], []);
  const entries = fresh(5000);
  change(table, entries);
  const [first] = entries as [TableEntry];
  const plan = change(table, [], [first]);
  t.strictSame([...plan.pages.keys()], [0]);
  t.notOk([...table.entries()].includes(first));
  t.throws(() => table.plan([], [first]), RangeError, 'it is gone');
  t.throws(() => table.plan([entries[1] as TableEntry], []), RangeError, 'it is there');
});

test('empty pages at the end are given up, others are kept', async (t) => {
  const table = new TablePlacement(100, [], []);
  const entries = fresh(1362 * 3 + 900);
  change(table, entries);
  const before = table.directory.length;
  change(table, [], table.pageEntries(0));
  t.equal(table.directory.length, before);
  t.equal(table.pageEntries(0).length, 0);
  for (let index = before - 1; index > 0; index--) {
    const plan = change(table, [], table.pageEntries(index));
    t.equal(plan.pages.size, 0, 'what is given up is not written');
  }
  t.equal(table.directory.length, 0);
});

test('a full table is refused before anything changes', async (t) => {
  const table = new TablePlacement(2, [], []);
  change(table, fresh(2 * 1362 + inlineCapacity(2)));
  const size = table.size;
  t.throws(() => table.plan(fresh(1), []), { code: 'META_FULL', context: { have: size } });
  t.equal(table.size, size);
  const [gone] = table.entries();
  t.doesNotThrow(() => change(table, fresh(1), [gone as TableEntry]));
});

test('property: every history leaves what a plain set would hold, within the limits', async (t) => {
  const step = fc.record({ add: fc.nat(2000), remove: fc.nat(2000), pick: fc.nat() });
  const property = fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
    const table = new TablePlacement(20, [], []);
    const model = new Set<TableEntry>();
    for (const { add, remove, pick } of steps) {
      const added = fresh(add);
      const removed = [...model].filter((_, i) => (i * 7919 + pick) % 4000 < remove);
      const plan = change(table, added, removed);
      for (const entry of removed) model.delete(entry);
      for (const entry of added) model.add(entry);
      const pages = table.directory.map((_, index) => table.pageEntries(index));
      const held = new Set([...table.inline, ...pages.flat()]);
      const fits =
        [...plan.pages.keys()].every((index) => index < plan.pageCount) &&
        table.inline.length <= inlineCapacity(plan.pageCount) &&
        pages.every((entries) => entries.length <= 1362);
      const same = held.size === model.size && [...model].every((entry) => held.has(entry));
      if (!fits || !same || table.size !== model.size) return false;
    }
    return true;
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 30 }));
});
