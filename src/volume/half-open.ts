import type { Clock } from '../core/clock.js';
import { STORM_RETRY_FIRST_MS, STORM_RETRY_LAST_MS } from '../core/limits.js';

/** Looks again and again whether something works, each time after twice the wait. */
export class HalfOpen {
  readonly #clock: Pick<Clock, 'after'>;
  /** Says whether it does; must not throw. */
  readonly #look: () => Promise<boolean>;
  #cancel: () => void = () => {};
  #running: Promise<void> | undefined;
  #watching = false;

  constructor(clock: Pick<Clock, 'after'>, look: () => Promise<boolean>) {
    this.#clock = clock;
    this.#look = look;
  }

  /** Nothing happens when it looks already. */
  start(): void {
    if (this.#watching) return;
    this.#watching = true;
    this.#schedule(STORM_RETRY_FIRST_MS);
  }

  /** Ends when no look is under way any more. */
  async stop(): Promise<void> {
    this.#watching = false;
    this.#cancel();
    await this.#running;
  }

  #schedule(waitMs: number): void {
    this.#cancel = this.#clock.after(waitMs, () => {
      this.#running = this.#look().then((works) => {
        this.#running = undefined;
        if (works) this.#watching = false;
        else if (this.#watching) this.#schedule(Math.min(2 * waitMs, STORM_RETRY_LAST_MS));
      });
    });
  }
}
