/** Opens all that a volume stands on, in the order that leaves wrong devices untouched. */
import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import type { Clock } from '../core/clock.js';
import { isRemapError, RemapError, sentence } from '../core/errors.js';
import { UNLOCKED_READ_PAUSE_MS, UNLOCKED_READS } from '../core/limits.js';
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
import { SlotReader } from '../metadata/slot-reader.js';
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
  /** For this start; its own by default. */
  readonly reader?: SlotReader;
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
  /** Of the volume: main may be longer. */
  readonly sizeSectors: number;
  readonly readOnly: boolean;
  readonly name: string;
  readonly serial: string;
  /** All of them; main and spares are the same devices. */
  readonly devices: DeviceSet;
}

const SERIAL_BYTES = 20;

/**
 * Throws what opening the devices, formatting and reading the metadata throw, and MAIN_CHANGED.
 * Nothing is left open then, and nothing written but what `create` had to write. On shared storage
 * nothing is locked when it returns, and what was read is good for nothing but to be shown.
 */
export async function openStorage(
  options: VolumeOptions,
  means: VolumeMeans,
): Promise<OpenedVolume> {
  const { sharedStorage } = options;
  const devices = await openDevices({ ...options, exclusive: !sharedStorage }, means.system);
  try {
    if (options.create && devices.spares.length > 0) await create(devices, options, means);
    if (!sharedStorage) return await load(devices, options, means);
    return await loadUnlocked(devices, options, means);
  } catch (e) {
    await devices.close();
    throw e;
  }
}

/**
 * Locks the devices of a volume on shared storage and loads it anew: whoever held it meanwhile may
 * have changed all of it. Throws DEVICE_BUSY, at once, and as `openStorage`, SPARE_FOREIGN when
 * another volume stands there; nothing is locked then.
 */
export async function takeStorage(
  known: OpenedVolume,
  options: VolumeOptions,
  means: VolumeMeans,
): Promise<OpenedVolume> {
  const { devices } = known;
  devices.acquire();
  try {
    const now = await load(devices, options, means);
    requireSameVolume(known, now);
    return now;
  } catch (e) {
    devices.release();
    throw e;
  }
}

/** Reads what another back-end may be changing; what does not hold together is read again. */
async function loadUnlocked(
  devices: DeviceSet,
  options: VolumeOptions,
  means: VolumeMeans,
): Promise<OpenedVolume> {
  for (let left = UNLOCKED_READS - 1; ; left--) {
    try {
      return await load(devices, options, means, false);
    } catch (e) {
      if (left === 0 || !(isRemapError(e) && UNSETTLED.has(e.code))) throw e;
      await means.clock.sleepMs(UNLOCKED_READ_PAUSE_MS);
    }
  }
}

/** What a commit under way may look like to somebody who does not hold the volume. */
const UNSETTLED: ReadonlySet<string> = new Set(['META_LOST', 'META_OLD', 'META_FORK']);

/** `repair`: this is the holder of the volume, and may write. */
async function load(
  devices: DeviceSet,
  options: VolumeOptions,
  means: VolumeMeans,
  repair = !options.readOnly,
): Promise<OpenedVolume> {
  if (options.sharedStorage) requireLength(devices);
  return devices.spares.length === 0
    ? bare(devices, options)
    : await withSpares(devices, options, means, repair);
}

/** Measures again; a device that was opened long ago may have become longer, but not shorter. */
function requireLength({ main, spares }: DeviceSet): void {
  for (const device of [main, ...spares]) {
    const { path, sizeSectors: need } = device;
    const have = device.remeasure();
    if (have >= need) continue;
    throw new RemapError(
      'MAIN_CHANGED',
      `${path} has ${have} sectors and had ${need} when this back-end opened it; make it as long ` +
        'as it was.',
      { context: { device: path, have, need } },
    );
  }
}

/** What the data plane was told of the volume must still be so. */
function requireSameVolume(known: OpenedVolume, now: OpenedVolume): void {
  const same =
    known.store?.volumeUuid === now.store?.volumeUuid &&
    known.logicalBlockSize === now.logicalBlockSize &&
    known.readOnly === now.readOnly &&
    known.sizeSectors <= now.sizeSectors &&
    known.spares.every((spare, i) => spare === now.spares[i]);
  if (same) return;
  const { path } = now.spares[0] ?? now.main;
  throw new RemapError(
    'SPARE_FOREIGN',
    `${path} carries another volume than when this back-end was started; restart it.`,
    { context: { device: path } },
  );
}

function bare(devices: DeviceSet, options: VolumeOptions): OpenedVolume {
  const { main } = devices;
  const logicalBlockSize = chooseBlockSize([main], options.logicalBlockSize);
  requireWholeBlocks(main, logicalBlockSize);
  return {
    main,
    spares: [],
    devices,
    sizeSectors: main.sizeSectors,
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
  const { name, logicalBlockSize, sharedStorage } = options;
  // Made already, and perhaps in use by another back-end at this moment.
  if (sharedStorage && (await recordedOn(devices.spares)) !== undefined) return;
  if (sharedStorage) devices.acquire();
  const format = { name, logicalBlockSize, force: false, dryRun: false, clock, logger };
  const report = await formatSpares(devices, format);
  if (sharedStorage) devices.release();
  if (report.state === 'created') logger.info({ volume: report.volumeUuid }, 'spares formatted');
  if (!report.ample) logger.warn('the spares are smaller than a hundredth of the main device');
}

async function withSpares(
  devices: DeviceSet,
  options: VolumeOptions,
  { logger, clock, reader = new SlotReader() }: VolumeMeans,
  repair: boolean,
): Promise<OpenedVolume> {
  for (const spare of devices.spares) requireSize(spare);
  // The main is checked before the metadata is opened for writing, and repaired.
  const recorded = await recordedOn(devices.spares, reader);
  if (recorded !== undefined) {
    // Grown, and nobody has asked for a resize: the guest goes on with what it has.
    const mayBeLonger = options.sharedStorage ?? false;
    const { grade, reasons } = await requireMain(recorded.config, devices.main, { mayBeLonger });
    if (grade !== 'strong') logger.warn({ reasons }, 'the main device is known by its size only');
    requireBlockSize(recorded.config.logicalBlockSize, devices, options);
  }
  const store = await MetadataStore.open(devices.spares, { repair, clock, logger, reader });
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
    sizeSectors: store.config.main.sizeSectors,
    // One that is only looked at says nothing of itself.
    readOnly: repair ? store.readOnly : options.readOnly,
    name: options.name ?? store.config.name,
    serial: options.serial ?? store.volumeUuid.replaceAll('-', '').slice(0, SERIAL_BYTES),
    devices,
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
