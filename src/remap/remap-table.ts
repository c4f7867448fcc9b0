import type { TableEntry } from '../ondisk/entry.js';
import { editRuns, type Run, type TableChange } from './edit-runs.js';
import { SortedExtents } from './sorted-extents.js';

/** What a batch wants to be true; the table makes a change of it that a commit can carry. */
export interface TableEdits {
  /** Runs of main now served from a spare; what was remapped or pending there is superseded. */
  readonly remapped?: readonly TableEntry[];
  /** Runs that could not be read; those pending already must not be among them. */
  readonly pending?: readonly TableEntry[];
  /** Runs of main to be served from main again. */
  readonly plain?: readonly Run[];
  /** Runs of spares never to be used again. */
  readonly retired?: readonly TableEntry[];
}

export interface TableTotals {
  readonly extents: number;
  readonly sectors: number;
  readonly pendingExtents: number;
  readonly pendingSectors: number;
  readonly retiredSectors: number;
}

/**
 * The durable remap table as it stands in memory. `plan` says what a commit must add and remove,
 * and changes nothing; `apply` follows once the commit is durable.
 */
export class RemapTable {
  readonly #remapped = new SortedExtents<TableEntry>();
  readonly #pending = new SortedExtents<TableEntry>();
  /** By spare index, ordered by the sector of the spare. */
  readonly #retired = new Map<number, SortedExtents<TableEntry>>();
  #sectors = 0;
  #pendingSectors = 0;
  #retiredSectors = 0;

  /** Replaces the contents, in any order. Throws RangeError when entries of a kind overlap. */
  load(entries: Iterable<TableEntry>): void {
    const remapped: TableEntry[] = [];
    const pending: TableEntry[] = [];
    const retired: TableEntry[] = [];
    const kinds = { remapped, pending, retired };
    for (const entry of entries) kinds[entry.kind].push(entry);
    this.#remapped.load(remapped);
    this.#pending.load(pending);
    this.#retired.clear();
    for (const entry of retired) this.#retiredOf(entry.spareIndex).add(entry);
    this.#sectors = sum(remapped);
    this.#pendingSectors = sum(pending);
    this.#retiredSectors = sum(retired);
  }

  get totals(): TableTotals {
    return {
      extents: this.#remapped.size,
      sectors: this.#sectors,
      pendingExtents: this.#pending.size,
      pendingSectors: this.#pendingSectors,
      retiredSectors: this.#retiredSectors,
    };
  }

  /** Remapped entries that share a sector with [start, start + count) of main, in order. */
  remappedIn(start: number, count: number): TableEntry[] {
    return this.#remapped.overlapping(start, count);
  }

  /** Pending entries that share a sector with [start, start + count), in order. */
  pendingIn(start: number, count: number): TableEntry[] {
    return this.#pending.overlapping(start, count);
  }

  /** All remapped entries, in order. */
  remapped(): readonly TableEntry[] {
    return this.#remapped.toArray();
  }

  /** All pending entries, in order. */
  pending(): readonly TableEntry[] {
    return this.#pending.toArray();
  }

  /** In no particular order. */
  retired(): readonly TableEntry[] {
    return [...this.#retired.values()].flatMap((entries) => entries.toArray());
  }

  /** Remapped entries whose data is on spare `spareIndex`, in order of main; looks at all. */
  onSpare(spareIndex: number): readonly TableEntry[] {
    return this.remapped().filter((entry) => entry.spareIndex === spareIndex);
  }

  /** What a commit must add and remove for `edits` to hold. Runs of one kind do not overlap. */
  plan(edits: TableEdits): TableChange {
    const remapped = edits.remapped ?? [];
    const changes = [
      editRuns(this.#remapped, edits.plain ?? [], remapped),
      editRuns(this.#pending, remapped, edits.pending ?? []),
    ];
    const spares = new Set(edits.retired?.map((entry) => entry.spareIndex));
    for (const spare of spares) {
      const runs = edits.retired?.filter((entry) => entry.spareIndex === spare) ?? [];
      changes.push(editRuns(this.#retiredOf(spare), [], runs));
    }
    return {
      add: changes.flatMap((change) => change.add),
      remove: changes.flatMap((change) => change.remove),
    };
  }

  /** Follows a change that has been committed. */
  apply(change: TableChange): void {
    for (const entry of change.remove) this.#setOf(entry).remove(entry);
    for (const entry of change.add) this.#setOf(entry).add(entry);
    this.#count(change.remove, -1);
    this.#count(change.add, 1);
  }

  #count(entries: readonly TableEntry[], sign: number): void {
    for (const { kind, count } of entries) {
      if (kind === 'remapped') this.#sectors += sign * count;
      else if (kind === 'pending') this.#pendingSectors += sign * count;
      else this.#retiredSectors += sign * count;
    }
  }

  #setOf(entry: TableEntry): SortedExtents<TableEntry> {
    if (entry.kind === 'remapped') return this.#remapped;
    if (entry.kind === 'pending') return this.#pending;
    return this.#retiredOf(entry.spareIndex);
  }

  #retiredOf(spareIndex: number): SortedExtents<TableEntry> {
    const known = this.#retired.get(spareIndex);
    if (known !== undefined) return known;
    const made = new SortedExtents<TableEntry>();
    this.#retired.set(spareIndex, made);
    return made;
  }
}

const sum = (entries: readonly TableEntry[]): number =>
  entries.reduce((total, entry) => total + entry.count, 0);
