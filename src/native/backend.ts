import type { Clock } from '../core/clock.js';
import { RemapError } from '../core/errors.js';
import {
  type BackendCommand,
  type BackendEvent,
  COUNTER_NAMES,
  COUNTERS_SIZE,
  CommandKind,
  type CounterName,
  decodeEvent,
  EVENT_SIZE,
  EventKind,
  encodeCommands,
  encodeIndexRecords,
  type IndexChange,
  RECENT_OFFSET,
  RECENT_PLACES,
} from './abi.js';
import type { NativeBackend } from './binding.js';

/** One failing run of blocks of a parked request. */
export interface BadExtent {
  readonly lba: number;
  readonly count: number;
  /** Positive errno. */
  readonly error: number;
  /** BadFlag bits. */
  readonly flags: number;
  /** Where it failed: 0 is main, n is spare n - 1. */
  readonly device: number;
}

/** A request that native holds until `complete` or `retry` is called with its token. */
export interface ParkedRequest {
  readonly token: bigint;
  readonly queue: number;
  /** `Operation` of abi.ts. */
  readonly operation: number;
  readonly bad: readonly BadExtent[];
}

/** How a copy ended. `error` 0 is success, else an errno of `device`. */
export interface CopyResult {
  readonly error: number;
  readonly device: number;
}

export interface CopyOrder {
  readonly count: number;
  readonly sourceDevice: number;
  readonly source: number;
  readonly device: number;
  readonly target: number;
}

/** What native says unasked. Called on the main thread; must not throw. */
export interface BackendHandlers {
  parked(request: ParkedRequest): void;
  /** The front-end came or went. */
  client(connected: boolean): void;
  /** A virtqueue was started or stopped. */
  queue(index: number, running: boolean): void;
  /**
   * On shared storage: rings are to run and wait for `answerClaim`, or (without a claim) all have
   * stopped.
   */
  claim(claim: bigint | undefined): void;
  /** A pending extent was read after all. */
  recovered(event: BackendEvent): void;
  /** An I/O failed for a cause that is no medium error. */
  deviceError(event: BackendEvent): void;
  /** `level` as pino numbers it. */
  log(level: number, text: string): void;
}

/** Requests that do not return; `error` of the oldest is its age in ms. */
export interface HungRequests {
  readonly count: number;
  readonly oldest: BackendEvent | undefined;
}

/** Where a request began. */
export interface RecentPlace {
  readonly lba: number;
  readonly write: boolean;
}

export type Counters = Record<CounterName, number>;

export interface CountersSnapshot {
  readonly total: Counters;
  readonly queues: readonly Counters[];
}

const DRAIN_EVENTS = 512;
const PUBLISH_RECORDS = 65_536;

/**
 * The data plane of one volume as promises and callbacks. Commands given in one turn of the event
 * loop go down in one call.
 */
export class Backend {
  readonly #native: NativeBackend;
  readonly #handlers: BackendHandlers;
  readonly #drained = new DataView(new ArrayBuffer(DRAIN_EVENTS * EVENT_SIZE));
  #outbox: BackendCommand[] = [];
  #nextToken = 1n;
  /** Bad extents of requests whose kParked has not come yet. */
  readonly #arriving = new Map<bigint, BadExtent[]>();
  /** By request token, then by the first sector written. */
  readonly #spareWrites = new Map<bigint, Map<number, (error: number) => void>>();
  readonly #copies = new Map<bigint, (result: CopyResult) => void>();
  readonly #watches = new Map<
    bigint,
    { readonly answers: BackendEvent[]; readonly resolve: (hung: HungRequests) => void }
  >();
  readonly #locks = new Map<bigint, () => void>();
  /** The control thread runs: between a listen and kStopped. */
  #running = false;
  #resolveEnded: () => void = () => {};
  #stopping: Promise<void> | undefined;
  #flushFailed = false;
  #last: CountersSnapshot | undefined;

  /** What does the I/O, and with how many threads; for status. */
  readonly engine: string;
  readonly workers: number;
  /** Resolves when the front-end has left for good: after `stop`, or a connected socket's end. */
  readonly ended: Promise<void> = new Promise((resolve) => {
    this.#resolveEnded = resolve;
  });

  /** `create` makes the native side; it is given the callback that says events wait. */
  constructor(create: (onEvents: () => void) => NativeBackend, handlers: BackendHandlers) {
    this.#handlers = handlers;
    this.#native = create(() => this.#drain());
    this.engine = this.#native.engine;
    this.workers = this.#native.workers;
  }

  /** Starts to accept a front-end. Throws SOCKET_BUSY or SOCKET_PATH. */
  listen(socket: string): void {
    try {
      this.#native.listen();
      this.#running = true;
    } catch (cause) {
      throw listenError(socket, cause);
    }
  }

  /** Some device has failed a flush; no later flush can make up for it. */
  get flushFailed(): boolean {
    return this.#last === undefined ? this.#native.flushFailed : this.#flushFailed;
  }

  /** The front-end will ask for no flush; false once stopped. */
  get writeThrough(): boolean {
    return this.#last === undefined && this.#native.writeThrough;
  }

  /** Changes the remap index, in order; it is in force when this returns. Throws NATIVE. */
  publish(changes: Iterable<IndexChange>): void {
    let chunk: IndexChange[] = [];
    for (const change of changes) {
      if (chunk.push(change) < PUBLISH_RECORDS) continue;
      this.#publish(chunk);
      chunk = [];
    }
    if (chunk.length > 0) this.#publish(chunk);
  }

  /** The volume has become longer; the front-end is told. Throws RANGE, and nothing changed. */
  setCapacity(sectors: number): void {
    try {
      this.#native.setCapacity(sectors);
    } catch (cause) {
      throw new RemapError(
        'RANGE',
        `A running back-end has no room to grow to ${sectors} sectors; restart it to serve them.`,
        { cause, context: { need: sectors } },
      );
    }
  }

  /**
   * Writes the data that parked request `token` has for [lba, lba + count) to `target` of
   * `device`, reads it back and compares. Resolves with 0 or an errno.
   */
  writeSpare(
    token: bigint,
    run: { lba: number; count: number; device: number; target: number },
  ): Promise<number> {
    return new Promise((resolve) => {
      const writes = this.#spareWrites.get(token) ?? new Map<number, (error: number) => void>();
      this.#spareWrites.set(token, writes.set(run.lba, resolve));
      this.#submit({ kind: CommandKind.writeSpare, token, ...run });
    });
  }

  /** Copies between devices, reads back and compares. */
  copy(order: CopyOrder): Promise<CopyResult> {
    const token = this.#nextToken++;
    return new Promise((resolve) => {
      this.#copies.set(token, resolve);
      this.#submit({ kind: CommandKind.copy, token, ...order });
    });
  }

  /**
   * Holds guest writes to [lba, lba + count). Resolves with the token to unlock once no write to
   * the range is in flight any more.
   */
  lock(lba: number, count: number): Promise<bigint> {
    const token = this.#nextToken++;
    return new Promise((resolve) => {
      this.#locks.set(token, () => resolve(token));
      this.#submit({ kind: CommandKind.lock, token, lba, count });
    });
  }

  /** As `lock`, given up after `ms`: undefined then, and nothing is held any more. */
  lockWithin(
    lba: number,
    count: number,
    ms: number,
    clock: Pick<Clock, 'after'>,
  ): Promise<bigint | undefined> {
    const token = this.#nextToken++;
    return new Promise((resolve) => {
      const cancel = clock.after(ms, () => {
        this.#locks.delete(token);
        this.unlock(token);
        resolve(undefined);
      });
      this.#locks.set(token, () => {
        cancel();
        resolve(token);
      });
      this.#submit({ kind: CommandKind.lock, token, lba, count });
    });
  }

  unlock(token: bigint): void {
    this.#submit({ kind: CommandKind.unlock, token });
  }

  /** Answers a parked request; `status` is a `BlkStatus`. */
  complete(token: bigint, status: number): void {
    this.#submit({ kind: CommandKind.complete, token, status });
  }

  /** Runs a parked request again from the start, through the index as it is now. */
  retry(token: bigint): void {
    this.#submit({ kind: CommandKind.retry, token });
  }

  answerClaim(claim: bigint, granted: boolean): void {
    if (this.#last === undefined) this.#native.answerClaim(claim, granted);
  }

  /** Where the last requests of each queue began that went well. */
  recentPlaces(): RecentPlace[] {
    if (this.#last !== undefined) return [];
    const words = new BigUint64Array(this.#native.counters);
    const places: RecentPlace[] = [];
    for (let at = RECENT_OFFSET / 8; at < words.length; at += COUNTERS_SIZE / 8) {
      for (const word of words.subarray(at, at + RECENT_PLACES)) {
        if (word !== 0n) places.push({ lba: Number(word >> 1n), write: (word & 1n) !== 0n });
      }
    }
    return places;
  }

  /** Requests that have not returned for `ms`. Resolves when every worker has answered. */
  watch(ms: number): Promise<HungRequests> {
    const token = this.#nextToken++;
    return new Promise((resolve) => {
      this.#watches.set(token, { answers: [], resolve });
      this.#submit({ kind: CommandKind.watch, token, count: ms });
    });
  }

  counters(): CountersSnapshot {
    return this.#last ?? this.#snapshot();
  }

  /**
   * Stops taking requests and resolves when all have been answered and the connection is closed.
   * Parked requests still have to be answered meanwhile.
   */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    if (this.#running) {
      this.#native.stop();
      await this.ended;
    }
    this.#flushFailed = this.#native.flushFailed;
    this.#last = this.#snapshot();
    this.#native.destroy();
    this.#resolveEnded();
  }

  #publish(changes: readonly IndexChange[]): void {
    try {
      this.#native.publish(encodeIndexRecords(changes));
    } catch (cause) {
      throw new RemapError(
        'NATIVE',
        'The data plane refused a change of its remap index; this is a fault of this program, ' +
          'please report it.',
        { cause },
      );
    }
  }

  #submit(command: BackendCommand): void {
    if (this.#last !== undefined) throw new RemapError('NATIVE', 'The data plane has stopped.');
    if (this.#outbox.push(command) === 1) queueMicrotask(() => this.#flush());
  }

  #flush(): void {
    const commands = this.#outbox;
    this.#outbox = [];
    if (this.#last === undefined) this.#native.submit(encodeCommands(commands));
  }

  #drain(): void {
    const into = new Uint8Array(this.#drained.buffer);
    for (;;) {
      if (this.#last !== undefined) return;
      const count = this.#native.drain(into);
      for (let i = 0; i < count; i++) this.#dispatch(decodeEvent(this.#drained, i));
      if (count < DRAIN_EVENTS) return;
    }
  }

  #dispatch(event: BackendEvent): void {
    const handlers = this.#handlers;
    switch (event.kind) {
      case EventKind.badExtent:
        this.#badExtent(event);
        break;
      case EventKind.parked:
        this.#parked(event);
        break;
      case EventKind.spareWritten:
        this.#spareWritten(event);
        break;
      case EventKind.copied:
        settle(this.#copies, event.token, { error: event.error, device: event.device });
        break;
      case EventKind.locked:
        settle(this.#locks, event.token, undefined);
        break;
      case EventKind.watched:
        this.#watched(event);
        break;
      case EventKind.client:
        handlers.client(event.count !== 0);
        break;
      case EventKind.queue:
        handlers.queue(event.queue, event.count !== 0);
        break;
      case EventKind.claim:
        handlers.claim(event.count === 0 ? undefined : event.token);
        break;
      case EventKind.recovered:
        handlers.recovered(event);
        break;
      case EventKind.deviceError:
        handlers.deviceError(event);
        break;
      case EventKind.log:
        handlers.log(event.error, event.text);
        break;
      case EventKind.stopped:
        this.#running = false;
        this.#resolveEnded();
        break;
    }
  }

  #badExtent(event: BackendEvent): void {
    const { lba, count, error, flags, device } = event;
    const bad = { lba, count, error, flags, device };
    const known = this.#arriving.get(event.token);
    if (known === undefined) this.#arriving.set(event.token, [bad]);
    else known.push(bad);
  }

  #parked(event: BackendEvent): void {
    const bad = this.#arriving.get(event.token) ?? [];
    this.#arriving.delete(event.token);
    const { token, queue, operation } = event;
    this.#handlers.parked({ token, queue, operation, bad });
  }

  #spareWritten(event: BackendEvent): void {
    const writes = this.#spareWrites.get(event.token);
    if (writes === undefined) return;
    settle(writes, event.lba, event.error);
    if (writes.size === 0) this.#spareWrites.delete(event.token);
  }

  #watched(event: BackendEvent): void {
    const watch = this.#watches.get(event.token);
    if (watch === undefined || watch.answers.push(event) < this.workers) return;
    this.#watches.delete(event.token);
    const hung = watch.answers.filter(({ count }) => count > 0);
    const [oldest] = hung.sort((a, b) => b.error - a.error);
    watch.resolve({ count: hung.reduce((sum, { count }) => sum + count, 0), oldest });
  }

  #snapshot(): CountersSnapshot {
    const words = new BigUint64Array(this.#native.counters);
    const perQueue = COUNTERS_SIZE / 8;
    const total = zeroCounters();
    const queues: Counters[] = [];
    for (let at = 0; at < words.length; at += perQueue) {
      const one = zeroCounters();
      COUNTER_NAMES.forEach((name, i) => {
        one[name] = Number(words[at + i]);
        total[name] += one[name];
      });
      queues.push(one);
    }
    return { total, queues };
  }
}

function settle<K, V>(waiting: Map<K, (value: V) => void>, key: K, value: V): void {
  const resolve = waiting.get(key);
  waiting.delete(key);
  resolve?.(value);
}

const zeroCounters = (): Counters =>
  Object.fromEntries(COUNTER_NAMES.map((name) => [name, 0])) as Counters;

/** What to do about a socket that cannot be used, by errno. */
const SOCKET_ADVICE: Readonly<Record<string, string>> = {
  EACCES: 'you may not write to its directory; choose another path',
  ENOENT: 'its directory does not exist; make it, or choose another path',
  EEXIST: 'something else has that name; remove it, or choose another path',
  ENAMETOOLONG: 'the path is too long for a socket; choose a shorter one',
  ENOTSOCK: 'it is not a Unix stream socket; hand over one that is',
  ENOTCONN: 'it is neither listening nor connected; listen on it first',
  EBADF: 'no such file descriptor was handed over',
};

function listenError(socket: string, cause: unknown): RemapError {
  const errno = (cause as { code?: string }).code ?? 'unknown error';
  const context = { errno };
  if (errno === 'EADDRINUSE') {
    return new RemapError(
      'SOCKET_BUSY',
      `Another process listens on ${socket}; stop it or choose another path.`,
      { cause, context },
    );
  }
  const advice = SOCKET_ADVICE[errno] ?? `the system says ${errno}`;
  return new RemapError('SOCKET_PATH', `Cannot serve on ${socket}: ${advice}.`, {
    cause,
    context,
  });
}
