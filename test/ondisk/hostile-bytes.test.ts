/**
 * Bytes that somebody changed and then gave all the right checksums: each is read as what it is or
 * refused, never with any other error, and what is read can be written again.
 *
 *   HOSTILE_RUNS=N   instead of 500 of each; fast-check prints the seed of a failure
 */
import fc from 'fast-check';
import { test } from 'tap';
import { generation, lba } from '../../src/core/units.js';
import { CONFIG_AT, CONFIG_OFFSET, configCrc } from '../../src/ondisk/config.js';
import { crc32c, crc32cWithout } from '../../src/ondisk/crc32c.js';
import {
  DESCRIPTOR_AT,
  decodeDescriptorPage,
  encodeDescriptorPage,
  FREE_BLOCK,
} from '../../src/ondisk/descriptor-page.js';
import { FormatError, putHex } from '../../src/ondisk/fields.js';
import { DIGEST_SIZE, HEADER_AT, HEADER_SIZE, headerCrc } from '../../src/ondisk/header.js';
import { HEALTH_AT, HEALTH_OFFSET, healthCrc } from '../../src/ondisk/health.js';
import { GROUP_BLOCKS } from '../../src/ondisk/layout.js';
import {
  decodeSuperblock,
  digestOf,
  EXPANSION_OFFSET,
  encodeImage,
  stampCopy,
} from '../../src/ondisk/superblock.js';
import { decodePage, encodePage, PAGE_AT } from '../../src/ondisk/table-page.js';
import {
  inlineCapacity,
  TABLE_AT,
  TABLE_OFFSET,
  tableCrc,
} from '../../src/ondisk/table-section.js';
import { anyContent, anyEntry, anyUuid } from '../fixtures/ondisk.js';

const RUNS = Number(process.env.HOSTILE_RUNS ?? 500);

interface Change {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/** Mostly near the start of something, where the fields are. */
const changesOf = (size: number, starts: readonly number[]): fc.Arbitrary<Change[]> => {
  const near = fc
    .tuple(fc.constantFrom(...starts), fc.nat(160))
    .map(([start, offset]) => Math.min(start + offset, size - 8));
  return fc.array(
    fc.record({
      at: fc.oneof({ weight: 4, arbitrary: near }, fc.nat(size - 8)),
      bytes: fc.oneof(
        fc.uint8Array({ minLength: 1, maxLength: 8 }),
        fc.constant(new Uint8Array(8).fill(0xff)),
        fc.constant(new Uint8Array(8)),
      ),
    }),
    { minLength: 1, maxLength: 6 },
  );
};

function apply(bytes: Buffer, changes: readonly Change[]): Buffer {
  for (const change of changes) bytes.set(change.bytes, change.at);
  return bytes;
}

function stampAgain(copy: Buffer): Buffer {
  const config = copy.subarray(CONFIG_OFFSET, HEALTH_OFFSET);
  config.writeUInt32LE(configCrc(config), CONFIG_AT.crc);
  const health = copy.subarray(HEALTH_OFFSET, TABLE_OFFSET);
  health.writeUInt32LE(healthCrc(health), HEALTH_AT.crc);
  const table = copy.subarray(TABLE_OFFSET, EXPANSION_OFFSET);
  table.writeUInt32LE(tableCrc(table), TABLE_AT.crc);
  const expansion = copy.subarray(EXPANSION_OFFSET);
  expansion.writeUInt32LE(crc32cWithout(expansion, 0), 0);
  putHex(copy, HEADER_AT.digest, DIGEST_SIZE, digestOf(copy));
  copy.fill(0, HEADER_AT.headerCrc, HEADER_SIZE);
  copy.writeUInt32LE(crc32c(copy), HEADER_AT.imageCrc);
  copy.writeUInt32LE(headerCrc(copy), HEADER_AT.headerCrc);
  return copy;
}

const PLACE = {
  spareUuid: 'ffeeddcc-bbaa-9988-7766-554433221100',
  copyIndex: 2,
  ownOffset: 3 * 2 ** 20,
  copyOffsets: [0, 1, 3, 5, 7].map((n) => n * 2 ** 20),
  zoneSize: 2 ** 20,
  pageCapacity: 30,
};

/** Reads, and writes again what was read; counts the ones that were read. */
function reading<T>(decode: () => T, encode: (value: T) => unknown, seen: { read: number }): void {
  let value: T;
  try {
    value = decode();
  } catch (cause) {
    if (cause instanceof FormatError) return;
    throw cause;
  }
  encode(value);
  seen.read += 1;
}

test('a superblock with right checksums and wrong contents', async (t) => {
  const sections = [0, CONFIG_OFFSET, HEALTH_OFFSET, TABLE_OFFSET, EXPANSION_OFFSET];
  const seen = { read: 0, refused: 0 };
  const property = fc.property(anyContent, changesOf(24_576, sections), (content, changes) => {
    const room = inlineCapacity(content.table.directory.length);
    const table = { ...content.table, entries: content.table.entries.slice(0, room) };
    const copy = stampCopy(encodeImage({ ...content, table }), PLACE);
    const decoded = decodeSuperblock(stampAgain(apply(copy, changes)));
    if (decoded.kind === 'valid') {
      encodeImage(decoded.superblock);
      seen.read += 1;
    } else {
      seen.refused += 1;
    }
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: RUNS }));
  t.ok(seen.read > 0 && seen.refused > 0, `${seen.read} read, ${seen.refused} refused`);
});

test('a table page with a right checksum and wrong contents', async (t) => {
  const seen = { read: 0 };
  const entries = fc.array(anyEntry, { maxLength: 20 });
  const property = fc.property(
    entries,
    changesOf(32_768, [0, PAGE_AT.entries]),
    (list, changes) => {
      const page = {
        volumeUuid: PLACE.spareUuid,
        generation: generation(8n),
        pageIndex: 3,
        location: 4,
        entries: list,
      };
      const bytes = apply(encodePage(page), changes);
      bytes.writeUInt32LE(crc32cWithout(bytes, PAGE_AT.crc), PAGE_AT.crc);
      reading(() => decodePage(bytes), encodePage, seen);
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: RUNS }));
  t.ok(seen.read > 0);
});

test('block descriptors with a right checksum and wrong contents', async (t) => {
  const seen = { read: 0 };
  const property = fc.property(
    anyUuid,
    changesOf(4096, [0, DESCRIPTOR_AT.blocks]),
    (volumeUuid, changes) => {
      const page = {
        volumeUuid,
        sequence: 7,
        groupStart: lba(4096),
        logicalBlockSize: 512,
        blocks: Array.from({ length: GROUP_BLOCKS }, () => FREE_BLOCK),
      };
      const bytes = apply(encodeDescriptorPage(page), changes);
      bytes.writeUInt32LE(crc32cWithout(bytes, DESCRIPTOR_AT.crc), DESCRIPTOR_AT.crc);
      reading(() => decodeDescriptorPage(bytes), encodeDescriptorPage, seen);
    },
  );
  t.doesNotThrow(() => fc.assert(property, { numRuns: RUNS }));
  t.ok(seen.read > 0);
});
