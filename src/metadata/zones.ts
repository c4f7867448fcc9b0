/** The zones of all spares as the store keeps them, and the one way in which they are written. */
import { METADATA_TRIES } from '../core/limits.js';
import type { Generation } from '../core/units.js';
import type { BlockDevice } from '../device/block-device.js';
import type { SpareLayout } from '../ondisk/layout.js';
import type { CopyState } from './quorum.js';

/** One copy of the metadata on one spare: both superblock slots, and its table pages. */
export interface Zone {
  readonly device: BlockDevice;
  readonly layout: SpareLayout;
  readonly spareIndex: number;
  readonly spareUuid: string;
  readonly copyIndex: number;
  /** Of the superblock. */
  state: CopyState;
  generation: Generation | undefined;
  /** A table page could not be made right here; only a scrub finds out that it is. */
  pagesMissing: boolean;
}

export interface ZoneWrite {
  readonly zone: Zone;
  /** Bytes from the start of the device. */
  readonly offset: number;
  readonly bytes: Buffer;
}

export type FailedStep = 'write' | 'flush' | 'read' | 'compare';

export interface FailedWrite {
  readonly step: FailedStep;
  readonly error: unknown;
}

/** `writeDurably`, or one that counts and logs besides. */
export type Writer = typeof writeDurably;

/**
 * Writes everything at once, flushes every device, reads everything back and compares. Never
 * throws: what is missing from the answer is durable. After a failed flush nothing that was
 * written to that device counts, and it must not be tried again: the kernel reports a lost write
 * once only.
 */
export async function writeDurably(
  writes: readonly ZoneWrite[],
): Promise<Map<ZoneWrite, FailedWrite>> {
  const failed = new Map<ZoneWrite, FailedWrite>();
  const attempt = async (write: ZoneWrite, step: FailedStep, action: () => Promise<void>) => {
    if (failed.has(write)) return;
    await action().catch((error: unknown) => failed.set(write, { step, error }));
  };
  await Promise.all(
    writes.map((write) =>
      attempt(write, 'write', () =>
        insist(() => write.zone.device.write(write.bytes, write.offset)),
      ),
    ),
  );
  const flushes = new Map<BlockDevice, Promise<void>>();
  for (const write of writes) {
    const { device } = write.zone;
    // A device that took nothing may be gone, and nobody would wait for its answer.
    if (!failed.has(write) && !flushes.has(device)) flushes.set(device, device.flush());
  }
  await Promise.all(
    writes.map((write) =>
      attempt(write, 'flush', () => flushes.get(write.zone.device) as Promise<void>),
    ),
  );
  await Promise.all(writes.map((write) => attempt(write, 'read', () => compare(write, failed))));
  return failed;
}

/** An error that is gone on the next try is none. Not for a flush: see `writeDurably`. */
export async function insist(action: () => Promise<void>): Promise<void> {
  for (let attempt = 1; attempt < METADATA_TRIES; attempt++) {
    try {
      return await action();
    } catch {
      // The last try says why.
    }
  }
  return action();
}

async function compare(write: ZoneWrite, failed: Map<ZoneWrite, FailedWrite>): Promise<void> {
  const found = Buffer.alloc(write.bytes.length);
  await insist(() => write.zone.device.read(found, write.offset));
  if (found.equals(write.bytes)) return;
  failed.set(write, { step: 'compare', error: new Error('what was written is not what is read') });
}

/** What the metadata of a zone amounts to, its pages included. */
export const zoneState = (zone: Zone): CopyState =>
  zone.state === 'good' && zone.pagesMissing ? 'damaged' : zone.state;

/** Zones that hold all of the generation in force, on the spare that has fewest. */
export function goodCopies(zones: readonly Zone[]): number {
  const bySpare = new Map<number, number>();
  for (const zone of zones) {
    const good = zoneState(zone) === 'good' ? 1 : 0;
    bySpare.set(zone.spareIndex, (bySpare.get(zone.spareIndex) ?? 0) + good);
  }
  return Math.min(...bySpare.values());
}
