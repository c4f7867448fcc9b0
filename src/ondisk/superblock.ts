/**
 * The superblock as a whole: docs/on-disk-format.md, "Superblock".
 *
 * An *image* is what all copies of a generation share: 24 KiB with the fields of a copy's own place
 * at zero. `stampCopy` makes the bytes of one copy of it.
 */
import { strict as assert } from 'node:assert';
import { createHash } from 'node:crypto';
import {
  CONFIG_AT,
  CONFIG_OFFSET,
  CONFIG_SIZE,
  configCrc,
  decodeConfig,
  encodeConfig,
  type VolumeConfig,
} from './config.js';
import { crc32c, crc32cWithout } from './crc32c.js';
import { FormatError, getHex, isZero, putHex, requireZero } from './fields.js';
import {
  type CommonHeader,
  type CopyPlace,
  clearPlace,
  DIGEST_SIZE,
  decodeHeader,
  encodeCommonHeader,
  encodePlace,
  HEADER_AT,
  HEADER_SIZE,
  type Header,
  headerCrc,
  unknownFeatures,
} from './header.js';
import {
  decodeHealth,
  encodeHealth,
  HEALTH_AT,
  HEALTH_OFFSET,
  HEALTH_SIZE,
  type Health,
  healthCrc,
} from './health.js';
import { SUPERBLOCK_SIZE } from './layout.js';
import {
  decodeTable,
  encodeTable,
  TABLE_AT,
  TABLE_OFFSET,
  TABLE_SIZE,
  type TableSection,
  tableCrc,
} from './table-section.js';

export const EXPANSION_OFFSET = 23_936;
export const EXPANSION_SIZE = 640;
const EXPANSION_CRC_SIZE = 4;
assert.equal(CONFIG_OFFSET, HEADER_SIZE);
assert.equal(HEALTH_OFFSET, CONFIG_OFFSET + CONFIG_SIZE);
assert.equal(TABLE_OFFSET, HEALTH_OFFSET + HEALTH_SIZE);
assert.equal(EXPANSION_OFFSET, TABLE_OFFSET + TABLE_SIZE);
assert.equal(SUPERBLOCK_SIZE, EXPANSION_OFFSET + EXPANSION_SIZE);

/** What a superblock says, apart from where a copy of it stands. */
export interface SuperblockContent {
  readonly header: CommonHeader;
  readonly config: VolumeConfig;
  readonly health: Health;
  readonly table: TableSection;
}

export interface Superblock extends SuperblockContent {
  readonly header: Header;
}

/** A section, or `image` when every section is sound and they do not belong together. */
export type SectionName = 'header' | 'config' | 'health' | 'table' | 'expansion' | 'image';

export interface Damage {
  readonly section: SectionName;
  readonly reason: string;
}

export type DecodedSuperblock =
  | { readonly kind: 'valid'; readonly superblock: Superblock }
  | { readonly kind: 'blank' }
  /** `partial` is whatever could still be made out, damaged sections included: for people only. */
  | {
      readonly kind: 'damaged';
      readonly damage: readonly Damage[];
      readonly partial: Partial<Superblock>;
    };

/** Throws RangeError for content that the format cannot hold. */
export function encodeImage(content: SuperblockContent): Buffer {
  const image = Buffer.alloc(SUPERBLOCK_SIZE);
  encodeCommonHeader(content.header, image);
  encodeConfig(content.config, image.subarray(CONFIG_OFFSET, HEALTH_OFFSET));
  encodeHealth(content.health, image.subarray(HEALTH_OFFSET, TABLE_OFFSET));
  encodeTable(content.table, image.subarray(TABLE_OFFSET, EXPANSION_OFFSET));
  const expansion = image.subarray(EXPANSION_OFFSET);
  expansion.writeUInt32LE(crc32cWithout(expansion, 0), 0);
  putHex(image, HEADER_AT.digest, DIGEST_SIZE, digestOf(image));
  return image;
}

/** The bytes of one copy. */
export function stampCopy(image: Buffer, place: CopyPlace): Buffer {
  const copy = Buffer.from(image);
  encodePlace(place, copy);
  copy.fill(0, HEADER_AT.headerCrc, HEADER_SIZE);
  copy.writeUInt32LE(crc32c(copy), HEADER_AT.imageCrc);
  copy.writeUInt32LE(headerCrc(copy), HEADER_AT.headerCrc);
  return copy;
}

/** The image that a copy was made of. */
export function imageOf(copy: Buffer): Buffer {
  const image = Buffer.from(copy);
  clearPlace(image);
  return image;
}

/** First 16 bytes of SHA-256 over what all copies of a generation share, in hex. */
export function digestOf(bytes: Buffer): string {
  const image = imageOf(bytes);
  image.fill(0, HEADER_AT.digest, HEADER_AT.digest + DIGEST_SIZE);
  return createHash('sha256')
    .update(image)
    .digest('hex')
    .slice(0, DIGEST_SIZE * 2);
}

/** Never throws: every slot of every device has a reading. `bytes` are 24,576. */
export function decodeSuperblock(bytes: Buffer): DecodedSuperblock {
  if (isZero(bytes)) return { kind: 'blank' };
  const damage: Damage[] = [];
  const read = <T>(section: SectionName, crcIsRight: boolean, decode: () => T): T | undefined => {
    if (!crcIsRight) damage.push({ section, reason: 'its CRC is wrong' });
    try {
      return decode();
    } catch (cause) {
      if (!(cause instanceof FormatError)) throw cause;
      if (crcIsRight) damage.push({ section, reason: cause.message });
      return undefined;
    }
  };
  const header = read('header', storedCrc(bytes, HEADER_AT.headerCrc) === headerCrc(bytes), () =>
    decodeHeader(bytes),
  );
  const strict = header === undefined || !unknownFeatures(header.features);
  const part = bytes.subarray(CONFIG_OFFSET, HEALTH_OFFSET);
  const config = read('config', storedCrc(part, CONFIG_AT.crc) === configCrc(part), () =>
    decodeConfig(part, strict),
  );
  const healthPart = bytes.subarray(HEALTH_OFFSET, TABLE_OFFSET);
  const health = read(
    'health',
    storedCrc(healthPart, HEALTH_AT.crc) === healthCrc(healthPart),
    () => decodeHealth(healthPart, strict),
  );
  const tablePart = bytes.subarray(TABLE_OFFSET, EXPANSION_OFFSET);
  const table = read('table', storedCrc(tablePart, TABLE_AT.crc) === tableCrc(tablePart), () =>
    decodeTable(tablePart, strict),
  );
  const expansion = bytes.subarray(EXPANSION_OFFSET);
  read('expansion', storedCrc(expansion, 0) === crc32cWithout(expansion, 0), () => {
    if (strict) requireZero(expansion, EXPANSION_CRC_SIZE, EXPANSION_SIZE, 'the expansion');
  });
  if (damage.length === 0) damage.push(...wholeDamage(bytes));
  if (damage.length === 0 && header && config && health && table) {
    return { kind: 'valid', superblock: { header, config, health, table } };
  }
  const partial = {
    ...(header && { header }),
    ...(config && { config }),
    ...(health && { health }),
    ...(table && { table }),
  };
  return { kind: 'damaged', damage, partial };
}

function wholeDamage(bytes: Buffer): Damage[] {
  const whole = Buffer.from(bytes);
  whole.fill(0, HEADER_AT.headerCrc, HEADER_SIZE);
  if (crc32c(whole) !== storedCrc(bytes, HEADER_AT.imageCrc)) {
    return [{ section: 'image', reason: 'its CRC is wrong' }];
  }
  if (digestOf(bytes) !== getHex(bytes, HEADER_AT.digest, DIGEST_SIZE)) {
    return [{ section: 'image', reason: 'its digest is wrong' }];
  }
  return [];
}

const storedCrc = (bytes: Buffer, at: number): number => bytes.readUInt32LE(at);
