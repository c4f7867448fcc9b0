/** What is kept in order: runs of sectors that do not overlap. */
interface Run {
  readonly start: number;
  readonly count: number;
}

/** Chunks are cut in two when they grow past this; it keeps a splice within a few cache lines. */
const CHUNK_MAX = 512;

/**
 * Runs of sectors ordered by start, none overlapping another, in chunks of a few hundred: a change
 * moves at most one chunk, a lookup is two binary searches.
 */
export class SortedExtents<T extends Run> {
  /** Never holds an empty chunk. */
  #chunks: T[][] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /**
   * Replaces the contents. `runs` come in any order; a million take a few hundred milliseconds.
   * Throws RangeError when two overlap.
   */
  load(runs: readonly T[]): void {
    const sorted = sortByStart(runs);
    for (let i = 1; i < sorted.length; i++) {
      const before = sorted[i - 1] as T;
      if (before.start + before.count > (sorted[i] as T).start) throw overlapError(sorted[i] as T);
    }
    this.#chunks = [];
    const fill = CHUNK_MAX / 2;
    for (let i = 0; i < sorted.length; i += fill) this.#chunks.push(sorted.slice(i, i + fill));
    this.#size = sorted.length;
  }

  /** Throws RangeError when `run` overlaps one that is there. */
  add(run: T): void {
    if (this.overlapping(run.start, run.count).length > 0) throw overlapError(run);
    const at = Math.max(0, this.#chunkOf(run.start));
    const chunk = this.#chunks[at];
    this.#size++;
    if (chunk === undefined) {
      this.#chunks.push([run]);
      return;
    }
    chunk.splice(lastNotAfter(chunk, run.start) + 1, 0, run);
    if (chunk.length > CHUNK_MAX) this.#chunks.splice(at + 1, 0, chunk.splice(CHUNK_MAX / 2));
  }

  /** Removes this very object. Throws RangeError when it is not there. */
  remove(run: T): void {
    const at = this.#chunkOf(run.start);
    const chunk = this.#chunks[at];
    const i = chunk === undefined ? -1 : lastNotAfter(chunk, run.start);
    if (chunk?.[i] !== run) throw new RangeError(`no such extent: ${run.start}+${run.count}`);
    chunk.splice(i, 1);
    if (chunk.length === 0) this.#chunks.splice(at, 1);
    this.#size--;
  }

  /** The runs that share a sector with [start, start + count), in order. */
  overlapping(start: number, count: number): T[] {
    const found: T[] = [];
    const end = start + count;
    let c = Math.max(0, this.#chunkOf(start));
    let i = Math.max(0, lastNotAfter(this.#chunks[c] ?? [], start));
    for (; c < this.#chunks.length; c++, i = 0) {
      const chunk = this.#chunks[c] as T[];
      for (; i < chunk.length; i++) {
        const run = chunk[i] as T;
        if (run.start >= end) return found;
        if (run.start + run.count > start) found.push(run);
      }
    }
    return found;
  }

  /** A copy, in order of start: several times faster to go through than an iterator. */
  toArray(): T[] {
    return ([] as T[]).concat(...this.#chunks);
  }

  /** Index of the last chunk whose first run starts at or before `start`; -1 for none. */
  #chunkOf(start: number): number {
    let low = 0;
    let high = this.#chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (firstStart(this.#chunks[middle] as T[]) <= start) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}

const firstStart = (chunk: readonly Run[]): number => (chunk[0] as Run).start;

/** Index of the last run that starts at or before `start`; -1 for none. */
function lastNotAfter(chunk: readonly Run[], start: number): number {
  let low = 0;
  let high = chunk.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((chunk[middle] as Run).start <= start) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/**
 * A copy in order of start. The counting pass brings runs near their place, so that the sort
 * proper finds little to do: it halves the time for a million runs in random order.
 */
export function sortByStart<T extends Run>(runs: readonly T[]): T[] {
  let highest = 0;
  for (const run of runs) if (run.start > highest) highest = run.start;
  const width = (highest + 1) / Math.max(1, runs.length);
  const place = new Uint32Array(runs.length + 1);
  const bucket = (run: T): number => Math.min(Math.floor(run.start / width), runs.length - 1);
  for (const run of runs) place[bucket(run) + 1] = (place[bucket(run) + 1] as number) + 1;
  for (let i = 1; i < place.length; i++) place[i] = (place[i] as number) + (place[i - 1] as number);
  const out = new Array<T>(runs.length);
  for (const run of runs) {
    const b = bucket(run);
    out[place[b] as number] = run;
    place[b] = (place[b] as number) + 1;
  }
  return out.sort((a, b) => a.start - b.start);
}

const overlapError = (run: Run): RangeError =>
  new RangeError(`extents overlap at ${run.start}+${run.count}`);
