import type { TableEntry } from '../ondisk/entry.js';
import type { SpareLayout } from '../ondisk/layout.js';
import { BlockMap } from './block-map.js';
import { firstFit, type SparePolicy, type SpareTotals } from './spare-policy.js';

/** A run of sectors of one spare, inside one group. */
export interface SpareRun {
  readonly spareIndex: number;
  readonly spareStart: number;
  readonly count: number;
}

interface Spare {
  readonly map: BlockMap;
  retiredSectors: number;
  usable: boolean;
}

/**
 * Which blocks of the spares are free. Built from the remap table at open and never kept on disk:
 * the table is the only truth. All sizes in sectors, multiples of the logical block.
 */
export class SparePool {
  readonly #spares: Spare[];
  readonly #policy: SparePolicy;

  constructor(layouts: readonly SpareLayout[], policy: SparePolicy = firstFit) {
    this.#spares = layouts.map((layout) => ({
      map: new BlockMap(layout),
      retiredSectors: 0,
      usable: true,
    }));
    this.#policy = policy;
  }

  /**
   * Takes what the table says is in use. Throws RangeError for an entry outside the blocks, on a
   * spare that is not there, or on blocks that another entry has.
   */
  load(remapped: Iterable<TableEntry>, retired: Iterable<TableEntry>): void {
    for (const { spareIndex, spareStart, count } of remapped) {
      const { map } = this.#spare(spareIndex);
      const run = map.locate(spareStart, count);
      if (map.mark(run, true) !== run.blocks) {
        throw new RangeError(`spare ${spareIndex} sector ${spareStart} is used twice`);
      }
    }
    for (const { spareIndex, start, count } of retired) {
      this.retire({ spareIndex, spareStart: start, count });
    }
  }

  /**
   * `count` sectors in as few runs as come easily, or none when there are not so many. Begins at
   * `near` where that is free, so that a run of bad blocks stays one extent.
   */
  allocate(count: number, near?: { spareIndex: number; spareStart: number }): SpareRun[] {
    const order = this.#policy(this.totals());
    const free = order.reduce((sum, index) => sum + this.#freeSectors(index), 0);
    if (free < count) return [];
    const runs: SpareRun[] = [];
    let left = count;
    const add = (run: SpareRun | undefined): boolean => {
      if (run === undefined) return false;
      runs.push(run);
      left -= run.count;
      return true;
    };
    if (near !== undefined && order.includes(near.spareIndex)) {
      add(this.#take(near.spareIndex, left, near.spareStart));
    }
    for (const index of order) while (left > 0 && add(this.#take(index, left))) {}
    return runs;
  }

  /** Gives blocks back. Only after the change that frees them is durable. */
  release({ spareIndex, spareStart, count }: SpareRun): void {
    const { map } = this.#spare(spareIndex);
    map.mark(map.locate(spareStart, count), false);
  }

  /** Blocks found bad, free or in use: never given out again. Not twice for the same blocks. */
  retire({ spareIndex, spareStart, count }: SpareRun): void {
    const spare = this.#spare(spareIndex);
    spare.map.mark(spare.map.locate(spareStart, count), true);
    spare.retiredSectors += count;
  }

  /** A spare that failed as a whole: nothing new is put there. */
  disable(spareIndex: number): void {
    this.#spare(spareIndex).usable = false;
  }

  /** By spare index. */
  totals(): SpareTotals[] {
    return this.#spares.map(({ map, retiredSectors, usable }) => ({
      totalSectors: map.blockCount * map.blockSectors,
      freeSectors: map.freeBlocks * map.blockSectors,
      retiredSectors,
      usable,
    }));
  }

  /** The free run at sector `at`, or the first there is; at most `sectors`. */
  #take(spareIndex: number, sectors: number, at?: number): SpareRun | undefined {
    const { map } = this.#spare(spareIndex);
    const most = sectors / map.blockSectors;
    const run = at === undefined ? map.firstRun(most) : map.runAt(at, most);
    if (run === undefined) return undefined;
    map.mark(run, true);
    return { spareIndex, spareStart: map.sectorOf(run), count: run.blocks * map.blockSectors };
  }

  #freeSectors(index: number): number {
    const { map } = this.#spare(index);
    return map.freeBlocks * map.blockSectors;
  }

  #spare(index: number): Spare {
    const spare = this.#spares[index];
    if (spare === undefined) throw new RangeError(`no spare ${index}`);
    return spare;
  }
}
