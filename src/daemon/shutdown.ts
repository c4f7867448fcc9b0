import type { Logger } from '../core/log.js';

const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/**
 * Turns the first signal into `requested`; a second one ends the process at once with status 1.
 * What was acknowledged is safe either way (design section 4): only the drain is cut short.
 */
export class Shutdown {
  readonly requested: Promise<NodeJS.Signals>;
  private signalled = false;

  constructor(log: Logger) {
    this.requested = new Promise((resolve) => {
      for (const signal of SIGNALS) {
        process.on(signal, () => {
          if (this.signalled) {
            log.warn({ signal }, 'second signal, leaving at once');
            process.exit(1);
          }
          this.signalled = true;
          log.info({ signal }, 'stopping');
          resolve(signal);
        });
      }
    });
  }

  get isRequested(): boolean {
    return this.signalled;
  }
}
