/**
 * How an ordered set of table entries changes when parts of it are cut out and new entries are put
 * in: pure, so that a change can be committed to disk before the picture in memory follows.
 */
import { type TableEntry, tableEntry } from '../ondisk/entry.js';
import { type SortedExtents, sortByStart } from './sorted-extents.js';

export interface Run {
  readonly start: number;
  readonly count: number;
}

/** What a commit is given: entries by object identity, none in both lists. */
export interface TableChange {
  readonly add: readonly TableEntry[];
  readonly remove: readonly TableEntry[];
}

interface Piece {
  readonly entry: TableEntry;
  /** False for a piece that is an entry of the table as it stands. */
  readonly fresh: boolean;
}

/**
 * Cuts `cuts` out of the entries of `existing`, puts `puts` in their place (what they cover is cut
 * as well), and joins what adjoins. `puts` do not overlap each other.
 */
export function editRuns(
  existing: SortedExtents<TableEntry>,
  cuts: readonly Run[],
  puts: readonly TableEntry[],
): TableChange {
  const touched = new Set<TableEntry>();
  for (const { start, count } of cuts) {
    for (const e of existing.overlapping(start, count)) touched.add(e);
  }
  for (const { start, count } of puts) {
    const from = Math.max(0, start - 1);
    for (const e of existing.overlapping(from, start + count + 1 - from)) touched.add(e);
  }
  const old = sortByStart([...touched]);
  const kept = subtract(old, unionOf([...cuts, ...puts]));
  const fresh = puts.map((entry) => ({ entry, fresh: true }));
  const pieces = [...kept, ...fresh].sort((a, b) => a.entry.start - b.entry.start);
  const joined = join(pieces);
  const stay = new Set(joined.filter((p) => !p.fresh).map((p) => p.entry));
  return {
    add: joined.filter((p) => p.fresh).map((p) => p.entry),
    remove: old.filter((entry) => !stay.has(entry)),
  };
}

/** Runs in order, overlapping and adjoining ones joined. */
export function unionOf(runs: readonly Run[]): Run[] {
  const out: { start: number; count: number }[] = [];
  for (const { start, count } of sortByStart(runs)) {
    const last = out.at(-1);
    if (last !== undefined && start <= last.start + last.count) {
      last.count = Math.max(last.count, start + count - last.start);
    } else out.push({ start, count });
  }
  return out;
}

/** The parts of `run` that no run of `holes` covers; `holes` in order, not overlapping. */
export function gapsIn(run: Run, holes: readonly Run[]): Run[] {
  const out: Run[] = [];
  const end = run.start + run.count;
  let at = run.start;
  for (const hole of holes) {
    if (hole.start + hole.count <= at) continue;
    if (hole.start >= end) break;
    if (hole.start > at) out.push({ start: at, count: hole.start - at });
    at = hole.start + hole.count;
  }
  if (at < end) out.push({ start: at, count: end - at });
  return out;
}

/** The part of `entry` that covers [start, start + count). */
export function slice(entry: TableEntry, start: number, count: number): TableEntry {
  const spareStart = entry.spareStart === 0 ? 0 : entry.spareStart + start - entry.start;
  return tableEntry({ ...entry, start, count, spareStart });
}

function subtract(entries: readonly TableEntry[], holes: readonly Run[]): Piece[] {
  const out: Piece[] = [];
  let first = 0;
  for (const entry of entries) {
    while (first < holes.length && endOf(holes[first] as Run) <= entry.start) first++;
    let last = first;
    while (last < holes.length && (holes[last] as Run).start < endOf(entry)) last++;
    if (last === first) out.push({ entry, fresh: false });
    else {
      for (const { start, count } of gapsIn(entry, holes.slice(first, last))) {
        out.push({ entry: slice(entry, start, count), fresh: true });
      }
    }
  }
  return out;
}

function join(pieces: readonly Piece[]): Piece[] {
  const out: Piece[] = [];
  for (const piece of pieces) {
    const last = out.at(-1);
    if (last !== undefined && adjoin(last.entry, piece.entry)) {
      out[out.length - 1] = { entry: merge(last.entry, piece.entry), fresh: true };
    } else out.push(piece);
  }
  return out;
}

/** One entry can stand for both: the same story, and no gap on main or on the spare. */
function adjoin(a: TableEntry, b: TableEntry): boolean {
  return (
    a.kind === b.kind &&
    a.cause === b.cause &&
    a.spareIndex === b.spareIndex &&
    endOf(a) === b.start &&
    (a.spareStart === 0 ? b.spareStart === 0 : a.spareStart + a.count === b.spareStart)
  );
}

function merge(a: TableEntry, b: TableEntry): TableEntry {
  return tableEntry({
    ...a,
    count: a.count + b.count,
    evidence: Math.max(a.evidence, b.evidence),
    timeSeconds: Math.max(a.timeSeconds, b.timeSeconds),
  });
}

const endOf = (run: Run): number => run.start + run.count;
