import fc from 'fast-check';
import { test } from 'tap';
import { generation } from '../../src/core/units.js';
import { CONFIG_AT, CONFIG_OFFSET } from '../../src/ondisk/config.js';
import { crc32cWithout } from '../../src/ondisk/crc32c.js';
import { tableEntry } from '../../src/ondisk/entry.js';
import { HEADER_AT, headerCrc } from '../../src/ondisk/header.js';
import { HEALTH_AT, HEALTH_OFFSET } from '../../src/ondisk/health.js';
import { SUPERBLOCK_SIZE } from '../../src/ondisk/layout.js';
import {
  decodeSuperblock,
  digestOf,
  EXPANSION_OFFSET,
  encodeImage,
  imageOf,
  type SuperblockContent,
  stampCopy,
} from '../../src/ondisk/superblock.js';
import { inlineCapacity, TABLE_AT, TABLE_OFFSET } from '../../src/ondisk/table-section.js';
import { anyContent, documentedOffsets } from '../fixtures/ondisk.js';

const VOLUME = '00112233-4455-6677-8899-aabbccddeeff';
const SPARE = 'ffeeddcc-bbaa-9988-7766-554433221100';

const CONTENT: SuperblockContent = {
  header: {
    features: { incompatible: 0n, readOnlyCompatible: 0n, compatible: 0n },
    volumeUuid: VOLUME,
    generation: generation(0x0102030405060708n),
    parent: 'a0a1a2a3a4a5a6a7a8a9aaabacadaeaf',
    copiesCommitted: 4,
    createdSeconds: 0x11121314,
    committedSeconds: 0x21222324,
  },
  config: {
    logicalBlockSize: 4096,
    name: 'tank',
    main: {
      uuid: '00000000-0000-0000-0000-000000000000',
      sizeSectors: 0x3132333435,
      kind: 'file',
      identity: 'file:1:2',
      pathHint: '/main.img',
    },
    spares: [
      { uuid: SPARE, sizeSectors: 16384, kind: 'block', identity: 'wwn:x', pathHint: '/dev/sdb' },
    ],
  },
  health: {
    reallocatedTotal: 1,
    recoveredTotal: 2,
    readErrorsTotal: 3,
    writeErrorsTotal: 4,
    spareRetiredTotal: 5,
    metadataRepairsTotal: 6,
    scanCursor: 7,
    scanStartedSeconds: 8,
    scanFinishedSeconds: 9,
  },
  table: {
    entries: [
      tableEntry({ kind: 'pending', start: 8, count: 8, cause: 'read-error', timeSeconds: 0 }),
    ],
    directory: [
      { pageCrc: 0x41424344, location: 5, generation: generation(6n) },
      { pageCrc: 0x51525354, location: 7, generation: generation(8n) },
    ],
  },
};

const PLACE = {
  spareUuid: SPARE,
  copyIndex: 2,
  ownOffset: 3 * 2 ** 20,
  copyOffsets: [0, 1, 3, 5, 7].map((n) => n * 2 ** 20),
  zoneSize: 2 ** 20,
  pageCapacity: 30,
};

const copyOf = (content = CONTENT): Buffer => stampCopy(encodeImage(content), PLACE);

test('every field stands where the document says', async (t) => {
  const b = copyOf();
  t.equal(b.length, 24_576);
  t.equal(b.toString('latin1', 0, 4), 'DMR4');
  t.equal(b.readUInt32LE(4), 4);
  t.equal(b.toString('hex', 32, 48), VOLUME.replaceAll('-', ''));
  t.equal(b.toString('hex', 48, 64), SPARE.replaceAll('-', ''));
  t.equal(b.readBigUInt64LE(64), 0x0102030405060708n);
  t.equal(b.toString('hex', 72, 88), CONTENT.header.parent);
  t.equal(b.toString('hex', 88, 104), digestOf(b));
  t.equal(b.readUInt32LE(104), 2);
  t.equal(b.readUInt32LE(108), 4);
  t.equal(b.readBigUInt64LE(112), 3n << 20n);
  t.equal(b.readBigUInt64LE(120 + 8 * 4), 7n << 20n);
  t.equal(b.readBigUInt64LE(160), 1n << 20n);
  t.equal(b.readUInt32LE(168), 30);
  t.equal(b.readUInt32LE(172), 24_576);
  t.equal(b.readBigUInt64LE(176), 0x11121314n);
  t.equal(b.readBigUInt64LE(184), 0x21222324n);

  t.equal(b.readUInt32LE(512 + 4), 4096);
  t.equal(b.readUInt32LE(512 + 8), 1);
  t.equal(b.toString('latin1', 512 + 16, 512 + 21), 'tank\0');
  t.equal(b.readBigUInt64LE(512 + 64 + 16), 0x3132333435n);
  t.equal(b.readUInt32LE(512 + 64 + 24), 1);
  t.equal(b.toString('latin1', 512 + 64 + 32, 512 + 64 + 40), 'file:1:2');
  t.equal(b.toString('latin1', 512 + 64 + 128, 512 + 64 + 137), '/main.img');
  t.equal(b.toString('hex', 512 + 360, 512 + 376), SPARE.replaceAll('-', ''));
  t.equal(b.readUInt32LE(512 + 360 + 24), 2);

  for (let i = 0; i < 9; i++) t.equal(b.readBigUInt64LE(2944 + 8 + 8 * i), BigInt(i + 1));

  t.equal(b.readUInt32LE(3456 + 4), 1);
  t.equal(b.readUInt32LE(3456 + 8), 2);
  t.equal(b[3456 + 64 + 15], 2, 'the first entry is pending');
  t.equal(b.readUInt32LE(23_936 - 16), 0x41424344, 'page 0 last');
  t.equal(b.readUInt32LE(23_936 - 16 + 4), 5);
  t.equal(b.readBigUInt64LE(23_936 - 16 + 8), 6n);
  t.equal(b.readUInt32LE(23_936 - 32), 0x51525354);
});

test('the offsets of the code are those of the document', async (t) => {
  t.match(documentedOffsets('### Header'), HEADER_AT);
  const { main, ...config } = CONFIG_AT;
  t.match(documentedOffsets('### Device configuration'), config);
  t.equal(documentedOffsets('### Device configuration').main, main);
  t.match(documentedOffsets('### Health'), HEALTH_AT);
  t.match(documentedOffsets('### Remap table'), TABLE_AT);
});

test('the bytes of format 4 never change', async (t) => {
  t.equal(digestOf(copyOf()), '7c16dd4a3a3d6d74589507e2facc8d00');
  t.equal(copyOf().readUInt32LE(504), 353_885_872, 'headerCrc');
  t.equal(copyOf().readUInt32LE(508), 1_551_460_011, 'imageCrc');
});

test('property: what is encoded is decoded', async (t) => {
  const property = fc.property(anyContent, (content) => {
    const room = inlineCapacity(content.table.directory.length);
    const entries = content.table.entries.slice(0, room);
    const fitting = { ...content, table: { ...content.table, entries } };
    const decoded = decodeSuperblock(copyOf(fitting));
    if (decoded.kind !== 'valid') return false;
    const { header, config, health, table } = decoded.superblock;
    const found = plain({ ...config, ...health, directory: table.directory });
    const given = plain({
      ...content.config,
      ...content.health,
      directory: content.table.directory,
    });
    const lines = (list: typeof entries) =>
      list
        .map((entry) => plain(entry))
        .sort()
        .join();
    return (
      found === given &&
      lines([...table.entries]) === lines(entries) &&
      header.generation === content.header.generation &&
      header.parent === content.header.parent
    );
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 50 }));
});

const plain = (value: unknown): string =>
  JSON.stringify(value, (_, v) => (typeof v === 'bigint' ? v.toString() : v));

test('the digest is the same in every copy, on every spare', async (t) => {
  const image = encodeImage(CONTENT);
  const other = stampCopy(image, {
    ...PLACE,
    spareUuid: VOLUME,
    copyIndex: 4,
    ownOffset: 9,
    copyOffsets: [1, 2, 3, 4, 5],
    zoneSize: 77,
    pageCapacity: 6,
  });
  t.not(other.compare(copyOf()), 0);
  t.equal(digestOf(other), digestOf(copyOf()));
  t.ok(imageOf(other).equals(image));
  const changed = { ...CONTENT, health: { ...CONTENT.health, scanCursor: 8 } };
  t.not(digestOf(copyOf(changed)), digestOf(copyOf()));
});

test('every flipped bit is found, and its section named', async (t) => {
  const sound = copyOf();
  const bits = SUPERBLOCK_SIZE * 8;
  let seen = 0;
  // All bits of the header; of the rest every 29th, in turn each of the eight of a byte.
  for (let bit = 0; bit < bits; bit += bit < CONFIG_OFFSET * 8 ? 1 : 29) {
    const at = bit >> 3;
    sound[at] = (sound[at] as number) ^ (1 << (bit & 7));
    const decoded = decodeSuperblock(sound);
    sound[at] = (sound[at] as number) ^ (1 << (bit & 7));
    const named = decoded.kind === 'damaged' ? decoded.damage.map((d) => d.section).join() : '';
    if (named !== sectionAt(at)) t.fail(`bit ${bit}: ${decoded.kind} ${named}`);
    seen++;
  }
  t.ok(seen > 10_000);
  t.equal(decodeSuperblock(sound).kind, 'valid');
});

function sectionAt(offset: number): string {
  if (offset < CONFIG_OFFSET) return 'header';
  if (offset < HEALTH_OFFSET) return 'config';
  if (offset < TABLE_OFFSET) return 'health';
  return offset < EXPANSION_OFFSET ? 'table' : 'expansion';
}

test('sections that are sound and do not belong together', async (t) => {
  const mixed = copyOf();
  const older = copyOf({ ...CONTENT, health: { ...CONTENT.health, scanCursor: 99 } });
  older.copy(mixed, HEALTH_OFFSET, HEALTH_OFFSET, TABLE_OFFSET);
  t.match(decodeSuperblock(mixed), { kind: 'damaged', damage: [{ section: 'image' }] });
});

test('the whole has a CRC and a digest of its own', async (t) => {
  const image = encodeImage(CONTENT);
  image[HEADER_AT.digest] = (image[HEADER_AT.digest] as number) ^ 1;
  const reason = 'its digest is wrong';
  t.match(decodeSuperblock(stampCopy(image, PLACE)), { damage: [{ section: 'image', reason }] });

  const moved = copyOf();
  stampCopy(encodeImage(CONTENT), { ...PLACE, copyIndex: 3 }).copy(
    moved,
    0,
    0,
    HEADER_AT.headerCrc,
  );
  moved.writeUInt32LE(headerCrc(moved), HEADER_AT.headerCrc);
  t.match(decodeSuperblock(moved), { damage: [{ section: 'image', reason: 'its CRC is wrong' }] });
});

test('what can still be made out is given', async (t) => {
  const b = copyOf();
  b.fill(0xaa, TABLE_OFFSET, TABLE_OFFSET + 512);
  const decoded = decodeSuperblock(b);
  if (decoded.kind !== 'damaged') throw new Error(decoded.kind);
  t.strictSame(decoded.damage, [{ section: 'table', reason: 'its CRC is wrong' }]);
  t.equal(decoded.partial.config?.name, 'tank');
  t.equal(decoded.partial.header?.volumeUuid, VOLUME);
  t.equal(decoded.partial.table, undefined);
});

test('blank, noise, and reserved bytes', async (t) => {
  t.equal(decodeSuperblock(Buffer.alloc(SUPERBLOCK_SIZE)).kind, 'blank');
  t.equal(decodeSuperblock(Buffer.alloc(SUPERBLOCK_SIZE, 0x5a)).kind, 'damaged');
  const reserved = [200, 512 + 12, 512 + 2420, 512 + 64 + 28, 512 + 700, 2944 + 100, 3456 + 20];
  for (const at of [...reserved, 3456 + 5000, 23_936 + 100]) {
    const image = encodeImage(CONTENT);
    image[at] = 1;
    const decoded = decodeSuperblock(stampCopy(resealed(image), PLACE));
    t.equal(decoded.kind, 'damaged', `byte ${at}`);
  }
});

test('reserved bytes may have a meaning that a feature bit announces', async (t) => {
  for (const field of [8, 16, 24]) {
    const image = encodeImage(CONTENT);
    image[field] = 1;
    image[200] = 1;
    image[23_936 + 100] = 1;
    const decoded = decodeSuperblock(stampCopy(resealed(image), PLACE));
    t.equal(decoded.kind, 'valid');
  }
});

/** As a newer version would write it: all CRCs and the digest right. */
function resealed(image: Buffer): Buffer {
  const sections: [number, number][] = [
    [512, 2944],
    [2944, 3456],
    [3456, 23_936],
    [23_936, 24_576],
  ];
  for (const [from, to] of sections) {
    const section = image.subarray(from, to);
    section.writeUInt32LE(crc32cWithout(section, 0), 0);
  }
  image.write(digestOf(image), 88, 'hex');
  return image;
}

test('what does not fit is refused', async (t) => {
  const { config, table } = CONTENT;
  const spare = config.spares[0];
  if (spare === undefined) throw new Error('no spare');
  const entry = table.entries[0];
  if (entry === undefined) throw new Error('no entry');
  const refused: Partial<SuperblockContent>[] = [
    { config: { ...config, name: 'x'.repeat(49) } },
    { config: { ...config, name: 'a\0b' } },
    { config: { ...config, spares: [] } },
    { config: { ...config, spares: Array.from({ length: 9 }, () => spare) } },
    { config: { ...config, main: { ...config.main, identity: 'i'.repeat(97) } } },
    { table: { ...table, entries: Array.from({ length: 850 }, () => entry) } },
  ];
  for (const part of refused) {
    t.throws(() => encodeImage({ ...CONTENT, ...part }), RangeError);
  }
  const full = { directory: [], entries: Array.from({ length: 850 }, () => entry) };
  t.equal(decodeSuperblock(copyOf({ ...CONTENT, table: full })).kind, 'valid');
  t.equal(inlineCapacity(0), 850);
});

test('a path is cut at a character', async (t) => {
  const main = { ...CONTENT.config.main, pathHint: `${'x'.repeat(126)}é€` };
  const decoded = decodeSuperblock(copyOf({ ...CONTENT, config: { ...CONTENT.config, main } }));
  if (decoded.kind !== 'valid') throw new Error(decoded.kind);
  t.equal(decoded.superblock.config.main.pathHint, `${'x'.repeat(126)}é`);
});
