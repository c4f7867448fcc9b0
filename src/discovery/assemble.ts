/**
 * Puts together what belongs together, from what was found on each device. Pure: whoever serves a
 * volume opens and checks it again.
 */
import { METADATA_COPIES } from '../core/limits.js';
import type { Generation } from '../core/units.js';
import { compareIdentity, type IdentityGrade } from '../device/identity.js';
import type { DeviceRecord, VolumeConfig } from '../ondisk/config.js';
import { isUnreadable, type Probe, type SpareClaim, type Unreadable } from './probe.js';

/**
 * complete: main and every spare are there. degraded: so they are, with copies of the metadata to
 * be mended. incomplete: a device is missing. conflicting: more than one device claims a place, or
 * a place was changed by somebody else; a person decides.
 */
export type VolumeVerdict = 'complete' | 'degraded' | 'incomplete' | 'conflicting';

export interface FoundMain {
  /** null when it was not found, or more than one claims to be it. */
  readonly path: string | null;
  readonly grade: IdentityGrade | null;
  /** It stands where it stood when the volume was made. */
  readonly atRecordedPath: boolean;
}

export interface FoundSpare {
  readonly uuid: string;
  /** null when it was not found, or more than one claims to be it. */
  readonly path: string | null;
  readonly generation: Generation | null;
  readonly goodCopies: number;
}

export interface FoundVolume {
  readonly uuid: string;
  readonly name: string;
  readonly verdict: VolumeVerdict;
  /** How sure it is that main is the right one; null without a main. */
  readonly confidence: Exclude<IdentityGrade, 'mismatch'> | null;
  /** Clauses for a person: what makes the verdict what it is. */
  readonly reasons: readonly string[];
  readonly generation: Generation;
  readonly config: VolumeConfig;
  readonly main: FoundMain;
  /** In the order of the volume's own record. */
  readonly spares: readonly FoundSpare[];
}

/** A device that is part of no volume for a reason worth telling. */
export interface Oddity {
  readonly path: string;
  readonly state: 'lost' | 'fork' | 'foreign' | 'left-over' | 'unreadable';
  readonly why: string;
}

export interface Discovery {
  readonly volumes: readonly FoundVolume[];
  readonly oddities: readonly Oddity[];
}

type Claimed = Probe & { readonly claim: SpareClaim };

export function assemble(found: readonly (Probe | Unreadable)[]): Discovery {
  const probes = found.filter((one) => !isUnreadable(one)) as Probe[];
  const claims = probes.filter((one) => one.claim !== undefined) as Claimed[];
  const byVolume = groupBy(claims, ({ claim }) => claim.volumeUuid);
  const parts = [...byVolume].map(([uuid, own]) => assembleOne(uuid, own, probes));
  const volumes = parts.map(({ volume }) => withSharedMain(volume, parts));
  return {
    volumes: volumes.sort((a, b) => compareText(`${a.name} ${a.uuid}`, `${b.name} ${b.uuid}`)),
    oddities: [...parts.flatMap(({ leftOver }) => leftOver), ...found.flatMap(oddityOf)],
  };
}

interface Assembled {
  readonly volume: FoundVolume;
  readonly leftOver: readonly Oddity[];
}

function assembleOne(uuid: string, own: readonly Claimed[], all: readonly Probe[]): Assembled {
  const newest = own.reduce((a, b) => (b.claim.generation > a.claim.generation ? b : a)).claim;
  const { config, generation } = newest;
  const conflicts = forks(own);
  const missing: string[] = [];
  const spares = config.spares.map((record): FoundSpare => {
    const claimants = own.filter(({ claim }) => claim.spareUuid === record.uuid);
    const [first, second] = claimants;
    if (second !== undefined) {
      conflicts.push(`${listed(claimants)} all say they are the spare ${record.uuid}`);
    }
    if (first === undefined) missing.push(`the spare ${described(record)} is missing`);
    if (first === undefined || second !== undefined) {
      return { uuid: record.uuid, path: null, generation: null, goodCopies: 0 };
    }
    const { generation: newestHere, goodCopies } = first.claim;
    return { uuid: record.uuid, path: first.path, generation: newestHere, goodCopies };
  });
  const known = new Set(config.spares.map((record) => record.uuid));
  const leftOver = own
    .filter(({ claim }) => !known.has(claim.spareUuid))
    .map(({ path }): Oddity => {
      const why = `was a spare of the volume ${config.name} and is not any more`;
      return { path, state: 'left-over', why };
    });
  const place = findMain(config.main, all, own);
  conflicts.push(...place.conflicts);
  if (place.main.path === null && place.conflicts.length === 0) {
    missing.push(`the main ${described(config.main)} is missing`);
  }
  const damaged = spares
    .filter(({ path, goodCopies }) => path !== null && goodCopies < METADATA_COPIES)
    .map(
      ({ path, goodCopies }) => `${goodCopies} of ${METADATA_COPIES} copies on ${path} are good`,
    );
  const { grade } = place.main;
  const volume: FoundVolume = {
    uuid,
    name: config.name,
    verdict: verdictOf(conflicts, missing, damaged),
    confidence: grade === 'mismatch' ? null : grade,
    reasons: [...conflicts, ...missing, ...damaged, ...place.reasons],
    generation,
    config,
    main: place.main,
    spares,
  };
  return { volume, leftOver };
}

function verdictOf(
  conflicts: readonly string[],
  missing: readonly string[],
  damaged: readonly string[],
): VolumeVerdict {
  if (conflicts.length > 0) return 'conflicting';
  if (missing.length > 0) return 'incomplete';
  return damaged.length > 0 ? 'degraded' : 'complete';
}

/** Two spares of one volume that hold different states of one generation. */
function forks(own: readonly Claimed[]): string[] {
  const byGeneration = groupBy(own, ({ claim }) => claim.generation);
  return [...byGeneration].flatMap(([generation, those]) => {
    const digests = new Set(those.map(({ claim }) => claim.digest));
    return digests.size > 1
      ? [`${listed(those)} hold different states of generation ${generation}`]
      : [];
  });
}

interface MainSearch {
  readonly main: FoundMain;
  readonly conflicts: readonly string[];
  readonly reasons: readonly string[];
}

/**
 * The device that proves to be the recorded main; failing that the one that may be it: of several
 * the one at the recorded path, unless that is a guess.
 */
function findMain(
  record: DeviceRecord,
  all: readonly Probe[],
  own: readonly Claimed[],
): MainSearch {
  const spares = new Set(own.map(({ path }) => path));
  const ranked = all
    .filter(({ path }) => !spares.has(path))
    .map((one) => ({ one, match: compareIdentity(record, one.found) }));
  const nobody: FoundMain = { path: null, grade: null, atRecordedPath: false };
  const strong = ranked.filter(({ match }) => match.grade === 'strong');
  const weak = ranked.filter(({ match }) => match.grade === 'weak');
  const atPath = weak.filter(({ one }) => one.realPath === record.pathHint);
  // Where nothing is recorded by which to tell one from another, its size is no proof.
  const best = strong.length > 0 ? strong : atPath.length > 0 ? atPath : weak;
  const [first, ...others] = best;
  if (first !== undefined && others.length === 0) {
    const { grade, reasons } = first.match;
    const atRecordedPath = first.one.realPath === record.pathHint;
    const main = { path: first.one.path, grade, atRecordedPath };
    return { main, conflicts: [], reasons: grade === 'weak' ? reasons.map(aboutMain) : [] };
  }
  if (first !== undefined) {
    const paths = listed(best.map(({ one }) => one));
    return { main: nobody, conflicts: [`each of ${paths} may be its main`], reasons: [] };
  }
  const changed = ranked.find(({ one }) => {
    // The inode of a file that is gone is soon another file's.
    const lasting = record.kind === 'block' && record.identity !== '';
    const same = lasting && record.identity === one.found.identity;
    return same || (record.pathHint !== '' && record.pathHint === one.realPath);
  });
  if (changed === undefined) return { main: nobody, conflicts: [], reasons: [] };
  const why = changed.match.reasons.at(-1) ?? '';
  return {
    main: { path: null, grade: 'mismatch', atRecordedPath: true },
    conflicts: [`${changed.one.path} stands where its main stood, and ${why}`],
    reasons: [],
  };
}

const aboutMain = (reason: string): string => `of its main: ${reason}`;

/** A main that two volumes lay claim to is served by neither, unless one of them proves it. */
function withSharedMain(volume: FoundVolume, parts: readonly Assembled[]): FoundVolume {
  const { path, grade } = volume.main;
  const rivals = parts
    .map((part) => part.volume)
    .filter((other) => other.uuid !== volume.uuid && path !== null && other.main.path === path)
    .filter((other) => grade !== 'strong' || other.main.grade === 'strong');
  const [rival] = rivals;
  if (rival === undefined) return volume;
  const reason = `the volume ${rival.name} (${rival.uuid}) says that ${path} is its main too`;
  return { ...volume, verdict: 'conflicting', reasons: [reason, ...volume.reasons] };
}

const DAMAGE: Readonly<Record<NonNullable<Probe['damage']>, string>> = {
  lost: 'had metadata and no copy of it can be used; see remapctl check',
  fork: 'carries two states of one generation',
  foreign: 'carries copies of different volumes',
};

function oddityOf(one: Probe | Unreadable): Oddity[] {
  if (isUnreadable(one)) return [{ path: one.path, state: 'unreadable', why: one.why }];
  const { path, damage } = one;
  return damage === undefined ? [] : [{ path, state: damage, why: DAMAGE[damage] }];
}

const described = ({ pathHint, sizeSectors, identity }: DeviceRecord): string =>
  `(${sizeSectors} sectors, last seen at ${pathHint === '' ? 'no known path' : pathHint}` +
  `${identity === '' ? '' : `, ${identity}`})`;

const listed = (those: readonly { readonly path: string }[]): string =>
  those.map(({ path }) => path).join(', ');

const compareText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}
