import fc from 'fast-check';
import { test } from 'tap';
import { generation } from '../../src/core/units.js';
import { tableEntry } from '../../src/ondisk/entry.js';
import { FormatError } from '../../src/ondisk/fields.js';
import {
  decodePage,
  encodePage,
  isPage,
  PAGE_AT,
  pageCrc,
  type TablePage,
} from '../../src/ondisk/table-page.js';
import { anyEntry, documentedOffsets } from '../fixtures/ondisk.js';

const PAGE: TablePage = {
  volumeUuid: '00112233-4455-6677-8899-aabbccddeeff',
  generation: generation(0x0102030405060708n),
  pageIndex: 17,
  location: 23,
  entries: [
    tableEntry({ kind: 'pending', start: 8, count: 8, cause: 'read-error', timeSeconds: 0 }),
  ],
};

test('every field stands where the document says', async (t) => {
  const b = encodePage(PAGE);
  t.equal(b.length, 32_768);
  t.equal(b.toString('latin1', 0, 4), 'DMRP');
  t.equal(b.toString('hex', 8, 24), '00112233445566778899aabbccddeeff');
  t.equal(b.readBigUInt64LE(24), 0x0102030405060708n);
  t.equal(b.readUInt32LE(32), 17);
  t.equal(b.readUInt32LE(36), 23);
  t.equal(b.readUInt32LE(40), 1);
  t.equal(b[64 + 15], 2);
  t.equal(b.readUInt32LE(4), pageCrc(b));
  t.match(documentedOffsets('## Table page'), PAGE_AT);
});

test('property: what is encoded is decoded', async (t) => {
  const entries = fc.array(anyEntry, { maxLength: 1362, size: 'max' });
  const property = fc.property(entries, (list) => {
    const decoded = decodePage(encodePage({ ...PAGE, entries: list }));
    return JSON.stringify(decoded.entries) === JSON.stringify(list);
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 20 }));
});

test('it is known by what the directory says of it, and by nothing less', async (t) => {
  const b = encodePage(PAGE);
  const named = { ...PAGE, pageCrc: pageCrc(b) };
  t.ok(isPage(b, named));
  t.notOk(isPage(b, { ...named, volumeUuid: '10112233-4455-6677-8899-aabbccddeeff' }));
  t.notOk(isPage(b, { ...named, generation: generation(9n) }));
  t.notOk(isPage(b, { ...named, pageIndex: 18 }));
  t.notOk(isPage(b, { ...named, location: 24 }));
  t.notOk(isPage(b, { ...named, pageCrc: named.pageCrc ^ 1 }));
  for (const at of [0, 10, 70, 32_767]) {
    b[at] = (b[at] as number) ^ 0x10;
    t.notOk(isPage(b, named), `byte ${at}`);
    t.throws(() => decodePage(b), FormatError);
    b[at] = (b[at] as number) ^ 0x10;
  }
});

test('more entries than fit are refused', async (t) => {
  const entry = PAGE.entries[0];
  if (entry === undefined) throw new Error('no entry');
  const full = Array.from({ length: 1362 }, () => entry);
  t.equal(decodePage(encodePage({ ...PAGE, entries: full })).entries.length, 1362);
  t.throws(() => encodePage({ ...PAGE, entries: [...full, entry] }), RangeError);
});
