/** Fourth section of the superblock: docs/on-disk-format.md, "Remap table". */
import { strict as assert } from 'node:assert';
import { type Generation, generation } from '../core/units.js';
import { crc32cWithout } from './crc32c.js';
import { compareEntries, decodeEntry, ENTRY_SIZE, encodeEntry, type TableEntry } from './entry.js';
import { FormatError, requireZero } from './fields.js';
import { DIRECTORY_PAGES_MAX } from './layout.js';

export const TABLE_OFFSET = 3456;
export const TABLE_SIZE = 20_480;
const DIRECTORY_ENTRY_SIZE = 16;

/** Where a table page is, and how it is known again. */
export interface DirectoryEntry {
  readonly pageCrc: number;
  /** The same in every zone. */
  readonly location: number;
  /** Commit that wrote the page. */
  readonly generation: Generation;
}

export interface TableSection {
  /** The entries inside the superblock. */
  readonly entries: readonly TableEntry[];
  readonly directory: readonly DirectoryEntry[];
}

export const TABLE_AT = {
  crc: 0,
  inlineCount: 4,
  pageCount: 8,
  reserved: 12,
  entries: 64,
} as const;
const DIRECTORY_AT = { pageCrc: 0, location: 4, generation: 8 } as const;
assert.equal((TABLE_OFFSET + TABLE_SIZE) % 64, 0);

/** Entries that fit inside the superblock beside a directory of `pageCount` pages. */
export const inlineCapacity = (pageCount: number): number =>
  Math.floor((TABLE_SIZE - TABLE_AT.entries - pageCount * DIRECTORY_ENTRY_SIZE) / ENTRY_SIZE);

/** `section` is the section's bytes, all zero before. Throws RangeError for what does not fit. */
export function encodeTable(table: TableSection, section: Buffer): void {
  const { entries, directory } = table;
  if (directory.length > DIRECTORY_PAGES_MAX || entries.length > inlineCapacity(directory.length)) {
    throw new RangeError(`${entries.length} entries, ${directory.length} pages: too many`);
  }
  section.writeUInt32LE(entries.length, TABLE_AT.inlineCount);
  section.writeUInt32LE(directory.length, TABLE_AT.pageCount);
  for (const [i, entry] of [...entries].sort(compareEntries).entries()) {
    encodeEntry(entry, section, TABLE_AT.entries + i * ENTRY_SIZE);
  }
  for (const [i, page] of directory.entries()) {
    const at = directoryAt(i);
    section.writeUInt32LE(page.pageCrc, at + DIRECTORY_AT.pageCrc);
    section.writeUInt32LE(page.location, at + DIRECTORY_AT.location);
    section.writeBigUInt64LE(page.generation, at + DIRECTORY_AT.generation);
  }
  section.writeUInt32LE(tableCrc(section), TABLE_AT.crc);
}

export const tableCrc = (section: Buffer): number => crc32cWithout(section, TABLE_AT.crc);

/** Throws FormatError. With `strict` false, reserved bytes may have been given a meaning. */
export function decodeTable(section: Buffer, strict: boolean): TableSection {
  const inlineCount = section.readUInt32LE(TABLE_AT.inlineCount);
  const pageCount = section.readUInt32LE(TABLE_AT.pageCount);
  if (pageCount > DIRECTORY_PAGES_MAX || inlineCount > inlineCapacity(pageCount)) {
    throw new FormatError(`${inlineCount} entries and ${pageCount} pages do not fit`);
  }
  if (strict) {
    requireZero(section, TABLE_AT.reserved, TABLE_AT.entries, 'a reserved byte of the table');
    const end = TABLE_AT.entries + inlineCount * ENTRY_SIZE;
    const directory = TABLE_SIZE - pageCount * DIRECTORY_ENTRY_SIZE;
    requireZero(section, end, directory, 'a byte between entries and directory');
  }
  return {
    entries: Array.from({ length: inlineCount }, (_, i) =>
      decodeEntry(section, TABLE_AT.entries + i * ENTRY_SIZE),
    ),
    directory: Array.from({ length: pageCount }, (_, i) => ({
      pageCrc: section.readUInt32LE(directoryAt(i) + DIRECTORY_AT.pageCrc),
      location: section.readUInt32LE(directoryAt(i) + DIRECTORY_AT.location),
      generation: generation(section.readBigUInt64LE(directoryAt(i) + DIRECTORY_AT.generation)),
    })),
  };
}

/** Page 0 stands last, so that the directory grows towards the entries. */
const directoryAt = (index: number): number => TABLE_SIZE - (index + 1) * DIRECTORY_ENTRY_SIZE;
