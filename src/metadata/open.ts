/** Reads the metadata of a volume's spares and decides whether it can be used. Never writes. */
import { RemapError } from '../core/errors.js';
import type { BlockDevice } from '../device/block-device.js';
import type { VolumeConfig } from '../ondisk/config.js';
import { imageOf, type Superblock } from '../ondisk/superblock.js';
import { loadPages } from './pages.js';
import { decide, repairOrder, type Verdict } from './quorum.js';
import type { SlotReader } from './slot-reader.js';
import { deviceBytes, observe, readSpare, type SpareReading } from './slots.js';
import { TablePlacement } from './table-placement.js';
import type { Zone } from './zones.js';

export interface OpenedMetadata {
  /** In the order of the configuration, whatever order they were given in. */
  readonly spares: readonly BlockDevice[];
  readonly superblock: Superblock;
  readonly image: Buffer;
  readonly table: TablePlacement;
  readonly zones: readonly Zone[];
  /** Zones to be examined and repaired, in this order. */
  readonly repairs: readonly Zone[];
  readonly mayBeOld: boolean;
}

type Chosen = Extract<Verdict, { state: 'ok' }>;

/**
 * Throws META_ABSENT, META_LOST, META_FORK, META_UNSUPPORTED, SPARE_FOREIGN, SAME_DEVICE,
 * SPARE_TOO_SMALL, and USAGE when not all spares of the volume are given.
 */
export async function readMetadata(
  devices: readonly BlockDevice[],
  reader?: SlotReader,
): Promise<OpenedMetadata> {
  const readings = await Promise.all(devices.map((device) => readSpare(device, reader)));
  const verdict = decide(readings.map(observe));
  if (verdict.state !== 'ok') throw refusal(verdict, devices);
  const { superblock, image } = chosenSlot(readings, verdict);
  const { incompatible } = superblock.header.features;
  if (incompatible !== 0n) throw unsupported(devices, incompatible);
  const order = spareOrder(devices, verdict, superblock.config);
  for (const [i, device] of devices.entries()) {
    requireSize(device, (readings[i] as SpareReading).layout.sizeBytes);
  }

  const zones = makeZones(devices, readings, verdict, order);
  const { volumeUuid } = superblock.header;
  const { pages, lacking } = await loadPages(zones, volumeUuid, superblock.table.directory);
  const pagesMax = Math.min(...readings.map((reading) => reading.layout.pagesMax));
  const table = new TablePlacement(pagesMax, superblock.table.entries, pages);
  const bad = repairOrder(verdict).map(({ spareIndex, copyIndex }) => {
    return zones.find((zone) => {
      return zone.spareIndex === order[spareIndex] && zone.copyIndex === copyIndex;
    }) as Zone;
  });
  const spares = [...devices];
  for (const [i, device] of devices.entries()) spares[order[i] as number] = device;
  return {
    spares,
    superblock,
    image,
    table,
    zones,
    repairs: [...new Set([...bad, ...lacking])],
    mayBeOld: verdict.mayBeOld,
  };
}

function chosenSlot(
  readings: readonly SpareReading[],
  { source, generation }: Chosen,
): { superblock: Superblock; image: Buffer } {
  const copy = readings[source.spareIndex]?.slots[source.copyIndex];
  const slot = copy?.[Number(generation & 1n)];
  if (slot?.decoded.kind !== 'valid') throw new Error('the chosen slot is valid');
  return { superblock: slot.decoded.superblock, image: imageOf(slot.bytes) };
}

/** Index in the configuration of each device. */
function spareOrder(
  devices: readonly BlockDevice[],
  verdict: Chosen,
  config: VolumeConfig,
): number[] {
  const order = verdict.spareUuids.map((uuid, i) => {
    const index = config.spares.findIndex((spare) => spare.uuid === uuid);
    if (index < 0) throw foreign(devices[i] as BlockDevice, 'is no longer a spare of this volume');
    return index;
  });
  for (const [i, index] of order.entries()) {
    const twin = order.indexOf(index);
    if (twin === i) continue;
    throw new RemapError(
      'SAME_DEVICE',
      `${devices[twin]?.path} and ${devices[i]?.path} are the same spare, or one is a copy of ` +
        'the other; name one of them only.',
    );
  }
  if (devices.length < config.spares.length) {
    const hints = config.spares.map((spare) => spare.pathHint || spare.uuid).join(', ');
    throw new RemapError(
      'USAGE',
      `The volume ${config.name} has ${config.spares.length} spares and ${devices.length} ` +
        `of them were given; name all of them: ${hints}.`,
      { context: { have: devices.length, need: config.spares.length } },
    );
  }
  return order;
}

function makeZones(
  devices: readonly BlockDevice[],
  readings: readonly SpareReading[],
  verdict: Chosen,
  order: readonly number[],
): Zone[] {
  return devices.flatMap((device, i) =>
    (verdict.copies[i] ?? []).map(({ state, generation }, copyIndex): Zone => {
      return {
        device,
        layout: (readings[i] as SpareReading).layout,
        spareIndex: order[i] as number,
        spareUuid: verdict.spareUuids[i] as string,
        copyIndex,
        state,
        generation,
        pagesMissing: false,
      };
    }),
  );
}

function requireSize(device: BlockDevice, recordedBytes: number): void {
  const have = deviceBytes(device);
  if (have >= recordedBytes) return;
  throw new RemapError(
    'SPARE_TOO_SMALL',
    `${device.path} has ${have} bytes and had ${recordedBytes} when it became a spare; ` +
      'give it back its size.',
    { context: { device: device.path, have, need: recordedBytes } },
  );
}

function refusal(
  { state, spareIndex }: Exclude<Verdict, Chosen>,
  devices: readonly BlockDevice[],
): RemapError {
  const device = devices[spareIndex] as BlockDevice;
  const { path } = device;
  const context = { device: path };
  switch (state) {
    case 'absent':
      return new RemapError(
        'META_ABSENT',
        `${path} carries no metadata; make it a spare with --create or remapctl create.`,
        { context },
      );
    case 'lost':
      return new RemapError(
        'META_LOST',
        `None of the five copies of the metadata on ${path} can be used, and nothing was ` +
          `written; see what can be rebuilt with remapctl check ${path}.`,
        { context },
      );
    case 'fork':
      return new RemapError(
        'META_FORK',
        `${path} holds two different states of equal standing, and nothing was written; see ` +
          `them with remapctl inspect ${path} and wipe the copies that are wrong.`,
        { context },
      );
    case 'foreign':
      return foreign(device, `belongs to another volume than ${devices[0]?.path}`);
  }
}

const foreign = (device: BlockDevice, how: string): RemapError =>
  new RemapError('SPARE_FOREIGN', `${device.path} ${how}; name the right spares.`, {
    context: { device: device.path },
  });

const unsupported = (devices: readonly BlockDevice[], features: bigint): RemapError =>
  new RemapError(
    'META_UNSUPPORTED',
    `The metadata on ${devices[0]?.path} uses features this version does not know ` +
      `(0x${features.toString(16)}); use a newer version.`,
  );
