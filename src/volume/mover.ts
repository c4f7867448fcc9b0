import type { Clock } from '../core/clock.js';
import { RemapError, sentence } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import type { BlockDevice } from '../device/block-device.js';
import type { Backend, CopyResult } from '../native/backend.js';
import { tableEntry } from '../ondisk/entry.js';
import type { ExtentMessage, MoveReport } from '../protocol/messages.js';
import { gapsIn, type Run, slice, unionOf } from '../remap/edit-runs.js';
import type { RemapTable } from '../remap/remap-table.js';
import type { SparePool, SpareRun } from '../remap/spare-pool.js';
import type { Journal } from './journal.js';
import { batches, checkExtents, lockRanges } from './move-plan.js';
import { type PlacementMeans, place, type Target, type WriteOutcome } from './placement.js';
import { spareAfter, spareOutcome } from './reallocator.js';

export interface MoverParts {
  readonly backend: Pick<Backend, 'copy' | 'lock' | 'unlock'>;
  readonly journal: Journal;
  readonly table: RemapTable;
  readonly pool: SparePool;
  readonly main: Pick<BlockDevice, 'flush'>;
  /** Of the volume, at the moment. */
  readonly sizeSectors: () => number;
  readonly blockSectors: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Main does not work: what cannot be read there is nothing to be put on record. */
  readonly stormy: () => boolean;
  /** Takes spare blocks that the index names no more, until no read of them can be under way. */
  readonly retain: (runs: readonly SpareRun[]) => void;
}

type Tally = { -readonly [K in keyof MoveReport]: MoveReport[K] };

/** A remapped run of main and where it stands; part of one table entry. */
interface Remapped extends Target {
  readonly pending: boolean;
}

/**
 * Moves blocks to a spare and back while the guest runs (design section 4): under a range lock
 * writes wait and reads go on; what could not be copied whole is not moved. One move at a time.
 *
 * The locks are taken before the journal: a lock is granted only when no write to its range is
 * parked, and parked writes need the journal.
 */
export class Mover {
  readonly #parts: MoverParts;
  #last: Promise<unknown> = Promise.resolve();
  #stopping = false;
  /** What recover() was told since its last move began. */
  #readable: Run[] = [];

  constructor(parts: MoverParts) {
    this.#parts = parts;
  }

  #volume(): { sizeSectors: number; blockSectors: number } {
    const { sizeSectors, blockSectors } = this.#parts;
    return { sizeSectors: sizeSectors(), blockSectors };
  }

  /** Throws RANGE, META_COMMIT, META_FULL; what was moved before stays moved. */
  add(extents: readonly ExtentMessage[]): Promise<MoveReport> {
    const runs = checkExtents(extents, this.#volume());
    return this.#queue(() =>
      this.#move(runs, (batch, tally) => this.#toSpare(batch, tally, 'administrator')),
    );
  }

  /** Throws RANGE, NOT_REMAPPED when nothing of it is remapped, META_COMMIT. */
  remove(extents: readonly ExtentMessage[]): Promise<MoveReport> {
    const runs = checkExtents(extents, this.#volume());
    return this.#queue(async () => {
      const { table } = this.#parts;
      if (runs.every(({ start, count }) => table.remappedIn(start, count).length === 0)) {
        const first = runs[0];
        throw new RemapError(
          'NOT_REMAPPED',
          'None of these sectors is remapped; see "remapctl remap list".',
          { context: { lba: first?.start ?? 0, count: first?.count ?? 0 } },
        );
      }
      return this.#move(runs, (batch, tally) => this.#toMain(batch, tally));
    });
  }

  /**
   * Pending blocks of main that could be read after all: copied to a spare before they cannot be
   * read again (design section 3). Many reads may report the same blocks; one move takes them all.
   */
  recover(run: Run): void {
    if (this.#parts.stormy()) return;
    this.#readable.push(run);
    if (this.#readable.length > 1) return;
    this.#queue(async () => {
      const { table } = this.#parts;
      const runs = unionOf(this.#readable.splice(0)).flatMap((run) => {
        const healthy = gapsIn(run, table.pendingIn(run.start, run.count));
        const remapped = table.remappedIn(run.start, run.count);
        return gapsIn(run, unionOf([...healthy, ...remapped]));
      });
      if (runs.length === 0) return;
      await this.#move(runs, (batch, tally) => this.#toSpare(batch, tally, 'read-error'));
    }).catch((err) => {
      this.#parts.logger.error({ err }, `pending blocks stay pending: ${sentence(err)}`);
    });
  }

  /** Ends the move under way after its present batch. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#last;
  }

  #queue<T>(job: () => Promise<T>): Promise<T> {
    const run = this.#last.then(job);
    this.#last = run.catch(() => undefined);
    return run;
  }

  async #move(
    runs: readonly Run[],
    step: (batch: readonly Run[], tally: Tally) => Promise<void>,
  ): Promise<MoveReport> {
    const { backend, journal, logger } = this.#parts;
    const tally: Tally = { requested: sum(runs), moved: 0, skipped: 0, failed: 0, pending: 0 };
    for (const batch of batches(runs)) {
      if (this.#stopping) break;
      const locks = await Promise.all(
        lockRanges(batch).map(({ start, count }) => backend.lock(start, count)),
      );
      try {
        await journal.exclusive(() => step(batch, tally));
      } finally {
        for (const lock of locks) backend.unlock(lock);
      }
    }
    // Nothing is left unsaid when the volume stops in the middle.
    tally.failed = tally.requested - tally.moved - tally.skipped - tally.pending;
    logger.info(tally, 'blocks moved');
    return tally;
  }

  /** Those of `batch` that are still on main go to a spare. */
  async #toSpare(
    batch: readonly Run[],
    tally: Tally,
    cause: 'administrator' | 'read-error',
  ): Promise<void> {
    const { table, pool, journal, clock } = this.#parts;
    const orders = batch.flatMap((run) => {
      const gaps = gapsIn(run, table.remappedIn(run.start, run.count));
      return gaps.map((gap) => ({ ...gap, owner: undefined, cause }));
    });
    tally.skipped += sum(batch) - sum(orders);
    const { placed, failed, retired } = await place(orders, this.#means());
    const timeSeconds = clock.nowSeconds();
    const unreadable = failed.filter((failure) => failure.reason === 'source-bad');
    const lost = this.#parts.stormy() ? [] : unreadable;
    const fresh = lost.flatMap((run) => gapsIn(run, table.pendingIn(run.start, run.count)));
    journal.count('reallocatedTotal', sum(placed));
    journal.count('recoveredTotal', sum(placed));
    journal.count('readErrorsTotal', sum(lost));
    journal.count('spareRetiredTotal', sum(retired));
    const edits = {
      remapped: placed.map(({ start, count, spareIndex, spareStart }) =>
        tableEntry({ kind: 'remapped', start, count, spareIndex, spareStart, cause, timeSeconds }),
      ),
      pending: fresh.map(({ start, count }) =>
        tableEntry({ kind: 'pending', start, count, cause: 'read-error', timeSeconds }),
      ),
      retired: retired.map(({ spareIndex, spareStart: start, count }) =>
        tableEntry({
          kind: 'retired',
          start,
          count,
          spareIndex,
          cause: 'write-error',
          timeSeconds,
        }),
      ),
    };
    try {
      await journal.commit({ edits });
    } catch (e) {
      if (journal.failure === undefined) for (const run of placed) pool.release(run);
      throw e;
    }
    tally.moved += sum(placed);
    tally.pending += sum(lost);
  }

  #means(): PlacementMeans<undefined> {
    const { pool, blockSectors, clock, table, backend } = this.#parts;
    return {
      pool,
      blockSectors,
      spareAfter: (start) => spareAfter(table, start),
      sleepMs: (ms) => clock.sleepMs(ms),
      write: async (_, { start: source, count, spareIndex, spareStart: target }) => {
        const device = spareIndex + 1;
        const order = { count, sourceDevice: 0, source, device, target };
        return copyOutcome(await backend.copy(order));
      },
    };
  }

  /** Those of `batch` that are on a spare go back to main, if main takes them. */
  async #toMain(batch: readonly Run[], tally: Tally): Promise<void> {
    const { main, journal, retain, logger } = this.#parts;
    const remapped = batch.flatMap((run) => this.#remappedIn(run));
    tally.skipped += sum(batch) - sum(remapped);
    const copied = await Promise.all(remapped.map((run) => this.#copyBack(run)));
    const moved = copied.flat();
    if (moved.length === 0) return;
    try {
      await main.flush();
    } catch (err) {
      // The spare still has the data, and the table still says so.
      logger.error({ err }, `blocks stay on the spare: ${sentence(err)}`);
      return;
    }
    await journal.commit({ edits: { plain: moved }, freed: moved });
    retain(moved);
    tally.moved += sum(moved);
  }

  /** The parts of `run` that are remapped and not pending: what is lost cannot be moved. */
  #remappedIn(run: Run): Remapped[] {
    const { table } = this.#parts;
    return table.remappedIn(run.start, run.count).flatMap((entry) => {
      const start = Math.max(entry.start, run.start);
      const end = Math.min(entry.start + entry.count, run.start + run.count);
      const whole = { start, count: end - start };
      const lost = table.pendingIn(start, end - start);
      const good = gapsIn(whole, lost);
      const bad = gapsIn(whole, good);
      const target = (part: Run, pending: boolean): Remapped => {
        const { spareIndex, spareStart } = slice(entry, part.start, part.count);
        return { ...part, spareIndex, spareStart, pending };
      };
      return [...good.map((part) => target(part, false)), ...bad.map((part) => target(part, true))];
    });
  }

  /** The parts of `run` that stand on main now, verified. */
  async #copyBack(run: Remapped): Promise<Target[]> {
    const { backend, blockSectors } = this.#parts;
    if (run.pending) return [];
    const { start, count, spareIndex, spareStart } = run;
    const order = {
      count,
      sourceDevice: spareIndex + 1,
      source: spareStart,
      device: 0,
      target: start,
    };
    const { error } = await backend.copy(order);
    if (error === 0) return [{ start, count, spareIndex, spareStart }];
    if (count <= blockSectors) return [];
    const first = Math.ceil(count / blockSectors / 2) * blockSectors;
    const halves = await Promise.all([
      this.#copyBack({ ...run, count: first }),
      this.#copyBack({
        ...run,
        start: start + first,
        spareStart: spareStart + first,
        count: count - first,
      }),
    ]);
    return halves.flat();
  }
}

/** How a copy from main to a spare ended. */
function copyOutcome({ error, device }: CopyResult): WriteOutcome {
  const outcome = spareOutcome(error);
  if (device !== 0 || outcome === 'done' || outcome === 'transient') return outcome;
  return outcome === 'spare-bad' ? 'source-bad' : 'refused';
}

const sum = (runs: readonly { readonly count: number }[]): number =>
  runs.reduce((total, run) => total + run.count, 0);
