import { readFileSync } from 'node:fs';
import t from 'tap';
import { isRemapError } from '../../src/core/errors.js';
import {
  ABI,
  CommandKind,
  checkAbi,
  decodeEvent,
  EVENT_SIZE,
  EventKind,
  encodeCommands,
  encodeIndexRecords,
} from '../../src/native/abi.js';

t.test('decodes a record at its place', async (t) => {
  const view = new DataView(new ArrayBuffer(3 * EVENT_SIZE));
  const at = 2 * EVENT_SIZE;
  view.setUint32(at, EventKind.badExtent, true);
  view.setUint32(at + 4, 7, true);
  view.setBigUint64(at + 8, 0xffff_0000_0000_0001n, true);
  view.setBigUint64(at + 16, 2n ** 47n + 3n, true);
  view.setBigUint64(at + 24, 9n, true);
  view.setInt32(at + 32, 5, true);
  view.setUint32(at + 36, 1, true);
  view.setUint32(at + 40, 3, true);
  view.setUint32(at + 44, 2, true);
  t.same(decodeEvent(view, 2), {
    kind: EventKind.badExtent,
    queue: 7,
    token: 0xffff_0000_0000_0001n,
    lba: 2 ** 47 + 3,
    count: 9,
    error: 5,
    operation: 1,
    flags: 3,
    device: 2,
    text: '',
  });
});

t.test('decodes the text of a log line, short or filling its field', async (t) => {
  const bytes = Buffer.alloc(EVENT_SIZE);
  bytes.writeUInt32LE(EventKind.log, 0);
  bytes.write('no such file', 48);
  const view = new DataView(bytes.buffer, bytes.byteOffset, EVENT_SIZE);
  t.equal(decodeEvent(view, 0).text, 'no such file');
  bytes.write('x'.repeat(80), 48);
  t.equal(decodeEvent(view, 0).text, 'x'.repeat(80));
});

t.test('encodes commands and index records as native reads them', async (t) => {
  const command = Buffer.from(
    encodeCommands([
      { kind: CommandKind.complete, token: 1n, status: 1 },
      {
        kind: CommandKind.copy,
        token: 2n ** 63n,
        lba: 2 ** 40 + 1,
        count: 2,
        target: 2 ** 33 + 5,
        source: 6,
        device: 3,
        sourceDevice: 4,
      },
    ]),
  );
  t.equal(command.length, 128);
  t.equal(command.readUInt32LE(4), 1);
  const second = command.subarray(64);
  t.equal(second.readUInt32LE(0), 6);
  t.equal(second.readBigUInt64LE(8), 2n ** 63n);
  t.equal(second.readBigUInt64LE(16), 2n ** 40n + 1n);
  t.equal(second.readBigUInt64LE(24), 2n);
  t.equal(second.readBigUInt64LE(32), 2n ** 33n + 5n);
  t.equal(second.readBigUInt64LE(40), 6n);
  t.equal(second.readUInt32LE(48), 3);
  t.equal(second.readUInt32LE(52), 4);
  const index = Buffer.from(
    encodeIndexRecords([{ lba: 2 ** 35, count: 2, target: 2 ** 36 + 3, device: 4, flags: 3 }]),
  );
  t.equal(index.length, 32);
  t.equal(index.readBigUInt64LE(0), 2n ** 35n);
  t.equal(index.readBigUInt64LE(8), 2n);
  t.equal(index.readBigUInt64LE(16), 2n ** 36n + 3n);
  t.equal(index.readUInt32LE(24), 4);
  t.equal(index.readUInt32LE(28), 3);
});

t.test('notices an addon made from other sources', async (t) => {
  checkAbi({ ...ABI, more: 1 });
  t.throws(() => checkAbi({ ...ABI, version: 2 }), { code: 'NATIVE' });
  t.throws(() => checkAbi({ ...ABI, 'EventRecord.token': 12 }), /EventRecord\.token is 12 there/);
  try {
    checkAbi({});
    t.fail('an empty report passed');
  } catch (e) {
    t.ok(isRemapError(e, 'NATIVE'));
  }
});

t.test('abi.h names the same fields in the same order', async (t) => {
  const header = readFileSync('native/abi.h', 'utf8');
  for (const record of ['EventRecord', 'CommandRecord', 'IndexRecord', 'QueueCounters']) {
    const body = header.match(new RegExp(`struct ${record} \\{([^}]*)\\}`))?.[1] ?? '';
    const fields = [...body.matchAll(/^\s*\w+ (\w+)(?:\[\w+\])?;/gm)].map((m) => m[1]);
    const known = Object.keys(ABI).filter((name) => name.startsWith(`${record}.`));
    const mine = known.map((name) => name.slice(record.length + 1));
    t.same(
      fields.filter((f) => f !== 'reserved'),
      mine,
      record,
    );
  }
});

t.test('no two kinds share a number', async (t) => {
  for (const kinds of [EventKind, CommandKind]) {
    const numbers = Object.values(kinds);
    t.equal(new Set(numbers).size, numbers.length);
  }
});
