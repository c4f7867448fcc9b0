/** Finds out whether main works at all, at places that worked before. */
import type { Clock } from '../core/clock.js';
import {
  PROBE_AT_ONCE,
  PROBE_LOCK_MS,
  PROBE_PLACES,
  PROBE_TIMEOUT_MS,
  PROBE_WRITES_MAX,
} from '../core/limits.js';
import { SECTOR_SIZE } from '../core/units.js';
import type { BlockDevice } from '../device/block-device.js';
import type { Backend } from '../native/backend.js';
import type { RemapTable } from '../remap/remap-table.js';

export interface PathProbeParts {
  readonly main: Pick<BlockDevice, 'read'>;
  readonly table: Pick<RemapTable, 'remappedIn' | 'pendingIn'>;
  readonly backend: Pick<Backend, 'copy' | 'lockWithin' | 'unlock' | 'recentPlaces'>;
  /** Of the volume, at the moment. */
  readonly sizeSectors: () => number;
  readonly blockSectors: number;
  readonly clock: Clock;
}

/** How many of the places failed. */
export interface ProbeCount {
  readonly tried: number;
  readonly failed: number;
}

export interface ProbeFinding {
  readonly reads: ProbeCount;
  /** Nothing was written where the reads say enough, or nothing was written before. */
  readonly writes: ProbeCount;
}

/** Most places cannot be read, or none takes a write. */
export const pathIsDead = ({ reads, writes }: ProbeFinding): boolean =>
  reads.failed * 2 > reads.tried || (writes.tried > 0 && writes.failed === writes.tried);

export class PathProbe {
  readonly #parts: PathProbeParts;

  constructor(parts: PathProbeParts) {
    this.#parts = parts;
  }

  /**
   * Reads blocks spread over main, the first and the last among them, and where the guest's last
   * requests went well. With `writes`, and if main can be read, also writes again what the guest
   * wrote last, under a lock and with what stands there. Blocks on record as bad, and those in
   * `failing`, are left out. Never throws. With `writes` inside the journal's `exclusive` only:
   * nothing else may move a block meanwhile.
   */
  async run(failing: ReadonlySet<number>, writes: boolean): Promise<ProbeFinding> {
    const recent = this.#parts.backend.recentPlaces();
    const places = this.#usable([...this.#spread(), ...recent.map(({ lba }) => lba)], failing);
    const reads = await this.#readAll(places);
    const none = { tried: 0, failed: 0 };
    if (!writes || reads.failed * 2 > reads.tried) return { reads, writes: none };
    const written = recent.filter(({ write }) => write).map(({ lba }) => lba);
    return { reads, writes: await this.#writeSome(this.#usable(written, failing)) };
  }

  /** Every place answers: nothing of main is missing. Never throws. */
  async readsEverywhere(): Promise<boolean> {
    const places = this.#usable(this.#spread(), new Set());
    for (const lba of places) if ((await this.#read(lba)) !== 'ok') return false;
    return places.length > 0;
  }

  #spread(): number[] {
    const { blockSectors, sizeSectors } = this.#parts;
    const last = Math.floor(sizeSectors() / blockSectors) - 1;
    return Array.from({ length: PROBE_PLACES }, (_, i) => {
      return Math.floor((last * i) / (PROBE_PLACES - 1)) * blockSectors;
    });
  }

  #usable(places: readonly number[], failing: ReadonlySet<number>): number[] {
    const { table, blockSectors } = this.#parts;
    return [...new Set(places)].filter(
      (lba) =>
        !failing.has(lba) &&
        table.remappedIn(lba, blockSectors).length === 0 &&
        table.pendingIn(lba, blockSectors).length === 0,
    );
  }

  /** Ends as soon as the answer is known. */
  async #readAll(places: readonly number[]): Promise<ProbeCount> {
    let tried = 0;
    let failed = 0;
    for (let at = 0; at < places.length; at += PROBE_AT_ONCE) {
      const some = places.slice(at, at + PROBE_AT_ONCE);
      const results = await Promise.all(some.map((lba) => this.#read(lba)));
      tried += some.length;
      failed += results.filter((result) => result !== 'ok').length;
      // A thread of the pool is stuck for each of these.
      if (results.includes('late')) return { tried, failed: tried };
      if (failed * 2 > places.length || (tried - failed) * 2 >= places.length) break;
    }
    return { tried, failed };
  }

  async #read(lba: number): Promise<'ok' | 'failed' | 'late'> {
    const { main, clock, blockSectors } = this.#parts;
    const buffer = Buffer.alloc(blockSectors * SECTOR_SIZE);
    let cancel = (): void => {};
    const late = new Promise<'late'>((resolve) => {
      cancel = clock.after(PROBE_TIMEOUT_MS, () => resolve('late'));
    });
    const read = main.read(buffer, lba * SECTOR_SIZE).then(
      () => 'ok' as const,
      () => 'failed' as const,
    );
    return Promise.race([read, late]).finally(() => cancel());
  }

  /** One write that goes well is enough. */
  async #writeSome(places: readonly number[]): Promise<ProbeCount> {
    let tried = 0;
    for (const lba of places.slice(0, PROBE_WRITES_MAX)) {
      const outcome = await this.#rewrite(lba);
      if (outcome === 'busy') continue;
      tried++;
      if (outcome === 'ok') return { tried, failed: tried - 1 };
    }
    return { tried, failed: tried };
  }

  async #rewrite(lba: number): Promise<'ok' | 'failed' | 'busy'> {
    const { backend, clock, blockSectors: count } = this.#parts;
    const lock = await backend.lockWithin(lba, count, PROBE_LOCK_MS, clock);
    if (lock === undefined) return 'busy';
    try {
      const place = { count, sourceDevice: 0, source: lba, device: 0, target: lba };
      const { error } = await backend.copy(place);
      return error === 0 ? 'ok' : 'failed';
    } finally {
      backend.unlock(lock);
    }
  }
}
