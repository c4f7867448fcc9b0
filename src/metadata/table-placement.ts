/**
 * Which entry of the remap table stands inside the superblock and which on a table page. Pure.
 *
 * New entries go to the superblock. When they no longer fit, everything that is there moves to one
 * page at once, so that a commit that adds up to a hundred entries changes at most one page.
 */
import { RemapError } from '../core/errors.js';
import type { TableEntry } from '../ondisk/entry.js';
import { PAGE_ENTRIES } from '../ondisk/layout.js';
import { type DirectoryEntry, inlineCapacity } from '../ondisk/table-section.js';

/** What a commit would change; nothing is changed before `apply`. */
export interface TablePlan {
  readonly added: readonly TableEntry[];
  readonly removed: readonly TableEntry[];
  /** All entries inside the superblock afterwards. */
  readonly inline: readonly TableEntry[];
  /** New contents of the pages that change, by index. */
  readonly pages: ReadonlyMap<number, readonly TableEntry[]>;
  readonly pageCount: number;
}

interface Page {
  entries: readonly TableEntry[];
  directory: DirectoryEntry;
}

/** Marks an entry that stands inside the superblock. */
const INLINE = -1;

export class TablePlacement {
  readonly #pagesMax: number;
  #inline: readonly TableEntry[];
  readonly #pages: Page[];
  /** Page of each entry, or INLINE. */
  readonly #where = new Map<TableEntry, number>();

  /** `pagesMax`: the fewest of any spare's layout. */
  constructor(pagesMax: number, inline: readonly TableEntry[], pages: readonly Page[]) {
    this.#pagesMax = pagesMax;
    this.#inline = inline;
    this.#pages = [...pages];
    for (const entry of inline) this.#where.set(entry, INLINE);
    for (const [index, page] of pages.entries()) {
      for (const entry of page.entries) this.#where.set(entry, index);
    }
  }

  get size(): number {
    return this.#where.size;
  }

  entries(): IterableIterator<TableEntry> {
    return this.#where.keys();
  }

  get inline(): readonly TableEntry[] {
    return this.#inline;
  }

  get directory(): DirectoryEntry[] {
    return this.#pages.map((page) => page.directory);
  }

  pageEntries(index: number): readonly TableEntry[] {
    return this.#pages[index]?.entries ?? [];
  }

  /**
   * Throws META_FULL when the table has no room, RangeError for an entry to remove that is not in
   * the table and for one to add that is.
   */
  plan(added: readonly TableEntry[], removed: readonly TableEntry[]): TablePlan {
    for (const entry of added) {
      if (this.#where.has(entry)) throw new RangeError('an entry to add is in the table already');
    }
    const gone = new Set(removed);
    const pages = new Map<number, TableEntry[]>();
    for (const entry of gone) {
      const at = this.#where.get(entry);
      if (at === undefined) throw new RangeError('an entry to remove is not in the table');
      if (at !== INLINE && !pages.has(at)) {
        pages.set(
          at,
          this.pageEntries(at).filter((other) => !gone.has(other)),
        );
      }
    }
    const waiting = this.#inline.filter((entry) => !gone.has(entry)).concat(added);
    const { inline, pageCount } = this.#spill(waiting, pages);
    return this.#trim({ added, removed, inline, pages, pageCount });
  }

  /** Makes `plan` the state in force; `written` has the new place of every page it changes. */
  apply(plan: TablePlan, written: ReadonlyMap<number, DirectoryEntry>): void {
    for (const entry of plan.removed) this.#where.delete(entry);
    for (const entry of plan.inline) this.#where.set(entry, INLINE);
    for (const [index, entries] of plan.pages) {
      const directory = written.get(index);
      if (directory === undefined) throw new Error(`page ${index} was not written`);
      this.#pages[index] = { entries, directory };
      for (const entry of entries) this.#where.set(entry, index);
    }
    this.#pages.length = plan.pageCount;
    this.#inline = plan.inline;
  }

  /** Moves entries, the oldest first, to `pages` until the rest fits inside the superblock. */
  #spill(
    waiting: readonly TableEntry[],
    pages: Map<number, TableEntry[]>,
  ): { inline: readonly TableEntry[]; pageCount: number } {
    let pageCount = this.#pages.length;
    let moved = 0;
    while (waiting.length - moved > inlineCapacity(pageCount)) {
      const target = this.#target(waiting.length - moved, pages, pageCount);
      const contents = pages.get(target) ?? [...this.pageEntries(target)];
      const batch = waiting.slice(moved, moved + PAGE_ENTRIES - contents.length);
      contents.push(...batch);
      moved += batch.length;
      pages.set(target, contents);
      pageCount = Math.max(pageCount, target + 1);
    }
    return { inline: waiting.slice(moved), pageCount };
  }

  /** A page that changes anyway; else the one with most room, if worth it; else a new one. */
  #target(waiting: number, pages: Map<number, TableEntry[]>, pageCount: number): number {
    for (const [index, contents] of pages) if (contents.length < PAGE_ENTRIES) return index;
    let roomiest = 0;
    let room = 0;
    for (const [index, page] of this.#pages.entries()) {
      const free = pages.has(index) ? 0 : PAGE_ENTRIES - page.entries.length;
      if (free > room) [roomiest, room] = [index, free];
    }
    if (room >= Math.min(waiting, PAGE_ENTRIES) / 2) return roomiest;
    if (pageCount < this.#pagesMax) return pageCount;
    if (room > 0) return roomiest;
    throw new RemapError(
      'META_FULL',
      `The remap table is full at ${this.size} entries; remove remaps, or use a larger spare.`,
      { context: { have: this.size } },
    );
  }

  /** Empty pages at the end are given up; one before the end is kept, as indexes are positions. */
  #trim(plan: TablePlan): TablePlan {
    const pages = new Map(plan.pages);
    let pageCount = plan.pageCount;
    while (pageCount > 0) {
      const last = pageCount - 1;
      const contents = pages.get(last) ?? this.pageEntries(last);
      if (contents.length > 0) break;
      pages.delete(last);
      pageCount--;
    }
    return { ...plan, pages, pageCount };
  }
}
