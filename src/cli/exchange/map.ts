/** The remap table in a form that other programs take and give. */
import { usageError } from '../../core/command-line.js';
import type { EntryCause, EntryKind } from '../../ondisk/entry.js';
import { type Run, unionOf } from '../../remap/edit-runs.js';

export interface MapRow {
  readonly kind: EntryKind;
  /** Sector of main; of the spare when retired. */
  readonly lba: number;
  readonly count: number;
  /** null when pending. */
  readonly spare: number | null;
  /** null unless remapped. */
  readonly spareLba: number | null;
  readonly cause: EntryCause;
  readonly evidence: number;
  /** ISO 8601, UTC. */
  readonly time: string;
}

/** What a list of bad blocks tells: the disk as the guest sees it, or the medium of main. */
export type View = 'guest' | 'media';

/**
 * guest: what the guest cannot read. media: that, and what main failed at, wherever it is served
 * from now; blocks moved by hand or by prediction did not fail.
 */
export function badRuns(rows: readonly MapRow[], view: View): Run[] {
  const failed: readonly EntryCause[] = ['write-error', 'read-error', 'verify-error'];
  const bad = rows.filter(({ kind, cause }) => {
    return (
      kind === 'pending' || (view === 'media' && kind === 'remapped' && failed.includes(cause))
    );
  });
  return unionOf(bad.map(({ lba, count }) => ({ start: lba, count })));
}

/** Whole logical blocks that share a sector with `runs`. */
export function wholeBlocks(runs: readonly Run[], blockSectors: number): Run[] {
  const rounded = runs.map(({ start, count }) => {
    const first = Math.floor(start / blockSectors) * blockSectors;
    const end = Math.ceil((start + count) / blockSectors) * blockSectors;
    return { start: first, count: end - first };
  });
  return unionOf(rounded);
}

/** A line of a file that could not be understood. */
export const badLine = (line: number, why: string): Error =>
  usageError(`line ${line}: ${why}; nothing was done`);
