/** Makes blank devices the spares of a new volume. */
import { randomUUID } from 'node:crypto';
import type { Clock } from '../core/clock.js';
import { RemapError } from '../core/errors.js';
import { COMMIT_QUORUM, METADATA_COPIES } from '../core/limits.js';
import { generation } from '../core/units.js';
import type { BlockDevice } from '../device/block-device.js';
import { type DeviceRecord, NAME_MAX_BYTES, type VolumeConfig } from '../ondisk/config.js';
import { isZero, UUID_ZERO } from '../ondisk/fields.js';
import { DIGEST_ZERO, NO_FEATURES } from '../ondisk/header.js';
import { NO_HEALTH } from '../ondisk/health.js';
import { layoutOf, SUPERBLOCK_SIZE } from '../ondisk/layout.js';
import { encodeImage } from '../ondisk/superblock.js';
import { writeSuperblocks } from './repair.js';
import { deviceBytes, readSpare } from './slots.js';
import { goodCopies, writeDurably, type Zone } from './zones.js';

/** A device as it is told apart; the spare's UUID is made here. */
export type DeviceDescription = Omit<DeviceRecord, 'uuid'>;

export interface CreateOptions {
  readonly name: string;
  /** 512 or 4096, at least that of every device. */
  readonly logicalBlockSize: number;
  readonly main: DeviceDescription;
  /** In the order of the devices. */
  readonly spareRecords: readonly DeviceDescription[];
  readonly clock: Clock;
  /** Format what is not blank as well. */
  readonly force: boolean;
  /** Names the volume and its spares; random by default. */
  readonly newUuid?: () => string;
}

const MIB = 1024 * 1024;
const BLOCK_SIZES = [512, 4096] as const;
const FIRST = generation(1n);

/**
 * blank: all zeroes in the first and last MiB and wherever a superblock could stand.
 * ours: a sound superblock, of whatever volume, stands on it. foreign-data: anything else.
 */
export async function classifySpare(
  device: BlockDevice,
): Promise<'blank' | 'ours' | 'foreign-data'> {
  const { slots } = await readSpare(device);
  const kinds = slots.flatMap((copy) => copy.map((slot) => slot.decoded.kind));
  if (kinds.includes('valid')) return 'ours';
  const size = deviceBytes(device);
  const runs = [
    { offset: 0, length: MIB },
    { offset: size - MIB, length: MIB },
    ...slotPairs(device).map((offset) => ({ offset, length: 2 * SUPERBLOCK_SIZE })),
  ];
  for (const { offset, length } of runs) {
    const bytes = Buffer.alloc(length);
    await device.read(bytes, offset);
    if (!isZero(bytes)) return 'foreign-data';
  }
  return 'blank';
}

/** Writes generation 1 to every copy of every spare. Throws as `MetadataStore.create`. */
export async function format(
  devices: readonly BlockDevice[],
  options: CreateOptions,
): Promise<void> {
  requireFit(devices, options);
  const newUuid = options.newUuid ?? randomUUID;
  const zones = newZones(devices, options.logicalBlockSize, newUuid);
  for (const device of options.force ? [] : devices) await requireBlank(device);
  const image = encodeImage({
    header: {
      features: NO_FEATURES,
      volumeUuid: newUuid(),
      generation: FIRST,
      parent: DIGEST_ZERO,
      copiesCommitted: METADATA_COPIES,
      createdSeconds: options.clock.nowSeconds(),
      committedSeconds: options.clock.nowSeconds(),
    },
    config: newConfig(zones, options),
    health: NO_HEALTH,
    table: { entries: [], directory: [] },
  });
  // Nothing of an older volume may be found beside the new one, whatever the crash.
  await wipe(zones, devices);
  await writeSuperblocks(zones, image, FIRST, writeDurably);
  const have = goodCopies(zones);
  if (have >= COMMIT_QUORUM) return;
  throw tooFewCopies(devices, have);
}

function newZones(
  devices: readonly BlockDevice[],
  logicalBlockSize: number,
  newUuid: () => string,
): Zone[] {
  return devices.flatMap((device, spareIndex) => {
    const layout = layoutOf(deviceBytes(device), logicalBlockSize);
    const spareUuid = newUuid();
    return layout.zoneOffsets.map((_, copyIndex): Zone => {
      const state = 'blank';
      const generation = undefined;
      const pagesMissing = false;
      return { device, layout, spareIndex, spareUuid, copyIndex, state, generation, pagesMissing };
    });
  });
}

function newConfig(zones: readonly Zone[], options: CreateOptions): VolumeConfig {
  const { name, logicalBlockSize, main, spareRecords } = options;
  const spares = spareRecords.map((record, index) => {
    const zone = zones.find((candidate) => candidate.spareIndex === index) as Zone;
    return { ...record, uuid: zone.spareUuid, sizeSectors: zone.device.sizeSectors };
  });
  return { name, logicalBlockSize, main: { ...main, uuid: UUID_ZERO }, spares };
}

async function wipe(zones: readonly Zone[], devices: readonly BlockDevice[]): Promise<void> {
  const zeroes = Buffer.alloc(2 * SUPERBLOCK_SIZE);
  const writes = zones.map((zone) => {
    return { zone, offset: zone.layout.zoneOffset(zone.copyIndex), bytes: zeroes };
  });
  const others = devices.flatMap((device) => {
    const zone = zones.find((candidate) => candidate.device === device) as Zone;
    const own = new Set(zone.layout.zoneOffsets);
    const offsets = slotPairs(device).filter((offset) => !own.has(offset));
    return offsets.map((offset) => ({ zone, offset, bytes: zeroes }));
  });
  const failed = await writeDurably([...writes, ...others]);
  const bad = [...failed.keys()];
  const perSpare = devices.map((device) => bad.filter((write) => write.zone.device === device));
  const worst = Math.max(...perSpare.map((list) => list.length));
  if (worst > METADATA_COPIES - COMMIT_QUORUM) throw tooFewCopies(devices, METADATA_COPIES - worst);
}

/** Byte offsets of all zones a spare of this size could have, for either logical block. */
const slotPairs = (device: BlockDevice): number[] => [
  ...new Set(BLOCK_SIZES.flatMap((size) => layoutOf(deviceBytes(device), size).zoneOffsets)),
];

async function requireBlank(device: BlockDevice): Promise<void> {
  const found = await classifySpare(device);
  if (found === 'blank') return;
  const what = found === 'ours' ? 'is a spare already' : 'holds data';
  throw new RemapError(
    'SPARE_NOT_BLANK',
    `${device.path} ${what}; use another device, or --force if that may be destroyed.`,
    { context: { device: device.path } },
  );
}

function requireFit(devices: readonly BlockDevice[], options: CreateOptions): void {
  const { name, logicalBlockSize, spareRecords } = options;
  if (devices.length === 0 || devices.length !== spareRecords.length) {
    throw new RangeError(`${devices.length} spares and ${spareRecords.length} records of them`);
  }
  if (Buffer.byteLength(name) > NAME_MAX_BYTES || name.includes('\0')) {
    throw new RemapError('USAGE', `The name of a volume has at most ${NAME_MAX_BYTES} bytes.`);
  }
  for (const device of devices) {
    if (device.logicalBlockSize <= logicalBlockSize) continue;
    throw new RemapError(
      'BLOCK_SIZE',
      `${device.path} takes writes of ${device.logicalBlockSize} bytes only; use ` +
        `--logical-block-size=${device.logicalBlockSize}.`,
      { context: { device: device.path } },
    );
  }
}

const tooFewCopies = (devices: readonly BlockDevice[], have: number): RemapError =>
  new RemapError(
    'META_COMMIT',
    `Only ${Math.max(0, have)} of 5 copies of the metadata could be written to ` +
      `${devices.map((device) => device.path).join(', ')}; use another device.`,
    { context: { have: Math.max(0, have), need: COMMIT_QUORUM } },
  );
