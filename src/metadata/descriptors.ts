/**
 * What every block of a spare holds, written beside the blocks: the second witness, from which the
 * table can be rebuilt and by which a superblock that is too old is noticed.
 */
import { type Generation, lba, SECTOR_SIZE } from '../core/units.js';
import type { BlockDevice } from '../device/block-device.js';
import {
  type BlockDescriptor,
  type BlockState,
  encodeDescriptorPage,
  FREE_BLOCK,
} from '../ondisk/descriptor-page.js';
import {
  DESCRIPTOR_PAGE_SIZE,
  GROUP_BLOCKS,
  type Group,
  type SpareLayout,
} from '../ondisk/layout.js';
import { newestPage, readGroup } from './descriptor-slots.js';
import { insist } from './zones.js';

/** A run of spare blocks whose state changes; it lies within one group. */
export interface DescriptorChange {
  readonly spareIndex: number;
  /** First sector on the spare. */
  readonly spareStart: number;
  /** Sectors, a multiple of the logical block. */
  readonly count: number;
  readonly state: BlockState;
  /** Sector of main that the first block holds; only when used. */
  readonly mainStart?: number;
}

export interface FoundDescriptor extends BlockDescriptor {
  readonly spareStart: number;
}

export interface DescriptorStoreOptions {
  readonly volumeUuid: string;
  readonly logicalBlockSize: number;
  /** In the order of the spares. */
  readonly layouts: readonly SpareLayout[];
}

/** The newest descriptors of a group; sequence 0 when it has none yet. */
interface GroupState {
  readonly sequence: number;
  readonly blocks: readonly BlockDescriptor[];
}

/** Groups kept in memory: about 10 MiB. */
const GROUPS_CACHED = 256;

const NEVER_WRITTEN: GroupState = {
  sequence: 0,
  blocks: Array.from({ length: GROUP_BLOCKS }, () => FREE_BLOCK),
};

export class DescriptorStore {
  readonly #spares: readonly BlockDevice[];
  readonly #options: DescriptorStoreOptions;
  /** Least recently used first. */
  readonly #cache = new Map<string, GroupState>();
  #queue: Promise<unknown> = Promise.resolve();

  constructor(spares: readonly BlockDevice[], options: DescriptorStoreOptions) {
    this.#spares = spares;
    this.#options = options;
  }

  /**
   * Writes the new state of blocks as of commit `generation`. The caller flushes the spares before
   * that commit and before the next update: a group's two slots are written in turn, and the one
   * before must be durable by then. Throws RangeError for sectors that are no blocks, DEVICE_IO.
   */
  update(changes: readonly DescriptorChange[], generation: Generation): Promise<void> {
    const result = this.#queue.then(() => this.#update(changes, generation));
    this.#queue = result.catch(() => {});
    return result;
  }

  /** Every block of a spare that is not free, in order; groups without sound pages are left out. */
  async *scan(spareIndex: number): AsyncGenerator<FoundDescriptor> {
    const layout = this.#layout(spareIndex);
    const blockSectors = this.#blockSectors;
    for (let index = 0; index < layout.groupCount; index++) {
      const group = layout.groupAt(index);
      const { blocks } = await this.#read(spareIndex, group);
      for (const [i, block] of blocks.entries()) {
        if (block.state === 'free') continue;
        yield { ...block, spareStart: group.firstBlock + i * blockSectors };
      }
    }
  }

  /** True when the descriptors say of these blocks what `change` would make them say. */
  async agrees(change: DescriptorChange): Promise<boolean> {
    const { spareIndex, spareStart, count, state, mainStart = 0 } = change;
    const group = this.#group(spareIndex, spareStart);
    const { blocks } = await this.#load(spareIndex, group);
    const first = (spareStart - group.firstBlock) / this.#blockSectors;
    return blocks.slice(first, first + count / this.#blockSectors).every((block, i) => {
      if (block.state !== state) return false;
      return state !== 'used' || block.mainStart === mainStart + i * this.#blockSectors;
    });
  }

  get #blockSectors(): number {
    return this.#options.logicalBlockSize / SECTOR_SIZE;
  }

  async #update(changes: readonly DescriptorChange[], generation: Generation): Promise<void> {
    const groups = new Map<string, { spareIndex: number; group: Group; of: DescriptorChange[] }>();
    for (const change of changes) {
      const { spareIndex, spareStart, count } = change;
      const group = this.#group(spareIndex, spareStart);
      const wholeBlocks = (spareStart - group.firstBlock) % this.#blockSectors === 0;
      if (!wholeBlocks || !this.#layout(spareIndex).holdsExtent(spareStart, count)) {
        throw new RangeError(`spare sectors ${spareStart}+${count} are no blocks of one group`);
      }
      const key = keyOf(spareIndex, group);
      const entry = groups.get(key) ?? { spareIndex, group, of: [] };
      entry.of.push(change);
      groups.set(key, entry);
    }
    await Promise.all(
      [...groups.values()].map(({ spareIndex, group, of }) =>
        this.#rewrite(spareIndex, group, of, generation),
      ),
    );
  }

  async #rewrite(
    spareIndex: number,
    group: Group,
    changes: readonly DescriptorChange[],
    generation: Generation,
  ): Promise<void> {
    const key = keyOf(spareIndex, group);
    const before = await this.#load(spareIndex, group);
    const blocks = [...before.blocks];
    for (const { spareStart, count, state, mainStart = 0 } of changes) {
      const first = (spareStart - group.firstBlock) / this.#blockSectors;
      for (let i = 0; i < count / this.#blockSectors; i++) {
        const start = state === 'used' ? mainStart + i * this.#blockSectors : 0;
        blocks[first + i] = { state, mainStart: lba(start), generation };
      }
    }
    const sequence = before.sequence + 1;
    const { volumeUuid, logicalBlockSize } = this.#options;
    const page = { volumeUuid, sequence, groupStart: group.start, logicalBlockSize, blocks };
    const offset = group.start * SECTOR_SIZE + (sequence % 2) * DESCRIPTOR_PAGE_SIZE;
    const bytes = encodeDescriptorPage(page);
    await insist(() => this.#device(spareIndex).write(bytes, offset));
    this.#keep(key, { sequence, blocks });
  }

  async #load(spareIndex: number, group: Group): Promise<GroupState> {
    const key = keyOf(spareIndex, group);
    const state = this.#cache.get(key) ?? (await this.#read(spareIndex, group));
    this.#keep(key, state);
    return state;
  }

  #keep(key: string, state: GroupState): void {
    this.#cache.delete(key);
    this.#cache.set(key, state);
    for (const oldest of this.#cache.keys()) {
      if (this.#cache.size <= GROUPS_CACHED) break;
      this.#cache.delete(oldest);
    }
  }

  async #read(spareIndex: number, group: Group): Promise<GroupState> {
    const { volumeUuid, logicalBlockSize } = this.#options;
    const slots = await readGroup(this.#device(spareIndex), group, logicalBlockSize);
    return newestPage(slots, volumeUuid) ?? NEVER_WRITTEN;
  }

  #group(spareIndex: number, sector: number): Group {
    const group = this.#layout(spareIndex).groupOfSector(sector);
    if (group === undefined) throw new RangeError(`spare sector ${sector} is in no block`);
    return group;
  }

  #layout(spareIndex: number): SpareLayout {
    const layout = this.#options.layouts[spareIndex];
    if (layout === undefined) throw new RangeError(`no spare ${spareIndex}`);
    return layout;
  }

  #device(spareIndex: number): BlockDevice {
    const device = this.#spares[spareIndex];
    if (device === undefined) throw new RangeError(`no spare ${spareIndex}`);
    return device;
  }
}

const keyOf = (spareIndex: number, group: Group): string => `${spareIndex} ${group.index}`;
