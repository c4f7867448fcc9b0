import type { Clock } from '../core/clock.js';
import { isRemapError, sentence } from '../core/errors.js';
import { HAND_OVER_LATE_RETRY_MS, HAND_OVER_RETRY_MS, HAND_OVER_WAIT_MS } from '../core/limits.js';
import type { Logger } from '../core/log.js';

export interface HandOverParts {
  /** Locks the devices and loads what is on them. Throws, and holds nothing then. */
  readonly take: () => Promise<void>;
  /** Makes everything durable, then unlocks. Must not throw. */
  readonly letGo: () => Promise<void>;
  /** Lets the rings of a claim run, or says that they cannot for now. */
  readonly answer: (claim: bigint, granted: boolean) => void;
  readonly clock: Pick<Clock, 'sleepMs'>;
  readonly logger: Logger;
}

/**
 * Holds a volume on shared storage while its rings run, and at no other time, so that another
 * back-end of the same volume can have it then. What is asked for may change at any moment; what
 * is done is done in one order, and the last wish counts.
 */
export class HandOver {
  readonly #parts: HandOverParts;
  /** Of the rings that are to run; undefined when none are. */
  #claim: bigint | undefined;
  #held = false;
  #answered: bigint | undefined;
  #trouble: string | undefined;
  #late: bigint | undefined;
  #following = false;
  #done: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(parts: HandOverParts) {
    this.#parts = parts;
  }

  /** Nobody else can have the volume, and what was loaded from it is in force. */
  get held(): boolean {
    return this.#held;
  }

  /** Why rings that are to run do not, a sentence, once that has lasted; undefined otherwise. */
  get trouble(): string | undefined {
    return this.#late !== undefined && this.#late === this.#claim ? this.#trouble : undefined;
  }

  /** Rings are to run. */
  claim(claim: bigint): void {
    this.#claim = claim;
    void this.#parts.clock.sleepMs(HAND_OVER_WAIT_MS).then(() => this.#deny(claim));
    this.#run();
  }

  /** All rings have stopped and are drained. */
  giveUp(): void {
    this.#claim = undefined;
    this.#run();
  }

  /** Lets go for good. */
  async stop(): Promise<void> {
    this.#stopping = true;
    this.#claim = undefined;
    this.#run();
    await this.#done;
  }

  #run(): void {
    if (this.#following) return;
    this.#following = true;
    this.#done = this.#follow();
  }

  /** Until what is wished for is so. */
  async #follow(): Promise<void> {
    for (;;) {
      const wanted = this.#claim !== undefined && !this.#stopping;
      if (wanted === this.#held) break;
      await (wanted ? this.#take() : this.#letGo());
    }
    // The lock may not have been let go since the claim before: what is loaded is in force.
    if (this.#held && this.#claim !== undefined) this.#grant(this.#claim);
    this.#following = false;
  }

  async #letGo(): Promise<void> {
    const { letGo, logger } = this.#parts;
    this.#held = false;
    await letGo();
    logger.info('volume let go: no ring runs');
  }

  async #take(): Promise<void> {
    const { take, clock } = this.#parts;
    try {
      await take();
      this.#held = true;
      this.#trouble = undefined;
    } catch (err) {
      this.#trouble = sentence(err);
      const busy = isRemapError(err, 'DEVICE_BUSY');
      // Only another holder goes away by itself.
      if (!busy && this.#claim !== undefined) this.#deny(this.#claim);
      const soon = busy && this.#late !== this.#claim;
      await clock.sleepMs(soon ? HAND_OVER_RETRY_MS : HAND_OVER_LATE_RETRY_MS);
    }
  }

  #grant(claim: bigint): void {
    if (this.#answered === claim) return;
    this.#answered = claim;
    if (this.#late === claim) this.#parts.logger.info('the rings that waited run');
    this.#parts.answer(claim, true);
  }

  #deny(claim: bigint): void {
    if (claim !== this.#claim || claim === this.#late || claim === this.#answered) return;
    this.#late = claim;
    this.#trouble ??= 'Opening the volume takes long.';
    this.#parts.logger.error(`rings cannot start, and wait: ${this.#trouble}`);
    this.#parts.answer(claim, false);
  }
}
