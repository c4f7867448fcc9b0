/** Table entries as the control socket shows them. */
import type { TableEntry } from '../ondisk/entry.js';
import type { PendingRow, RemapRow } from '../protocol/messages.js';
import type { RemapTable } from '../remap/remap-table.js';

/** All remaps and all pending extents, in order of the volume. */
export function listRows(table: RemapTable): { remaps: RemapRow[]; pending: PendingRow[] } {
  const isoTime = isoTimes();
  const common = (entry: TableEntry): PendingRow => ({
    lba: entry.start,
    count: entry.count,
    cause: entry.cause,
    evidence: entry.evidence,
    time: isoTime(entry.timeSeconds),
  });
  return {
    remaps: table.remapped().map((entry) => ({
      ...common(entry),
      spare: entry.spareIndex,
      spareLba: entry.spareStart,
    })),
    pending: table.pending().map(common),
  };
}

/** Entries come in bursts of one second: each is spelled out once. */
function isoTimes(): (seconds: number) => string {
  let last = Number.NaN;
  let text = '';
  return (seconds) => {
    if (seconds !== last) text = new Date(seconds * 1000).toISOString();
    last = seconds;
    return text;
  };
}
