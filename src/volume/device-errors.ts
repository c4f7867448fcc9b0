import type { Clock } from '../core/clock.js';
import type { Logger } from '../core/log.js';
import type { BackendEvent } from '../native/abi.js';
import { Operation } from '../native/abi.js';
import { classifyErrno, errnoName } from './io-error.js';
import { LogLimiter } from './log-limiter.js';

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
  readonly #limiter: LogLimiter;
  readonly #gone = new Map<number, string>();

  /** `paths`: main, then the spares. */
  constructor(paths: readonly string[], { logger, clock }: { logger: Logger; clock: Clock }) {
    this.#paths = paths;
    this.#logger = logger;
    this.#limiter = new LogLimiter(clock);
  }

  /** Why device `index` does not answer any more, a clause; undefined while it does. */
  failureOf(index: number): string | undefined {
    return this.#gone.get(index);
  }

  /** Device `index` answers again. */
  returned(index: number): void {
    if (!this.#gone.delete(index)) return;
    this.#logger.warn({ device: this.#paths[index] }, 'the device is there again');
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
    const { lba, count } = event;
    const device = this.#paths[event.device];
    const advice = ADVICE[errno] ?? 'no bad block, so nothing is remapped; look at the device';
    this.#limiter.line(`${event.device} ${errno} ${operation}`, (more) => {
      const fields = { device, errno, operation, lba, count, more };
      this.#logger.error(fields, `I/O failed: ${advice}`);
    });
  }
}
