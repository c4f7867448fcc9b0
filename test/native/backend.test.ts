import t, { type Test } from 'tap';
import { isRemapError } from '../../src/core/errors.js';
import {
  BlkStatus,
  COMMAND_SIZE,
  COUNTERS_SIZE,
  CommandKind,
  EVENT_SIZE,
  EventKind,
  INDEX_RECORD_SIZE,
  Operation,
} from '../../src/native/abi.js';
import { Backend, type BackendHandlers, type ParkedRequest } from '../../src/native/backend.js';
import type { NativeBackend } from '../../src/native/binding.js';

interface Raw {
  kind: number;
  queue?: number;
  token?: bigint;
  lba?: number;
  count?: number;
  error?: number;
  operation?: number;
  flags?: number;
  device?: number;
}

function encode(event: Raw): Buffer {
  const b = Buffer.alloc(EVENT_SIZE);
  b.writeUInt32LE(event.kind, 0);
  b.writeUInt32LE(event.queue ?? 0, 4);
  b.writeBigUInt64LE(event.token ?? 0n, 8);
  b.writeBigUInt64LE(BigInt(event.lba ?? 0), 16);
  b.writeBigUInt64LE(BigInt(event.count ?? 0), 24);
  b.writeInt32LE(event.error ?? 0, 32);
  b.writeUInt32LE(event.operation ?? 0, 36);
  b.writeUInt32LE(event.flags ?? 0, 40);
  b.writeUInt32LE(event.device ?? 0, 44);
  return b;
}

/** Native as this side sees it: what was handed down, and a queue of events to hand up. */
class FakeNative implements NativeBackend {
  readonly counters = new ArrayBuffer(2 * COUNTERS_SIZE);
  readonly engine = 'fake';
  readonly workers = 1;
  readonly flushFailed = false;
  readonly writeThrough = false;
  readonly submitted: Buffer[] = [];
  readonly published: number[] = [];
  readonly waiting: Buffer[] = [];
  refusePublish = false;
  listenCode: string | undefined;
  stops = 0;
  destroyed = false;
  onEvents: () => void = () => {};

  listen(): void {
    if (this.listenCode !== undefined) {
      throw Object.assign(new Error(this.listenCode), { code: this.listenCode });
    }
  }
  stop(): void {
    this.stops++;
  }
  submit(records: Uint8Array): void {
    this.submitted.push(Buffer.from(records));
  }
  publish(records: Uint8Array): void {
    if (this.refusePublish) throw Object.assign(new Error('range'), { code: 'ERANGE' });
    this.published.push(records.length / INDEX_RECORD_SIZE);
  }
  setCapacity(sectors: number): void {
    if (sectors > 1000) throw Object.assign(new Error('range'), { code: 'ERANGE' });
  }
  drain(into: Uint8Array): number {
    const some = this.waiting.splice(0, Math.floor(into.length / EVENT_SIZE));
    for (const [i, event] of some.entries()) into.set(event, i * EVENT_SIZE);
    return some.length;
  }
  indexExtents(): number {
    return 0;
  }
  indexBytes(): number {
    return 0;
  }
  destroy(): void {
    this.destroyed = true;
  }

  say(...events: Raw[]): void {
    this.waiting.push(...events.map(encode));
    this.onEvents();
  }

  readonly answers: [bigint, boolean][] = [];

  answerClaim(claim: bigint, granted: boolean): void {
    this.answers.push([claim, granted]);
  }

  /** Kind and token of each command of call `call`. */
  commands(call: number): { kind: number; token: bigint }[] {
    const bytes = this.submitted[call] ?? Buffer.alloc(0);
    return Array.from({ length: bytes.length / COMMAND_SIZE }, (_, i) => ({
      kind: bytes.readUInt32LE(i * COMMAND_SIZE),
      token: bytes.readBigUInt64LE(i * COMMAND_SIZE + 8),
    }));
  }
}

const silent: BackendHandlers = {
  parked() {},
  client() {},
  queue() {},
  claim() {},
  recovered() {},
  deviceError() {},
  log() {},
};

function make(handlers: Partial<BackendHandlers> = {}): { native: FakeNative; backend: Backend } {
  const native = new FakeNative();
  const backend = new Backend(
    (onEvents) => {
      native.onEvents = onEvents;
      return native;
    },
    { ...silent, ...handlers },
  );
  return { native, backend };
}

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

t.test('commands of one turn go down in one call, in order', async (t) => {
  const { native, backend } = make();
  backend.complete(5n, BlkStatus.ioerr);
  backend.retry(6n);
  t.equal(native.submitted.length, 0);
  await nextTurn();
  backend.unlock(7n);
  await nextTurn();
  t.same(native.commands(0), [
    { kind: CommandKind.complete, token: 5n },
    { kind: CommandKind.retry, token: 6n },
  ]);
  t.equal(native.submitted[0]?.readUInt32LE(4), BlkStatus.ioerr);
  t.same(native.commands(1), [{ kind: CommandKind.unlock, token: 7n }]);
});

t.test('a parked request comes whole, others between its records', async (t) => {
  const parked: ParkedRequest[] = [];
  const { native } = make({ parked: (request) => parked.push(request) });
  const bad = { kind: EventKind.badExtent, operation: Operation.write, error: 5 };
  native.say(
    { ...bad, token: 1n, lba: 10, count: 1 },
    { ...bad, token: 2n, lba: 90, count: 2, flags: 1, device: 1 },
    { ...bad, token: 1n, lba: 20, count: 3 },
    { kind: EventKind.parked, token: 1n, count: 2, operation: Operation.write, queue: 3 },
  );
  t.same(parked, [
    {
      token: 1n,
      queue: 3,
      operation: Operation.write,
      bad: [
        { lba: 10, count: 1, error: 5, flags: 0, device: 0 },
        { lba: 20, count: 3, error: 5, flags: 0, device: 0 },
      ],
    },
  ]);
  native.say({ kind: EventKind.parked, token: 2n, count: 1, operation: Operation.write });
  t.equal(parked[1]?.bad.length, 1);
});

t.test('answers find the promise they belong to', async (t) => {
  const { native, backend } = make();
  const first = backend.writeSpare(9n, { lba: 100, count: 1, device: 1, target: 2064 });
  const second = backend.writeSpare(9n, { lba: 200, count: 1, device: 1, target: 2065 });
  const copy = backend.copy({ count: 1, sourceDevice: 0, source: 1, device: 1, target: 2066 });
  const lock = backend.lock(0, 8);
  await nextTurn();
  const tokens = native.commands(0).map((c) => c.token);
  t.equal(new Set(tokens.slice(2)).size, 2, 'copies and locks have tokens of their own');
  native.say(
    { kind: EventKind.spareWritten, token: 9n, lba: 200, error: 5 },
    { kind: EventKind.locked, token: tokens[3] as bigint },
    { kind: EventKind.copied, token: tokens[2] as bigint, error: 61, device: 0 },
    { kind: EventKind.spareWritten, token: 9n, lba: 100 },
  );
  t.equal(await first, 0);
  t.equal(await second, 5);
  t.same(await copy, { error: 61, device: 0 });
  t.equal(await lock, tokens[3]);
});

t.test('drains more events than one buffer holds', async (t) => {
  let seen = 0;
  const { native } = make({ recovered: () => seen++ });
  native.say(...Array.from({ length: 1300 }, () => ({ kind: EventKind.recovered })));
  t.equal(seen, 1300);
});

t.test('passes on what native says unasked', async (t) => {
  const seen: unknown[] = [];
  const { native } = make({
    client: (connected) => seen.push(['client', connected]),
    queue: (index, running) => seen.push(['queue', index, running]),
    deviceError: (e) => seen.push(['device', e.device, e.error]),
  });
  native.say(
    { kind: EventKind.client, count: 1 },
    { kind: EventKind.queue, queue: 4, count: 1 },
    { kind: EventKind.deviceError, device: 2, error: 28 },
    { kind: EventKind.queue, queue: 4, count: 0 },
    { kind: EventKind.client, count: 0 },
  );
  t.same(seen, [
    ['client', true],
    ['queue', 4, true],
    ['device', 2, 28],
    ['queue', 4, false],
    ['client', false],
  ]);
});

t.test('sums the counters of the queues', async (t) => {
  const { native, backend } = make();
  const words = new BigUint64Array(native.counters);
  words[0] = 3n;
  words[COUNTERS_SIZE / 8] = 4n;
  words[6] = 1n;
  words[COUNTERS_SIZE / 8 + 15] = 1n;
  const { total, queues } = backend.counters();
  t.equal(total.reads, 7);
  t.equal(total.errors, 1);
  t.equal(total.started, 1);
  t.same(
    queues.map((q) => q.reads),
    [3, 4],
  );
});

t.test('publishes a long list in pieces, and tells when native refuses', async (t) => {
  const { native, backend } = make();
  const change = { lba: 0, count: 1, target: 0, device: 0, flags: 0 };
  backend.publish(Array.from({ length: 70_000 }, () => change));
  t.same(native.published, [65_536, 4464]);
  backend.publish([]);
  t.equal(native.published.length, 2);
  native.refusePublish = true;
  t.throws(() => backend.publish([change]), { code: 'NATIVE' });
  backend.setCapacity(1000);
  t.throws(() => backend.setCapacity(1001), { code: 'RANGE', context: { need: 1001 } });
});

t.test('stops once, keeps the last counters, and takes nothing more', async (t) => {
  const { native, backend } = make();
  backend.listen('/run/x.sock');
  const stopped = backend.stop();
  backend.complete(1n, BlkStatus.ok);
  await nextTurn();
  t.equal(native.submitted.length, 1, 'parked requests are still answered');
  t.equal(native.destroyed, false);
  new BigUint64Array(native.counters)[0] = 11n;
  native.say({ kind: EventKind.stopped });
  await Promise.all([stopped, backend.stop()]);
  t.equal(native.stops, 1);
  t.equal(native.destroyed, true);
  t.equal(backend.counters().total.reads, 11);
  t.throws(() => backend.complete(2n, 0), { code: 'NATIVE' });
});

t.test('a connected front-end that leaves ends it', async (t) => {
  const { native, backend } = make();
  backend.listen('fd 3');
  native.say({ kind: EventKind.stopped });
  await backend.ended;
  await backend.stop();
  t.equal(native.stops, 0, 'there is nothing left to stop');
  t.equal(native.destroyed, true);
});

t.test('one that never listened has nothing to drain', async (t) => {
  const { native, backend } = make();
  await backend.stop();
  t.equal(native.stops, 0);
  t.equal(native.destroyed, true);
});

t.test('says why it cannot listen', async (t) => {
  t.equal(listenCode(t, 'EADDRINUSE'), 'SOCKET_BUSY');
  t.equal(listenCode(t, 'EACCES'), 'SOCKET_PATH');
});

function listenCode(t: Test, code: string): string | undefined {
  const { native, backend } = make();
  native.listenCode = code;
  try {
    backend.listen('/run/x.sock');
  } catch (e) {
    t.ok(isRemapError(e) && e.message.includes('/run/x.sock'));
    return isRemapError(e) ? e.code : undefined;
  }
  return undefined;
}
