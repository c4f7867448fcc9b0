import type { Clock } from '../core/clock.js';

/** What goes wrong does so thousands of times a second; one line of each kind is enough. */
const EVERY_MS = 5000;

/** Lets one line of each kind through in five seconds, and counts the others. */
export class LogLimiter {
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  readonly #lines = new Map<string, { atMs: number; unsaid: number }>();

  constructor(clock: Pick<Clock, 'monotonicMs'>) {
    this.#clock = clock;
  }

  /** Runs `say` with the number of lines of this kind left out before it, or counts this one. */
  line(kind: string, say: (unsaid: number) => void): void {
    const now = this.#clock.monotonicMs();
    const last = this.#lines.get(kind);
    if (last !== undefined && now - last.atMs < EVERY_MS) {
      last.unsaid++;
      return;
    }
    this.#lines.set(kind, { atMs: now, unsaid: 0 });
    say(last?.unsaid ?? 0);
  }
}
