/**
 * What can be rebuilt from the spares' own descriptors when their superblocks are lost or too old.
 * Never writes.
 */
import { randomUUID } from 'node:crypto';
import { isRemapError, RemapError } from '../core/errors.js';
import { REBUILD_GENERATION_STEP } from '../core/limits.js';
import { type Generation, generation, SECTOR_SIZE } from '../core/units.js';
import type { BlockDevice } from '../device/block-device.js';
import { layoutOf, type SpareLayout } from '../ondisk/layout.js';
import type { Superblock } from '../ondisk/superblock.js';
import { type Claim, type ResolvedClaims, resolveClaims } from './claims.js';
import { type DescriptorSlots, isDoubtful, newestPage, readGroup } from './descriptor-slots.js';
import { readMetadata } from './open.js';
import { deviceBytes, readSpare } from './slots.js';
import { hasStrayPages } from './stray-pages.js';
import { askDescriptors } from './witness.js';

export interface SurveyOptions {
  /** Which volume to rebuild, where the pages of several stand on the spares. */
  readonly volumeUuid?: string | undefined;
  /** Of the rebuilt entries. */
  readonly nowSeconds: number;
}

export interface SurveyedSpare {
  readonly device: BlockDevice;
  readonly layout: SpareLayout;
  /** As a superblock that is left says, or a new one. */
  readonly uuid: string;
}

export interface Survey {
  readonly volumeUuid: string;
  readonly logicalBlockSize: 512 | 4096;
  readonly spares: readonly SurveyedSpare[];
  readonly resolved: ResolvedClaims;
  /** Of the superblock to be written: above all that was seen. */
  readonly generation: Generation;
  /** Groups of which a page is damaged or cannot be read: newer states may be missing. */
  readonly doubtfulGroups: number;
  /** The newest sound superblock that is left, though not to be served; for what else it says. */
  readonly survivor: Superblock | undefined;
}

/** A survey in numbers. */
export interface RebuildPlan {
  readonly volumeUuid: string;
  readonly logicalBlockSize: 512 | 4096;
  readonly generation: number;
  readonly remapped: { readonly extents: number; readonly sectors: number };
  readonly retired: { readonly extents: number; readonly sectors: number };
  readonly supersededSectors: number;
  readonly ambiguousSectors: number;
  readonly doubtfulGroups: number;
}

interface Scan {
  readonly layout: SpareLayout;
  readonly groups: readonly DescriptorSlots[];
}

/**
 * Throws USAGE when the metadata can be used as it is or not all spares are given, META_ABSENT when
 * no block describes itself, META_FORK when blocks of several volumes do and none was chosen,
 * META_LOST for a spare whose size has changed, SPARE_FOREIGN for a spare of no or another volume,
 * and what `readMetadata` throws for metadata that nothing is lost of.
 */
export async function surveySpares(
  devices: readonly BlockDevice[],
  options: SurveyOptions,
): Promise<Survey> {
  await requireUnusable(devices);
  const { survivor, uuids, newest } = await survivorsOn(devices, options.volumeUuid);
  const scans: Scan[][] = [];
  for (const [i, device] of devices.entries()) {
    scans.push(await scanDevice(device, recordedBytes(survivor, uuids[i]) ?? deviceBytes(device)));
  }
  for (const [i, device] of devices.entries()) {
    const silent = !scans[i]?.some(({ groups }) => groups.flat().some((s) => s.kind === 'page'));
    const moved = silent && (await hasStrayPages(device, undefined, options.volumeUuid));
    if (survivor === undefined && moved) throw resized(device);
  }
  const volumeUuid =
    options.volumeUuid ?? survivor?.header.volumeUuid ?? onlyVolume(scans.flat(), devices);
  const chosen = scans.map((both, i) => {
    return chooseScan(both, volumeUuid, survivor, devices[i] as BlockDevice);
  });
  const logicalBlockSize = chosen[0]?.layout.logicalBlockSize;
  if (chosen.some(({ layout }) => layout.logicalBlockSize !== logicalBlockSize)) {
    throw foreign(devices.at(-1) as BlockDevice, 'has blocks of another size');
  }
  for (const [i, { layout }] of chosen.entries()) {
    const device = devices[i] as BlockDevice;
    if (survivor === undefined && (await hasStrayPages(device, layout, volumeUuid))) {
      throw resized(device);
    }
  }
  const layouts = chosen.map(({ layout }) => layout);
  const claims = chosen.flatMap((scan, i) => [...claimsOf(scan, i, volumeUuid)]);
  let highest = newest;
  for (const scan of chosen) {
    const described = newestIn(scan, volumeUuid);
    if (described > highest) highest = described;
  }
  return {
    volumeUuid,
    logicalBlockSize: logicalBlockSize as 512 | 4096,
    spares: devices.map((device, i) => {
      return { device, layout: layouts[i] as SpareLayout, uuid: uuids[i] ?? randomUUID() };
    }),
    resolved: resolveClaims(claims, layouts, options.nowSeconds),
    generation: generation(highest + REBUILD_GENERATION_STEP),
    doubtfulGroups: chosen.reduce((n, { groups }) => n + groups.filter(isDoubtful).length, 0),
    survivor,
  };
}

export function planOf(survey: Survey): RebuildPlan {
  const { volumeUuid, logicalBlockSize, resolved, doubtfulGroups } = survey;
  const tally = (kind: 'remapped' | 'retired') => {
    const own = resolved.entries.filter((entry) => entry.kind === kind);
    return { extents: own.length, sectors: own.reduce((sum, entry) => sum + entry.count, 0) };
  };
  return {
    volumeUuid,
    logicalBlockSize,
    generation: Number(survey.generation),
    remapped: tally('remapped'),
    retired: tally('retired'),
    supersededSectors: (resolved.superseded.length * logicalBlockSize) / SECTOR_SIZE,
    ambiguousSectors: resolved.ambiguousSectors,
    doubtfulGroups,
  };
}

/** Returns when a back-end would refuse the spares for want of metadata; else throws. */
async function requireUnusable(devices: readonly BlockDevice[]): Promise<void> {
  try {
    const { superblock, zones, mayBeOld } = await readMetadata(devices);
    const { generation: found, volumeUuid } = superblock.header;
    const laidOut = devices.map((device) => {
      return {
        device,
        layout: zones.find((zone) => zone.device === device)?.layout as SpareLayout,
      };
    });
    if (mayBeOld && (await askDescriptors(laidOut, volumeUuid)).newest > found) return;
    const paths = devices.map((device) => device.path).join(' ');
    throw new RemapError(
      'USAGE',
      `The metadata on ${paths} can be used as it is (generation ${found}), so nothing is ` +
        'rebuilt; leave --rebuild out.',
    );
  } catch (e) {
    if (!isRemapError(e, 'META_LOST') && !isRemapError(e, 'META_ABSENT')) throw e;
  }
}

/** Sound superblocks that are left: the newest, whose spare each device is, all generations. */
async function survivorsOn(
  devices: readonly BlockDevice[],
  volumeUuid: string | undefined,
): Promise<{
  survivor: Superblock | undefined;
  uuids: (string | undefined)[];
  newest: bigint;
}> {
  let survivor: Superblock | undefined;
  const found: (Superblock | undefined)[] = [];
  for (const device of devices) {
    const { slots } = await readSpare(device);
    const sound = slots.flat().flatMap(({ decoded, observation }) => {
      const own = observation.kind === 'valid' && observation.inPlace;
      if (!own || decoded.kind !== 'valid') return [];
      const { superblock } = decoded;
      return superblock.header.volumeUuid === (volumeUuid ?? superblock.header.volumeUuid)
        ? [superblock]
        : [];
    });
    const own = sound.sort((a, b) => (a.header.generation < b.header.generation ? 1 : -1))[0];
    found.push(own);
    if (own !== undefined && own.header.generation > (survivor?.header.generation ?? 0n)) {
      survivor = own;
    }
  }
  const spares = survivor?.config.spares ?? [];
  if (spares.length > devices.length) {
    throw new RemapError(
      'USAGE',
      `The volume ${survivor?.config.name} has ${spares.length} spares and ${devices.length} of ` +
        `them were given; name all of them: ${spares.map((spare) => spare.pathHint).join(', ')}.`,
      { context: { have: devices.length, need: spares.length } },
    );
  }
  const uuids = found.map((own) => own?.header.spareUuid);
  // A spare that lost every superblock is one of those that no other device is.
  for (const [i, device] of devices.entries()) {
    if (uuids[i] !== undefined) continue;
    const fits = spares.find(({ uuid, sizeSectors }) => {
      return !uuids.includes(uuid) && sizeSectors <= device.sizeSectors;
    });
    uuids[i] = fits?.uuid;
  }
  return { survivor, uuids, newest: survivor?.header.generation ?? 0n };
}

const recordedBytes = (survivor: Superblock | undefined, uuid?: string): number | undefined => {
  const record = survivor?.config.spares.find((spare) => spare.uuid === uuid);
  return record === undefined ? undefined : record.sizeSectors * SECTOR_SIZE;
};

/** All descriptor pages, by either block size. */
async function scanDevice(device: BlockDevice, sizeBytes: number): Promise<Scan[]> {
  const scans: Scan[] = [];
  for (const blockSize of [512, 4096]) {
    const layout = layoutOf(sizeBytes, blockSize);
    const groups: DescriptorSlots[] = [];
    for (let index = 0; index < layout.groupCount; index++) {
      groups.push(await readGroup(device, layout.groupAt(index), blockSize));
    }
    scans.push({ layout, groups });
  }
  return scans;
}

const pagesOf = ({ groups }: Scan, volumeUuid: string): number =>
  groups.filter((slots) => newestPage(slots, volumeUuid) !== undefined).length;

/** The one volume of which pages were found. A sum guards each, so one page is as good as many. */
function onlyVolume(scans: readonly Scan[], devices: readonly BlockDevice[]): string {
  const groups = new Map<string, number>();
  for (const slot of scans.flatMap((scan) => scan.groups.flat())) {
    if (slot.kind !== 'page') continue;
    groups.set(slot.page.volumeUuid, (groups.get(slot.page.volumeUuid) ?? 0) + 1);
  }
  const [first, ...others] = [...groups].sort((a, b) => b[1] - a[1]);
  const paths = devices.map((device) => device.path).join(', ');
  if (first === undefined) {
    throw new RemapError(
      'META_ABSENT',
      `No block of ${paths} says what it holds, so nothing was ever remapped to it and nothing ` +
        'can be rebuilt; make it a spare with remapctl create --force.',
    );
  }
  if (others.length === 0) return first[0];
  const list = [first, ...others].map(([uuid, pages]) => `${uuid} (${pages} pages)`).join(', ');
  throw new RemapError(
    'META_FORK',
    `Blocks of several volumes stand on ${paths}: ${list}; name the right one: --volume=UUID.`,
  );
}

function chooseScan(
  scans: readonly Scan[],
  volumeUuid: string,
  survivor: Superblock | undefined,
  device: BlockDevice,
): Scan {
  const known = survivor?.config.logicalBlockSize;
  const ranked = scans
    .map((scan) => ({ scan, pages: pagesOf(scan, volumeUuid) }))
    .filter(({ scan }) => known === undefined || scan.layout.logicalBlockSize === known)
    .sort((a, b) => b.pages - a.pages);
  const best = ranked[0];
  if (best !== undefined && (best.pages > 0 || known !== undefined)) return best.scan;
  throw foreign(device, `carries no block of the volume ${volumeUuid}`);
}

function* claimsOf({ layout, groups }: Scan, spareIndex: number, uuid: string): Generator<Claim> {
  const blockSectors = layout.logicalBlockSize / SECTOR_SIZE;
  for (const [index, slots] of groups.entries()) {
    const { firstBlock } = layout.groupAt(index);
    for (const [i, block] of (newestPage(slots, uuid)?.blocks ?? []).entries()) {
      const { state, mainStart, generation: described } = block;
      if (state === 'free') continue;
      const spareStart = firstBlock + i * blockSectors;
      yield { state, spareIndex, spareStart, mainStart, generation: described };
    }
  }
}

/** Newest generation a block is described with, of whatever state; 0 for none. */
function newestIn({ groups }: Scan, uuid: string): bigint {
  let newest = 0n;
  for (const slots of groups) {
    for (const block of newestPage(slots, uuid)?.blocks ?? []) {
      if (block.generation > newest) newest = block.generation;
    }
  }
  return newest;
}

const foreign = (device: BlockDevice, how: string): RemapError =>
  new RemapError('SPARE_FOREIGN', `${device.path} ${how}; name the spares of one volume only.`, {
    context: { device: device.path },
  });

const resized = (device: BlockDevice): RemapError =>
  new RemapError(
    'META_LOST',
    `${device.path} had another size when it became a spare, and without it not all of its ` +
      'blocks are found; give it back its size.',
    { context: { device: device.path, have: device.sizeSectors } },
  );
