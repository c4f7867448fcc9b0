/** Opens all that a volume stands on, in the order that leaves wrong devices untouched. */
import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import type { Clock } from '../core/clock.js';
import { RemapError, sentence } from '../core/errors.js';
import type { Logger } from '../core/log.js';
import { type DeviceSet, openDevices } from '../device/device-set.js';
import type { FileDevice } from '../device/file-device.js';
import { recordedOn, requireMain } from '../metadata/binding.js';
import {
  chooseBlockSize,
  formatSpares,
  nameOf,
  requireSize,
  requireWholeBlocks,
} from '../metadata/format.js';
import { type Decoder, sharedDecoder } from '../metadata/shared-decoder.js';
import { MetadataStore } from '../metadata/store.js';
import { RemapTable } from '../remap/remap-table.js';
import { SparePool } from '../remap/spare-pool.js';
import type { VolumeOptions } from './options.js';
import type { VolumeSystem } from './system.js';

export interface VolumeMeans {
  readonly logger: Logger;
  readonly clock: Clock;
  /** This machine by default. */
  readonly system?: VolumeSystem;
  /** Of superblocks; its own by default. */
  readonly decode?: Decoder;
}

export interface OpenedVolume {
  readonly main: FileDevice;
  /** In the order of their index. */
  readonly spares: readonly FileDevice[];
  /** undefined without a spare. */
  readonly store: MetadataStore | undefined;
  readonly table: RemapTable;
  readonly pool: SparePool;
  readonly logicalBlockSize: 512 | 4096;
  readonly readOnly: boolean;
  readonly name: string;
  readonly serial: string;
  close(): Promise<void>;
}

const SERIAL_BYTES = 20;

/**
 * Throws what opening the devices, formatting and reading the metadata throw, and MAIN_CHANGED.
 * Nothing is left open then, and nothing written but what `create` had to write.
 */
export async function openStorage(
  options: VolumeOptions,
  means: VolumeMeans,
): Promise<OpenedVolume> {
  const devices = await openDevices(options, means.system);
  try {
    if (devices.spares.length === 0) return bare(devices, options);
    if (options.create) await create(devices, options, means);
    return await withSpares(devices, options, means);
  } catch (e) {
    await devices.close();
    throw e;
  }
}

function bare(devices: DeviceSet, options: VolumeOptions): OpenedVolume {
  const { main } = devices;
  const logicalBlockSize = chooseBlockSize([main], options.logicalBlockSize);
  requireWholeBlocks(main, logicalBlockSize);
  return {
    ...devices,
    store: undefined,
    table: new RemapTable(),
    pool: new SparePool([]),
    logicalBlockSize: logicalBlockSize as 512 | 4096,
    readOnly: options.readOnly,
    name: options.name ?? nameOf(main.path),
    serial: options.serial ?? serialOf(main.path),
  };
}

async function create(
  devices: DeviceSet,
  options: VolumeOptions,
  { logger, clock }: VolumeMeans,
): Promise<void> {
  const { name, logicalBlockSize } = options;
  const format = { name, logicalBlockSize, force: false, dryRun: false, clock, logger };
  const report = await formatSpares(devices, format);
  if (report.state === 'created') logger.info({ volume: report.volumeUuid }, 'spares formatted');
  if (!report.ample) logger.warn('the spares are smaller than a hundredth of the main device');
}

async function withSpares(
  devices: DeviceSet,
  options: VolumeOptions,
  { logger, clock, decode = sharedDecoder() }: VolumeMeans,
): Promise<OpenedVolume> {
  for (const spare of devices.spares) requireSize(spare);
  // The main is checked before the metadata is opened for writing, and repaired.
  const recorded = await recordedOn(devices.spares, decode);
  if (recorded !== undefined) {
    const { grade, reasons } = await requireMain(recorded.config, devices.main);
    if (grade !== 'strong') logger.warn({ reasons }, 'the main device is known by its size only');
    requireBlockSize(recorded.config.logicalBlockSize, devices, options);
  }
  const repair = !options.readOnly;
  const store = await MetadataStore.open(devices.spares, { repair, clock, logger, decode });
  if (store.readOnly && repair) {
    logger.warn('the metadata has a feature that allows reading only; the volume is read-only');
  }
  const { table, pool } = loadTable(store, devices.main);
  return {
    main: devices.main,
    // The store has put them in the order of their index.
    spares: store.spares as readonly FileDevice[],
    store,
    table,
    pool,
    logicalBlockSize: store.config.logicalBlockSize as 512 | 4096,
    readOnly: store.readOnly,
    name: options.name ?? store.config.name,
    serial: options.serial ?? store.volumeUuid.replaceAll('-', '').slice(0, SERIAL_BYTES),
    close: () => devices.close(),
  };
}

function requireBlockSize(
  logicalBlockSize: number,
  { main, spares }: DeviceSet,
  options: VolumeOptions,
): void {
  const wanted = options.logicalBlockSize;
  if (wanted !== undefined && wanted !== logicalBlockSize) {
    throw new RemapError(
      'BLOCK_SIZE',
      `The volume has blocks of ${logicalBlockSize} bytes, not ${wanted}; leave ` +
        '--logical-block-size out.',
      { context: { have: logicalBlockSize, need: wanted } },
    );
  }
  chooseBlockSize([main, ...spares], logicalBlockSize);
}

/** Throws META_LOST when the table contradicts itself or the devices. */
function loadTable(store: MetadataStore, main: FileDevice): { table: RemapTable; pool: SparePool } {
  const table = new RemapTable();
  const pool = new SparePool(store.layouts);
  try {
    table.load(store.entries());
    pool.load(table.remapped(), table.retired());
    for (const last of [table.remapped().at(-1), table.pending().at(-1)]) {
      if (last === undefined || last.start + last.count <= main.sizeSectors) continue;
      throw new RangeError(`sector ${last.start} is past the end of ${main.path}`);
    }
  } catch (cause) {
    throw new RemapError(
      'META_LOST',
      `The remap table on ${store.spares[0]?.path} contradicts itself (${sentence(cause)}); ` +
        'look at it with remapctl check.',
      { cause },
    );
  }
  return { table, pool };
}

/** A serial number for a volume that has no UUID; the same at every start. */
function serialOf(path: string): string {
  let full = path;
  try {
    full = realpathSync(path);
  } catch {
    // A null device has no file.
  }
  return createHash('sha256').update(full).digest('hex').slice(0, SERIAL_BYTES);
}
