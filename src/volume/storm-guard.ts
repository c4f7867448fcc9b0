import type { Clock } from '../core/clock.js';
import type { Logger } from '../core/log.js';
import { Breaker } from '../health/breaker.js';
import { BadFlag, Operation } from '../native/abi.js';
import type { ParkedRequest } from '../native/backend.js';
import type { Arrival } from './batch.js';
import { HalfOpen } from './half-open.js';
import type { Journal } from './journal.js';
import { type PathProbe, type ProbeFinding, pathIsDead } from './path-probe.js';

export interface StormGuardParts {
  readonly journal: Pick<Journal, 'exclusive'>;
  readonly probe: Pick<PathProbe, 'run'>;
  readonly blockSectors: number;
  /** Blocks that are believed bad on their own word. */
  readonly allowance: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What becomes of parked requests before anything is remapped for them. */
export interface Sifted {
  readonly go: readonly Arrival[];
  /** To be run again from the start: main works, so this may have been a moment's failure. */
  readonly retry: readonly ParkedRequest[];
  /** To be failed: main does not work, and nothing is learnt from it. */
  readonly fail: readonly ParkedRequest[];
}

export interface Storm {
  readonly sinceSeconds: number;
  /** A clause. */
  readonly reason: string;
}

/**
 * The breaker for error storms (design section 3): a dying cable must not eat the spare. A block
 * that fails is believed as long as the allowance lasts. After that main is probed, and what failed
 * runs again: blocks that are bad fail again and go to a spare, however many they are; a path that
 * is dead fails at the probes too, and then nothing is remapped before it works again.
 */
export class StormGuard {
  readonly #parts: StormGuardParts;
  readonly #breaker: Breaker;
  readonly #halfOpen: HalfOpen;
  #storm: Storm | undefined;
  #stopping = false;

  constructor(parts: StormGuardParts) {
    this.#parts = parts;
    this.#breaker = new Breaker(parts.allowance);
    this.#halfOpen = new HalfOpen(parts.clock, () => this.#look());
  }

  /** undefined while main is believed to work. */
  get storm(): Storm | undefined {
    return this.#storm;
  }

  get allowance(): number {
    return this.#breaker.allowance;
  }

  get left(): number {
    return this.#breaker.left(this.#parts.clock.monotonicMs());
  }

  /** Inside the journal's `exclusive` only. Never throws. */
  async sift(batch: readonly Arrival[]): Promise<Sifted> {
    if (this.#breaker.open) return this.#stopped(batch);
    const nowMs = this.#parts.clock.monotonicMs();
    const failing = new Set(batch.flatMap(({ request }) => this.#newlyFailing(request)));
    const unconfirmed = [...failing].filter((block) => !this.#breaker.confirmed(block, nowMs));
    if (this.#breaker.spend(unconfirmed.length, nowMs)) {
      this.#breaker.forget(failing);
      return { go: batch, retry: [], fail: [] };
    }
    const writes = batch.some(
      ({ request }) => isWrite(request) && this.#newlyFailing(request).length > 0,
    );
    const finding = await this.#parts.probe.run(failing, writes);
    if (pathIsDead(finding)) {
      this.#trip(finding, failing.size);
      return this.#stopped(batch);
    }
    const doubted = new Set(unconfirmed);
    this.#breaker.suspect(doubted, this.#parts.clock.monotonicMs());
    const again = ({ request }: Arrival): boolean =>
      this.#newlyFailing(request).some((block) => doubted.has(block));
    const go = batch.filter((arrival) => !again(arrival));
    this.#breaker.forget(go.flatMap(({ request }) => this.#newlyFailing(request)));
    return { go, retry: batch.filter(again).map(({ request }) => request), fail: [] };
  }

  /** Somebody says that main is all right. Returns whether the breaker was open. */
  async close(): Promise<boolean> {
    const { clock, logger } = this.#parts;
    const was = this.#breaker.open;
    this.#breaker.close();
    this.#breaker.refill(clock.monotonicMs());
    this.#storm = undefined;
    await this.#halfOpen.stop();
    if (was) logger.warn('blocks are remapped again, as asked');
    return was;
  }

  /** It still sifts, and does not look again. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#halfOpen.stop();
  }

  #stopped(batch: readonly Arrival[]): Sifted {
    const stops = ({ request }: Arrival): boolean =>
      request.bad.some(
        ({ device, flags }) =>
          device === 0 && (isWrite(request) || (flags & BadFlag.pending) === 0),
      );
    return {
      go: batch.filter((arrival) => !stops(arrival)),
      retry: [],
      fail: batch.filter(stops).map(({ request }) => request),
    };
  }

  /** First sectors of the blocks of main that failed just now, and were not known to be bad. */
  #newlyFailing({ bad }: ParkedRequest): number[] {
    const { blockSectors } = this.#parts;
    return bad
      .filter(({ device, flags }) => device === 0 && (flags & BadFlag.pending) === 0)
      .flatMap(({ lba, count }) =>
        Array.from({ length: count / blockSectors }, (_, i) => lba + i * blockSectors),
      );
  }

  #trip({ reads, writes }: ProbeFinding, blocks: number): void {
    const { clock, logger } = this.#parts;
    const reason =
      writes.tried > 0
        ? `none of ${writes.tried} places that took writes before does so now`
        : `${reads.failed} of ${reads.tried} places all over it cannot be read`;
    this.#breaker.trip();
    this.#storm = { sinceSeconds: clock.nowSeconds(), reason };
    logger.error(
      { blocks, reads, writes },
      `ERROR_STORM: no block is remapped until main works again, as ${reason}`,
    );
    if (!this.#stopping) this.#halfOpen.start();
  }

  async #look(): Promise<boolean> {
    const { journal, probe, logger } = this.#parts;
    const finding = await journal.exclusive(() => probe.run(new Set(), true));
    // It may have been closed while we looked.
    if (!this.#breaker.open) return true;
    if (pathIsDead(finding)) return false;
    this.#breaker.close();
    this.#storm = undefined;
    logger.warn(finding, 'main works again, and bad blocks are remapped again');
    return true;
  }
}

const isWrite = (request: ParkedRequest): boolean => request.operation === Operation.write;
