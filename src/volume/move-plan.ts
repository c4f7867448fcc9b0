/** Which runs a move touches, and in which batches. Pure. */

import { RemapError } from '../core/errors.js';
import { MOVE_BATCH_EXTENTS, MOVE_EXTENT_MAX_SECTORS } from '../core/limits.js';
import type { ExtentMessage } from '../protocol/messages.js';
import type { Run } from '../remap/edit-runs.js';
import { sortByStart } from '../remap/sorted-extents.js';

/** Locks of one batch: native looks through all of them for each write that comes meanwhile. */
const LOCKS_MAX = 512;

/** Runs of a batch that are no further apart share a lock. */
const LOCK_GAP_SECTORS = 64;

/** The extents as runs in order. Throws RANGE, and names the extent. */
export function checkExtents(
  extents: readonly ExtentMessage[],
  volume: { sizeSectors: number; blockSectors: number },
): Run[] {
  const { sizeSectors, blockSectors } = volume;
  const runs = sortByStart(extents.map(({ lba, count }) => ({ start: lba, count })));
  runs.forEach(({ start, count }, i) => {
    const refuse = (why: string): never => {
      throw new RemapError('RANGE', `${count} sectors at ${start}: ${why}.`, {
        context: { lba: start, count },
      });
    };
    if (start + count > sizeSectors) refuse(`the volume ends at sector ${sizeSectors}`);
    if (start % blockSectors !== 0 || count % blockSectors !== 0) {
      refuse(`name whole blocks of ${blockSectors} sectors`);
    }
    const before = runs[i - 1];
    if (before !== undefined && before.start + before.count > start) {
      refuse(`they overlap the ${before.count} sectors at ${before.start}; name each sector once`);
    }
  });
  return runs;
}

/** `runs` cut into pieces that can be copied at once, in groups that are moved together. */
export function* batches(runs: readonly Run[]): Generator<Run[]> {
  let batch: Run[] = [];
  let locks = 0;
  for (const piece of pieces(runs)) {
    const last = batch.at(-1);
    const shares = last !== undefined && piece.start - endOf(last) <= LOCK_GAP_SECTORS;
    if (batch.length === MOVE_BATCH_EXTENTS || (locks === LOCKS_MAX && !shares)) {
      yield batch;
      batch = [];
      locks = 0;
    }
    if (batch.length === 0 || !shares) locks++;
    batch.push(piece);
  }
  if (batch.length > 0) yield batch;
}

/** The ranges to lock for a batch. */
export function lockRanges(batch: readonly Run[]): Run[] {
  const out: { start: number; count: number }[] = [];
  for (const run of batch) {
    const last = out.at(-1);
    if (last !== undefined && run.start - endOf(last) <= LOCK_GAP_SECTORS) {
      last.count = endOf(run) - last.start;
    } else out.push({ ...run });
  }
  return out;
}

function* pieces(runs: readonly Run[]): Generator<Run> {
  for (const { start, count } of runs) {
    for (let at = 0; at < count; at += MOVE_EXTENT_MAX_SECTORS) {
      yield { start: start + at, count: Math.min(MOVE_EXTENT_MAX_SECTORS, count - at) };
    }
  }
}

const endOf = (run: Run): number => run.start + run.count;
