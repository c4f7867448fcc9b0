import { RemapError, sentence } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { generation } from '../core/units.js';
import type { BlockDevice } from '../device/block-device.js';
import type { DescriptorChange, DescriptorStore } from '../metadata/descriptors.js';
import type { MetadataStore } from '../metadata/store.js';
import type { Backend } from '../native/backend.js';
import type { TableEntry } from '../ondisk/entry.js';
import type { Health } from '../ondisk/health.js';
import { type Run, type TableChange, unionOf } from '../remap/edit-runs.js';
import type { RemapTable, TableEdits } from '../remap/remap-table.js';
import type { SpareRun } from '../remap/spare-pool.js';
import { heldRecords, indexChanges } from './index-records.js';

export interface JournalParts {
  readonly table: RemapTable;
  readonly store: Pick<MetadataStore, 'generation' | 'health' | 'commit'>;
  readonly descriptors: Pick<DescriptorStore, 'update'>;
  readonly spares: readonly Pick<BlockDevice, 'flush'>[];
  readonly backend: Pick<Backend, 'publish'>;
  readonly logger: Logger;
}

/** What one commit makes true. */
export interface Commitment {
  readonly edits: TableEdits;
  /** Spare blocks that hold nothing any more once this is durable. */
  readonly freed?: readonly SpareRun[];
}

const COUNTERS = [
  'reallocatedTotal',
  'recoveredTotal',
  'readErrorsTotal',
  'writeErrorsTotal',
  'spareRetiredTotal',
] as const;
export type HealthCounter = (typeof COUNTERS)[number];

/**
 * Makes changes of the remap table durable and only then public, one at a time, in the order of
 * design section 4: what the spares hold and say of it, flushed; the metadata; the picture in
 * memory; the native index. Whoever calls `commit` has written the data before and answers the
 * guest after.
 */
export class Journal {
  readonly #parts: JournalParts;
  /** As of now; the next commit writes them down. */
  readonly #counters: Record<HealthCounter, number>;
  #epoch = 0;
  readonly #epochs = new WeakMap<TableEntry, number>();
  #last: Promise<unknown> = Promise.resolve();
  #failure: string | undefined;
  /** Of main: whether their last change is on disk, nobody knows. */
  #uncertain: readonly Run[] = [];

  constructor(parts: JournalParts) {
    this.#parts = parts;
    const { health } = parts.store;
    this.#counters = Object.fromEntries(COUNTERS.map((name) => [name, health[name]])) as Record<
      HealthCounter,
      number
    >;
  }

  /** Number of commits since open. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Number of the commit since which `entry` is as it is; 0 when it was there at open. */
  epochOf(entry: TableEntry): number {
    return this.#epochs.get(entry) ?? 0;
  }

  /** Why nothing can be committed any more; undefined while it can. */
  get failure(): string | undefined {
    return this.#failure;
  }

  /** Whether the next start will know these sectors as they are served now is not certain. */
  isUncertain(start: number, count: number): boolean {
    return this.#uncertain.some(
      (run) => run.start < start + count && start < run.start + run.count,
    );
  }

  /** Takes no commit any more; `why` is a sentence. */
  fail(why: string): void {
    this.#failure ??= why.replace(/\.$/, '');
  }

  /** Counters since creation, those that wait for the next commit included. */
  get health(): Health {
    return { ...this.#parts.store.health, ...this.#counters };
  }

  /** Counts now; becomes durable with the next commit. */
  count(counter: HealthCounter, sectors: number): void {
    this.#counters[counter] += sectors;
  }

  /** Runs `job` when every one before it has ended: one change of the table at a time. */
  exclusive<T>(job: () => Promise<T>): Promise<T> {
    const run = this.#last.then(job);
    this.#last = run.catch(() => undefined);
    return run;
  }

  /**
   * Inside `exclusive` only. Throws META_FULL with nothing changed, and anything else after which
   * it is not known what is on disk: nothing is committed any more then, and the sectors it was
   * about take no write. The next start may find the change on some copy and hold it for true: a
   * write to where they were served from until then would be lost.
   */
  async commit(commitment: Commitment): Promise<void> {
    if (this.#failure !== undefined) {
      throw new RemapError('META_COMMIT', `Nothing is committed any more: ${this.#failure}.`);
    }
    const { table, backend } = this.#parts;
    const change = table.plan(commitment.edits);
    if (change.add.length === 0 && change.remove.length === 0) return;
    try {
      await this.#persist(commitment, change);
    } catch (e) {
      if (!(e instanceof RemapError && e.code === 'META_FULL')) this.#stop(change, sentence(e));
      throw e;
    }
    table.apply(change);
    this.#epoch++;
    for (const entry of change.add) this.#epochs.set(entry, this.#epoch);
    const changed = [...change.add, ...change.remove].filter((entry) => entry.kind !== 'retired');
    backend.publish(indexChanges(table, changed));
  }

  #stop({ add, remove }: TableChange, why: string): void {
    this.fail(why);
    const { table, backend } = this.#parts;
    this.#uncertain = unionOf([...add, ...remove].filter((entry) => entry.kind === 'remapped'));
    backend.publish(heldRecords(table, this.#uncertain));
  }

  async #persist({ edits, freed = [] }: Commitment, change: TableChange): Promise<void> {
    const { store, descriptors, spares, logger } = this.#parts;
    const blocks = describe(edits, freed);
    try {
      const next = generation(store.generation + 1n);
      if (blocks.length > 0) await descriptors.update(blocks, next);
    } catch (e) {
      // They are a second witness for a rebuild; the table itself does not lean on them.
      logger.warn({ err: e }, 'the descriptors of a spare could not be written');
    }
    const touched = new Set(blocks.map((block) => block.spareIndex));
    await Promise.all([...touched].map((index) => spares[index]?.flush()));
    await store.commit({ ...change, health: { ...this.#counters } });
  }
}

/** What the spares shall say of their own blocks. */
function describe(edits: TableEdits, freed: readonly SpareRun[]): DescriptorChange[] {
  return [
    ...(edits.remapped ?? []).map(({ spareIndex, spareStart, count, start }) => {
      return { spareIndex, spareStart, count, state: 'used' as const, mainStart: start };
    }),
    ...(edits.retired ?? []).map(({ spareIndex, start, count }) => {
      return { spareIndex, spareStart: start, count, state: 'retired' as const };
    }),
    ...freed.map((run) => ({ ...run, state: 'free' as const })),
  ];
}
