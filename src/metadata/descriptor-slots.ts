/** Reads the two descriptor pages of a group. Never writes. */
import { SECTOR_SIZE } from '../core/units.js';
import type { BlockDevice } from '../device/block-device.js';
import {
  type DescriptorPage,
  decodeDescriptorPage,
  wasDescriptorPage,
} from '../ondisk/descriptor-page.js';
import { FormatError } from '../ondisk/fields.js';
import { DESCRIPTOR_PAGE_SIZE, type Group } from '../ondisk/layout.js';

/**
 * page: sound, and it says that it stands where it was read; of whatever volume. none: nothing of
 * ours was ever written there. damaged: something was. unreadable: anything may have been.
 */
export type DescriptorSlot =
  | { readonly kind: 'page'; readonly page: DescriptorPage }
  | { readonly kind: 'none' | 'damaged' | 'unreadable' };

/** Slot 0, slot 1. */
export type DescriptorSlots = readonly [DescriptorSlot, DescriptorSlot];

/** Both slots, in one read where that works. `blockSize` is the logical block in bytes. */
export async function readGroup(
  device: BlockDevice,
  group: Group,
  blockSize: number,
): Promise<DescriptorSlots> {
  const bytes = Buffer.alloc(2 * DESCRIPTOR_PAGE_SIZE);
  const offset = group.start * SECTOR_SIZE;
  const halves = [0, 1].map((slot) => {
    return bytes.subarray(slot * DESCRIPTOR_PAGE_SIZE, (slot + 1) * DESCRIPTOR_PAGE_SIZE);
  });
  const whole = await device.read(bytes, offset).then(
    () => true,
    () => false,
  );
  const slots = await Promise.all(
    halves.map(async (half, slot): Promise<DescriptorSlot> => {
      try {
        if (!whole) await device.read(half, offset + slot * DESCRIPTOR_PAGE_SIZE);
      } catch {
        return { kind: 'unreadable' };
      }
      return judge(half, group, slot, blockSize);
    }),
  );
  return slots as [DescriptorSlot, DescriptorSlot];
}

/** The newest page of `volumeUuid`. */
export function newestPage(slots: DescriptorSlots, volumeUuid: string): DescriptorPage | undefined {
  return slots
    .flatMap((slot) => (slot.kind === 'page' ? [slot.page] : []))
    .filter((page) => page.volumeUuid === volumeUuid)
    .sort((a, b) => b.sequence - a.sequence)[0];
}

/** A newer page than the sound ones may have stood there. */
export const isDoubtful = (slots: DescriptorSlots): boolean =>
  slots.some(({ kind }) => kind === 'damaged' || kind === 'unreadable');

function judge(bytes: Buffer, group: Group, slot: number, blockSize: number): DescriptorSlot {
  if (!wasDescriptorPage(bytes, group.start)) return { kind: 'none' };
  let page: DescriptorPage;
  try {
    page = decodeDescriptorPage(bytes);
  } catch (cause) {
    if (cause instanceof FormatError) return { kind: 'damaged' };
    throw cause;
  }
  const inPlace =
    page.logicalBlockSize === blockSize &&
    page.groupStart === group.start &&
    page.sequence % 2 === slot;
  return inPlace ? { kind: 'page', page } : { kind: 'none' };
}
