/** Reads one device and says whose it is. Never writes. */
import { realpath } from 'node:fs/promises';
import { sentence } from '../core/errors.js';
import { SPARE_MIN_BYTES } from '../core/limits.js';
import { type Generation, SECTOR_SIZE } from '../core/units.js';
import { FileDevice } from '../device/file-device.js';
import type { DeviceIdentity } from '../device/identity.js';
import { decide } from '../metadata/quorum.js';
import { observe, readSpare, type SpareReading } from '../metadata/slots.js';
import type { VolumeConfig } from '../ondisk/config.js';

/** What the superblocks on a device say. */
export interface SpareClaim {
  readonly volumeUuid: string;
  readonly spareUuid: string;
  readonly generation: Generation;
  readonly digest: string;
  /** Of five. */
  readonly goodCopies: number;
  readonly config: VolumeConfig;
}

export interface Probe {
  readonly path: string;
  readonly realPath: string;
  readonly found: DeviceIdentity;
  /** undefined for a device without superblocks: a main, or none of ours. */
  readonly claim: SpareClaim | undefined;
  /** Why its superblocks cannot be used, as the errors META_*; undefined when they can. */
  readonly damage: 'lost' | 'fork' | 'foreign' | undefined;
}

/** A device that could not be looked at, and why, in one sentence. */
export interface Unreadable {
  readonly path: string;
  readonly why: string;
}

export const isUnreadable = (one: Probe | Unreadable): one is Unreadable => 'why' in one;

export async function probe(path: string): Promise<Probe | Unreadable> {
  try {
    // Not exclusive: what a back-end serves at this moment is looked at as well.
    const device = FileDevice.open(path, { readOnly: true, exclusive: false });
    try {
      const found = await device.identify();
      return { path, realPath: await realpath(path), found, ...(await claimOn(device)) };
    } finally {
      await device.close();
    }
  } catch (e) {
    return { path, why: sentence(e) };
  }
}

async function claimOn(device: FileDevice): Promise<Pick<Probe, 'claim' | 'damage'>> {
  const tooSmall = device.sizeSectors * SECTOR_SIZE < SPARE_MIN_BYTES;
  if (tooSmall) return { claim: undefined, damage: undefined };
  const reading = await readSpare(device);
  const verdict = decide([observe(reading)]);
  if (verdict.state !== 'ok') {
    const damage = verdict.state === 'absent' || !isOurs(reading) ? undefined : verdict.state;
    return { claim: undefined, damage };
  }
  const { source, generation, volumeUuid, spareUuids, digest, copies } = verdict;
  const slot = reading.slots[source.copyIndex]?.[Number(generation & 1n)];
  if (slot?.decoded.kind !== 'valid') throw new Error('the source of a verdict is valid');
  const { config } = slot.decoded.superblock;
  const goodCopies = copies[0]?.filter((copy) => copy.state === 'good').length ?? 0;
  const spareUuid = spareUuids[0] ?? '';
  const claim = { volumeUuid, spareUuid, generation, digest, goodCopies, config };
  return { claim, damage: undefined };
}

/** Any guest's data fails the checks of a superblock; ours still has its magic somewhere. */
const isOurs = ({ slots }: SpareReading): boolean =>
  slots.flat().some(({ decoded }) => {
    if (decoded.kind === 'damaged') return decoded.partial.header !== undefined;
    return decoded.kind === 'valid';
  });
