import type { Clock } from '../core/clock.js';
import type { SpareRun } from '../remap/spare-pool.js';

export interface QuarantineParts {
  /** Requests taken and not yet answered, by queue. */
  readonly inFlight: () => readonly number[];
  readonly release: (run: SpareRun) => void;
  readonly clock: Clock;
}

interface Held {
  readonly runs: readonly SpareRun[];
  /** Queues that have not been seen idle since. */
  readonly busy: Set<number>;
}

const LOOK_EVERY_MS = 20;

/**
 * Spare blocks that the index names no more. A read that began before may still be under way to
 * them, and would return another block's data once they are used again; so they are kept until
 * every queue has been seen without a request. On a queue that is never idle they stay until the
 * next start.
 */
export class Quarantine {
  readonly #parts: QuarantineParts;
  #held: Held[] = [];
  #watching: Promise<void> | undefined;
  #stopped = false;

  constructor(parts: QuarantineParts) {
    this.#parts = parts;
  }

  add(runs: readonly SpareRun[]): void {
    const queues = this.#parts.inFlight().keys();
    this.#held.push({ runs, busy: new Set(queues) });
    this.#watching ??= this.#watch().finally(() => {
      this.#watching = undefined;
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#watching;
  }

  async #watch(): Promise<void> {
    while (this.#held.length > 0 && !this.#stopped) {
      // First the wait: the counters are written without a barrier.
      await this.#parts.clock.sleepMs(LOOK_EVERY_MS);
      const counts = this.#parts.inFlight();
      for (const { busy } of this.#held) {
        for (const [queue, count] of counts.entries()) if (count === 0) busy.delete(queue);
      }
      const free = this.#held.filter(({ busy }) => busy.size === 0);
      this.#held = this.#held.filter(({ busy }) => busy.size > 0);
      for (const run of free.flatMap(({ runs }) => runs)) this.#parts.release(run);
    }
  }
}
