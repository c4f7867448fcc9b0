/** One disk seen through every shape of request: status, used length and data are the contract. */
import { readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { Daemon, type VolumeFiles, volumeFiles } from '../fixtures/daemon.js';
import {
  type BlockRequest,
  FEATURE,
  FEATURES_ALL,
  FrontEnd,
  type FrontEndOptions,
  PROTOCOL,
  PROTOCOL_ALL,
  SECTOR,
  STATUS,
  TYPE,
} from '../fixtures/front-end.js';
import { Prng } from '../fixtures/prng.js';

const MAIN_BYTES = 8 << 20;
const CAPACITY = MAIN_BYTES / SECTOR;
const prng = new Prng(1);

function files(t: Test): VolumeFiles {
  const f = volumeFiles(t, { mainBytes: MAIN_BYTES });
  writeFileSync(f.main, prng.bytes(MAIN_BYTES));
  return f;
}

async function attach(
  t: Test,
  f: VolumeFiles,
  options: Omit<FrontEndOptions, 'socketPath'> = {},
): Promise<FrontEnd> {
  const fe = await FrontEnd.attach({ socketPath: f.socket, ...options });
  t.teardown(() => fe.close());
  return fe;
}

t.test('negotiation and config space', async (t) => {
  const f = files(t);
  const daemon = await Daemon.serve(t, f, '--serial=SN-0123456789', '--num-queues=3');
  const fe = await attach(t, f, { queues: 3 });
  const state = fe.state();
  const wanted =
    FEATURE.SEG_MAX |
    FEATURE.BLK_SIZE |
    FEATURE.FLUSH |
    FEATURE.MQ |
    FEATURE.INDIRECT |
    FEATURE.EVENT_IDX |
    FEATURE.PROTOCOL |
    FEATURE.VERSION_1;
  t.equal(state.features & wanted, wanted);
  t.equal(state.features & FEATURE.RO, 0n);
  const wantedProtocol =
    PROTOCOL.MQ | PROTOCOL.REPLY_ACK | PROTOCOL.CONFIG | PROTOCOL.INFLIGHT | PROTOCOL.MEM_SLOTS;
  t.equal(state.protocolFeatures & wantedProtocol, wantedProtocol);
  t.equal(state.queuesOffered, 3);
  t.ok(state.memorySlots >= 32);

  const config = await fe.readConfig(0, 60);
  t.equal(config.readBigUInt64LE(0), BigInt(CAPACITY));
  t.equal(config.readUInt32LE(12), 126, 'seg_max');
  t.equal(config.readUInt32LE(20), 512, 'blk_size');
  t.equal(config.readUInt16LE(34), 3, 'num_queues');
  for (const [offset, size] of [
    [0, 36],
    [0, 48],
    [0, 57],
    [8, 4],
    [20, 4],
    [34, 2],
  ] as const) {
    const part = await fe.readConfig(offset, size);
    t.ok(part.equals(config.subarray(offset, offset + size)), `config ${offset}+${size}`);
  }
  t.ok((await fe.readConfig(100, 50)).equals(Buffer.alloc(50)), 'zero beyond the structure');

  const status = await daemon.statusWhen((s) => s.client.queues === 3);
  t.match(status, {
    state: 'healthy',
    sizeSectors: CAPACITY,
    logicalBlockSize: 512,
    client: { connected: true, queues: 3, maxQueues: 3, requests: [0, 0, 0], writeThrough: false },
  });
  fe.close();
  t.equal(await daemon.stop(), 0);
});

t.test('status shows what each queue took, and that nobody will flush', async (t) => {
  const f = files(t);
  const daemon = await Daemon.serve(t, f, '--num-queues=2');
  const features = FEATURES_ALL & ~FEATURE.FLUSH & ~FEATURE.CONFIG_WCE;
  const fe = await attach(t, f, { queues: 2, features });
  for (const queue of [0, 1, 1]) await fe.request({ type: TYPE.IN, length: SECTOR, queue });
  await fe.request({ type: TYPE.OUT, data: prng.bytes(SECTOR), queue: 1 });
  t.match((await daemon.status()).client, { requests: [1, 3], writeThrough: true });
  fe.close();
  const left = await daemon.statusWhen((s) => !s.client.connected);
  t.match(left.client, { requests: [1, 3], writeThrough: false });
  t.equal(await daemon.stop(), 0);
});

interface Row {
  readonly name: string;
  readonly request: BlockRequest;
  readonly status: number;
  readonly usedLength: number;
}

const ok = (name: string, request: BlockRequest): Row => ({
  name,
  request,
  status: STATUS.OK,
  usedLength: request.type === TYPE.IN ? (request.length ?? 0) + 1 : 1,
});
const failing = (name: string, request: BlockRequest, status: number = STATUS.IOERR): Row => ({
  name,
  request,
  status,
  usedLength: 1,
});
const read = (sector: number | bigint, length: number, more: object = {}): BlockRequest => ({
  type: TYPE.IN,
  sector,
  length,
  ...more,
});
const write = (sector: number | bigint, length: number, more: object = {}): BlockRequest => ({
  type: TYPE.OUT,
  sector,
  data: prng.bytes(length),
  ...more,
});

const ROWS: Row[] = [
  ok('read of one sector', read(0, 512)),
  ok('read of the last sector', read(CAPACITY - 1, 512)),
  ok('read of 1 MiB', read(5, 1 << 20)),
  ok('write of one sector', write(3, 512)),
  ok('write of the last sectors', write(CAPACITY - 8, 4096)),
  ok('write of 1 MiB', write(77, 1 << 20)),
  ok('flush', { type: TYPE.FLUSH }),
  ok('flush with a sector nobody looks at', { type: TYPE.FLUSH, sector: 2n ** 64n - 1n }),
  failing('read beyond the end', read(CAPACITY, 512)),
  failing('read across the end', read(CAPACITY - 1, 1024)),
  failing('read far beyond the end', read(2n ** 63n / 512n, 512)),
  failing('read that wraps around', read(2n ** 64n - 1n, 1024)),
  failing('write beyond the end', write(CAPACITY, 512)),
  failing('write across the end', write(CAPACITY - 7, 4096)),
  failing('write that wraps around', write(2n ** 64n - 1n, 1024)),
  failing('read of no sector', read(0, 0)),
  failing('write of no sector', write(0, 0)),
  failing('read of part of a sector', read(0, 100)),
  failing('read of a sector and a bit', read(0, 513)),
  failing('write of part of a sector', write(0, 511)),
  failing('SCSI command', { type: 2, length: 512 }, STATUS.UNSUPP),
  failing('lifetime', { type: 10, length: 512 }, STATUS.UNSUPP),
  failing('secure erase', { type: 14, data: Buffer.alloc(16) }, STATUS.UNSUPP),
  failing('type nobody knows', { type: 0x1234, length: 16 }, STATUS.UNSUPP),
];

t.test('status and used length of every request, data as in a model', async (t) => {
  const f = files(t);
  const model = readFileSync(f.main);
  const daemon = await Daemon.serve(t, f);
  for (const features of [FEATURES_ALL, FEATURES_ALL & ~(FEATURE.INDIRECT | FEATURE.EVENT_IDX)]) {
    const fe = await attach(t, f, { features });
    for (const { name, request, status, usedLength } of ROWS) {
      const answer = await fe.request(request);
      t.strictSame(
        { status: answer.status, usedLength: answer.usedLength },
        { status, usedLength },
        name,
      );
      if (status !== STATUS.OK) continue;
      const at = Number(request.sector ?? 0) * SECTOR;
      if (request.type === TYPE.OUT && request.data) model.set(request.data, at);
      if (request.type === TYPE.IN) {
        t.ok(answer.data.equals(model.subarray(at, at + answer.data.length)), `${name}: data`);
      }
    }
    t.strictSame(fe.state().violations, []);
    fe.close();
  }
  t.equal((await daemon.status()).io.errors > 0, true);
  t.equal(await daemon.stop(), 0);
  t.ok(readFileSync(f.main).equals(model), 'the file is the model');
});

t.test('GET_ID: the serial, a NUL only where there is room', async (t) => {
  for (const serial of ['short', '12345678901234567890']) {
    const f = files(t);
    const daemon = await Daemon.serve(t, f, `--serial=${serial}`);
    const fe = await attach(t, f);
    for (const length of [20, 4, 64]) {
      const answer = await fe.request({ type: TYPE.GET_ID, length });
      t.equal(answer.status, STATUS.OK);
      const expected = Buffer.alloc(20);
      expected.write(serial, 'ascii');
      const filled = Math.min(length, 20);
      t.ok(answer.data.subarray(0, filled).equals(expected.subarray(0, filled)), `${length} bytes`);
    }
    fe.close();
    await daemon.stop();
  }
});

/** Ways to cut `total` bytes: not at all, at each of `points`, and at all of them. */
function cuts(total: number, points: readonly number[]): number[][] {
  const single = points.map((p) => [p, total - p]);
  const edges = [0, ...points, total];
  return [[total], ...single, edges.slice(1).map((edge, i) => edge - (edges[i] ?? 0))];
}

t.test('header, data and status cut anywhere (VIRTIO_F_ANY_LAYOUT)', async (t) => {
  const f = files(t);
  const model = readFileSync(f.main);
  const daemon = await Daemon.serve(t, f);
  const fe = await attach(t, f);
  const bytes = 3 * SECTOR;
  let sector = 100;
  for (const misalign of [0, 1, 3]) {
    for (const indirect of [true, false]) {
      const common = { misalign, indirect };
      for (const readableCuts of cuts(16 + bytes, [1, 8, 15, 16, 17, 16 + 512, 16 + 700])) {
        const data = prng.bytes(bytes);
        const answer = await fe.request({
          type: TYPE.OUT,
          sector,
          data,
          readableCuts,
          ...common,
        });
        t.equal(answer.status, STATUS.OK, `OUT ${readableCuts}`);
        t.equal(answer.usedLength, 1);
        model.set(data, sector * SECTOR);
        sector += 3;
      }
      for (const writableCuts of cuts(bytes + 1, [1, 511, 512, 513, 1000, bytes])) {
        const answer = await fe.request({
          type: TYPE.IN,
          sector: sector - 9,
          length: bytes,
          writableCuts,
          readableCuts: [7, 9],
          ...common,
        });
        t.equal(answer.status, STATUS.OK, `IN ${writableCuts}`);
        t.equal(answer.usedLength, bytes + 1);
        const at = (sector - 9) * SECTOR;
        t.ok(answer.data.equals(model.subarray(at, at + bytes)));
      }
    }
  }
  await daemon.stop();
  t.ok(readFileSync(f.main).equals(model));
});

t.test('up to 1024 segments, direct and indirect', async (t) => {
  const f = files(t);
  await Daemon.serve(t, f);
  const fe = await attach(t, f, { queueSize: 1024 });
  // 1022 descriptors of data, one each for header and status; lengths that suit no alignment.
  const bytes = 1022 * SECTOR;
  const even = Array.from({ length: 1022 }, () => SECTOR);
  const odd = even.map((n, i) => (i % 2 === 0 ? n - 5 : n + 5));
  for (const indirect of [true, false]) {
    for (const lengths of [even, odd]) {
      const data = prng.bytes(bytes);
      const out = await fe.request({
        type: TYPE.OUT,
        sector: 8,
        data,
        readableCuts: [16, ...lengths],
        indirect,
      });
      t.strictSame([out.status, out.usedLength], [STATUS.OK, 1]);
      const back = await fe.request({
        type: TYPE.IN,
        sector: 8,
        length: bytes,
        writableCuts: [...lengths, 1],
        indirect,
      });
      t.strictSame([back.status, back.usedLength], [STATUS.OK, bytes + 1]);
      t.ok(back.data.equals(data));
    }
  }
});

t.test('several regions, buffers across two of them, with and without memory slots', async (t) => {
  const f = files(t);
  await Daemon.serve(t, f);
  const half = 4 << 20;
  const far = 8 * 2 ** 30;
  const regions = [
    { guestAddress: 0, size: half },
    { guestAddress: half, size: half },
    { guestAddress: far, size: half },
  ];
  for (const protocolFeatures of [PROTOCOL_ALL, PROTOCOL_ALL & ~PROTOCOL.MEM_SLOTS]) {
    const fe = await attach(t, f, { regions, protocolFeatures });
    for (const before of [512, 100, 4096]) {
      const dataAddress = half - before;
      fe.allocateAt(dataAddress, 16384);
      const data = prng.bytes(16384);
      const out = await fe.request({ type: TYPE.OUT, sector: 40, data, dataAddress });
      t.equal(out.status, STATUS.OK);
      fe.writeMemory(dataAddress, Buffer.alloc(16384));
      const back = await fe.request({ type: TYPE.IN, sector: 40, length: 16384, dataAddress });
      t.equal(back.status, STATUS.OK);
      t.ok(back.data.equals(data), `${before} bytes before the border`);
      fe.release(dataAddress);
    }
    fe.allocateAt(far + 512, 4096);
    const back = await fe.request({
      type: TYPE.IN,
      sector: 40,
      length: 4096,
      dataAddress: far + 512,
    });
    t.equal(back.status, STATUS.OK);
    fe.close();
  }
});

t.test('memory added and taken away while the rings run', async (t) => {
  const f = files(t);
  await Daemon.serve(t, f);
  const fe = await attach(t, f);
  const load = fe.run({ seconds: 60, depth: 8, readPercent: 50, firstSector: 4096 });
  for (let i = 0; i < 5; i++) {
    const at = 2 ** 30 * (i + 1);
    await fe.addRegion(at, 1 << 20);
    fe.allocateAt(at, 8192);
    const data = prng.bytes(8192);
    const out = await fe.request({ type: TYPE.OUT, sector: 9, data, dataAddress: at });
    t.equal(out.status, STATUS.OK);
    fe.release(at);
    await fe.removeRegion(at);
  }
  fe.finishLoads();
  t.match(await load, { errors: 0 });
});

t.test('read-only: writes refused, nothing changed', async (t) => {
  const f = files(t);
  const before = readFileSync(f.main);
  const daemon = await Daemon.start(t, [
    `--socket-path=${f.socket}`,
    `--blk-file=${f.main}`,
    '--read-only',
  ]);
  const fe = await attach(t, f);
  t.equal(fe.state().features & FEATURE.RO, FEATURE.RO);
  const out = await fe.request({ type: TYPE.OUT, sector: 0, data: Buffer.alloc(512) });
  t.strictSame([out.status, out.usedLength], [STATUS.IOERR, 1]);
  t.ok((await fe.read(0, 8)).equals(before.subarray(0, 4096)));
  await fe.flush();
  fe.close();
  t.equal(await daemon.stop(), 0);
  t.ok(readFileSync(f.main).equals(before));
});

t.test('four queues at once, each its own part of the disk', async (t) => {
  const f = files(t);
  const daemon = await Daemon.serve(t, f, '--num-queues=4');
  const fe = await attach(t, f, { queues: 4 });
  const quarter = CAPACITY / 4;
  const results = await Promise.all(
    [0, 1, 2, 3].map((queue) =>
      fe.run({
        queues: [queue],
        firstSector: queue * quarter,
        sectorCount: quarter,
        count: 3000,
        readPercent: 50,
        verify: true,
        blockBytes: 512,
        blockBytesMax: 16384,
        segmentBytes: 4096,
        depth: 16,
        flushEvery: 50,
        seed: queue + 1,
      }),
    ),
  );
  for (const result of results) t.match(result, { errors: 0, mismatchedSectors: 0 });
  t.match(await fe.verifyAll(), { errors: 0, mismatchedSectors: 0 });
  t.strictSame(fe.state().violations, []);
  const { io } = await daemon.status();
  const sum = (pick: (r: (typeof results)[number]) => number) =>
    results.reduce((n, r) => n + pick(r), 0);
  t.equal(
    io.writes,
    sum((r) => r.writes),
  );
  t.equal(
    io.flushes,
    sum((r) => r.flushes),
  );
});

t.test('blocks of 4096 bytes: only whole blocks', async (t) => {
  const f = files(t);
  await Daemon.serve(t, f, '--logical-block-size=4096');
  const fe = await attach(t, f);
  t.equal((await fe.readConfig(20, 4)).readUInt32LE(0), 4096);
  for (const [request, status] of [
    [read(8, 4096), STATUS.OK],
    [write(16, 8192), STATUS.OK],
    [read(8, 512), STATUS.IOERR],
    [read(4, 4096), STATUS.IOERR],
    [write(8, 4096 + 512), STATUS.IOERR],
    [write(9, 4096), STATUS.IOERR],
  ] as const) {
    t.equal((await fe.request(request)).status, status, `${request.type} at ${request.sector}`);
  }
});

t.test('without a spare: plain pass-through', async (t) => {
  const f = files(t);
  const daemon = await Daemon.start(t, [
    `--socket-path=${f.socket}`,
    `--blk-file=${f.main}`,
    `--control-socket=${f.control}`,
  ]);
  const fe = await attach(t, f);
  const data = prng.bytes(4096);
  await fe.write(24, data);
  t.ok((await fe.read(24, 8)).equals(data));
  t.match(await daemon.status(), { uuid: null, spares: [], state: 'healthy' });
});

t.test('chains that cannot be answered come back with used length 0', async (t) => {
  const f = files(t);
  const daemon = await Daemon.serve(t, f);
  const fe = await attach(t, f);
  const none = Buffer.alloc(0);
  for (const [name, readable, writable] of [
    ['no header', none, 513],
    ['half a header', Buffer.alloc(8), 513],
    ['no status', Buffer.alloc(16), 0],
  ] as const) {
    t.equal((await fe.chain({ readable, writable })).usedLength, 0, name);
  }
  await fe.read(0, 1);
  t.equal((await daemon.status()).io.malformed, 3);
});
