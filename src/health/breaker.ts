/**
 * Tells when failures are too many to be taken for bad blocks (design section 3): until then each
 * is believed, after that a block must fail twice, with main seen to work in between. Pure: the
 * time is given, in milliseconds of a monotonic clock.
 */
import {
  STORM_ALLOWANCE_BLOCKS,
  STORM_REFILL_MS,
  STORM_SUSPECT_MS,
  STORM_SUSPECTS_MAX,
} from '../core/limits.js';

export class Breaker {
  readonly allowance: number;
  #left: number;
  #filledAtMs = 0;
  #open = false;
  /** First sectors of blocks that failed before main was seen to work, and when; oldest first. */
  readonly #suspects = new Map<number, number>();

  constructor(allowance: number = STORM_ALLOWANCE_BLOCKS) {
    this.allowance = allowance;
    this.#left = allowance;
  }

  /** Nothing is remapped while it is. */
  get open(): boolean {
    return this.#open;
  }

  /** Blocks that are still believed at once. */
  left(nowMs: number): number {
    const back = Math.floor((nowMs - this.#filledAtMs) / STORM_REFILL_MS);
    return Math.min(this.allowance, this.#left + back);
  }

  /** Takes `blocks` of the allowance; false, and nothing taken, when it has not so many. */
  spend(blocks: number, nowMs: number): boolean {
    const left = this.left(nowMs);
    if (blocks > left) return false;
    if (blocks > 0) {
      this.#left = left - blocks;
      this.#filledAtMs = nowMs;
    }
    return true;
  }

  /** These have failed, and main was seen to work since: the next time they are bad. */
  suspect(blocks: Iterable<number>, nowMs: number): void {
    for (const block of blocks) {
      this.#suspects.delete(block);
      this.#suspects.set(block, nowMs);
    }
    for (const [block, atMs] of this.#suspects) {
      const old = nowMs - atMs > STORM_SUSPECT_MS;
      if (!old && this.#suspects.size <= STORM_SUSPECTS_MAX) break;
      this.#suspects.delete(block);
    }
  }

  /** It has failed before, and main was seen to work in between. */
  confirmed(block: number, nowMs: number): boolean {
    const atMs = this.#suspects.get(block);
    return atMs !== undefined && nowMs - atMs <= STORM_SUSPECT_MS;
  }

  forget(blocks: Iterable<number>): void {
    for (const block of blocks) this.#suspects.delete(block);
  }

  /** Main works nowhere: what failed with it proves nothing. */
  trip(): void {
    this.#open = true;
    this.#suspects.clear();
  }

  /** Main works again. What was spent stays spent. */
  close(): void {
    this.#open = false;
  }

  /** Somebody vouches for main. */
  refill(nowMs: number): void {
    this.#left = this.allowance;
    this.#filledAtMs = nowMs;
  }
}
