/**
 * Decides, from what was read of every superblock slot, which generation is in force. Pure:
 * observations in, verdict out; `store.ts` does the I/O.
 *
 * A commit counts once four of the five copies of every spare hold it, so
 *  - the newest valid generation is taken wherever it stands: a newer one cannot be missing from
 *    every copy that can be read unless fewer than two of a spare's copies can be;
 *  - what only one copy holds may be a commit that never counted. Taking it is safe: all it names
 *    was durable before it was written.
 */
import { COMMIT_QUORUM, METADATA_COPIES } from '../core/limits.js';
import type { Generation } from '../core/units.js';

/** What one read of one slot showed. */
export type SlotObservation =
  | {
      readonly kind: 'valid';
      readonly volumeUuid: string;
      readonly spareUuid: string;
      readonly generation: Generation;
      readonly digest: string;
      /** It says that it stands where it was read. */
      readonly inPlace: boolean;
    }
  | { readonly kind: 'damaged' }
  | { readonly kind: 'blank' }
  | { readonly kind: 'unreadable' };

/** Slot 0, slot 1. */
export type CopyObservation = readonly [SlotObservation, SlotObservation];
/** Five copies. */
export type SpareObservation = readonly CopyObservation[];

export type CopyState =
  /** Holds the generation in force. */
  | 'good'
  /** Sound, of an older generation. */
  | 'stale'
  /** Sound, of an older generation, and its newer slot is damaged: a commit was cut short. */
  | 'torn'
  | 'damaged'
  /** A copy of this volume that belongs elsewhere. */
  | 'misplaced'
  /** Another volume's. */
  | 'foreign'
  | 'unreadable'
  | 'blank';

export interface CopyVerdict {
  readonly state: CopyState;
  /** Of the newest sound slot; undefined when there is none of this volume in place. */
  readonly generation: Generation | undefined;
}

export interface CopyAddress {
  readonly spareIndex: number;
  readonly copyIndex: number;
}

export type Verdict =
  | {
      readonly state: 'ok';
      readonly volumeUuid: string;
      readonly spareUuids: readonly string[];
      readonly generation: Generation;
      readonly digest: string;
      /** A copy to take the image from. */
      readonly source: CopyAddress;
      /** By spare, by copy. */
      readonly copies: readonly (readonly CopyVerdict[])[];
      /** Further copies of the worst spare that may be lost before the generation is: good - 1. */
      readonly tolerance: number;
      /** Too few copies can be read to rule out that a newer generation was acknowledged. */
      readonly mayBeOld: boolean;
    }
  | {
      /**
       * absent: nothing was ever written there. lost: something was, and nothing of it is valid.
       * fork: two claims are as good as each other. foreign: a spare of another volume.
       */
      readonly state: 'absent' | 'lost' | 'fork' | 'foreign';
      /** The spare that decided it. */
      readonly spareIndex: number;
    };

type ValidSlot = Extract<SlotObservation, { kind: 'valid' }>;

/** Copies that have to be known not to be newer, to know that no acknowledged commit is missing. */
const WITNESSES = METADATA_COPIES - COMMIT_QUORUM + 1;

/** Whose copies a spare holds. */
export interface Identity {
  readonly volumeUuid: string;
  readonly spareUuid: string;
}

export function decide(spares: readonly SpareObservation[]): Verdict {
  const identities: Identity[] = [];
  for (const [spareIndex, spare] of spares.entries()) {
    const identity = identify(spare);
    if (typeof identity === 'string') return { state: identity, spareIndex };
    identities.push(identity);
    const first = identities[0] as Identity;
    if (identity.volumeUuid !== first.volumeUuid) return { state: 'foreign', spareIndex };
  }
  const newest = newestOf(spares, identities);
  if ('spareIndex' in newest) return newest;

  const copies = spares.map((spare, i) => {
    const { generation } = newest.slot;
    return spare.map((copy) => judgeCopy(copy, identities[i] as Identity, generation));
  });
  const good = copies.map((spare) => spare.filter((copy) => copy.state === 'good').length);
  return {
    state: 'ok',
    volumeUuid: newest.slot.volumeUuid,
    spareUuids: identities.map((identity) => identity.spareUuid),
    generation: newest.slot.generation,
    digest: newest.slot.digest,
    source: newest.source,
    copies,
    tolerance: Math.max(0, Math.min(...good) - 1),
    mayBeOld: spares.every((spare, i) => {
      const isOurs = (copy: CopyObservation) => isWitness(copy, identities[i] as Identity);
      return spare.filter(isOurs).length < WITNESSES;
    }),
  };
}

/**
 * The volume and spare that most copies say they belong to. Two with as many copies each is a
 * fork: whichever were taken, the repair would destroy the other.
 */
function identify(spare: SpareObservation): Identity | 'absent' | 'lost' | 'fork' {
  const votes = new Map<string, { identity: Identity; copies: number }>();
  for (const copy of spare) {
    const own = copy.filter((slot) => slot.kind === 'valid' && slot.inPlace) as ValidSlot[];
    const keys = new Map(own.map((slot) => [`${slot.volumeUuid} ${slot.spareUuid}`, slot]));
    for (const [key, { volumeUuid, spareUuid }] of keys) {
      const vote = votes.get(key) ?? { identity: { volumeUuid, spareUuid }, copies: 0 };
      vote.copies++;
      votes.set(key, vote);
    }
  }
  const ranked = [...votes.values()].sort((a, b) => b.copies - a.copies);
  const [first, second] = ranked;
  if (first !== undefined) return first.copies === second?.copies ? 'fork' : first.identity;
  return spare.every((copy) => copy.every((slot) => slot.kind === 'blank')) ? 'absent' : 'lost';
}

function newestOf(
  spares: readonly SpareObservation[],
  identities: readonly Identity[],
):
  | { readonly slot: ValidSlot; readonly source: CopyAddress }
  | { readonly state: 'fork'; readonly spareIndex: number } {
  let newest: { slot: ValidSlot; source: CopyAddress } | undefined;
  let forkedAt: number | undefined;
  for (const [spareIndex, spare] of spares.entries()) {
    for (const [copyIndex, copy] of spare.entries()) {
      const slot = candidate(copy, identities[spareIndex] as Identity);
      if (slot === undefined) continue;
      if (newest === undefined || slot.generation > newest.slot.generation) {
        newest = { slot, source: { spareIndex, copyIndex } };
        forkedAt = undefined;
      } else if (slot.generation === newest.slot.generation && slot.digest !== newest.slot.digest) {
        forkedAt = spareIndex;
      }
    }
  }
  if (newest === undefined) throw new Error('a spare with an identity has a valid copy');
  return forkedAt === undefined ? newest : { state: 'fork', spareIndex: forkedAt };
}

/** Newest valid slot of this spare's own. */
export function candidate(copy: CopyObservation, identity: Identity): ValidSlot | undefined {
  const own = copy.filter((slot) => isOwn(slot, identity)) as ValidSlot[];
  return own.sort((a, b) => (a.generation < b.generation ? 1 : -1))[0];
}

const isOwn = (slot: SlotObservation, identity: Identity): boolean =>
  slot.kind === 'valid' &&
  slot.inPlace &&
  slot.volumeUuid === identity.volumeUuid &&
  slot.spareUuid === identity.spareUuid;

/** State of one copy of the spare `identity` while `newest` is the generation in force. */
export function judgeCopy(
  copy: CopyObservation,
  identity: Identity,
  newest: Generation,
): CopyVerdict {
  const own = candidate(copy, identity);
  const has = (kind: SlotObservation['kind']): boolean => copy.some((slot) => slot.kind === kind);
  if (own !== undefined) {
    const generation = own.generation;
    if (generation === newest) return { state: 'good', generation };
    if (has('unreadable')) return { state: 'unreadable', generation };
    return { state: has('damaged') ? 'torn' : 'stale', generation };
  }
  const valid = copy.filter((slot) => slot.kind === 'valid') as ValidSlot[];
  if (valid.some((slot) => slot.volumeUuid !== identity.volumeUuid)) {
    return { state: 'foreign', generation: undefined };
  }
  if (valid.length > 0) return { state: 'misplaced', generation: undefined };
  const state = has('damaged') ? 'damaged' : has('unreadable') ? 'unreadable' : 'blank';
  return { state, generation: undefined };
}

/**
 * A copy with a valid slot would hold a newer generation had one been acknowledged on it. A slot
 * that fails its checks beside a valid older one is a commit cut short, never an acknowledged one:
 * acknowledged slots are read back first. A slot that cannot be read may hold anything.
 */
const isWitness = (copy: CopyObservation, identity: Identity): boolean =>
  candidate(copy, identity) !== undefined && copy.every((slot) => slot.kind !== 'unreadable');

/**
 * The order in which copies are written again, one after the other. Any order is safe, as a repair
 * writes only the slot that does not hold the copy's last sound generation; those most likely to
 * take the write come first, so that the quorum is whole again soonest.
 */
export function repairOrder(verdict: Extract<Verdict, { state: 'ok' }>): CopyAddress[] {
  const repairs = verdict.copies.flatMap((spare, spareIndex) =>
    spare.map((copy, copyIndex) => ({ spareIndex, copyIndex, state: copy.state })),
  );
  return repairs
    .filter((repair) => repair.state !== 'good')
    .sort((a, b) => Number(a.state === 'unreadable') - Number(b.state === 'unreadable'))
    .map(({ spareIndex, copyIndex }) => ({ spareIndex, copyIndex }));
}
