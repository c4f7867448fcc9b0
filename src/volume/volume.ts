import type { Clock } from '../core/clock.js';
import { RemapError, sentence } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { DescriptorStore } from '../metadata/descriptors.js';
import { type BackendEvent, BlkStatus, Operation } from '../native/abi.js';
import { Backend, type ParkedRequest } from '../native/backend.js';
import { type Health, NO_HEALTH } from '../ondisk/health.js';
import type {
  ExtentMessage,
  FaultFilter,
  FaultRequest,
  FaultRow,
  MoveReport,
  PendingRow,
  RemapRow,
  ResizeReport,
  VolumeStatus,
} from '../protocol/messages.js';
import type { VolumeControl } from '../protocol/volume-control.js';
import { DeviceErrors } from './device-errors.js';
import { Faults } from './faults.js';
import { HalfOpen } from './half-open.js';
import { HandOver } from './hand-over.js';
import { emptyIndex, wholeIndex } from './index-records.js';
import { Journal } from './journal.js';
import { LogLimiter } from './log-limiter.js';
import { MetadataScrub } from './metadata-scrub.js';
import { Mover } from './mover.js';
import { type OpenedVolume, openStorage, takeStorage, type VolumeMeans } from './opening.js';
import { DEFAULT_POLICY, type VolumeOptions, type VolumePolicy } from './options.js';
import { PathProbe } from './path-probe.js';
import { Quarantine } from './quarantine.js';
import { Reallocator } from './reallocator.js';
import { growToMain } from './resize.js';
import { listRows } from './rows.js';
import type { Facts } from './states.js';
import { statusOf } from './status.js';
import { StormGuard } from './storm-guard.js';
import { realSystem, type VolumeSystem } from './system.js';
import { Watchdog } from './watchdog.js';

/** What only a volume with spares has. */
interface Remapping {
  readonly journal: Journal;
  readonly guard: StormGuard;
  readonly reallocator: Reallocator;
  readonly mover: Mover;
  readonly quarantine: Quarantine;
  readonly scrub: MetadataScrub;
}

/**
 * One volume: its devices, its metadata, its data plane, and the order in which they change
 * (design section 4). Nothing else writes to any of them.
 */
export class Volume implements VolumeControl {
  readonly #options: VolumeOptions;
  readonly #means: VolumeMeans;
  /** On shared storage as it was when the volume was last held, or opened. */
  #storage: OpenedVolume;
  /** On shared storage; without it the volume is held from open to stop. */
  readonly #handOver: HandOver | undefined;
  readonly #policy: VolumePolicy;
  readonly #logger: Logger;
  readonly #clock: Clock;
  readonly #system: VolumeSystem;
  readonly #backend: Backend;
  readonly #faults: Faults;
  readonly #errors: DeviceErrors;
  readonly #limiter: LogLimiter;
  readonly #watchdog: Watchdog;
  /** Looks whether a main that had gone is there again. */
  readonly #returning: HalfOpen;
  /** undefined without a spare, when nothing may be written, or while the volume is not held. */
  #remapping: Remapping | undefined;
  readonly #queues = new Set<number>();
  #connected = false;
  /** Of the volume: main may be longer, and nobody told us yet. */
  #sizeSectors: number;
  #resizing: Promise<unknown> = Promise.resolve();
  /** Failing sectors that could not be put on record. */
  #unrecorded = { readErrorsTotal: 0, writeErrorsTotal: 0 };
  #stopping: Promise<void> | undefined;

  private constructor(options: VolumeOptions, storage: OpenedVolume, means: VolumeMeans) {
    this.#options = options;
    this.#means = means;
    this.#policy = { ...DEFAULT_POLICY, ...options.policy };
    this.#storage = storage;
    this.#sizeSectors = storage.sizeSectors;
    this.#logger = means.logger;
    this.#clock = means.clock;
    this.#system = means.system ?? realSystem;
    const devices = [storage.main, ...storage.spares];
    this.#faults = new Faults(devices, options.allowFaultInjection);
    const paths = devices.map((device) => device.path);
    this.#errors = new DeviceErrors(paths, means);
    this.#limiter = new LogLimiter(means.clock);
    this.#backend = this.#startBackend();
    const { hungIoSeconds } = this.#policy;
    this.#watchdog = new Watchdog({ ...means, backend: this.#backend, paths, hungIoSeconds });
    this.#returning = new HalfOpen(means.clock, () => this.#mainReturned());
    if (options.sharedStorage) {
      this.#handOver = new HandOver({
        ...means,
        take: () => this.#take(),
        letGo: () => this.#letGo(),
        answer: (claim, granted) => this.#backend.answerClaim(claim, granted),
      });
      return;
    }
    try {
      this.#remapping = this.#startRemapping();
      this.#backend.publish(wholeIndex(storage.table));
    } catch (e) {
      // It never listened, so this ends its threads at once.
      void this.#backend.stop();
      throw e;
    }
  }

  /**
   * Opens, checks and (but for shared storage) locks everything, formats with `create`, repairs the
   * metadata, and makes the data plane ready; `listen` then lets a front-end in. Throws what the
   * parts throw, each with nothing left open.
   */
  static async open(options: VolumeOptions, means: VolumeMeans): Promise<Volume> {
    const storage = await openStorage(options, means);
    try {
      return new Volume(options, storage, means);
    } catch (e) {
      await storage.devices.close();
      throw e;
    }
  }

  /** Starts to accept a front-end, or to look for one. Throws SOCKET_BUSY or SOCKET_PATH. */
  listen(): void {
    const { socketPath, connectPath, fd } = this.#options;
    this.#backend.listen(socketPath ?? connectPath ?? `file descriptor ${fd}`);
    this.#remapping?.scrub.start();
    this.#watchdog.start();
  }

  /** Resolves when the front-end of a connected socket has left, or after `stop`. */
  get ended(): Promise<void> {
    return this.#backend.ended;
  }

  status(): VolumeStatus {
    const { store, table, logicalBlockSize, readOnly, name } = this.#storage;
    const { total, queues } = this.#backend.counters();
    return statusOf({
      name,
      uuid: store?.volumeUuid ?? null,
      facts: this.#facts(),
      sizeSectors: this.#sizeSectors,
      logicalBlockSize,
      readOnly,
      generation: store?.generation ?? 0n,
      totals: table.totals,
      spareUuids: store?.config.spares.map((spare) => spare.uuid) ?? [],
      copies: store?.copies() ?? [],
      tolerance: store?.tolerance() ?? 0,
      health: this.#health(),
      counters: total,
      client: {
        connected: this.#connected,
        queues: this.#queues.size,
        maxQueues: this.#options.numQueues,
        requests: queues.map((q) => q.reads + q.writes + q.flushes + q.discards),
        writeThrough: this.#connected && this.#backend.writeThrough,
      },
      engine: { name: this.#backend.engine, workers: this.#backend.workers },
      breaker: this.#breaker(),
      faultInjection: { allowed: this.#faults.allowed, rules: this.#faults.count },
    });
  }

  resize(): Promise<ResizeReport> {
    const resized = this.#resizing.then(() => this.#resize());
    this.#resizing = resized.catch(() => {});
    return resized;
  }

  async #resize(): Promise<ResizeReport> {
    this.#requireHeld();
    if (this.#stopping !== undefined) throw new RemapError('NATIVE', 'The back-end is stopping.');
    const { main, store, logicalBlockSize } = this.#storage;
    const previousSectors = this.#sizeSectors;
    const parts = { main, store, backend: this.#backend, logicalBlockSize };
    this.#sizeSectors = await growToMain({ ...parts, sizeSectors: previousSectors });
    const report = { previousSectors, sizeSectors: this.#sizeSectors };
    this.#logger.info(report, 'resized');
    return report;
  }

  listRemaps(): { remaps: RemapRow[]; pending: PendingRow[] } {
    this.#requireHeld();
    return listRows(this.#storage.table);
  }

  async addRemaps(extents: readonly ExtentMessage[]): Promise<MoveReport> {
    return this.#requireRemapping().mover.add(extents);
  }

  async removeRemaps(extents: readonly ExtentMessage[]): Promise<MoveReport> {
    return this.#requireRemapping().mover.remove(extents);
  }

  async resumeRemapping(): Promise<{ wasOpen: boolean }> {
    return { wasOpen: await this.#requireRemapping().guard.close() };
  }

  addFaults(faults: readonly FaultRequest[]): FaultRow[] {
    return this.#faults.add(faults);
  }

  listFaults(): FaultRow[] {
    return this.#faults.list();
  }

  clearFaults(filter: FaultFilter): number {
    return this.#faults.clear(filter);
  }

  /** Answers what is under way, takes nothing new, makes all durable, and closes everything. */
  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    this.#watchdog.stop();
    await this.#rest();
    await this.#backend.stop();
    await this.#handOver?.stop();
    if (this.#handOver === undefined) await this.#settle();
    this.#faults.close();
    await this.#storage.devices.close();
  }

  /** Ends what the volume does of itself, while the data plane still runs. */
  async #rest(): Promise<void> {
    await this.#resizing;
    await this.#remapping?.scrub.stop();
    await this.#remapping?.guard.stop();
    await this.#returning.stop();
    await this.#remapping?.mover.stop();
  }

  /** All rings are drained: makes durable what is not yet. */
  async #settle(): Promise<void> {
    const { store, main, spares, readOnly } = this.#storage;
    // What failed while they were drained may have begun it again.
    await this.#returning.stop();
    await this.#remapping?.reallocator.idle();
    await this.#remapping?.quarantine.stop();
    await store?.drain();
    for (const device of readOnly ? [] : [main, ...spares]) {
      // The guest was told nothing about what it did not flush; a failure is only worth a line.
      await device.flush().catch((err) => this.#logger.error({ err }, 'the last flush failed'));
    }
  }

  /** Rings are to run: locks the devices, and loads what others may have changed. */
  async #take(): Promise<void> {
    const storage = await takeStorage(this.#storage, this.#options, this.#means);
    try {
      this.#storage = storage;
      for (const i of storage.spares.keys()) {
        if (this.#errors.failureOf(i + 1) !== undefined) storage.pool.disable(i);
      }
      if (storage.sizeSectors > this.#sizeSectors) {
        this.#backend.setCapacity(storage.sizeSectors);
        this.#sizeSectors = storage.sizeSectors;
      }
      this.#backend.publish(emptyIndex(this.#sizeSectors));
      this.#backend.publish(wholeIndex(storage.table));
      this.#remapping = this.#startRemapping();
      this.#remapping?.scrub.start();
    } catch (e) {
      storage.devices.release();
      throw e;
    }
    const { store, table } = storage;
    this.#logger.info({ generation: store?.generation, ...table.totals }, 'volume taken');
  }

  async #letGo(): Promise<void> {
    try {
      await this.#rest();
      await this.#settle();
    } catch (err) {
      this.#logger.error({ err }, `the volume was let go unfinished: ${sentence(err)}`);
    }
    this.#remapping = undefined;
    this.#storage.devices.release();
  }

  #startBackend(): Backend {
    const { main, spares, logicalBlockSize, readOnly, serial } = this.#storage;
    const { socketPath, connectPath, fd, numQueues, workers } = this.#options;
    const options = {
      ...(socketPath === undefined ? {} : { socketPath }),
      ...(connectPath === undefined ? {} : { connectPath }),
      ...(fd === undefined ? {} : { fd }),
      devices: [main, ...spares].map((device) => device.native),
      capacitySectors: this.#sizeSectors,
      logicalBlockSize,
      numQueues,
      workers,
      readOnly,
      sharedStorage: this.#options.sharedStorage ?? false,
      serial,
    };
    try {
      return new Backend((onEvents) => this.#system.createBackend({ ...options, onEvents }), {
        parked: (request) => this.#parked(request),
        client: (connected) => this.#client(connected),
        queue: (index, running) => {
          if (running) this.#queues.add(index);
          else this.#queues.delete(index);
        },
        claim: (claim) => {
          if (claim === undefined) this.#handOver?.giveUp();
          else this.#handOver?.claim(claim);
        },
        recovered: ({ lba, count }) => {
          this.#limiter.line('recovered', (more) => {
            this.#logger.info({ lba, count, more }, 'pending sectors could be read after all');
          });
          this.#remapping?.mover.recover({ start: lba, count });
        },
        deviceError: (event) => this.#deviceError(event),
        log: (level, text) => this.#log(level, text),
      });
    } catch (cause) {
      if (cause instanceof RemapError) throw cause;
      throw new RemapError(
        'NATIVE',
        `The data plane could not be started (${sentence(cause)}); it needs io_uring, which a ` +
          'container or a sysctl may forbid (kernel.io_uring_disabled).',
        { cause },
      );
    }
  }

  #newProbe(): PathProbe {
    const { table, main, logicalBlockSize } = this.#storage;
    return new PathProbe({
      backend: this.#backend,
      table,
      main,
      clock: this.#clock,
      sizeSectors: () => this.#sizeSectors,
      blockSectors: logicalBlockSize / 512,
    });
  }

  async #mainReturned(): Promise<boolean> {
    const back = await this.#newProbe().readsEverywhere();
    if (back) this.#errors.returned(0);
    return back;
  }

  #startRemapping(): Remapping | undefined {
    const { store, spares, table, pool, main, logicalBlockSize, readOnly } = this.#storage;
    if (store === undefined || readOnly) return undefined;
    const { volumeUuid, layouts } = store;
    const common = {
      backend: this.#backend,
      table,
      pool,
      clock: this.#clock,
      logger: this.#logger,
      blockSectors: logicalBlockSize / 512,
    };
    const descriptors = new DescriptorStore(spares, { volumeUuid, logicalBlockSize, layouts });
    const journal = new Journal({ ...common, store, descriptors, spares });
    const quarantine = new Quarantine({
      inFlight: () => this.#backend.counters().queues.map((queue) => queue.inFlight),
      release: (run) => pool.release(run),
      clock: this.#clock,
    });
    const sizeSectors = (): number => this.#sizeSectors;
    const probe = this.#newProbe();
    const allowance = this.#policy.stormAllowanceBlocks;
    const guard = new StormGuard({ ...common, journal, probe, allowance });
    const mover = new Mover({
      ...common,
      journal,
      main,
      sizeSectors,
      stormy: () => guard.storm !== undefined,
      retain: (runs) => quarantine.add(runs),
    });
    const everySeconds = this.#options.metadataScrubSeconds;
    const scrub = new MetadataScrub({ ...common, store, journal, everySeconds });
    const reallocator = new Reallocator({ ...common, journal, guard });
    return { journal, guard, quarantine, mover, scrub, reallocator };
  }

  #parked(request: ParkedRequest): void {
    if (this.#remapping !== undefined) {
      this.#remapping.reallocator.accept(request);
      return;
    }
    const counter = request.operation === Operation.write ? 'writeErrorsTotal' : 'readErrorsTotal';
    for (const { count } of request.bad) this.#unrecorded[counter] += count;
    this.#backend.complete(request.token, BlkStatus.ioerr);
  }

  #client(connected: boolean): void {
    this.#connected = connected;
    if (!connected) this.#queues.clear();
    const text = connected ? 'front-end connected' : 'front-end left';
    this.#limiter.line(text, (more) => {
      this.#logger.info({ more }, text);
    });
  }

  #deviceError(event: BackendEvent): void {
    const gone = this.#errors.note(event);
    if (gone && event.device > 0) this.#storage.pool.disable(event.device - 1);
    else if (gone) this.#returning.start();
  }

  #log(level: number, text: string): void {
    const names = { 10: 'trace', 20: 'debug', 30: 'info', 40: 'warn', 50: 'error' } as const;
    this.#logger[names[level as keyof typeof names] ?? 'info'](text);
  }

  #facts(): Facts {
    const { store, spares, pool, table } = this.#storage;
    const copies = store?.copies() ?? [];
    const totals = pool.totals();
    return {
      held: this.#handOver?.held ?? true,
      ringsWait: this.#handOver?.trouble,
      mainPath: this.#options.mainPath,
      mainFailure: this.#errors.failureOf(0),
      flushFailed: this.#backend.flushFailed,
      metadataFailure: this.#remapping?.journal.failure,
      metadataMayBeOld: store?.mayBeOld ?? false,
      goodCopies: copies.filter((copy) => copy.state === 'good').length,
      allCopies: copies.length,
      spares: spares.flatMap(({ path }, i) => {
        const spare = totals[i];
        return spare === undefined ? [] : [{ path, totals: spare }];
      }),
      hung: this.#watchdog.hung,
      storm: this.#remapping?.guard.storm,
      exhausted: this.#remapping?.reallocator.exhausted ?? false,
      pendingSectors: table.totals.pendingSectors,
    };
  }

  #breaker(): VolumeStatus['breaker'] {
    if (this.#remapping === undefined) return null;
    const { storm, allowance, left } = this.#remapping.guard;
    return {
      state: storm === undefined ? 'closed' : 'open',
      since: storm === undefined ? null : new Date(storm.sinceSeconds * 1000).toISOString(),
      allowanceBlocks: allowance,
      leftBlocks: left,
    };
  }

  #health(): Health {
    const recorded = this.#remapping?.journal.health ?? this.#storage.store?.health ?? NO_HEALTH;
    const { readErrorsTotal, writeErrorsTotal } = this.#unrecorded;
    return {
      ...recorded,
      readErrorsTotal: recorded.readErrorsTotal + readErrorsTotal,
      writeErrorsTotal: recorded.writeErrorsTotal + writeErrorsTotal,
    };
  }

  #requireHeld(): void {
    if (this.#handOver?.held ?? true) return;
    throw new RemapError(
      'NOT_HELD',
      'This back-end does not hold the volume, because no ring of its front-end runs; ask the ' +
        'back-end that the guest runs on, or start the guest.',
    );
  }

  #requireRemapping(): Remapping {
    this.#requireHeld();
    if (this.#remapping !== undefined) return this.#remapping;
    if (this.#storage.store === undefined) {
      throw new RemapError('SPARE_EXHAUSTED', 'This volume has no spare; start it with --spare.');
    }
    throw new RemapError('READ_ONLY', 'This volume is read-only; start it without --read-only.');
  }
}
