import { SECTOR_SIZE } from '../core/units.js';
import { GROUP_BLOCKS, type Group, type SpareLayout } from '../ondisk/layout.js';

/** A run of free blocks inside one group, in blocks. */
export interface BlockRun {
  readonly group: number;
  readonly first: number;
  readonly blocks: number;
}

const GROUPS_PER_CHUNK = 1024;
const WORDS_PER_GROUP = 8;
const BITS = 32;
/** The bits of a group's last word that stand for no block. */
const PADDING = (-1 << (GROUP_BLOCKS % BITS)) >>> 0;

interface Chunk {
  /** A set bit is a block in use; bits past the last block of a group are set. */
  readonly used: Uint32Array;
  /** Free blocks of each group. */
  readonly free: Uint16Array;
  freeTotal: number;
}

/**
 * Which blocks of one spare are in use: a bitmap, made for 1024 groups at a time when the first of
 * them is touched, so that a spare of many terabytes costs nothing until it is used.
 */
export class BlockMap {
  readonly blockSectors: number;
  readonly #layout: SpareLayout;
  readonly #chunks = new Map<number, Chunk>();
  /** No group before this one has a free block. */
  #lowest = 0;
  #free: number;
  /** The group that `locate` found last. */
  #located: Group | undefined;

  constructor(layout: SpareLayout) {
    this.blockSectors = layout.logicalBlockSize / SECTOR_SIZE;
    this.#layout = layout;
    this.#free = layout.blockCount;
  }

  get blockCount(): number {
    return this.#layout.blockCount;
  }

  get freeBlocks(): number {
    return this.#free;
  }

  /**
   * The blocks of [start, start + count), sectors. Throws RangeError unless they are whole blocks
   * of one group.
   */
  locate(start: number, count: number): BlockRun {
    // Neighbours in the table are mostly neighbours on the spare.
    let group = this.#located;
    const inside = group !== undefined && start >= group.firstBlock && start < this.#endOf(group);
    if (!inside) group = this.#layout.groupOfSector(start);
    if (group !== undefined) {
      this.#located = group;
      const first = (start - group.firstBlock) / this.blockSectors;
      const blocks = count / this.blockSectors;
      const whole = Number.isInteger(first) && Number.isInteger(blocks) && blocks > 0;
      if (whole && first + blocks <= GROUP_BLOCKS) return { group: group.index, first, blocks };
    }
    throw new RangeError(`not blocks of this spare: ${start}+${count}`);
  }

  sectorOf(run: BlockRun): number {
    return this.#layout.groupAt(run.group).firstBlock + run.first * this.blockSectors;
  }

  /** Sets or clears blocks and returns how many changed. */
  mark(run: BlockRun, used: boolean): number {
    const chunk = this.#chunk(run.group);
    const slot = run.group % GROUPS_PER_CHUNK;
    let changed = 0;
    for (let i = run.first; i < run.first + run.blocks; i++) {
      const word = slot * WORDS_PER_GROUP + Math.floor(i / BITS);
      const bit = 1 << (i % BITS);
      const before = chunk.used[word] as number;
      if (((before & bit) !== 0) === used) continue;
      chunk.used[word] = before ^ bit;
      changed++;
    }
    const delta = used ? -changed : changed;
    chunk.free[slot] = (chunk.free[slot] as number) + delta;
    chunk.freeTotal += delta;
    this.#free += delta;
    if (!used) this.#lowest = Math.min(this.#lowest, run.group);
    return changed;
  }

  /** The free blocks from sector `start` on inside its group, at most `most`. */
  runAt(start: number, most: number): BlockRun | undefined {
    const group = this.#layout.groupOfSector(start);
    if (group === undefined) return undefined;
    return this.#run(group.index, (start - group.firstBlock) / this.blockSectors, most);
  }

  /** The first free run of the spare, at most `most` blocks. */
  firstRun(most: number): BlockRun | undefined {
    for (let group = this.#lowest; group < this.#layout.groupCount; ) {
      const chunk = this.#chunks.get(Math.floor(group / GROUPS_PER_CHUNK));
      if (chunk?.freeTotal === 0) {
        group = (Math.floor(group / GROUPS_PER_CHUNK) + 1) * GROUPS_PER_CHUNK;
        continue;
      }
      if (chunk === undefined || chunk.free[group % GROUPS_PER_CHUNK] !== 0) {
        this.#lowest = group;
        return this.#run(group, this.#nextFree(group), most);
      }
      group++;
    }
    this.#lowest = this.#layout.groupCount;
    return undefined;
  }

  #endOf(group: Group): number {
    return group.firstBlock + GROUP_BLOCKS * this.blockSectors;
  }

  #run(group: number, first: number, most: number): BlockRun | undefined {
    const blocks = this.#freeFrom(group, first, Math.min(most, GROUP_BLOCKS - first));
    return blocks === 0 ? undefined : { group, first, blocks };
  }

  #nextFree(group: number): number {
    const chunk = this.#chunks.get(Math.floor(group / GROUPS_PER_CHUNK));
    if (chunk === undefined) return 0;
    const base = (group % GROUPS_PER_CHUNK) * WORDS_PER_GROUP;
    for (let word = 0; word < WORDS_PER_GROUP; word++) {
      const free = ~(chunk.used[base + word] as number);
      if (free !== 0) return word * BITS + (BITS - 1 - Math.clz32(free & -free));
    }
    return GROUP_BLOCKS;
  }

  #freeFrom(group: number, first: number, most: number): number {
    const chunk = this.#chunks.get(Math.floor(group / GROUPS_PER_CHUNK));
    if (chunk === undefined) return most;
    const base = (group % GROUPS_PER_CHUNK) * WORDS_PER_GROUP;
    for (let n = 0; n < most; n++) {
      const i = first + n;
      const word = chunk.used[base + Math.floor(i / BITS)] as number;
      if ((word & (1 << (i % BITS))) !== 0) return n;
    }
    return most;
  }

  #chunk(group: number): Chunk {
    const index = Math.floor(group / GROUPS_PER_CHUNK);
    const known = this.#chunks.get(index);
    if (known !== undefined) return known;
    const groups = Math.min(GROUPS_PER_CHUNK, this.#layout.groupCount - index * GROUPS_PER_CHUNK);
    const used = new Uint32Array(groups * WORDS_PER_GROUP);
    for (let slot = 0; slot < groups; slot++) {
      used[slot * WORDS_PER_GROUP + WORDS_PER_GROUP - 1] = PADDING;
    }
    const free = new Uint16Array(groups).fill(GROUP_BLOCKS);
    const chunk = { used, free, freeTotal: groups * GROUP_BLOCKS };
    this.#chunks.set(index, chunk);
    return chunk;
  }
}
