/** Table pages: docs/on-disk-format.md, "Table page". */
import { strict as assert } from 'node:assert';
import { type Generation, generation } from '../core/units.js';
import { crc32cWithout } from './crc32c.js';
import { decodeEntry, ENTRY_SIZE, encodeEntry, type TableEntry } from './entry.js';
import { FormatError, getUuid, putUuid, requireZero } from './fields.js';
import { PAGE_ENTRIES, TABLE_PAGE_SIZE } from './layout.js';

const MAGIC = 'DMRP';
export const PAGE_AT = {
  magic: 0,
  crc: 4,
  volumeUuid: 8,
  generation: 24,
  pageIndex: 32,
  location: 36,
  entryCount: 40,
  reserved: 44,
  entries: 64,
} as const;
assert.equal(PAGE_ENTRIES, Math.floor((TABLE_PAGE_SIZE - PAGE_AT.entries) / ENTRY_SIZE));

export interface TablePage {
  readonly volumeUuid: string;
  /** Commit that wrote it. */
  readonly generation: Generation;
  /** Place in the directory. */
  readonly pageIndex: number;
  readonly location: number;
  readonly entries: readonly TableEntry[];
}

/** Throws RangeError when there are too many entries. */
export function encodePage(page: TablePage): Buffer {
  if (page.entries.length > PAGE_ENTRIES) {
    throw new RangeError(`${page.entries.length} entries do not fit a page`);
  }
  const bytes = Buffer.alloc(TABLE_PAGE_SIZE);
  bytes.write(MAGIC, PAGE_AT.magic, 'ascii');
  putUuid(bytes, PAGE_AT.volumeUuid, page.volumeUuid);
  bytes.writeBigUInt64LE(page.generation, PAGE_AT.generation);
  bytes.writeUInt32LE(page.pageIndex, PAGE_AT.pageIndex);
  bytes.writeUInt32LE(page.location, PAGE_AT.location);
  bytes.writeUInt32LE(page.entries.length, PAGE_AT.entryCount);
  for (const [i, entry] of page.entries.entries()) {
    encodeEntry(entry, bytes, PAGE_AT.entries + i * ENTRY_SIZE);
  }
  bytes.writeUInt32LE(crc32cWithout(bytes, PAGE_AT.crc), PAGE_AT.crc);
  return bytes;
}

/** The CRC an encoded page carries, as its directory entry repeats it. */
export const pageCrc = (bytes: Buffer): number => bytes.readUInt32LE(PAGE_AT.crc);

/** True when `bytes` are a sound page, and the very one that a directory entry names. */
export function isPage(
  bytes: Buffer,
  named: Omit<TablePage, 'entries'> & { readonly pageCrc: number },
): boolean {
  return (
    bytes.toString('latin1', PAGE_AT.magic, PAGE_AT.crc) === MAGIC &&
    pageCrc(bytes) === named.pageCrc &&
    crc32cWithout(bytes, PAGE_AT.crc) === named.pageCrc &&
    getUuid(bytes, PAGE_AT.volumeUuid) === named.volumeUuid &&
    bytes.readBigUInt64LE(PAGE_AT.generation) === named.generation &&
    bytes.readUInt32LE(PAGE_AT.pageIndex) === named.pageIndex &&
    bytes.readUInt32LE(PAGE_AT.location) === named.location
  );
}

/** Throws FormatError when `bytes` are not a sound page. */
export function decodePage(bytes: Buffer): TablePage {
  if (bytes.toString('latin1', PAGE_AT.magic, PAGE_AT.crc) !== MAGIC) {
    throw new FormatError(`the magic is not ${MAGIC}`);
  }
  if (pageCrc(bytes) !== crc32cWithout(bytes, PAGE_AT.crc)) {
    throw new FormatError('the CRC of the page is wrong');
  }
  const entryCount = bytes.readUInt32LE(PAGE_AT.entryCount);
  if (entryCount > PAGE_ENTRIES) throw new FormatError(`the page claims ${entryCount} entries`);
  requireZero(bytes, PAGE_AT.reserved, PAGE_AT.entries, 'a reserved byte of the page');
  const end = PAGE_AT.entries + entryCount * ENTRY_SIZE;
  requireZero(bytes, end, TABLE_PAGE_SIZE, 'a byte after the last entry');
  const entries: TableEntry[] = [];
  for (let at = PAGE_AT.entries; at < end; at += ENTRY_SIZE) entries.push(decodeEntry(bytes, at));
  return {
    volumeUuid: getUuid(bytes, PAGE_AT.volumeUuid),
    generation: generation(bytes.readBigUInt64LE(PAGE_AT.generation)),
    pageIndex: bytes.readUInt32LE(PAGE_AT.pageIndex),
    location: bytes.readUInt32LE(PAGE_AT.location),
    entries,
  };
}
