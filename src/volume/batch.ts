/**
 * Decides what becomes of parked requests that are taken together: which blocks go to a spare,
 * which become pending, and which requests only have to be run again. Pure.
 */
import { BadFlag, Operation } from '../native/abi.js';
import type { BadExtent, ParkedRequest } from '../native/backend.js';
import type { EntryCause, TableEntry } from '../ondisk/entry.js';
import { gapsIn, type Run, unionOf } from '../remap/edit-runs.js';
import { SortedExtents } from '../remap/sorted-extents.js';

/** A parked request and the number of the last commit there was when it came. */
export interface Arrival {
  readonly request: ParkedRequest;
  readonly epoch: number;
}

/** What is needed of the table. */
export interface TableView {
  remappedIn(start: number, count: number): readonly TableEntry[];
  pendingIn(start: number, count: number): readonly TableEntry[];
  /** Number of the commit since which `entry` is as it is; 0 when it was there at open. */
  epochOf(entry: TableEntry): number;
}

/** A failing run of a write, to be put on a spare. */
export interface RunToPlace extends Run {
  readonly request: ParkedRequest;
  readonly cause: EntryCause;
  /** The write to main was tried and failed. */
  readonly tried: boolean;
}

export interface BatchPlan {
  /** Writes that are done once all their runs stand on a spare. */
  readonly writes: readonly ParkedRequest[];
  readonly place: readonly RunToPlace[];
  /** Reads to be failed once `pending` is on record. */
  readonly reads: readonly ParkedRequest[];
  /** Runs that could not be read and are not pending yet; in order, none overlapping. */
  readonly pending: readonly Run[];
  /** What failed is not, or not any more, as it was: to be run again after the others. */
  readonly retry: readonly ParkedRequest[];
}

export function planBatch(arrivals: readonly Arrival[], table: TableView): BatchPlan {
  const claimed = new SortedExtents<Run>();
  const writes: ParkedRequest[] = [];
  const reads: ParkedRequest[] = [];
  const retry: ParkedRequest[] = [];
  const place: RunToPlace[] = [];
  for (const { request, epoch } of arrivals.filter(({ request: r }) => isWrite(r))) {
    const free = request.bad.every(
      ({ lba, count }) => claimed.overlapping(lba, count).length === 0,
    );
    if (!free || !request.bad.every((bad) => writeIsCurrent(bad, epoch, table))) {
      retry.push(request);
      continue;
    }
    writes.push(request);
    for (const bad of request.bad) {
      const run = { start: bad.lba, count: bad.count };
      claimed.add(run);
      const tried = (bad.flags & BadFlag.pending) === 0;
      place.push({ ...run, request, cause: causeOf(bad, table), tried });
    }
  }
  const lost: Run[] = [];
  for (const { request, epoch } of arrivals.filter(({ request: r }) => !isWrite(r))) {
    const current = request.bad.every(
      (bad) =>
        claimed.overlapping(bad.lba, bad.count).length === 0 && readIsCurrent(bad, epoch, table),
    );
    if (!current) retry.push(request);
    else {
      reads.push(request);
      for (const { lba, count } of request.bad) lost.push({ start: lba, count });
    }
  }
  const pending = unionOf(lost).flatMap((run) =>
    gapsIn(run, table.pendingIn(run.start, run.count)),
  );
  return { writes, place, reads, pending, retry };
}

const isWrite = (request: ParkedRequest): boolean => request.operation === Operation.write;

/** The cause that put the block on record is kept when it is pending. */
const causeOf = (bad: BadExtent, table: TableView): EntryCause =>
  (bad.flags & BadFlag.pending) === 0
    ? 'write-error'
    : (table.pendingIn(bad.lba, bad.count)[0]?.cause ?? 'read-error');

function writeIsCurrent(bad: BadExtent, epoch: number, table: TableView): boolean {
  const remapped = table.remappedIn(bad.lba, bad.count);
  if ((bad.flags & BadFlag.pending) !== 0) {
    return covers(table.pendingIn(bad.lba, bad.count), bad);
  }
  if (bad.device === 0) return remapped.length === 0;
  return isSameSpare(remapped, bad, epoch, table);
}

function readIsCurrent(bad: BadExtent, epoch: number, table: TableView): boolean {
  const remapped = table.remappedIn(bad.lba, bad.count);
  if (bad.device === 0) return remapped.length === 0;
  return isSameSpare(remapped, bad, epoch, table);
}

/** The blocks that failed are those the table still names. */
function isSameSpare(
  remapped: readonly TableEntry[],
  bad: BadExtent,
  epoch: number,
  table: TableView,
): boolean {
  return (
    covers(remapped, bad) &&
    remapped.every((e) => e.spareIndex + 1 === bad.device && table.epochOf(e) <= epoch)
  );
}

const covers = (entries: readonly TableEntry[], bad: BadExtent): boolean =>
  gapsIn({ start: bad.lba, count: bad.count }, entries).length === 0;
