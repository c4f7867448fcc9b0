/** Compares one zone with what the store knows to be in force, and makes it the same again. */
import type { Generation } from '../core/units.js';
import { stampCopy } from '../ondisk/superblock.js';
import type { DirectoryEntry } from '../ondisk/table-section.js';
import { encodeNamedPage, missingPages } from './pages.js';
import { type CopyVerdict, candidate, judgeCopy } from './quorum.js';
import { placeOf, readCopy } from './slots.js';
import type { TablePlacement } from './table-placement.js';
import { type Writer, type Zone, type ZoneWrite, zoneState } from './zones.js';

/** The generation in force. */
export interface InForce {
  readonly volumeUuid: string;
  readonly generation: Generation;
  readonly digest: string;
  readonly image: Buffer;
  readonly table: TablePlacement;
}

export interface ZoneFinding {
  readonly copy: CopyVerdict;
  /** Indexes of the pages that are not as they should be. */
  readonly missing: readonly number[];
  /** The zone holds a generation that this process did not commit. */
  readonly conflict: boolean;
}

export async function examine(zone: Zone, inForce: InForce): Promise<ZoneFinding> {
  const { volumeUuid, generation, digest } = inForce;
  const [even, odd] = await readCopy(zone.device, zone.layout, zone.copyIndex);
  const observation = [even.observation, odd.observation] as const;
  const identity = { volumeUuid, spareUuid: zone.spareUuid };
  const own = candidate(observation, identity);
  const conflict =
    own !== undefined &&
    (own.generation > generation || (own.generation === generation && own.digest !== digest));
  const copy = judgeCopy(observation, identity, generation);
  const missing = await missingPages(zone, volumeUuid, inForce.table.directory);
  return { copy, missing, conflict };
}

/** The write that puts a superblock into the zone's slot for its generation. */
function superblockWrite(zone: Zone, image: Buffer, generation: Generation): ZoneWrite {
  const offset = zone.layout.slotOffset(zone.copyIndex, generation);
  const place = placeOf(zone.layout, zone.spareUuid, zone.copyIndex, offset);
  return { zone, offset, bytes: stampCopy(image, place) };
}

/**
 * Writes the `missing` pages, and after them the superblock that names them unless it is good.
 * Returns true when the zone holds all of the generation in force afterwards.
 */
export async function repair(
  zone: Zone,
  missing: readonly number[],
  inForce: InForce,
  write: Writer,
): Promise<boolean> {
  const { directory } = inForce.table;
  zone.pagesMissing = false;
  for (const index of missing) {
    const entry = directory[index] as DirectoryEntry;
    const entries = inForce.table.pageEntries(index);
    const bytes = encodeNamedPage(inForce.volumeUuid, index, entry, entries);
    const offset = zone.layout.pageOffset(zone.copyIndex, entry.location);
    if ((await write([{ zone, offset, bytes }])).size > 0) zone.pagesMissing = true;
  }
  if (zone.state !== 'good') {
    await writeSuperblocks([zone], inForce.image, inForce.generation, write);
  }
  return zoneState(zone) === 'good';
}

/** Puts one generation into its slot of all `zones` at once, and notes in each how that went. */
export async function writeSuperblocks(
  zones: readonly Zone[],
  image: Buffer,
  generation: Generation,
  write: Writer,
): Promise<void> {
  const writes = zones.map((zone) => superblockWrite(zone, image, generation));
  const failed = await write(writes);
  for (const job of writes) {
    const failure = failed.get(job);
    if (failure === undefined) {
      job.zone.state = 'good';
      job.zone.generation = generation;
    } else {
      job.zone.state = failure.step === 'read' ? 'unreadable' : 'damaged';
    }
  }
}
