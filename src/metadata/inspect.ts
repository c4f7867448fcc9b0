/** What is on a spare, for a person: decodes what it can and never writes. */
import type { BlockDevice } from '../device/block-device.js';
import type { VolumeConfig } from '../ondisk/config.js';
import type { EntryKind, TableEntry } from '../ondisk/entry.js';
import type { Health } from '../ondisk/health.js';
import type { Damage, Superblock } from '../ondisk/superblock.js';
import { decodePage } from '../ondisk/table-page.js';
import { readPage } from './pages.js';
import { type CopyState, decide, judgeCopy, type Verdict } from './quorum.js';
import { observe, readSpare, type SlotReading, type SpareReading } from './slots.js';
import { askDescriptors } from './witness.js';
import type { Zone } from './zones.js';

/** Plain data; numbers are JSON's. Offsets are bytes, the rest is in the unit its name says. */
export interface Inspection {
  readonly path: string;
  readonly sizeSectors: number;
  readonly layout: {
    readonly logicalBlockSize: number;
    readonly zoneSize: number;
    readonly zoneOffsets: readonly number[];
    readonly pageCapacity: number;
    readonly groups: number;
    readonly dataSectors: number;
  };
  /** `ok`: a daemon would take `generation`. The others as the errors META_* and SPARE_FOREIGN. */
  readonly verdict: Verdict['state'] | 'old';
  /** 0 unless the verdict is `ok` or `old`; so are the two that follow. */
  readonly generation: number;
  readonly tolerance: number;
  /** Neither copies nor descriptors can tell whether `generation` is the newest there was. */
  readonly mayBeOld: boolean;
  /** Newest generation of a descriptor; null unless the copies alone cannot tell. */
  readonly describedGeneration: number | null;
  readonly copies: readonly InspectedCopy[];
  /** Where what follows was decoded from; null when nothing could be. */
  readonly source: { readonly copy: number; readonly slot: number; readonly sound: boolean } | null;
  readonly volumeUuid: string | null;
  readonly spareUuid: string | null;
  readonly config: VolumeConfig | null;
  readonly health: Health | null;
  readonly table: InspectedTable | null;
}

export interface InspectedCopy {
  readonly offset: number;
  readonly state: CopyState;
  readonly slots: readonly InspectedSlot[];
}

export interface InspectedSlot {
  readonly offset: number;
  readonly kind: 'valid' | 'damaged' | 'blank' | 'unreadable';
  /** Only when damaged: the sections that are, and how. */
  readonly damage: readonly Damage[];
  /** Only when valid. */
  readonly inPlace?: boolean;
  readonly volumeUuid?: string;
  readonly spareUuid?: string;
  readonly generation?: number;
  readonly digest?: string;
  readonly committedSeconds?: number;
}

interface Tally {
  readonly extents: number;
  readonly sectors: number;
}

export interface InspectedTable {
  readonly remapped: Tally;
  readonly pending: Tally;
  readonly retired: Tally;
  readonly inlineEntries: number;
  readonly pages: readonly {
    readonly location: number;
    readonly generation: number;
    /** Zones of this spare, of five, that hold it. */
    readonly zones: number;
  }[];
}

interface Source {
  readonly copy: number;
  readonly slot: number;
  readonly sound: boolean;
  readonly found: Partial<Superblock>;
}

/** Throws SPARE_TOO_SMALL, and nothing else. */
export async function inspectSpare(device: BlockDevice): Promise<Inspection> {
  const reading = await readSpare(device);
  const { layout } = reading;
  const verdict = decide([observe(reading)]);
  const ok = verdict.state === 'ok' ? verdict : undefined;
  const witness = ok?.mayBeOld
    ? await askDescriptors([{ device, layout }], ok.volumeUuid)
    : undefined;
  const isOld = ok !== undefined && witness !== undefined && witness.newest > ok.generation;
  const source = bestSource(reading, verdict);
  const { header, config, health } = source?.found ?? {};
  return {
    path: device.path,
    sizeSectors: device.sizeSectors,
    layout: {
      logicalBlockSize: layout.logicalBlockSize,
      zoneSize: layout.zoneSize,
      zoneOffsets: layout.zoneOffsets,
      pageCapacity: layout.pageCapacity,
      groups: layout.groupCount,
      dataSectors: layout.dataSectors,
    },
    verdict: isOld ? 'old' : verdict.state,
    generation: Number(ok?.generation ?? 0n),
    tolerance: ok?.tolerance ?? 0,
    mayBeOld: isOld || (witness?.doubtfulGroups ?? 0) > 0,
    describedGeneration: witness === undefined ? null : Number(witness.newest),
    copies: copiesOf(reading, verdict),
    source: source ? { copy: source.copy, slot: source.slot, sound: source.sound } : null,
    volumeUuid: header?.volumeUuid ?? null,
    spareUuid: header?.spareUuid ?? null,
    config: config ?? null,
    health: health ?? null,
    table: source ? await tableOf(device, reading, source) : null,
  };
}

/** The slot in force; else the newest valid one; else the damaged one of which most is left. */
function bestSource(reading: SpareReading, verdict: Verdict): Source | undefined {
  const sources = reading.slots.flatMap((copy, index) =>
    copy.flatMap(({ decoded }, slot): Source[] => {
      if (decoded.kind === 'valid') {
        return [{ copy: index, slot, sound: true, found: decoded.superblock }];
      }
      if (decoded.kind !== 'damaged') return [];
      return [{ copy: index, slot, sound: false, found: decoded.partial }];
    }),
  );
  if (verdict.state === 'ok') {
    const { source, generation } = verdict;
    const slot = Number(generation & 1n);
    return sources.find((found) => found.copy === source.copyIndex && found.slot === slot);
  }
  const worth = ({ sound, found }: Source): number => (sound ? 10 : 0) + Object.keys(found).length;
  return sources
    .filter((source) => source.sound || source.found.header !== undefined)
    .sort((a, b) => worth(b) - worth(a))[0];
}

function copiesOf(reading: SpareReading, verdict: Verdict): InspectedCopy[] {
  const states = verdict.state === 'ok' ? verdict.copies[0] : undefined;
  return reading.slots.map((slots, copy) => ({
    offset: reading.layout.zoneOffset(copy),
    state: states?.[copy]?.state ?? stateAlone(slots),
    slots: slots.map(slotOf),
  }));
}

/** State of a copy where there is no verdict to hold it against: sound ones are good. */
function stateAlone([even, odd]: readonly [SlotReading, SlotReading]): CopyState {
  const slots = [even.observation, odd.observation] as const;
  const own = slots.filter((slot) => slot.kind === 'valid' && slot.inPlace);
  const [newest] = own.sort((a, b) => Number(generationOf(b) - generationOf(a)));
  if (newest?.kind === 'valid') return judgeCopy(slots, newest, newest.generation).state;
  const anyone = { volumeUuid: '', spareUuid: '' };
  return judgeCopy(slots, anyone, 0n as Parameters<typeof judgeCopy>[2]).state;
}

const generationOf = (slot: SlotReading['observation']): bigint =>
  slot.kind === 'valid' ? slot.generation : 0n;

function slotOf({ offset, decoded, observation }: SlotReading): InspectedSlot {
  if (decoded.kind === 'damaged') return { offset, kind: 'damaged', damage: decoded.damage };
  if (decoded.kind !== 'valid' || observation.kind !== 'valid') {
    return { offset, kind: observation.kind, damage: [] };
  }
  const { volumeUuid, spareUuid, generation, digest, committedSeconds } = decoded.superblock.header;
  return {
    offset,
    kind: 'valid',
    damage: [],
    inPlace: observation.inPlace,
    volumeUuid,
    spareUuid,
    generation: Number(generation),
    digest,
    committedSeconds,
  };
}

async function tableOf(
  device: BlockDevice,
  { layout, slots }: SpareReading,
  { found }: Source,
): Promise<InspectedTable | null> {
  if (found.table === undefined || found.header === undefined) return null;
  const { volumeUuid, spareUuid } = found.header;
  const entries: TableEntry[] = [...found.table.entries];
  const zones = slots.map((_, copyIndex): Zone => {
    const state = 'good';
    const generation = undefined;
    const pagesMissing = false;
    const spareIndex = 0;
    return { device, layout, spareIndex, spareUuid, copyIndex, state, generation, pagesMissing };
  });
  const pages: InspectedTable['pages'][number][] = [];
  for (const [index, page] of found.table.directory.entries()) {
    const copies = await Promise.all(zones.map((zone) => readPage(zone, volumeUuid, index, page)));
    const held = copies.filter((bytes) => bytes !== undefined);
    if (held[0] !== undefined) entries.push(...decodePage(held[0]).entries);
    const { location, generation } = page;
    pages.push({ location, generation: Number(generation), zones: held.length });
  }
  return {
    remapped: tally(entries, 'remapped'),
    pending: tally(entries, 'pending'),
    retired: tally(entries, 'retired'),
    inlineEntries: found.table.entries.length,
    pages,
  };
}

function tally(entries: readonly TableEntry[], kind: EntryKind): Tally {
  const own = entries.filter((entry) => entry.kind === kind);
  return { extents: own.length, sectors: own.reduce((sum, entry) => sum + entry.count, 0) };
}
