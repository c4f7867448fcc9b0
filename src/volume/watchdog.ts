import type { Clock } from '../core/clock.js';
import { HUNG_IO_LOOKS } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { Operation } from '../native/abi.js';
import type { Backend, HungRequests } from '../native/backend.js';

const OPERATIONS = Object.fromEntries(Object.entries(Operation).map(([k, v]) => [v, k]));

export interface WatchdogParts {
  readonly backend: Pick<Backend, 'watch' | 'counters'>;
  /** Main, then the spares. */
  readonly paths: readonly string[];
  /** 0 for no watchdog. */
  readonly hungIoSeconds: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The oldest request that does not return. */
export interface HungIo {
  readonly device: string;
  readonly operation: string;
  /** Sector of the volume. */
  readonly lba: number;
  readonly ageSeconds: number;
  /** How many do not return. */
  readonly requests: number;
}

/** Raises an alarm while an I/O does not return; nothing is done to it, as nothing can be. */
export class Watchdog {
  readonly #parts: WatchdogParts;
  #cancel: () => void = () => {};
  #stopped = false;
  /** When the question was put that has no answer yet. */
  #askedAtMs: number | undefined;
  #hung: HungIo | undefined;

  constructor(parts: WatchdogParts) {
    this.#parts = parts;
  }

  get hung(): HungIo | undefined {
    return this.#hung;
  }

  start(): void {
    const { hungIoSeconds, clock } = this.#parts;
    if (hungIoSeconds === 0 || this.#stopped) return;
    this.#cancel = clock.after((hungIoSeconds * 1000) / HUNG_IO_LOOKS, () => {
      this.#look();
      this.start();
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#cancel();
  }

  #look(): void {
    const { backend, clock, hungIoSeconds } = this.#parts;
    if (this.#askedAtMs !== undefined) {
      // The thread that serves the queue is stuck in the kernel itself.
      const ageSeconds = Math.floor((clock.monotonicMs() - this.#askedAtMs) / 1000);
      if (ageSeconds >= hungIoSeconds) {
        this.#set({ device: '', operation: 'I/O', lba: 0, ageSeconds, requests: 1 });
      }
      return;
    }
    if (backend.counters().total.inFlight === 0) {
      this.#set(undefined);
      return;
    }
    this.#askedAtMs = clock.monotonicMs();
    void backend.watch(hungIoSeconds * 1000).then((hung) => {
      this.#askedAtMs = undefined;
      if (!this.#stopped) this.#set(this.#named(hung));
    });
  }

  #named({ count: requests, oldest }: HungRequests): HungIo | undefined {
    if (oldest === undefined) return undefined;
    const { device, operation, lba, error: ageMs } = oldest;
    return {
      device: this.#parts.paths[device] ?? '',
      operation: OPERATIONS[operation] ?? 'I/O',
      lba,
      ageSeconds: Math.floor(ageMs / 1000),
      requests,
    };
  }

  #set(hung: HungIo | undefined): void {
    const { logger } = this.#parts;
    if (hung !== undefined && this.#hung === undefined) {
      logger.error({ ...hung }, 'IO_HUNG: an I/O does not return; look at the device');
    }
    if (hung === undefined && this.#hung !== undefined) {
      logger.warn({ ...this.#hung }, 'the I/O that did not return has returned');
    }
    this.#hung = hung;
  }
}
