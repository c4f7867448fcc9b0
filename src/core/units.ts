/**
 * Branded numbers: a sector count cannot be passed where a byte offset is meant.
 *
 * Everything a person or a program sees, and everything kept in memory, is in 512-byte sectors
 * (virtio-blk, section 5.2). Only `src/device` speaks bytes. All values are safe integers; sector
 * numbers stay below 2^48, the width they have on disk.
 */
declare const brand: unique symbol;

/** Index of a 512-byte sector on the volume, or on a spare where the name says so. */
export type Lba = number & { readonly [brand]: 'Lba' };
/** A number of 512-byte sectors. */
export type SectorCount = number & { readonly [brand]: 'SectorCount' };
/** A byte offset into a device. */
export type ByteOffset = number & { readonly [brand]: 'ByteOffset' };
/** Monotonic commit number of the metadata; 1 is the first commit, 0 means "never". */
export type Generation = bigint & { readonly [brand]: 'Generation' };

export const SECTOR_SIZE = 512;
/** One past the largest sector number the on-disk format can hold. */
export const LBA_LIMIT = 2 ** 48;

export const lba = (n: number): Lba => checked(n) as Lba;
export const sectorCount = (n: number): SectorCount => checked(n) as SectorCount;
export const byteOffset = (n: number): ByteOffset => checked(n) as ByteOffset;
export const generation = (n: bigint): Generation => n as Generation;

export const sectorsToBytes = (n: Lba | SectorCount): ByteOffset => byteOffset(n * SECTOR_SIZE);

/** A half-open run of sectors: [start, start + count). */
export interface Extent {
  readonly start: Lba;
  readonly count: SectorCount;
}

export const extent = (start: number, count: number): Extent => ({
  start: lba(start),
  count: sectorCount(count),
});

export const extentEnd = (e: Extent): Lba => (e.start + e.count) as Lba;

export const overlaps = (a: Extent, b: Extent): boolean =>
  a.start < b.start + b.count && b.start < a.start + a.count;

function checked(n: number): number {
  if (!Number.isSafeInteger(n) || n < 0) throw new RangeError(`not a non-negative integer: ${n}`);
  return n;
}
