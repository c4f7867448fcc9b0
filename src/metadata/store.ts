/**
 * The one writer of a volume's metadata: opens it, commits changes to it, keeps its copies whole.
 *
 * A commit is: changed table pages to places nothing in force names, flushed and read back; then
 * the superblock of generation g to slot g mod 2 of every copy, flushed and read back. It counts
 * when at least four copies on every spare hold all of it. What is in force is never written over,
 * so a crash at any point leaves the generation before or this one.
 */
import type { Clock } from '../core/clock.js';
import { RemapError, sentence } from '../core/errors.js';
import { COMMIT_QUORUM } from '../core/limits.js';
import { type Logger, silentLogger } from '../core/log.js';
import { type Generation, generation } from '../core/units.js';
import type { BlockDevice } from '../device/block-device.js';
import type { VolumeConfig } from '../ondisk/config.js';
import type { TableEntry } from '../ondisk/entry.js';
import type { CommonHeader } from '../ondisk/header.js';
import type { Health } from '../ondisk/health.js';
import type { SpareLayout } from '../ondisk/layout.js';
import { digestOf, encodeImage } from '../ondisk/superblock.js';
import type { DirectoryEntry } from '../ondisk/table-section.js';
import { type CreateOptions, format } from './create.js';
import { type OpenedMetadata, readMetadata } from './open.js';
import { PageWriter } from './pages.js';
import type { CopyState } from './quorum.js';
import { examine, type InForce, repair, writeSuperblocks } from './repair.js';
import type { SlotReader } from './slot-reader.js';
import type { TablePlacement, TablePlan } from './table-placement.js';
import { askDescriptors, type LaidOut, tooOld } from './witness.js';
import { goodCopies, type Writer, writeDurably, type Zone, zoneState } from './zones.js';

export interface OpenOptions {
  /** Write bad copies again. Without it the store never writes and refuses to commit. */
  readonly repair: boolean;
  readonly clock: Clock;
  readonly logger?: Logger;
  /** Of whoever has read the spares before, and has held them since. */
  readonly reader?: SlotReader;
}

/** All of it becomes durable, or none. */
export interface CommitChange {
  readonly add?: readonly TableEntry[];
  /** The very objects that were added or iterated before. */
  readonly remove?: readonly TableEntry[];
  /** Values, not increments. */
  readonly health?: Partial<Omit<Health, 'metadataRepairsTotal'>>;
  /** Records of the spares may change, not which they are. */
  readonly config?: Partial<Pick<VolumeConfig, 'name' | 'main' | 'spares'>>;
}

export interface CommitResult {
  readonly generation: Generation;
  /** On the spare that has fewest: 4 or 5. */
  readonly copiesDurable: number;
  readonly bytesWritten: number;
}

export interface CopyStatus {
  readonly spareIndex: number;
  /** Byte offset of the zone on its spare. */
  readonly offset: number;
  readonly state: CopyState;
  /** 0 when none is known. */
  readonly generation: Generation;
}

export interface ScrubFinding {
  readonly spareIndex: number;
  readonly copyIndex: number;
  /** Of the superblock, as it was found. */
  readonly state: CopyState;
  /** Indexes of the table pages that were not as they should be. */
  readonly pages: readonly number[];
  /** All of it is right now. */
  readonly repaired: boolean;
}

export interface ScrubResult {
  /** Superblocks, and table pages over all zones. */
  readonly copiesChecked: number;
  readonly pagesChecked: number;
  /** Zones that were not whole. */
  readonly findings: readonly ScrubFinding[];
}

export class MetadataStore {
  /** In the order of `config.spares`: an entry's `spareIndex` counts these. */
  readonly spares: readonly BlockDevice[];
  /** Of the spares, in the same order. */
  readonly layouts: readonly SpareLayout[];
  /**
   * So few copies could be read at open that a newer generation may have been acknowledged, and
   * all copies of it lost since; and not all descriptors could be read that would have told.
   */
  readonly mayBeOld: boolean;
  /** Opened without repair, on a read-only device, or with features that forbid writing. */
  readonly readOnly: boolean;
  readonly #zones: readonly Zone[];
  readonly #table: TablePlacement;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #pageWriter: PageWriter;
  #header: CommonHeader;
  #config: VolumeConfig;
  #health: Health;
  #image: Buffer;
  #digest: string;
  #bytesWritten = 0;
  #failure: RemapError | undefined;
  /** Ends when everything asked for so far has been done. */
  #queue: Promise<unknown> = Promise.resolve();

  private constructor(opened: OpenedMetadata, mayBeOld: boolean, options: OpenOptions) {
    const { header, config, health } = opened.superblock;
    this.spares = opened.spares;
    this.layouts = laidOut(opened).map(({ layout }) => layout);
    this.mayBeOld = mayBeOld;
    this.readOnly =
      !options.repair ||
      header.features.readOnlyCompatible !== 0n ||
      opened.spares.some((device) => device.readOnly);
    this.#zones = opened.zones;
    this.#table = opened.table;
    this.#clock = options.clock;
    this.#logger = options.logger ?? silentLogger;
    this.#pageWriter = new PageWriter(opened.zones, header.volumeUuid, this.#write);
    this.#header = header;
    this.#config = config;
    this.#health = health;
    this.#image = opened.image;
    this.#digest = header.digest;
  }

  /**
   * Formats `spares` for a new volume. Throws SPARE_NOT_BLANK unless forced, SPARE_TOO_SMALL,
   * BLOCK_SIZE, USAGE for a name that does not fit, META_COMMIT when the copies cannot be written.
   */
  static async create(
    spares: readonly BlockDevice[],
    options: CreateOptions & { readonly logger?: Logger },
  ): Promise<MetadataStore> {
    await format(spares, options);
    return MetadataStore.open(spares, { ...options, repair: true });
  }

  /**
   * As `readMetadata`, and META_OLD when the descriptors prove that newer metadata is lost. Nothing
   * is written when it throws, nor with `repair` false.
   */
  static async open(spares: readonly BlockDevice[], options: OpenOptions): Promise<MetadataStore> {
    const opened = await readMetadata(spares, options.reader);
    // Before any repair: an old copy spread over all zones would look like the newest there was.
    const mayBeOld = opened.mayBeOld && !(await provenCurrent(opened, options));
    const store = new MetadataStore(opened, mayBeOld, options);
    if (!store.readOnly && (await store.#settle())) {
      await store.#scrub(true, opened.repairs);
    } else {
      for (const zone of opened.repairs) if (zone.state === 'good') zone.pagesMissing = true;
    }
    return store;
  }

  /**
   * Makes durable what was read. A process that was killed may have left a commit in a cache: were
   * it lost after spare blocks that it had freed were used again, the commit before would name
   * what is not there any more. False when a spare does not flush: nothing is committed then.
   */
  async #settle(): Promise<boolean> {
    const flushed = await Promise.allSettled(this.spares.map((spare) => spare.flush()));
    const failed = flushed.findIndex(({ status }) => status === 'rejected');
    if (failed < 0) return true;
    const device = this.spares[failed]?.path ?? '';
    this.#failure = new RemapError(
      'META_COMMIT',
      `${device} does not flush, so nothing is remapped; look at that device and start again.`,
      { cause: (flushed[failed] as PromiseRejectedResult).reason, context: { device } },
    );
    this.#logger.error({ err: this.#failure }, this.#failure.message);
    return false;
  }

  get volumeUuid(): string {
    return this.#header.volumeUuid;
  }

  get generation(): Generation {
    return this.#header.generation;
  }

  get createdSeconds(): number {
    return this.#header.createdSeconds;
  }

  get config(): VolumeConfig {
    return this.#config;
  }

  /** Repairs since the last commit are counted already; the next commit writes them down. */
  get health(): Health {
    return this.#health;
  }

  get entryCount(): number {
    return this.#table.size;
  }

  /** Bytes of metadata written since open. */
  get bytesWritten(): number {
    return this.#bytesWritten;
  }

  /** In no order. Not to be advanced across a commit. */
  entries(): IterableIterator<TableEntry> {
    return this.#table.entries();
  }

  copies(): CopyStatus[] {
    return this.#zones
      .map((zone) => ({
        spareIndex: zone.spareIndex,
        offset: zone.layout.zoneOffset(zone.copyIndex),
        state: zoneState(zone),
        generation: zone.generation ?? generation(0n),
      }))
      .sort((a, b) => a.spareIndex - b.spareIndex || a.offset - b.offset);
  }

  /** Copies of the worst spare that may be lost and the metadata still be whole. */
  tolerance(): number {
    return Math.max(0, goodCopies(this.#zones) - 1);
  }

  /**
   * Makes `change` durable. Commits are carried out one after the other, in the order of the calls.
   *
   * Throws META_FULL when there is no room and RangeError for what cannot be written down; nothing
   * has happened then. Throws META_COMMIT when fewer than four copies of some spare took it: it may
   * or may not be there after the next open, and no commit is taken before that. Throws READ_ONLY.
   */
  commit(change: CommitChange): Promise<CommitResult> {
    return this.#inTurn(() => this.#commit(change));
  }

  /**
   * Reads every copy and every page of every zone, and with `repair` writes again what is not
   * right. Throws META_FORK when a spare holds what somebody else committed; nothing more is
   * written then. With `repair` throws READ_ONLY, and META_COMMIT after a failed commit.
   */
  scrub(options: { readonly repair: boolean } = { repair: true }): Promise<ScrubResult> {
    return this.#inTurn(() => this.#scrub(options.repair));
  }

  /** As `scrub`, of the zone `index` only; there are `zoneCount` of them. */
  scrubZone(index: number): Promise<ScrubResult> {
    return this.#inTurn(() => this.#scrub(true, this.#zones.slice(index, index + 1)));
  }

  get zoneCount(): number {
    return this.#zones.length;
  }

  /** Ends when all commits asked for so far have ended. */
  async drain(): Promise<void> {
    await this.#inTurn(async () => {});
  }

  #inTurn<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(action);
    this.#queue = result.catch(() => {});
    return result;
  }

  async #commit(change: CommitChange): Promise<CommitResult> {
    this.#requireWritable();
    const before = this.#bytesWritten;
    const plan = this.#table.plan(change.add ?? [], change.remove ?? []);
    const directory = this.#table.directory;
    this.#pageWriter.requireRoom(plan.pages.size, directory);
    const next = this.#nextHeader();
    const config = this.#nextConfig(change);
    // Callers may hand back a whole Health; the count of repairs is the store's own.
    const { metadataRepairsTotal } = this.#health;
    const health = { ...this.#health, ...change.health, metadataRepairsTotal };
    const encode = (pages: readonly DirectoryEntry[]): Buffer => {
      const table = { entries: plan.inline, directory: pages };
      return encodeImage({ header: next, config, health, table });
    };
    // What cannot be written down must fail before anything is written.
    let image = encode(directoryAfter(plan, directory, new Map()));

    const written = await this.#pageWriter.write(plan.pages, next.generation, directory);
    if (written.size > 0) {
      this.#requireQuorum(this.#zones.filter((zone) => !zone.pagesMissing));
      image = encode(directoryAfter(plan, directory, written));
    }
    await writeSuperblocks(this.#zones, image, next.generation, this.#write);
    const copiesDurable = this.#requireQuorum(
      this.#zones.filter((zone) => zoneState(zone) === 'good'),
    );

    this.#table.apply(plan, written);
    this.#header = next;
    this.#config = config;
    this.#health = health;
    this.#image = image;
    this.#digest = digestOf(image);
    return {
      generation: next.generation,
      copiesDurable,
      bytesWritten: this.#bytesWritten - before,
    };
  }

  #nextHeader(): CommonHeader {
    return {
      ...this.#header,
      generation: generation(this.#header.generation + 1n),
      parent: this.#digest,
      copiesCommitted: goodCopies(this.#zones),
      committedSeconds: this.#clock.nowSeconds(),
    };
  }

  #nextConfig({ config }: CommitChange): VolumeConfig {
    const next = { ...this.#config, ...config };
    const same = (spares: VolumeConfig['spares']): string =>
      spares.map((spare) => `${spare.uuid} ${spare.sizeSectors}`).join();
    if (same(next.spares) === same(this.#config.spares)) return next;
    throw new RangeError('a commit cannot change which spares there are, nor their sizes');
  }

  /** One zone after the other, so that no fault of a repair can reach two copies. */
  async #scrub(mayRepair: boolean, zones = this.#zones): Promise<ScrubResult> {
    if (mayRepair) this.#requireWritable();
    const findings: ScrubFinding[] = [];
    for (const zone of zones) {
      const finding = await this.#scrubZone(zone, mayRepair);
      if (finding !== undefined) findings.push(finding);
    }
    const pagesChecked = zones.length * this.#table.directory.length;
    return { copiesChecked: zones.length, pagesChecked, findings };
  }

  async #scrubZone(zone: Zone, mayRepair: boolean): Promise<ScrubFinding | undefined> {
    const inForce: InForce = {
      volumeUuid: this.volumeUuid,
      generation: this.generation,
      digest: this.#digest,
      image: this.#image,
      table: this.#table,
    };
    const { copy, missing, conflict } = await examine(zone, inForce);
    if (conflict) throw this.#conflict(zone);
    zone.state = copy.state;
    zone.generation = copy.generation;
    zone.pagesMissing = missing.length > 0;
    if (zoneState(zone) === 'good') return undefined;
    const repaired = mayRepair && (await repair(zone, missing, inForce, this.#write));
    if (repaired) {
      const metadataRepairsTotal = this.#health.metadataRepairsTotal + 1;
      this.#health = { ...this.#health, metadataRepairsTotal };
      const detail = { ...where(zone), was: copy.state, pages: missing.length };
      this.#logger.info(detail, 'metadata copy repaired');
    }
    const { spareIndex, copyIndex } = zone;
    return { spareIndex, copyIndex, state: copy.state, pages: missing, repaired };
  }

  /** `writeDurably`, counted and logged. */
  readonly #write: Writer = async (writes) => {
    const failed = await writeDurably(writes);
    for (const write of writes) this.#bytesWritten += write.bytes.length;
    for (const [{ zone, offset }, { step, error }] of failed) {
      const detail = { ...where(zone), at: offset, step, error: sentence(error) };
      this.#logger.warn(detail, 'metadata copy not written');
    }
    return failed;
  };

  /** Returns how many of `zones` the spare with fewest has; four of five must be there. */
  #requireQuorum(zones: readonly Zone[]): number {
    const counts = this.spares.map((_, index) => {
      return zones.filter((zone) => zone.spareIndex === index).length;
    });
    const have = Math.min(...counts);
    if (have >= COMMIT_QUORUM) return have;
    const device = this.spares[counts.indexOf(have)]?.path ?? '';
    this.#failure = new RemapError(
      'META_COMMIT',
      `Only ${have} of 5 copies of the metadata on ${device} could be written and ` +
        `${COMMIT_QUORUM} are needed; look at that device and start again.`,
      { context: { device, have, need: COMMIT_QUORUM } },
    );
    throw this.#failure;
  }

  #requireWritable(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (!this.readOnly) return;
    throw new RemapError('READ_ONLY', 'The metadata was opened read-only; open it for writing.');
  }

  #conflict(zone: Zone): RemapError {
    const { path } = zone.device;
    this.#failure = new RemapError(
      'META_FORK',
      `${path} holds metadata that this process did not write, and is left as it is; stop the ` +
        'other process that uses it and start again.',
      { context: { device: path } },
    );
    return this.#failure;
  }
}

/** The spares in the order of their index. */
const laidOut = ({ spares, zones }: OpenedMetadata): LaidOut[] =>
  spares.map((device, index) => {
    return { device, layout: (zones.find((zone) => zone.spareIndex === index) as Zone).layout };
  });

/** Asks the descriptors whether the newest copy left is the newest there was. Throws META_OLD. */
async function provenCurrent(
  opened: OpenedMetadata,
  { logger = silentLogger }: OpenOptions,
): Promise<boolean> {
  const { generation: found, volumeUuid } = opened.superblock.header;
  const { newest, doubtfulGroups } = await askDescriptors(laidOut(opened), volumeUuid);
  if (newest > found) throw tooOld(opened.spares[0]?.path ?? '', found, newest);
  const detail = { generation: Number(found), described: Number(newest), doubtfulGroups };
  if (doubtfulGroups === 0) {
    logger.info(detail, 'few copies of the metadata are left; the spare blocks say it is current');
    return true;
  }
  logger.warn(detail, 'too little of the metadata can be read to be sure that it is the newest');
  return false;
}

/** The directory once `written` pages are where they are; pages not written yet take no place. */
function directoryAfter(
  plan: TablePlan,
  directory: readonly DirectoryEntry[],
  written: ReadonlyMap<number, DirectoryEntry>,
): DirectoryEntry[] {
  const unwritten: DirectoryEntry = { pageCrc: 0, location: 0, generation: generation(0n) };
  return Array.from(
    { length: plan.pageCount },
    (_, index) => written.get(index) ?? directory[index] ?? unwritten,
  );
}

const where = (zone: Zone): { device: string; spareIndex: number; copy: number } => ({
  device: zone.device.path,
  spareIndex: zone.spareIndex,
  copy: zone.copyIndex,
});
