import type { Clock } from '../core/clock.js';
import type { Logger } from '../core/log.js';
import type { BackendEvent } from '../native/abi.js';
import { Operation } from '../native/abi.js';
import { classifyErrno, errnoName } from './io-error.js';

/** A device that fails does so thousands of times a second; one line of each kind is enough. */
const LOG_EVERY_MS = 5000;

const OPERATIONS = Object.fromEntries(Object.entries(Operation).map(([k, v]) => [v, k]));

/** What is to be done about an error that is no medium error (design section 3). */
const ADVICE: Readonly<Record<string, string>> = {
  ENOSPC: 'no space is left below this device; free some',
  EDQUOT: 'the quota below this device is used up; free some space',
};

/** Keeps account of failures that are no bad blocks, and says so in the log, not too often. */
export class DeviceErrors {
  readonly #paths: readonly string[];
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #lines = new Map<string, { atMs: number; unsaid: number }>();
  readonly #gone = new Map<number, string>();

  /** `paths`: main, then the spares. */
  constructor(paths: readonly string[], { logger, clock }: { logger: Logger; clock: Clock }) {
    this.#paths = paths;
    this.#logger = logger;
    this.#clock = clock;
  }

  /** Why device `index` does not answer any more, a clause; undefined while it does. */
  failureOf(index: number): string | undefined {
    return this.#gone.get(index);
  }

  /** Takes note; returns true when the device has gone. */
  note(event: BackendEvent): boolean {
    const errno = errnoName(event.error);
    const operation = OPERATIONS[event.operation] ?? 'I/O';
    const gone = classifyErrno(event.error) === 'gone';
    if (gone) this.#gone.set(event.device, `a ${operation} ended with ${errno}`);
    this.#log(event, errno, operation);
    return gone;
  }

  #log(event: BackendEvent, errno: string, operation: string): void {
    const key = `${event.device} ${errno} ${operation}`;
    const now = this.#clock.monotonicMs();
    const line = this.#lines.get(key);
    if (line !== undefined && now - line.atMs < LOG_EVERY_MS) {
      line.unsaid++;
      return;
    }
    this.#lines.set(key, { atMs: now, unsaid: 0 });
    const { lba, count } = event;
    const device = this.#paths[event.device];
    const more = line?.unsaid ?? 0;
    this.#logger.error(
      { device, errno, operation, lba, count, more },
      `I/O failed: ${ADVICE[errno] ?? 'no bad block, so nothing is remapped; look at the device'}`,
    );
  }
}
