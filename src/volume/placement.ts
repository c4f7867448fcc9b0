/**
 * Puts runs of main on spares: allocates, has the data written and verified, narrows a failure
 * down to the single block, retires bad spare blocks and tries others. What it is given does the
 * I/O; nothing is published or committed here.
 */
import { SPARE_ATTEMPTS_MAX, SPARE_RETIRED_UNPROVEN_MAX } from '../core/limits.js';
import type { EntryCause } from '../ondisk/entry.js';
import type { SparePool, SpareRun } from '../remap/spare-pool.js';

/** A run of main that shall be on a spare. `owner` comes back with every part of it. */
export interface PlaceOrder<T> {
  readonly owner: T;
  readonly start: number;
  readonly count: number;
  readonly cause: EntryCause;
}

/** A run of main and where it is to stand. */
export interface Target extends SpareRun {
  readonly start: number;
}

/**
 * How one write ended. source-bad: the data could not be read. spare-bad: the spare's medium.
 * spare-gone: the whole spare. transient: worth another try. refused: anything else.
 */
export type WriteOutcome =
  | 'done'
  | 'source-bad'
  | 'spare-bad'
  | 'spare-gone'
  | 'transient'
  | 'refused';

export type Placed<T> = PlaceOrder<T> & Target;

export interface PlaceFailure<T> extends PlaceOrder<T> {
  readonly reason: 'exhausted' | 'refused' | 'source-bad';
}

export interface PlacementResult<T> {
  readonly placed: readonly Placed<T>[];
  readonly failed: readonly PlaceFailure<T>[];
  /**
   * Spare blocks found bad; the pool knows, the table does not yet. Many on a spare that has taken
   * nothing meanwhile are not the fault of the blocks: they are not among them.
   */
  readonly retired: readonly SpareRun[];
}

export interface PlacementMeans<T> {
  readonly pool: SparePool;
  readonly blockSectors: number;
  /** The spare sector after the data of the sector of main before `start`, if that is remapped. */
  spareAfter(start: number): { spareIndex: number; spareStart: number } | undefined;
  write(order: PlaceOrder<T>, target: Target): Promise<WriteOutcome>;
  sleepMs(ms: number): Promise<void>;
}

/** Waits before a write that failed for a transient cause is tried again. */
const RETRY_DELAYS_MS = [5, 25, 100] as const;

/** Places all orders; runs of different orders do not overlap. Never throws for an I/O error. */
export async function place<T>(
  orders: readonly PlaceOrder<T>[],
  means: PlacementMeans<T>,
): Promise<PlacementResult<T>> {
  return new Placement(means).run(orders);
}

class Placement<T> {
  readonly #means: PlacementMeans<T>;
  readonly #placed: Placed<T>[] = [];
  readonly #failed: PlaceFailure<T>[] = [];
  readonly #retired: SpareRun[] = [];
  /** By the sector of main after a run allocated here: the spare sector after it. */
  readonly #ends = new Map<number, { spareIndex: number; spareStart: number }>();

  constructor(means: PlacementMeans<T>) {
    this.#means = means;
  }

  async run(orders: readonly PlaceOrder<T>[]): Promise<PlacementResult<T>> {
    // In order of main, and all allocated before the first is written: neighbours stay neighbours.
    const sorted = [...orders].sort((a, b) => a.start - b.start);
    await Promise.all(sorted.map((order) => this.#place(order, 1)));
    return this.#settle();
  }

  #settle(): PlacementResult<T> {
    const { pool } = this.#means;
    const proven = new Set(this.#placed.map((run) => run.spareIndex));
    const unproven = new Set(
      this.#retired
        .map((run) => run.spareIndex)
        .filter((index) => {
          const found = this.#retired.filter((run) => run.spareIndex === index).length;
          return !proven.has(index) && found > SPARE_RETIRED_UNPROVEN_MAX;
        }),
    );
    const retired = this.#retired.filter((run) => !unproven.has(run.spareIndex));
    for (const run of this.#retired) {
      if (unproven.has(run.spareIndex)) pool.release(run);
      else pool.retire(run);
    }
    const failed = this.#failed.map((failure) =>
      failure.reason === 'exhausted' && unproven.size > 0
        ? { ...failure, reason: 'refused' as const }
        : failure,
    );
    return { placed: this.#placed, failed, retired };
  }

  async #place(order: PlaceOrder<T>, attempt: number): Promise<void> {
    const near = this.#ends.get(order.start) ?? this.#means.spareAfter(order.start);
    const runs = this.#means.pool.allocate(order.count, near);
    if (runs.length === 0) {
      this.#failed.push({ ...order, reason: 'exhausted' });
      return;
    }
    let start = order.start;
    const targets = runs.map((run) => {
      const target = { ...run, start };
      start += run.count;
      const spareStart = run.spareStart + run.count;
      this.#ends.set(start, { spareIndex: run.spareIndex, spareStart });
      return target;
    });
    await Promise.all(targets.map((target) => this.#write(order, target, attempt)));
  }

  async #write(order: PlaceOrder<T>, target: Target, attempt: number): Promise<void> {
    const part = { ...order, start: target.start, count: target.count };
    const outcome = await this.#persist(part, target);
    const narrow = outcome === 'source-bad' || outcome === 'spare-bad';
    if (narrow && target.count > this.#means.blockSectors) {
      await Promise.all(this.#halves(target).map((half) => this.#write(order, half, attempt)));
      return;
    }
    switch (outcome) {
      case 'done':
        this.#placed.push({ ...part, ...target });
        return;
      case 'spare-bad':
        // It stays taken, so that it is not tried again; `#settle` says what becomes of it.
        this.#retired.push(target);
        return this.#again(part, attempt);
      case 'spare-gone':
        this.#means.pool.disable(target.spareIndex);
        this.#means.pool.release(target);
        return this.#again(part, attempt);
      default:
        this.#means.pool.release(target);
        this.#failed.push({ ...part, reason: outcome === 'source-bad' ? outcome : 'refused' });
    }
  }

  async #again(part: PlaceOrder<T>, attempt: number): Promise<void> {
    if (attempt < SPARE_ATTEMPTS_MAX) return this.#place(part, attempt + 1);
    this.#failed.push({ ...part, reason: 'exhausted' });
  }

  /** One write, tried again while the cause is transient, or may be: a single bad block. */
  async #persist(part: PlaceOrder<T>, target: Target): Promise<WriteOutcome> {
    let outcome = await this.#means.write(part, target);
    for (const delay of RETRY_DELAYS_MS) {
      const single = target.count <= this.#means.blockSectors;
      const bad = outcome === 'source-bad' || outcome === 'spare-bad';
      if (outcome !== 'transient' && !(bad && single)) break;
      await this.#means.sleepMs(delay);
      outcome = await this.#means.write(part, target);
    }
    return outcome;
  }

  #halves(target: Target): [Target, Target] {
    const blocks = target.count / this.#means.blockSectors;
    const first = Math.ceil(blocks / 2) * this.#means.blockSectors;
    return [
      { ...target, count: first },
      {
        ...target,
        start: target.start + first,
        spareStart: target.spareStart + first,
        count: target.count - first,
      },
    ];
  }
}
