/** One entry of the remap table: docs/on-disk-format.md, "Remap table". */
import { LBA_LIMIT, type Lba, lba, type SectorCount, sectorCount } from '../core/units.js';
import { FormatError, getU32, getU48, putU48 } from './fields.js';

export const ENTRY_SIZE = 24;

export type EntryKind = 'remapped' | 'pending' | 'retired';
export type EntryCause =
  | 'write-error'
  | 'read-error'
  | 'verify-error'
  | 'administrator'
  | 'prediction';

/** Immutable; a changed extent is another entry. */
export interface TableEntry {
  readonly kind: EntryKind;
  /** Sector of main; of the spare when retired. */
  readonly start: Lba;
  /** Sectors, a multiple of the volume's logical block. */
  readonly count: SectorCount;
  /** Index of the spare; 0 when pending. */
  readonly spareIndex: number;
  /** Sector of the spare; 0 unless remapped. */
  readonly spareStart: Lba;
  readonly cause: EntryCause;
  /** Failures seen; kept up to 255. */
  readonly evidence: number;
  /** Wall clock, seconds since 1970; kept from 2020 to 2156. */
  readonly timeSeconds: number;
}

const AT = {
  start: 0,
  cause: 6,
  evidence: 7,
  spareStart: 8,
  spareIndex: 14,
  kind: 15,
  count: 16,
  timeSeconds: 20,
} as const;

/** Position is the value on disk; position 0 is not used. */
const KINDS: readonly (EntryKind | undefined)[] = [undefined, 'remapped', 'pending', 'retired'];
const CAUSES: readonly (EntryCause | undefined)[] = [
  undefined,
  'write-error',
  'read-error',
  'verify-error',
  'administrator',
  'prediction',
];

/** 2020-01-01T00:00:00Z. */
const EPOCH_SECONDS = 1_577_836_800;
const U32_MAX = 0xffff_ffff;

/** A table entry from plain numbers; throws RangeError for what the format cannot hold. */
export function tableEntry(fields: {
  kind: EntryKind;
  start: number;
  count: number;
  spareIndex?: number;
  spareStart?: number;
  cause: EntryCause;
  evidence?: number;
  timeSeconds: number;
}): TableEntry {
  const { kind, start, count, spareIndex = 0, spareStart = 0, cause, timeSeconds } = fields;
  const valid =
    count >= 1 &&
    count <= U32_MAX &&
    start + count <= LBA_LIMIT &&
    spareStart + count <= LBA_LIMIT &&
    spareIndex >= 0 &&
    spareIndex <= 255 &&
    (kind === 'remapped' || spareStart === 0) &&
    (kind !== 'pending' || spareIndex === 0);
  if (!valid) throw new RangeError(`not a table entry: ${JSON.stringify(fields)}`);
  return {
    kind,
    start: lba(start),
    count: sectorCount(count),
    spareIndex,
    spareStart: lba(spareStart),
    cause,
    evidence: Math.min(fields.evidence ?? 1, 255),
    timeSeconds,
  };
}

export function encodeEntry(entry: TableEntry, bytes: Buffer, at: number): void {
  const time = Math.min(Math.max(entry.timeSeconds - EPOCH_SECONDS, 0), U32_MAX);
  putU48(bytes, at + AT.start, entry.start);
  bytes.writeUInt8(CAUSES.indexOf(entry.cause), at + AT.cause);
  bytes.writeUInt8(Math.min(entry.evidence, 255), at + AT.evidence);
  putU48(bytes, at + AT.spareStart, entry.spareStart);
  bytes.writeUInt8(entry.spareIndex, at + AT.spareIndex);
  bytes.writeUInt8(KINDS.indexOf(entry.kind), at + AT.kind);
  bytes.writeUInt32LE(entry.count, at + AT.count);
  bytes.writeUInt32LE(time, at + AT.timeSeconds);
}

/** Throws FormatError for an unknown kind or cause, an empty extent, or a field that must be 0. */
export function decodeEntry(bytes: Buffer, at: number): TableEntry {
  const kind = KINDS[bytes[at + AT.kind] as number];
  const cause = CAUSES[bytes[at + AT.cause] as number];
  const start = getU48(bytes, at + AT.start) as Lba;
  const spareStart = getU48(bytes, at + AT.spareStart) as Lba;
  const spareIndex = bytes[at + AT.spareIndex] as number;
  const count = getU32(bytes, at + AT.count) as SectorCount;
  if (kind === undefined || cause === undefined || count === 0) {
    throw new FormatError(`the entry at ${at} has an unknown kind or cause, or no sectors`);
  }
  if (start + count > LBA_LIMIT || spareStart + count > LBA_LIMIT) {
    throw new FormatError(`the entry at ${at} ends past the largest sector`);
  }
  if ((kind !== 'remapped' && spareStart !== 0) || (kind === 'pending' && spareIndex !== 0)) {
    throw new FormatError(`the entry at ${at} names a spare sector it cannot have`);
  }
  const evidence = bytes[at + AT.evidence] as number;
  const timeSeconds = getU32(bytes, at + AT.timeSeconds) + EPOCH_SECONDS;
  return { kind, start, count, spareIndex, spareStart, cause, evidence, timeSeconds };
}

/** Order of the entries inside the superblock: by kind as written on disk, then start. */
export const compareEntries = (a: TableEntry, b: TableEntry): number =>
  KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) || a.start - b.start || a.spareIndex - b.spareIndex;
