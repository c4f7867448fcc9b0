/** Whether devices are those that a volume was made with. Never writes. */
import { RemapError } from '../core/errors.js';
import type { FileDevice } from '../device/file-device.js';
import { compareIdentity, type DeviceIdentity, type IdentityVerdict } from '../device/identity.js';
import type { DeviceRecord, VolumeConfig } from '../ondisk/config.js';
import { decide } from './quorum.js';
import type { SlotReader } from './slot-reader.js';
import { observe, readSpare } from './slots.js';

/** What the spares say, as far as it can be told without reading the table. */
export interface Recorded {
  readonly volumeUuid: string;
  readonly config: VolumeConfig;
}

/** The volume that `spares` belong to; undefined when they are not, all of them, of one volume. */
export async function recordedOn(
  spares: readonly FileDevice[],
  reader?: SlotReader,
): Promise<Recorded | undefined> {
  const readings = await Promise.all(spares.map((spare) => readSpare(spare, reader)));
  const verdict = decide(readings.map(observe));
  if (verdict.state !== 'ok') return undefined;
  const { source, generation, volumeUuid } = verdict;
  const copy = readings[source.spareIndex]?.slots[source.copyIndex];
  const slot = copy?.[Number(generation & 1n)];
  if (slot?.decoded.kind !== 'valid') return undefined;
  return { volumeUuid, config: slot.decoded.superblock.config };
}

/** The record of an open device; the spare's UUID is not part of it. */
export async function describeDevice(device: FileDevice): Promise<Omit<DeviceRecord, 'uuid'>> {
  const { kind, identity } = await device.identify();
  return { kind, identity, sizeSectors: device.sizeSectors, pathHint: await fullPath(device) };
}

/**
 * Grades `main` against the record. An image that was moved or copied is a weak match; but when
 * the recorded one is still where it was, this is another one.
 */
export async function matchMain(
  record: DeviceRecord,
  main: FileDevice,
  { mayBeLonger = false } = {},
): Promise<IdentityVerdict> {
  const now = await main.identify();
  const grown = mayBeLonger && now.sizeSectors > record.sizeSectors;
  const found = grown ? { ...now, sizeSectors: record.sizeSectors } : now;
  const verdict = compareIdentity(record, found);
  if (verdict.grade !== 'weak' || !(await isStillAt(record, found, main))) return verdict;
  const reasons = [...verdict.reasons, `the recorded one is still at ${record.pathHint}`];
  return { grade: 'mismatch', reasons };
}

/** Whether `main` stands where the recorded one stood, whatever has become of it. */
export async function standsFor(record: DeviceRecord, main: FileDevice): Promise<boolean> {
  const { identity } = await main.identify();
  if (record.identity !== '' && record.identity === identity) return true;
  return record.pathHint !== '' && record.pathHint === (await fullPath(main));
}

/** Throws MAIN_CHANGED unless `main` is, or may be, the one recorded; else says how sure it is. */
export async function requireMain(
  config: VolumeConfig,
  main: FileDevice,
  length?: { readonly mayBeLonger: boolean },
): Promise<IdentityVerdict> {
  const verdict = await matchMain(config.main, main, length);
  if (verdict.grade !== 'mismatch') return verdict;
  throw new RemapError(
    'MAIN_CHANGED',
    `${main.path} is not the main device of the volume ${config.name}: ` +
      `${verdict.reasons.at(-1)}; name the right main, or a spare of its own for this one.`,
    {
      context: { device: main.path, have: main.sizeSectors, need: config.main.sizeSectors },
    },
  );
}

async function isStillAt(
  record: DeviceRecord,
  found: DeviceIdentity,
  { system }: FileDevice,
): Promise<boolean> {
  if (record.identity === '' || record.pathHint === '' || record.identity === found.identity) {
    return false;
  }
  const { pathHint, sizeSectors } = record;
  const there = await system.identify(pathHint, sizeSectors).catch(() => undefined);
  return there?.identity === record.identity;
}

const fullPath = ({ path, system }: FileDevice): Promise<string> => system.fullPath(path);
