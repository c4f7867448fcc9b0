/** Reads the superblock slots of a spare, and finds out first where they are. Never writes. */
import { METADATA_COPIES } from '../core/limits.js';
import { generation, SECTOR_SIZE } from '../core/units.js';
import type { BlockDevice } from '../device/block-device.js';
import type { CopyPlace } from '../ondisk/header.js';
import { layoutOf, type SpareLayout, SUPERBLOCK_SIZE } from '../ondisk/layout.js';
import type { DecodedSuperblock, Superblock } from '../ondisk/superblock.js';
import type { CopyObservation, SlotObservation, SpareObservation } from './quorum.js';
import { SlotReader } from './slot-reader.js';

/** Everything one read of one slot gave. */
export interface SlotReading {
  /** Byte offset on the device. */
  readonly offset: number;
  readonly bytes: Buffer;
  readonly decoded: DecodedSuperblock | { readonly kind: 'unreadable'; readonly error: unknown };
  readonly observation: SlotObservation;
}

export interface SpareReading {
  readonly layout: SpareLayout;
  /** By copy, by slot. */
  readonly slots: readonly (readonly [SlotReading, SlotReading])[];
}

/** Both slots in turn of generation. */
const SLOTS = [generation(0n), generation(1n)] as const;

const BLOCK_SIZES = [512, 4096] as const;

export const deviceBytes = (device: BlockDevice): number => device.sizeSectors * SECTOR_SIZE;

/** Finds the layout and reads all ten slots. Throws SPARE_TOO_SMALL, and nothing else. */
export async function readSpare(
  device: BlockDevice,
  reader = new SlotReader(),
): Promise<SpareReading> {
  const layout = await locate(device, reader);
  const copies = Array.from({ length: METADATA_COPIES }, (_, copy) =>
    readCopy(device, layout, copy, reader),
  );
  return { layout, slots: await Promise.all(copies) };
}

/** Slot 0 and slot 1 of a copy. */
export async function readCopy(
  device: BlockDevice,
  layout: SpareLayout,
  copy: number,
  reader = new SlotReader(),
): Promise<readonly [SlotReading, SlotReading]> {
  const [even, odd] = SLOTS.map((parity) => {
    return readSlot(device, layout, layout.slotOffset(copy, parity), reader);
  }) as [Promise<SlotReading>, Promise<SlotReading>];
  return [await even, await odd];
}

export const observe = (reading: SpareReading): SpareObservation =>
  reading.slots.map(([even, odd]): CopyObservation => [even.observation, odd.observation]);

/** What `copy` of a spare with this layout says of its own place. */
export function placeOf(
  layout: SpareLayout,
  spareUuid: string,
  copyIndex: number,
  ownOffset: number,
): CopyPlace {
  const { zoneOffsets: copyOffsets, zoneSize, pageCapacity } = layout;
  return { spareUuid, copyIndex, ownOffset, copyOffsets, zoneSize, pageCapacity };
}

async function readSlot(
  device: BlockDevice,
  layout: SpareLayout,
  offset: number,
  reader: SlotReader,
): Promise<SlotReading> {
  const { bytes, decoded } = await reader.read(device, offset);
  if (decoded.kind !== 'valid') {
    return { offset, bytes, decoded, observation: { kind: decoded.kind } };
  }
  const { volumeUuid, spareUuid, generation: number, digest } = decoded.superblock.header;
  const inPlace = standsAt(decoded.superblock, offset, layout);
  const observation = {
    kind: 'valid',
    volumeUuid,
    spareUuid,
    generation: number,
    digest,
    inPlace,
  } as const;
  return { offset, bytes, decoded, observation };
}

/** The copy names this offset, and the layout it knows is this one. */
function standsAt({ header }: Superblock, offset: number, layout: SpareLayout): boolean {
  return (
    header.ownOffset === offset &&
    offset === layout.slotOffset(header.copyIndex, header.generation) &&
    header.zoneSize === layout.zoneSize &&
    header.pageCapacity === layout.pageCapacity &&
    header.copyOffsets.every((copyOffset, i) => copyOffset === layout.zoneOffsets[i])
  );
}

/**
 * The layout follows from the size and the logical block, and both are known only from a
 * superblock. So every place is looked at where one of them could stand, and the layout is taken
 * that most of the copies found agree on, so that blocks a guest has written decide nothing. A
 * device that has grown is known by its first copy, which stands at 0 whatever the size.
 */
async function locate(device: BlockDevice, reader: SlotReader): Promise<SpareLayout> {
  const possible = BLOCK_SIZES.map((blockSize) => layoutOf(deviceBytes(device), blockSize));
  const votes = new Map<string, { layout: SpareLayout; copies: number }>();
  for (const offset of new Set(possible.flatMap((layout) => layout.zoneOffsets))) {
    const layout = (await layoutKnownAt(device, offset, reader)) ?? undefined;
    if (layout === undefined) continue;
    const key = `${layout.sizeBytes} ${layout.logicalBlockSize}`;
    const vote = votes.get(key) ?? { layout, copies: 0 };
    vote.copies++;
    votes.set(key, vote);
  }
  const ranked = [...votes.values()].sort((a, b) => b.copies - a.copies);
  return ranked[0]?.layout ?? (possible[0] as SpareLayout);
}

/** The layout by which a valid copy at the zone offset `offset` would stand in its place. */
async function layoutKnownAt(
  device: BlockDevice,
  offset: number,
  reader: SlotReader,
): Promise<SpareLayout | undefined> {
  for (const slot of [0, 1]) {
    const at = offset + slot * SUPERBLOCK_SIZE;
    const { decoded } = await reader.read(device, at);
    if (decoded.kind !== 'valid') continue;
    const { header, config } = decoded.superblock;
    const own = config.spares.find((spare) => spare.uuid === header.spareUuid);
    if (own === undefined) continue;
    const layout = knownLayout(own.sizeSectors * SECTOR_SIZE, config.logicalBlockSize);
    if (layout !== undefined && standsAt(decoded.superblock, at, layout)) return layout;
  }
  return undefined;
}

function knownLayout(sizeBytes: number, logicalBlockSize: number): SpareLayout | undefined {
  try {
    return layoutOf(sizeBytes, logicalBlockSize);
  } catch {
    return undefined;
  }
}
