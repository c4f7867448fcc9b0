import type { Clock } from '../core/clock.js';
import { isRemapError, sentence } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import type { MetadataStore } from '../metadata/store.js';
import type { Journal } from './journal.js';

export interface MetadataScrubParts {
  readonly store: Pick<MetadataStore, 'zoneCount' | 'scrubZone'>;
  readonly journal: Pick<Journal, 'exclusive' | 'failure' | 'fail'>;
  readonly clock: Pick<Clock, 'after'>;
  readonly logger: Logger;
  /** From the end of one scrub to the start of the next. */
  readonly everySeconds: number;
}

/**
 * Reads every copy of the metadata now and then while the volume serves, and writes again what is
 * not right: one copy at a time, each in turn with the commits, so that none of them waits longer
 * than one copy takes.
 */
export class MetadataScrub {
  readonly #parts: MetadataScrubParts;
  #cancel: () => void = () => {};
  #running: Promise<void> | undefined;
  #stopping = false;

  constructor(parts: MetadataScrubParts) {
    this.#parts = parts;
  }

  /** Nothing happens when the interval is 0. */
  start(): void {
    const { everySeconds, clock } = this.#parts;
    if (everySeconds === 0 || this.#stopping) return;
    this.#cancel = clock.after(everySeconds * 1000, () => {
      this.#running = this.run().finally(() => this.start());
    });
  }

  /** One scrub of all copies; never throws. */
  async run(): Promise<void> {
    const { store, journal, logger } = this.#parts;
    let bad = 0;
    let repaired = 0;
    for (let zone = 0; zone < store.zoneCount; zone++) {
      if (this.#stopping || journal.failure !== undefined) return;
      try {
        const { findings } = await journal.exclusive(() => store.scrubZone(zone));
        bad += findings.length;
        repaired += findings.filter((finding) => finding.repaired).length;
      } catch (err) {
        // Somebody else writes to the spare: what is committed from now on would be lost.
        if (isRemapError(err, 'META_FORK')) journal.fail(sentence(err));
        logger.error({ err }, `the metadata could not be checked: ${sentence(err)}`);
        return;
      }
    }
    const detail = { copies: store.zoneCount, bad, repaired };
    if (bad > repaired) logger.error(detail, 'metadata copies are bad and could not be repaired');
    else if (bad > 0) logger.warn(detail, 'metadata copies were bad and are repaired');
    else logger.debug(detail, 'metadata checked');
  }

  /** Ends a scrub under way after its present copy. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#cancel();
    await this.#running;
  }
}
