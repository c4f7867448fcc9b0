/** Table pages in the zones: found, checked, and written to places that nothing in force names. */
import { RemapError } from '../core/errors.js';
import type { Generation } from '../core/units.js';
import type { TableEntry } from '../ondisk/entry.js';
import { FormatError } from '../ondisk/fields.js';
import { TABLE_PAGE_SIZE } from '../ondisk/layout.js';
import { decodePage, encodePage, isPage, pageCrc } from '../ondisk/table-page.js';
import type { DirectoryEntry } from '../ondisk/table-section.js';
import { type Writer, type Zone, zoneState } from './zones.js';

/** Pages read or written at once; bounds memory to 16 pages x 5 copies x 8 spares: 20 MiB. */
const PAGES_AT_ONCE = 16;
/** Other locations tried for a page that a sound zone does not take. */
const RELOCATIONS_MAX = 2;

/** The page `index` as it stands in `zone`; undefined when it is not there, or not readable. */
export async function readPage(
  zone: Zone,
  volumeUuid: string,
  index: number,
  directory: DirectoryEntry,
): Promise<Buffer | undefined> {
  if (directory.location >= zone.layout.pageCapacity) return undefined;
  const bytes = Buffer.alloc(TABLE_PAGE_SIZE);
  try {
    await zone.device.read(bytes, zone.layout.pageOffset(zone.copyIndex, directory.location));
  } catch {
    return undefined;
  }
  return isPage(bytes, { ...directory, volumeUuid, pageIndex: index }) ? bytes : undefined;
}

export interface LoadedPages {
  readonly pages: { readonly entries: readonly TableEntry[]; readonly directory: DirectoryEntry }[];
  /** Zones found to lack a page. */
  readonly lacking: ReadonlySet<Zone>;
}

/** Reads every page from the first zone that has it. Throws META_LOST when none has. */
export async function loadPages(
  zones: readonly Zone[],
  volumeUuid: string,
  directory: readonly DirectoryEntry[],
): Promise<LoadedPages> {
  const byWorth = [...zones].sort(
    (a, b) => Number(b.state === 'good') - Number(a.state === 'good'),
  );
  const lacking = new Set<Zone>();
  const load = async (entry: DirectoryEntry, index: number) => {
    for (const zone of byWorth) {
      const bytes = await readPage(zone, volumeUuid, index, entry);
      const entries = bytes && decodeEntries(bytes);
      if (entries !== undefined) return { entries, directory: entry };
      lacking.add(zone);
    }
    throw pageLost(zones, index);
  };
  const pages: LoadedPages['pages'] = [];
  for (let at = 0; at < directory.length; at += PAGES_AT_ONCE) {
    const some = directory.slice(at, at + PAGES_AT_ONCE);
    pages.push(...(await Promise.all(some.map((entry, i) => load(entry, at + i)))));
  }
  return { pages, lacking };
}

/** Indexes of the pages that `zone` lacks. */
export async function missingPages(
  zone: Zone,
  volumeUuid: string,
  directory: readonly DirectoryEntry[],
): Promise<number[]> {
  const missing: number[] = [];
  for (let at = 0; at < directory.length; at += PAGES_AT_ONCE) {
    const some = directory.slice(at, at + PAGES_AT_ONCE);
    const found = await Promise.all(
      some.map((entry, i) => readPage(zone, volumeUuid, at + i, entry)),
    );
    for (const [i, bytes] of found.entries()) if (bytes === undefined) missing.push(at + i);
  }
  return missing;
}

/** Bytes of the page `index` as the directory names it. */
export const encodeNamedPage = (
  volumeUuid: string,
  index: number,
  { generation, location }: Omit<DirectoryEntry, 'pageCrc'>,
  entries: readonly TableEntry[],
): Buffer => encodePage({ volumeUuid, generation, pageIndex: index, location, entries });

interface PageJob {
  readonly index: number;
  readonly entries: readonly TableEntry[];
  location: number;
}

export class PageWriter {
  readonly #zones: readonly Zone[];
  readonly #volumeUuid: string;
  readonly #write: Writer;
  /** Pages that every zone of every spare has room for. */
  readonly #capacity: number;
  /** Locations that some zone did not take, since open. */
  readonly #bad = new Set<number>();

  constructor(zones: readonly Zone[], volumeUuid: string, write: Writer) {
    this.#zones = zones;
    this.#volumeUuid = volumeUuid;
    this.#write = write;
    this.#capacity = Math.min(...zones.map((zone) => zone.layout.pageCapacity));
  }

  /** Throws META_FULL when `count` pages cannot be written beside those of `directory`. */
  requireRoom(count: number, directory: readonly DirectoryEntry[]): void {
    const have = this.#free(directory).length;
    if (have >= count) return;
    throw new RemapError(
      'META_FULL',
      `The change rewrites ${count} table pages and there is room for ${have}; ` +
        'change fewer extents at once, or use a larger spare.',
      { context: { have, need: count } },
    );
  }

  /**
   * Writes `pages` durably to every zone, at locations that `directory`, the one in force, does
   * not name. A zone that does not take a page is marked `pagesMissing`. Returns where they are.
   */
  async write(
    pages: ReadonlyMap<number, readonly TableEntry[]>,
    generation: Generation,
    directory: readonly DirectoryEntry[],
  ): Promise<Map<number, DirectoryEntry>> {
    this.requireRoom(pages.size, directory);
    const free = this.#free(directory);
    const jobs = [...pages].map(([index, entries]): PageJob => {
      return { index, entries, location: free.shift() as number };
    });
    const written = new Map<number, DirectoryEntry>();
    for (let at = 0; at < jobs.length; at += PAGES_AT_ONCE) {
      await this.#writeSome(jobs.slice(at, at + PAGES_AT_ONCE), generation, free, written);
    }
    return written;
  }

  async #writeSome(
    jobs: readonly PageJob[],
    generation: Generation,
    free: number[],
    written: Map<number, DirectoryEntry>,
  ): Promise<void> {
    let left = jobs;
    for (let relocations = 0; left.length > 0; relocations++) {
      const failed = await this.#writeOnce(left, generation, written);
      const movable = left.filter((job) => failed.get(job)?.movable);
      const again = relocations < RELOCATIONS_MAX && movable.length <= free.length ? movable : [];
      for (const [job, { zones }] of failed) {
        if (!again.includes(job)) for (const zone of zones) zone.pagesMissing = true;
      }
      for (const job of again) {
        this.#bad.add(job.location);
        job.location = free.shift() as number;
      }
      left = again;
    }
  }

  /** One round; returns which zones did not take which page, and whether to try elsewhere. */
  async #writeOnce(
    jobs: readonly PageJob[],
    generation: Generation,
    written: Map<number, DirectoryEntry>,
  ): Promise<Map<PageJob, { zones: Zone[]; movable: boolean }>> {
    const owner = new Map(
      jobs.flatMap((job) => {
        const { index, location, entries } = job;
        const bytes = encodeNamedPage(this.#volumeUuid, index, { generation, location }, entries);
        written.set(index, { pageCrc: pageCrc(bytes), location, generation });
        return this.#zones.map((zone) => {
          const offset = zone.layout.pageOffset(zone.copyIndex, location);
          return [{ zone, offset, bytes }, job] as const;
        });
      }),
    );
    const failed = new Map<PageJob, { zones: Zone[]; movable: boolean }>();
    for (const [write, { step }] of await this.#write([...owner.keys()])) {
      const job = owner.get(write) as PageJob;
      const entry = failed.get(job) ?? { zones: [], movable: false };
      entry.zones.push(write.zone);
      // Another place helps where only this one is bad, not where the zone or the device is.
      entry.movable ||= step !== 'flush' && zoneState(write.zone) === 'good';
      failed.set(job, entry);
    }
    return failed;
  }

  #free(directory: readonly DirectoryEntry[]): number[] {
    const taken = new Set(directory.map((page) => page.location));
    const locations = Array.from({ length: this.#capacity }, (_, location) => location);
    return locations.filter((location) => !taken.has(location) && !this.#bad.has(location));
  }
}

function decodeEntries(bytes: Buffer): readonly TableEntry[] | undefined {
  try {
    return decodePage(bytes).entries;
  } catch (cause) {
    if (cause instanceof FormatError) return undefined;
    throw cause;
  }
}

function pageLost(zones: readonly Zone[], index: number): RemapError {
  const paths = [...new Set(zones.map((zone) => zone.device.path))].join(', ');
  return new RemapError(
    'META_LOST',
    `Page ${index} of the remap table is in none of the zones of ${paths}; nothing was written: ` +
      'look at them with remapctl inspect.',
  );
}
