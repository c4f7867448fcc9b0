import type { Clock } from '../core/clock.js';
import { sentence } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { BlkStatus, Operation } from '../native/abi.js';
import type { Backend, ParkedRequest } from '../native/backend.js';
import { type TableEntry, tableEntry } from '../ondisk/entry.js';
import { slice } from '../remap/edit-runs.js';
import type { RemapTable } from '../remap/remap-table.js';
import type { SparePool, SpareRun } from '../remap/spare-pool.js';
import { type Arrival, type BatchPlan, planBatch } from './batch.js';
import { classifyErrno } from './io-error.js';
import type { Journal } from './journal.js';
import { LogLimiter } from './log-limiter.js';
import {
  type PlacementMeans,
  type PlacementResult,
  place,
  type Target,
  type WriteOutcome,
} from './placement.js';
import type { StormGuard } from './storm-guard.js';

export interface ReallocatorParts {
  readonly backend: Pick<Backend, 'writeSpare' | 'complete' | 'retry'>;
  readonly journal: Journal;
  readonly guard: Pick<StormGuard, 'sift'>;
  readonly table: RemapTable;
  readonly pool: SparePool;
  readonly blockSectors: number;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Requests taken into one commit: enough for every queue of a large guest to fail at once. */
const BATCH_MAX = 1024;

/**
 * Answers parked requests (design sections 3 and 4). All that wait are taken together and share
 * one commit; while it is under way the next batch gathers.
 */
export class Reallocator {
  readonly #parts: ReallocatorParts;
  #waiting: Arrival[] = [];
  #running: Promise<void> | undefined;
  #exhausted = false;
  readonly #limiter: LogLimiter;

  constructor(parts: ReallocatorParts) {
    this.#parts = parts;
    this.#limiter = new LogLimiter(parts.clock);
  }

  /** The last block that needed a spare block found none. */
  get exhausted(): boolean {
    return this.#exhausted;
  }

  /** Takes a request; it is answered some time later, whatever happens. */
  accept(request: ParkedRequest): void {
    this.#waiting.push({ request, epoch: this.#parts.journal.epoch });
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  /** Resolves when no request waits. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  async #run(): Promise<void> {
    // One turn, so that what fails together is taken together.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      await this.#parts.journal.exclusive(async () => {
        const batch = this.#waiting.splice(0, BATCH_MAX);
        await this.#handle(batch);
      });
    }
  }

  async #handle(batch: readonly Arrival[]): Promise<void> {
    const { journal, table, backend, guard } = this.#parts;
    const isHeld = ({ request }: Arrival): boolean =>
      request.bad.some(({ lba, count }) => journal.isUncertain(lba, count));
    for (const { request } of batch.filter(isHeld)) {
      backend.complete(request.token, BlkStatus.ioerr);
    }
    const sifted = await guard.sift(batch.filter((arrival) => !isHeld(arrival)));
    for (const request of sifted.fail) {
      this.#countBad(request);
      backend.complete(request.token, BlkStatus.ioerr);
    }
    for (const request of sifted.retry) backend.retry(request.token);
    const plan = planBatch(sifted.go, {
      remappedIn: (start, count) => table.remappedIn(start, count),
      pendingIn: (start, count) => table.pendingIn(start, count),
      epochOf: (entry) => journal.epochOf(entry),
    });
    this.#count(plan);
    const failed = journal.failure === undefined ? await this.#remap(plan) : new Set(plan.writes);
    for (const request of plan.writes) {
      backend.complete(request.token, failed.has(request) ? BlkStatus.ioerr : BlkStatus.ok);
    }
    for (const request of plan.reads) backend.complete(request.token, BlkStatus.ioerr);
    for (const request of plan.retry) backend.retry(request.token);
  }

  #count(plan: BatchPlan): void {
    const { journal } = this.#parts;
    for (const run of plan.place) if (run.tried) journal.count('writeErrorsTotal', run.count);
    for (const request of plan.reads) this.#countBad(request);
  }

  #countBad({ operation, bad }: ParkedRequest): void {
    const counter = operation === Operation.write ? 'writeErrorsTotal' : 'readErrorsTotal';
    for (const { count } of bad) this.#parts.journal.count(counter, count);
  }

  /** Places and commits; returns the writes that have to be failed. */
  async #remap(plan: BatchPlan): Promise<Set<ParkedRequest>> {
    const { journal, pool, logger } = this.#parts;
    const orders = plan.place.map((run) => ({ ...run, owner: run.request }));
    const result = await place(orders, this.#means());
    const superseded = result.placed.flatMap((run) => this.#superseded(run));
    const retired = [...superseded, ...result.retired];
    const edits = {
      remapped: result.placed.map((run) => this.#entry('remapped', run)),
      pending: plan.pending.map((run) =>
        this.#entry('pending', { ...run, cause: 'read-error' as const }),
      ),
      retired: retired.map(({ spareIndex, spareStart: start, count }) =>
        this.#entry('retired', { start, count, spareIndex, cause: 'write-error' as const }),
      ),
    };
    journal.count('reallocatedTotal', sum(result.placed));
    journal.count('spareRetiredTotal', sum(retired));
    try {
      await journal.commit({ edits });
    } catch (err) {
      this.#limiter.line('commit', () => {
        logger.error({ err, sectors: sum(plan.place) }, `writes had to fail: ${sentence(err)}`);
      });
      // Known to be on no disk: the table had no room, and nothing was tried.
      if (journal.failure === undefined) for (const run of result.placed) pool.release(run);
      return new Set(plan.writes);
    }
    for (const run of superseded) pool.retire(run);
    this.#report(plan, result);
    return new Set(result.failed.map((failure) => failure.owner));
  }

  #means(): PlacementMeans<ParkedRequest> {
    const { pool, blockSectors, clock, table, backend } = this.#parts;
    return {
      pool,
      blockSectors,
      spareAfter: (start) => spareAfter(table, start),
      sleepMs: (ms) => clock.sleepMs(ms),
      write: async ({ owner }, { start: lba, count, spareIndex, spareStart: target }) => {
        const run = { lba, count, device: spareIndex + 1, target };
        return spareOutcome(await backend.writeSpare(owner.token, run));
      },
    };
  }

  /** Spare blocks that `run` was served from until now: bad, or they would not be replaced. */
  #superseded(run: Target): SpareRun[] {
    return this.#parts.table.remappedIn(run.start, run.count).map((entry) => {
      const start = Math.max(entry.start, run.start);
      const end = Math.min(entry.start + entry.count, run.start + run.count);
      const { spareIndex, spareStart, count } = slice(entry, start, end - start);
      return { spareIndex, spareStart, count };
    });
  }

  #entry(
    kind: TableEntry['kind'],
    fields: Omit<Parameters<typeof tableEntry>[0], 'kind' | 'timeSeconds' | 'evidence'>,
  ): TableEntry {
    const { start, count, spareIndex = 0, spareStart = 0, cause } = fields;
    const timeSeconds = this.#parts.clock.nowSeconds();
    return tableEntry({ kind, start, count, spareIndex, spareStart, cause, timeSeconds });
  }

  #report(plan: BatchPlan, result: PlacementResult<ParkedRequest>): void {
    const { logger, journal } = this.#parts;
    const summary = {
      remappedSectors: sum(result.placed),
      pendingSectors: sum(plan.pending),
      retiredSectors: sum(result.retired),
      firstLba: result.placed[0]?.start ?? plan.pending[0]?.start,
      commits: journal.epoch,
    };
    if (result.placed.length > 0) logger.warn(summary, 'bad blocks remapped');
    if (plan.pending.length > 0) logger.error(summary, 'sectors cannot be read');
    const exhausted = result.failed.some((failure) => failure.reason === 'exhausted');
    if (result.failed.length > 0) {
      const why = exhausted
        ? 'no spare block is free; move the data off this disk'
        : 'the spare refused them; look at it';
      this.#limiter.line(why, (more) => {
        logger.error({ sectors: sum(result.failed), more }, `writes had to fail: ${why}`);
      });
    }
    if (plan.place.length > 0) this.#exhausted = exhausted;
  }
}

/** The spare sector that continues the remap of the sector before `start`. */
export function spareAfter(
  table: Pick<RemapTable, 'remappedIn'>,
  start: number,
): { spareIndex: number; spareStart: number } | undefined {
  if (start === 0) return undefined;
  const [entry] = table.remappedIn(start - 1, 1);
  if (entry === undefined || entry.start + entry.count !== start) return undefined;
  return { spareIndex: entry.spareIndex, spareStart: entry.spareStart + entry.count };
}

/** How a write to a spare ended that native answered with `errno`. */
export function spareOutcome(errno: number): WriteOutcome {
  if (errno === 0) return 'done';
  const outcomes = {
    medium: 'spare-bad',
    transient: 'transient',
    gone: 'spare-gone',
    other: 'refused',
  } as const;
  return outcomes[classifyErrno(errno)];
}

const sum = (runs: readonly { readonly count: number }[]): number =>
  runs.reduce((total, run) => total + run.count, 0);
