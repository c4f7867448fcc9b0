/** What the native remap index must say, told from the table. Pure. */
import { type IndexChange, IndexFlag } from '../native/abi.js';
import type { TableEntry } from '../ondisk/entry.js';
import { gapsIn, type Run, unionOf } from '../remap/edit-runs.js';
import type { RemapTable } from '../remap/remap-table.js';

/** What is needed of `RemapTable`. */
export interface IndexSource {
  remappedIn(start: number, count: number): readonly TableEntry[];
  pendingIn(start: number, count: number): readonly Run[];
}

/** An index in which these ranges take no writes: all is served from where it is. */
export function heldRecords(
  table: Pick<IndexSource, 'remappedIn'>,
  ranges: readonly Run[],
): Generator<IndexChange> {
  const remappedIn = table.remappedIn.bind(table);
  return indexChanges({ remappedIn, pendingIn: (start, count) => [{ start, count }] }, ranges);
}

/** Records for the whole of `ranges`, whatever the index says there now. */
export function* indexChanges(table: IndexSource, ranges: readonly Run[]): Generator<IndexChange> {
  for (const range of unionOf(ranges)) {
    const pending = table.pendingIn(range.start, range.count);
    const remapped = table.remappedIn(range.start, range.count);
    const served: Run[] = [...remapped, ...gapsIn(range, remapped)];
    for (const run of served) {
      const whole = clip(run, range);
      const entry = 'kind' in run ? (run as TableEntry) : undefined;
      for (const clear of gapsIn(whole, pending)) yield record(clear, entry, 0);
      for (const lost of pending) {
        const part = clip(lost, whole);
        if (part.count > 0) yield record(part, entry, IndexFlag.pending);
      }
    }
  }
}

/** One record after which nothing of a volume of `sizeSectors` is remapped. */
export const emptyIndex = (sizeSectors: number): IndexChange[] => [
  { lba: 0, count: sizeSectors, target: 0, device: 0, flags: 0 },
];

/** Records for an index that is empty. */
export function* wholeIndex(
  table: IndexSource & Pick<RemapTable, 'remapped' | 'pending'>,
): Generator<IndexChange> {
  for (const entry of table.remapped()) yield record(entry, entry, 0);
  yield* indexChanges(table, table.pending());
}

function record(run: Run, entry: TableEntry | undefined, flags: number): IndexChange {
  const { start: lba, count } = run;
  if (entry === undefined) return { lba, count, target: lba, device: 0, flags };
  return {
    lba,
    count,
    target: entry.spareStart + lba - entry.start,
    device: entry.spareIndex + 1,
    flags: flags | IndexFlag.remapped,
  };
}

function clip(run: Run, to: Run): Run {
  const start = Math.max(run.start, to.start);
  const end = Math.min(run.start + run.count, to.start + to.count);
  return { start, count: Math.max(0, end - start) };
}
