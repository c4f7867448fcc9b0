/** Makes a remap table of what spare blocks say of themselves. Pure. */
import { SECTOR_SIZE } from '../core/units.js';
import { type TableEntry, tableEntry } from '../ondisk/entry.js';
import type { SpareLayout } from '../ondisk/layout.js';

/** One spare block that says what it is. */
export interface Claim {
  readonly state: 'used' | 'retired';
  readonly spareIndex: number;
  readonly spareStart: number;
  /** Sector of main; only when used. */
  readonly mainStart: number;
  readonly generation: bigint;
}

export interface ResolvedClaims {
  readonly entries: readonly TableEntry[];
  /** Blocks that hold an older state of a sector which a newer block holds as well. */
  readonly superseded: readonly Claim[];
  /** Sectors of main that two blocks claim with one generation: either may be right. */
  readonly ambiguousSectors: number;
}

interface Block {
  readonly kind: 'remapped' | 'retired';
  readonly spareIndex: number;
  /** Of main, or of the spare when retired. */
  readonly start: number;
  readonly spareStart: number;
}

/**
 * The newest generation wins a main sector that is claimed twice. Runs that go on both on main and
 * on the spare, within one group, are one entry. Evidence 0 tells a rebuilt entry from others.
 */
export function resolveClaims(
  claims: Iterable<Claim>,
  layouts: readonly SpareLayout[],
  timeSeconds: number,
): ResolvedClaims {
  const winners = new Map<number, Claim>();
  const superseded: Claim[] = [];
  const retired: Block[] = [];
  const ambiguous = new Set<number>();
  for (const claim of claims) {
    const { state, spareIndex, spareStart, mainStart } = claim;
    if (state === 'retired') {
      retired.push({ kind: 'retired', spareIndex, start: spareStart, spareStart });
      continue;
    }
    const other = winners.get(mainStart);
    if (other === undefined || claim.generation > other.generation) {
      winners.set(mainStart, claim);
      ambiguous.delete(mainStart);
      if (other !== undefined) superseded.push(other);
    } else {
      if (claim.generation === other.generation) ambiguous.add(mainStart);
      superseded.push(claim);
    }
  }
  const used = Array.from(winners.values(), ({ spareIndex, spareStart, mainStart }): Block => {
    return { kind: 'remapped', spareIndex, start: mainStart, spareStart };
  });
  const entries = [...joined(used, layouts), ...joined(retired, layouts)].map((run) => {
    const { kind, start, count, spareIndex } = run;
    const spareStart = kind === 'retired' ? 0 : run.spareStart;
    // A descriptor does not say why; nearly every remap is a write that failed.
    const cause = 'write-error';
    return tableEntry({
      kind,
      start,
      count,
      spareIndex,
      spareStart,
      cause,
      evidence: 0,
      timeSeconds,
    });
  });
  return { entries, superseded, ambiguousSectors: ambiguous.size * blockSectorsOf(layouts) };
}

const blockSectorsOf = (layouts: readonly SpareLayout[]): number =>
  (layouts[0]?.logicalBlockSize ?? SECTOR_SIZE) / SECTOR_SIZE;

function joined(
  blocks: Block[],
  layouts: readonly SpareLayout[],
): (Block & { readonly count: number })[] {
  const blockSectors = blockSectorsOf(layouts);
  const sorted = blocks.sort((a, b) => a.spareIndex - b.spareIndex || a.start - b.start);
  const runs: (Block & { count: number })[] = [];
  for (const block of sorted) {
    const last = runs.at(-1);
    const goesOn =
      last !== undefined &&
      last.spareIndex === block.spareIndex &&
      last.start + last.count === block.start &&
      last.spareStart + last.count === block.spareStart &&
      layouts[last.spareIndex]?.holdsExtent(last.spareStart, last.count + blockSectors) === true;
    if (goesOn) last.count += blockSectors;
    else runs.push({ ...block, count: blockSectors });
  }
  return runs;
}
