/** What must hold between the entries of a remap table, whatever their checksums say. Pure. */
import { SECTOR_SIZE } from '../core/units.js';
import type { VolumeConfig } from '../ondisk/config.js';
import type { TableEntry } from '../ondisk/entry.js';
import type { SpareLayout } from '../ondisk/layout.js';

export type TableRule =
  | 'ENTRY_ALIGNMENT'
  | 'ENTRY_OUTSIDE_MAIN'
  | 'ENTRY_OUTSIDE_SPARE'
  | 'ENTRY_OVERLAP_MAIN'
  | 'ENTRY_OVERLAP_SPARE';

export interface BrokenRule {
  readonly rule: TableRule;
  readonly entry: TableEntry;
  readonly message: string;
}

interface Run {
  readonly start: number;
  readonly count: number;
  readonly entry: TableEntry;
}

/** Every breach of docs/on-disk-format.md, "Remap table"; empty when there is none. */
export function brokenRules(
  entries: Iterable<TableEntry>,
  config: VolumeConfig,
  layouts: readonly SpareLayout[],
): BrokenRule[] {
  const broken: BrokenRule[] = [];
  const main: Run[] = [];
  const pending: Run[] = [];
  const spares = layouts.map((): Run[] => []);
  for (const entry of entries) {
    const { kind, start, count } = entry;
    if (kind === 'pending') pending.push({ start, count, entry });
    if (kind === 'remapped') main.push({ start, count, entry });
    const spareStart = kind === 'remapped' ? entry.spareStart : start;
    if (kind !== 'pending') {
      spares[entry.spareIndex]?.push({ start: spareStart, count, entry });
    }
    broken.push(...brokenAlone(entry, config, layouts));
  }
  for (const entry of overlapping(main)) broken.push(overlap('ENTRY_OVERLAP_MAIN', entry));
  for (const entry of overlapping(pending)) broken.push(overlap('ENTRY_OVERLAP_MAIN', entry));
  for (const runs of spares) {
    for (const entry of overlapping(runs)) broken.push(overlap('ENTRY_OVERLAP_SPARE', entry));
  }
  return broken;
}

function brokenAlone(
  entry: TableEntry,
  config: VolumeConfig,
  layouts: readonly SpareLayout[],
): BrokenRule[] {
  const { kind, start, count, spareIndex, spareStart } = entry;
  const blockSectors = config.logicalBlockSize / SECTOR_SIZE;
  const onSpare = kind === 'retired' ? start : spareStart;
  const broken: BrokenRule[] = [];
  const add = (rule: TableRule, how: string): void => {
    broken.push({ rule, entry, message: `${describe(entry)} ${how}.` });
  };
  const first = layouts[spareIndex]?.groupOfSector(onSpare)?.firstBlock ?? 0;
  const offsets = [kind === 'retired' ? 0 : start, kind === 'pending' ? 0 : onSpare - first, count];
  if (offsets.some((offset) => offset % blockSectors !== 0)) {
    add('ENTRY_ALIGNMENT', `is not made of blocks of ${config.logicalBlockSize} bytes`);
  }
  if (kind !== 'retired' && start + count > config.main.sizeSectors) {
    add('ENTRY_OUTSIDE_MAIN', `ends past main's ${config.main.sizeSectors} sectors`);
  }
  if (kind !== 'pending' && layouts[spareIndex]?.holdsExtent(onSpare, count) !== true) {
    add('ENTRY_OUTSIDE_SPARE', 'does not lie in the blocks of one group of its spare');
  }
  return broken;
}

/** Entries that begin before one that starts earlier has ended. */
function overlapping(runs: Run[]): TableEntry[] {
  const sorted = runs.sort((a, b) => a.start - b.start);
  const found: TableEntry[] = [];
  let end = 0;
  for (const run of sorted) {
    if (run.start < end) found.push(run.entry);
    end = Math.max(end, run.start + run.count);
  }
  return found;
}

const overlap = (rule: TableRule, entry: TableEntry): BrokenRule => ({
  rule,
  entry,
  message: `${describe(entry)} overlaps another of its kind.`,
});

const describe = ({ kind, start, count, spareIndex, spareStart }: TableEntry): string => {
  const onSpare = kind === 'remapped' ? `, on spare ${spareIndex} at ${spareStart}` : '';
  const of = kind === 'retired' ? `of spare ${spareIndex}` : 'of main';
  return `The ${kind} entry for sectors ${start}+${count} ${of}${onSpare}`;
};
