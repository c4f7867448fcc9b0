/** Looks for descriptor pages that the layout of a spare does not know. Never writes. */
import { SECTOR_SIZE } from '../core/units.js';
import type { BlockDevice } from '../device/block-device.js';
import { decodeDescriptorPage, wasDescriptorPage } from '../ondisk/descriptor-page.js';
import { DESCRIPTOR_PAGE_SIZE, type SpareLayout } from '../ondisk/layout.js';
import { deviceBytes } from './slots.js';

const CHUNK_SIZE = 1024 * 1024;

/**
 * True when `device` carries a page of `volumeUuid`, or of any volume, that stands where it says
 * and where `layout` has no group, or anywhere: the spare had another size when it was formatted.
 * Reads all of the device.
 */
export async function hasStrayPages(
  device: BlockDevice,
  layout: SpareLayout | undefined,
  volumeUuid: string | undefined,
): Promise<boolean> {
  const known = new Set<number>(
    Array.from({ length: layout?.groupCount ?? 0 }, (_, i) => layout?.groupAt(i).start ?? 0),
  );
  const bytes = Buffer.alloc(CHUNK_SIZE);
  for (let offset = 0; offset < deviceBytes(device); offset += CHUNK_SIZE) {
    const chunk = bytes.subarray(0, Math.min(CHUNK_SIZE, deviceBytes(device) - offset));
    await readWhatCanBe(device, chunk, offset);
    for (let at = 0; at + DESCRIPTOR_PAGE_SIZE <= chunk.length; at += DESCRIPTOR_PAGE_SIZE) {
      const page = chunk.subarray(at, at + DESCRIPTOR_PAGE_SIZE);
      const start = groupStartOf(page, (offset + at) / SECTOR_SIZE, volumeUuid);
      if (start !== undefined && !known.has(start)) return true;
    }
  }
  return false;
}

/** Sectors that cannot be read are left as zeroes. */
async function readWhatCanBe(device: BlockDevice, chunk: Buffer, offset: number): Promise<void> {
  try {
    await device.read(chunk, offset);
  } catch {
    chunk.fill(0);
    if (chunk.length <= DESCRIPTOR_PAGE_SIZE) return;
    for (let at = 0; at < chunk.length; at += DESCRIPTOR_PAGE_SIZE) {
      await readWhatCanBe(device, chunk.subarray(at, at + DESCRIPTOR_PAGE_SIZE), offset + at);
    }
  }
}

/** The group that a sound page at `sector` belongs to, when it stands where it says. */
function groupStartOf(
  bytes: Buffer,
  sector: number,
  volumeUuid: string | undefined,
): number | undefined {
  for (const slot of [0, 1]) {
    const start = sector - (slot * DESCRIPTOR_PAGE_SIZE) / SECTOR_SIZE;
    if (start < 0 || !wasDescriptorPage(bytes, start)) continue;
    try {
      const page = decodeDescriptorPage(bytes);
      const wanted = volumeUuid ?? page.volumeUuid;
      if (page.groupStart === start && page.volumeUuid === wanted) return start;
    } catch {
      return undefined;
    }
  }
  return undefined;
}
