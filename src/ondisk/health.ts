/** Third section of the superblock: docs/on-disk-format.md, "Health". Counters since creation. */
import { strict as assert } from 'node:assert';
import { crc32cWithout } from './crc32c.js';
import { getU64, putU64, requireZero } from './fields.js';

export const HEALTH_OFFSET = 2944;
export const HEALTH_SIZE = 512;

export interface Health {
  /** Sectors ever remapped. */
  readonly reallocatedTotal: number;
  /** Sectors moved while still readable. */
  readonly recoveredTotal: number;
  readonly readErrorsTotal: number;
  readonly writeErrorsTotal: number;
  /** Sectors of spares found bad. */
  readonly spareRetiredTotal: number;
  /** Copies rewritten; counted by the metadata store itself. */
  readonly metadataRepairsTotal: number;
  /** Next sector a patrol read looks at. */
  readonly scanCursor: number;
  /** Seconds since 1970; 0 for never. */
  readonly scanStartedSeconds: number;
  readonly scanFinishedSeconds: number;
}

export const NO_HEALTH: Health = {
  reallocatedTotal: 0,
  recoveredTotal: 0,
  readErrorsTotal: 0,
  writeErrorsTotal: 0,
  spareRetiredTotal: 0,
  metadataRepairsTotal: 0,
  scanCursor: 0,
  scanStartedSeconds: 0,
  scanFinishedSeconds: 0,
};

export const HEALTH_AT: Readonly<Record<keyof Health | 'crc' | 'flags' | 'reserved', number>> = {
  crc: 0,
  flags: 4,
  reallocatedTotal: 8,
  recoveredTotal: 16,
  readErrorsTotal: 24,
  writeErrorsTotal: 32,
  spareRetiredTotal: 40,
  metadataRepairsTotal: 48,
  scanCursor: 56,
  scanStartedSeconds: 64,
  scanFinishedSeconds: 72,
  reserved: 80,
};
const FIELDS = Object.keys(NO_HEALTH) as (keyof Health)[];
assert.equal((HEALTH_OFFSET + HEALTH_SIZE) % 64, 0);

/** `section` is the section's bytes, all zero before. */
export function encodeHealth(health: Health, section: Buffer): void {
  for (const field of FIELDS) putU64(section, HEALTH_AT[field], health[field]);
  section.writeUInt32LE(healthCrc(section), HEALTH_AT.crc);
}

export const healthCrc = (section: Buffer): number => crc32cWithout(section, HEALTH_AT.crc);

/** Throws FormatError. With `strict` false, reserved bytes may have been given a meaning. */
export function decodeHealth(section: Buffer, strict: boolean): Health {
  if (strict) {
    requireZero(section, HEALTH_AT.flags, HEALTH_AT.reallocatedTotal, 'an unknown health flag');
    requireZero(section, HEALTH_AT.reserved, HEALTH_SIZE, 'a reserved byte of the health section');
  }
  const health = { ...NO_HEALTH };
  for (const field of FIELDS) health[field] = getU64(section, HEALTH_AT[field]);
  return health;
}
