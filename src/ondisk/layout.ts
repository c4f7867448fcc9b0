/** Where things stand on a spare: docs/on-disk-format.md, "Layout of a spare". Pure arithmetic. */
import { RemapError } from '../core/errors.js';
import { METADATA_COPIES, SPARE_MIN_BYTES } from '../core/limits.js';
import { type Generation, type Lba, lba, SECTOR_SIZE } from '../core/units.js';

export const SUPERBLOCK_SIZE = 24 * 1024;
export const TABLE_PAGE_SIZE = 32 * 1024;
export const DESCRIPTOR_PAGE_SIZE = 4 * 1024;

/** Entries of a table page: (32,768 - 64) / 24. */
export const PAGE_ENTRIES = 1362;
/** Blocks of a group: what a descriptor page of 4 KiB can describe. */
export const GROUP_BLOCKS = 248;
/** Page locations kept free, so that changed pages never go over those in force. */
export const COPY_ON_WRITE_PAGES = 8;
/**
 * Most pages a directory names: 1.4 million entries, and 117 places stay free for entries inside
 * the superblock, so that a batch of a hundred new ones still writes one page.
 */
export const DIRECTORY_PAGES_MAX = 1100;

const MIB = 1024 * 1024;
const PAGES_OFFSET = 2 * SUPERBLOCK_SIZE;
const GROUP_HEAD_SIZE = 2 * DESCRIPTOR_PAGE_SIZE;

/** A run of 248 blocks with the two descriptor pages before them. */
export interface Group {
  readonly index: number;
  /** First sector of the group, where descriptor slot 0 stands. */
  readonly start: Lba;
  /** First sector of the blocks. */
  readonly firstBlock: Lba;
  /** Number of blocks. */
  readonly blocks: number;
}

/** The groups of one gap between zones. */
interface Gap {
  readonly startBytes: number;
  readonly firstGroup: number;
  readonly groups: number;
}

export class SpareLayout {
  /** Size of the spare in bytes, rounded down to 4096. */
  readonly sizeBytes: number;
  readonly logicalBlockSize: number;
  /** Byte offsets of the five zones. */
  readonly zoneOffsets: readonly number[];
  readonly zoneSize: number;
  /** Table pages a zone has room for. */
  readonly pageCapacity: number;
  /** Pages the table may have: what the directory can name, less the room for copy-on-write. */
  readonly pagesMax: number;
  readonly groupCount: number;
  readonly blockCount: number;
  /** Sectors that can hold remapped data. */
  readonly dataSectors: number;
  readonly #gaps: readonly Gap[];
  readonly #groupBytes: number;
  readonly #blockSectors: number;

  constructor(sizeBytes: number, logicalBlockSize: number) {
    this.sizeBytes = sizeBytes;
    this.logicalBlockSize = logicalBlockSize;
    this.#blockSectors = logicalBlockSize / SECTOR_SIZE;
    this.#groupBytes = GROUP_HEAD_SIZE + GROUP_BLOCKS * logicalBlockSize;
    this.zoneSize = zoneSizeFor(sizeBytes, this.#groupBytes);
    this.zoneOffsets = zoneOffsetsFor(sizeBytes, this.zoneSize);
    this.pageCapacity = pageCapacityOf(this.zoneSize);
    this.pagesMax = Math.min(DIRECTORY_PAGES_MAX, this.pageCapacity - COPY_ON_WRITE_PAGES);
    this.#gaps = gapsFor(sizeBytes, this.zoneOffsets, this.zoneSize, this.#groupBytes);
    this.groupCount = this.#gaps.reduce((sum, gap) => sum + gap.groups, 0);
    this.blockCount = this.groupCount * GROUP_BLOCKS;
    this.dataSectors = this.blockCount * this.#blockSectors;
  }

  /** Byte offset of the superblock slot that `generation` goes to. */
  slotOffset(copy: number, generation: Generation): number {
    return this.zoneOffset(copy) + Number(generation & 1n) * SUPERBLOCK_SIZE;
  }

  /** Byte offset of a table page; `location` is 0 to pageCapacity - 1. */
  pageOffset(copy: number, location: number): number {
    if (location < 0 || location >= this.pageCapacity) {
      throw new RangeError(`no page location ${location}`);
    }
    return this.zoneOffset(copy) + PAGES_OFFSET + location * TABLE_PAGE_SIZE;
  }

  zoneOffset(copy: number): number {
    const offset = this.zoneOffsets[copy];
    if (offset === undefined) throw new RangeError(`no copy ${copy}`);
    return offset;
  }

  groupAt(index: number): Group {
    const gap = this.#gaps.find((g) => index >= g.firstGroup && index < g.firstGroup + g.groups);
    if (gap === undefined) throw new RangeError(`no group ${index}`);
    const bytes = gap.startBytes + (index - gap.firstGroup) * this.#groupBytes;
    const start = lba(bytes / SECTOR_SIZE);
    const firstBlock = lba((bytes + GROUP_HEAD_SIZE) / SECTOR_SIZE);
    return { index, start, firstBlock, blocks: GROUP_BLOCKS };
  }

  /** The group among whose blocks `sector` of the spare stands; undefined anywhere else. */
  groupOfSector(sector: number): Group | undefined {
    const bytes = sector * SECTOR_SIZE;
    const gap = this.#gaps.find(
      (g) => bytes >= g.startBytes && bytes < g.startBytes + g.groups * this.#groupBytes,
    );
    if (gap === undefined) return undefined;
    const index = gap.firstGroup + Math.floor((bytes - gap.startBytes) / this.#groupBytes);
    const group = this.groupAt(index);
    return sector >= group.firstBlock ? group : undefined;
  }

  /** First sector of block `index`, 0 to blockCount - 1, counted over all groups. */
  blockSector(index: number): Lba {
    const group = this.groupAt(Math.floor(index / GROUP_BLOCKS));
    return lba(group.firstBlock + (index % GROUP_BLOCKS) * this.#blockSectors);
  }

  /** The block that holds `sector` of the spare; undefined outside the blocks. */
  blockOfSector(sector: number): number | undefined {
    const group = this.groupOfSector(sector);
    if (group === undefined) return undefined;
    const within = Math.floor((sector - group.firstBlock) / this.#blockSectors);
    return group.index * GROUP_BLOCKS + within;
  }

  /** True when [start, start + count) lies within the blocks of one group. */
  holdsExtent(start: number, count: number): boolean {
    const group = this.groupOfSector(start);
    if (group === undefined) return false;
    return start + count <= group.firstBlock + group.blocks * this.#blockSectors;
  }
}

/**
 * The layout of a spare of `sizeBytes` bytes with remap unit `logicalBlockSize`, 512 or 4096.
 * Throws SPARE_TOO_SMALL below 8 MiB, RangeError for another block size or above 2^53 bytes.
 */
export function layoutOf(sizeBytes: number, logicalBlockSize: number): SpareLayout {
  if (logicalBlockSize !== 512 && logicalBlockSize !== 4096) {
    throw new RangeError(`not a logical block size: ${logicalBlockSize}`);
  }
  if (!Number.isSafeInteger(sizeBytes)) throw new RangeError(`not a size: ${sizeBytes}`);
  if (sizeBytes < SPARE_MIN_BYTES) {
    throw new RemapError(
      'SPARE_TOO_SMALL',
      `the spare has ${sizeBytes} bytes and needs at least ${SPARE_MIN_BYTES}: use a larger one`,
      { context: { have: sizeBytes, need: SPARE_MIN_BYTES } },
    );
  }
  return new SpareLayout(sizeBytes - (sizeBytes % 4096), logicalBlockSize);
}

/** Sectors of a spare of `sizeBytes` bytes that can hold remapped data. */
export const usableSectors = (sizeBytes: number, logicalBlockSize: number): number =>
  layoutOf(sizeBytes, logicalBlockSize).dataSectors;

const pageCapacityOf = (zoneSize: number): number =>
  Math.floor((zoneSize - PAGES_OFFSET) / TABLE_PAGE_SIZE);

/** Counted in 4 KiB units, so that the product stays exact up to 2^53 bytes. */
function zoneOffsetsFor(sizeBytes: number, zoneSize: number): number[] {
  const unit = 4096;
  const span = (sizeBytes - zoneSize) / unit;
  return Array.from({ length: METADATA_COPIES }, (_, i) => {
    return Math.floor((i * span) / (METADATA_COPIES - 1) / (MIB / unit)) * MIB;
  });
}

/** The smallest that can name every block one by one, or all that a directory can name. */
function zoneSizeFor(sizeBytes: number, groupBytes: number): number {
  for (let zoneSize = MIB; ; zoneSize += MIB) {
    const gaps = gapsFor(sizeBytes, zoneOffsetsFor(sizeBytes, zoneSize), zoneSize, groupBytes);
    const blocks = gaps.reduce((sum, gap) => sum + gap.groups, 0) * GROUP_BLOCKS;
    const pages = Math.min(DIRECTORY_PAGES_MAX, Math.ceil(blocks / PAGE_ENTRIES));
    if (pageCapacityOf(zoneSize) - COPY_ON_WRITE_PAGES >= pages) return zoneSize;
  }
}

function gapsFor(
  sizeBytes: number,
  zoneOffsets: readonly number[],
  zoneSize: number,
  groupBytes: number,
): Gap[] {
  let firstGroup = 0;
  return zoneOffsets.map((offset, i) => {
    const startBytes = offset + zoneSize;
    const groups = Math.floor(((zoneOffsets[i + 1] ?? sizeBytes) - startBytes) / groupBytes);
    const gap = { startBytes, firstGroup, groups };
    firstGroup += groups;
    return gap;
  });
}
