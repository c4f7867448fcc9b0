/** Table entries as the control socket shows them. */
import type { TableEntry } from '../ondisk/entry.js';
import type { PendingRow, RemapRow } from '../protocol/messages.js';
import type { RemapTable } from '../remap/remap-table.js';

/** All remaps and all pending extents, in order of the volume. */
export function listRows(table: RemapTable): { remaps: RemapRow[]; pending: PendingRow[] } {
  return {
    remaps: Array.from(table.remapped(), (entry) => ({
      ...common(entry),
      spare: entry.spareIndex,
      spareLba: entry.spareStart,
    })),
    pending: Array.from(table.pending(), common),
  };
}

const common = (entry: TableEntry): PendingRow => ({
  lba: entry.start,
  count: entry.count,
  cause: entry.cause,
  evidence: entry.evidence,
  time: new Date(entry.timeSeconds * 1000).toISOString(),
});
