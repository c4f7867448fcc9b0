/** First section of the superblock: docs/on-disk-format.md, "Header". */
import { strict as assert } from 'node:assert';
import { METADATA_COPIES } from '../core/limits.js';
import { type Generation, generation } from '../core/units.js';
import { crc32cWithout } from './crc32c.js';
import {
  FormatError,
  getHex,
  getU64,
  getUuid,
  putHex,
  putU64,
  putUuid,
  requireZero,
} from './fields.js';
import { SUPERBLOCK_SIZE } from './layout.js';

export const HEADER_SIZE = 512;
export const FORMAT_VERSION = 4;
export const DIGEST_SIZE = 16;
export const DIGEST_ZERO = '0'.repeat(2 * DIGEST_SIZE);

/** `DMR4` */
const MAGIC = Buffer.from('DMR4', 'ascii');

export const HEADER_AT = {
  magic: 0,
  formatVersion: 4,
  featuresIncompatible: 8,
  featuresReadOnlyCompatible: 16,
  featuresCompatible: 24,
  volumeUuid: 32,
  spareUuid: 48,
  generation: 64,
  parent: 72,
  digest: 88,
  copyIndex: 104,
  copiesCommitted: 108,
  ownOffset: 112,
  copyOffsets: 120,
  zoneSize: 160,
  pageCapacity: 168,
  superblockSize: 172,
  createdSeconds: 176,
  committedSeconds: 184,
  reserved: 192,
  headerCrc: 504,
  imageCrc: 508,
} as const;
assert.equal(HEADER_AT.copyOffsets + 8 * METADATA_COPIES, HEADER_AT.zoneSize);
assert.equal(HEADER_AT.imageCrc + 4, HEADER_SIZE);

/** Bit sets; bits that this program knows: none. */
export interface Features {
  readonly incompatible: bigint;
  readonly readOnlyCompatible: bigint;
  readonly compatible: bigint;
}

export const NO_FEATURES: Features = { incompatible: 0n, readOnlyCompatible: 0n, compatible: 0n };

/** What all copies of one generation have in common. */
export interface CommonHeader {
  readonly features: Features;
  readonly volumeUuid: string;
  readonly generation: Generation;
  /** Digest of the generation before, in hex; zeroes at generation 1. */
  readonly parent: string;
  /** Copies the generation before was durable on, on the worst spare: 4 or 5; 5 at creation. */
  readonly copiesCommitted: number;
  readonly createdSeconds: number;
  readonly committedSeconds: number;
}

/** What makes a copy this one and no other: the fields outside the digest. */
export interface CopyPlace {
  readonly spareUuid: string;
  readonly copyIndex: number;
  /** Byte offset of the slot. */
  readonly ownOffset: number;
  readonly copyOffsets: readonly number[];
  readonly zoneSize: number;
  readonly pageCapacity: number;
}

export interface Header extends CommonHeader, CopyPlace {
  /** Of the image, in hex. */
  readonly digest: string;
}

/** True when `image` begins as a superblock of any version of this family does. */
export const hasMagic = (image: Buffer): boolean =>
  image.subarray(HEADER_AT.magic, HEADER_AT.magic + MAGIC.length).equals(MAGIC);

/** Fills in what copies share; digest, place and CRCs stay as they are. */
export function encodeCommonHeader(header: CommonHeader, image: Buffer): void {
  MAGIC.copy(image, HEADER_AT.magic);
  image.writeUInt32LE(FORMAT_VERSION, HEADER_AT.formatVersion);
  image.writeBigUInt64LE(header.features.incompatible, HEADER_AT.featuresIncompatible);
  image.writeBigUInt64LE(header.features.readOnlyCompatible, HEADER_AT.featuresReadOnlyCompatible);
  image.writeBigUInt64LE(header.features.compatible, HEADER_AT.featuresCompatible);
  putUuid(image, HEADER_AT.volumeUuid, header.volumeUuid);
  image.writeBigUInt64LE(header.generation, HEADER_AT.generation);
  putHex(image, HEADER_AT.parent, DIGEST_SIZE, header.parent);
  image.writeUInt32LE(header.copiesCommitted, HEADER_AT.copiesCommitted);
  image.writeUInt32LE(SUPERBLOCK_SIZE, HEADER_AT.superblockSize);
  putU64(image, HEADER_AT.createdSeconds, header.createdSeconds);
  putU64(image, HEADER_AT.committedSeconds, header.committedSeconds);
}

export function encodePlace(place: CopyPlace, image: Buffer): void {
  putUuid(image, HEADER_AT.spareUuid, place.spareUuid);
  image.writeUInt32LE(place.copyIndex, HEADER_AT.copyIndex);
  putU64(image, HEADER_AT.ownOffset, place.ownOffset);
  for (const [i, offset] of place.copyOffsets.entries()) {
    putU64(image, HEADER_AT.copyOffsets + 8 * i, offset);
  }
  putU64(image, HEADER_AT.zoneSize, place.zoneSize);
  image.writeUInt32LE(place.pageCapacity, HEADER_AT.pageCapacity);
}

/** Zeroes what `encodePlace` writes, and the two CRCs that depend on it. */
export function clearPlace(image: Buffer): void {
  image.fill(0, HEADER_AT.spareUuid, HEADER_AT.spareUuid + 16);
  image.fill(0, HEADER_AT.copyIndex, HEADER_AT.copyIndex + 4);
  image.fill(0, HEADER_AT.ownOffset, HEADER_AT.pageCapacity + 4);
  image.fill(0, HEADER_AT.headerCrc, HEADER_SIZE);
}

export const headerCrc = (image: Buffer): number =>
  crc32cWithout(image.subarray(0, HEADER_SIZE), HEADER_AT.headerCrc);

export const unknownFeatures = (features: Features): boolean =>
  (features.incompatible | features.readOnlyCompatible | features.compatible) !== 0n;

/** Throws FormatError when the fields make no sense; CRCs are the caller's. */
export function decodeHeader(image: Buffer): Header {
  if (!hasMagic(image)) throw new FormatError('the magic is not DMR4');
  const version = image.readUInt32LE(HEADER_AT.formatVersion);
  if (version !== FORMAT_VERSION) throw new FormatError(`the format version is ${version}`);
  const size = image.readUInt32LE(HEADER_AT.superblockSize);
  if (size !== SUPERBLOCK_SIZE) throw new FormatError(`the superblock size is ${size}`);
  const copyIndex = image.readUInt32LE(HEADER_AT.copyIndex);
  if (copyIndex >= METADATA_COPIES) throw new FormatError(`the copy index is ${copyIndex}`);
  const number = image.readBigUInt64LE(HEADER_AT.generation);
  if (number === 0n) throw new FormatError('the generation is zero');
  const features: Features = {
    incompatible: image.readBigUInt64LE(HEADER_AT.featuresIncompatible),
    readOnlyCompatible: image.readBigUInt64LE(HEADER_AT.featuresReadOnlyCompatible),
    compatible: image.readBigUInt64LE(HEADER_AT.featuresCompatible),
  };
  if (!unknownFeatures(features)) {
    requireZero(image, HEADER_AT.reserved, HEADER_AT.headerCrc, 'a reserved byte of the header');
  }
  const copyOffsets = Array.from({ length: METADATA_COPIES }, (_, i) =>
    getU64(image, HEADER_AT.copyOffsets + 8 * i),
  );
  return {
    features,
    volumeUuid: getUuid(image, HEADER_AT.volumeUuid),
    spareUuid: getUuid(image, HEADER_AT.spareUuid),
    generation: generation(number),
    parent: getHex(image, HEADER_AT.parent, DIGEST_SIZE),
    digest: getHex(image, HEADER_AT.digest, DIGEST_SIZE),
    copyIndex,
    copiesCommitted: image.readUInt32LE(HEADER_AT.copiesCommitted),
    ownOffset: getU64(image, HEADER_AT.ownOffset),
    copyOffsets,
    zoneSize: getU64(image, HEADER_AT.zoneSize),
    pageCapacity: image.readUInt32LE(HEADER_AT.pageCapacity),
    createdSeconds: getU64(image, HEADER_AT.createdSeconds),
    committedSeconds: getU64(image, HEADER_AT.committedSeconds),
  };
}
