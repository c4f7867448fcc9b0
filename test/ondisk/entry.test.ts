import fc from 'fast-check';
import { test } from 'tap';
import {
  compareEntries,
  decodeEntry,
  ENTRY_SIZE,
  encodeEntry,
  tableEntry,
} from '../../src/ondisk/entry.js';
import { FormatError } from '../../src/ondisk/fields.js';
import { anyEntry, documentedOffsets } from '../fixtures/ondisk.js';

const sample = tableEntry({
  kind: 'remapped',
  start: 0x0102_0304_0506,
  count: 0x0708_090a,
  spareIndex: 3,
  spareStart: 0x1112_1314_1516,
  cause: 'verify-error',
  evidence: 9,
  timeSeconds: 1_577_836_800 + 0x2122_2324,
});

const bytesOf = (entry = sample): Buffer => {
  const bytes = Buffer.alloc(ENTRY_SIZE);
  encodeEntry(entry, bytes, 0);
  return bytes;
};

test('every byte stands where the document says', async (t) => {
  const bytes = '060504030201 03 09 161514131211 03 01 0a090807 24232221';
  t.equal(bytesOf().toString('hex'), bytes.replaceAll(' ', ''));
  t.strictSame(documentedOffsets('Entry, 24 bytes'), {
    start: 0,
    cause: 6,
    evidence: 7,
    spareStart: 8,
    spareIndex: 14,
    kind: 15,
    count: 16,
    timeSeconds: 20,
  });
});

test('property: what is encoded is decoded', async (t) => {
  const property = fc.property(anyEntry, (entry) => {
    const decoded = decodeEntry(bytesOf(entry), 0);
    return JSON.stringify(decoded) === JSON.stringify(entry);
  });
  t.doesNotThrow(() => fc.assert(property));
});

test('bytes that are no entry are refused', async (t) => {
  const damaged: [number, number][] = [
    [15, 0],
    [15, 4],
    [6, 0],
    [6, 6],
  ];
  for (const [at, value] of damaged) {
    const bytes = bytesOf();
    bytes[at] = value;
    t.throws(() => decodeEntry(bytes, 0), FormatError, `byte ${at} = ${value}`);
  }
  t.throws(() => decodeEntry(bytesOf().fill(0, 16, 20), 0), FormatError, 'no sectors');
  t.throws(() => decodeEntry(bytesOf().fill(255, 0, 6), 0), FormatError, 'past the end');
  for (const kind of [2, 3]) {
    const bytes = bytesOf();
    bytes[15] = kind;
    t.throws(() => decodeEntry(bytes, 0), FormatError, 'a spare sector it cannot have');
  }
});

test('what the format cannot hold is refused', async (t) => {
  const fields = {
    kind: 'pending',
    start: 1,
    count: 1,
    cause: 'read-error',
    timeSeconds: 0,
  } as const;
  t.throws(() => tableEntry({ ...fields, count: 0 }), RangeError);
  t.throws(() => tableEntry({ ...fields, count: 2 ** 32 }), RangeError);
  t.throws(() => tableEntry({ ...fields, start: 2 ** 48 }), RangeError);
  t.throws(() => tableEntry({ ...fields, start: -1 }), RangeError);
  t.throws(() => tableEntry({ ...fields, spareIndex: 1 }), RangeError);
  t.throws(() => tableEntry({ ...fields, kind: 'retired', spareStart: 8 }), RangeError);
});

test('evidence and time saturate', async (t) => {
  const entry = tableEntry({
    kind: 'pending',
    start: 8,
    count: 8,
    cause: 'read-error',
    evidence: 1000,
    timeSeconds: 5,
  });
  t.match(decodeEntry(bytesOf(entry), 0), { evidence: 255, timeSeconds: 1_577_836_800 });
  const late = decodeEntry(bytesOf({ ...entry, timeSeconds: 2 ** 40 }), 0);
  t.equal(late.timeSeconds, 1_577_836_800 + 2 ** 32 - 1);
});

test('order: kind, then start', async (t) => {
  const make = (kind: 'remapped' | 'pending' | 'retired', start: number) =>
    tableEntry({ kind, start, count: 1, cause: 'read-error', timeSeconds: 0 });
  const sorted = [make('remapped', 9), make('pending', 1), make('pending', 2), make('retired', 0)];
  t.strictSame([...sorted].reverse().sort(compareEntries), sorted);
});
