/** What state a volume is in, and in which words that is told. Pure. */
import type { Problem, SpareState, VolumeState } from '../protocol/messages.js';
import type { SpareTotals } from '../remap/spare-policy.js';

import type { HungIo } from './watchdog.js';

/** What is known of a volume's troubles. */
export interface Facts {
  /** False: another back-end may have the volume, and all below is of an earlier time. */
  readonly held: boolean;
  /** Why rings that are to run do not, a sentence. */
  readonly ringsWait: string | undefined;
  readonly mainPath: string;
  /** Why main serves nothing any more, a clause; undefined while it does. */
  readonly mainFailure: string | undefined;
  readonly flushFailed: boolean;
  /** Why nothing can be committed any more, a clause. */
  readonly metadataFailure: string | undefined;
  /** The newest metadata found may not be the newest there was. */
  readonly metadataMayBeOld: boolean;
  readonly goodCopies: number;
  readonly allCopies: number;
  readonly spares: readonly { readonly path: string; readonly totals: SpareTotals }[];
  /** A block could not be remapped for want of a free spare block, and none was freed since. */
  readonly exhausted: boolean;
  readonly pendingSectors: number;
  /** The oldest request that does not return. */
  readonly hung: HungIo | undefined;
  /** Main does not work, and nothing is remapped for it. */
  readonly storm: { readonly reason: string } | undefined;
}

/** A spare with less than a tenth of its blocks free is worth a word. */
const LOW_SHARE = 10;

export function spareState(totals: SpareTotals): SpareState {
  if (!totals.usable) return 'failed';
  if (totals.freeSectors === 0) return 'exhausted';
  return totals.retiredSectors > 0 ? 'degraded' : 'healthy';
}

/**
 * `failed` when main or its cache is lost, `standby` while the volume is not held, `degraded` when
 * anything asks for attention.
 */
export function volumeState(facts: Facts): VolumeState {
  if (facts.mainFailure !== undefined || facts.flushFailed) return 'failed';
  if (!facts.held) return 'standby';
  return problemsOf(facts).length > 0 ? 'degraded' : 'healthy';
}

/** The worst first, each a sentence that says what to do. */
export function problemsOf(facts: Facts): Problem[] {
  const problems: Problem[] = [];
  const add = (code: Problem['code'], message: string): void => {
    problems.push({ code, message });
  };
  if (facts.mainFailure !== undefined) {
    add(
      'MAIN_FAILED',
      `${facts.mainPath} serves nothing any more: ${facts.mainFailure}; bring it back, and ` +
        'restart when that is not noticed within a minute.',
    );
  }
  if (facts.flushFailed) {
    add(
      'FLUSH_FAILED',
      'A flush failed, so writes may be lost that the guest believes safe; check the guest and ' +
        'restart.',
    );
  }
  if (facts.ringsWait !== undefined)
    add('RINGS_WAIT', `The guest stands still: ${facts.ringsWait}`);
  // The rest is for its holder to tell.
  if (!facts.held) return problems;
  if (facts.metadataFailure !== undefined) {
    add(
      'METADATA_FAILED',
      `The remap table cannot be written (${facts.metadataFailure}), so no block is remapped any ` +
        'more; replace the spare.',
    );
  }
  if (facts.hung !== undefined) {
    const { device, operation, lba, ageSeconds, requests } = facts.hung;
    add(
      'IO_HUNG',
      `A ${operation} of sector ${lba} on ${device || facts.mainPath} has not returned for ` +
        `${ageSeconds} s (${requests} in all); look at the device and its cable.`,
    );
  }
  if (facts.storm !== undefined) {
    add(
      'ERROR_STORM',
      `No block of ${facts.mainPath} is remapped, as ${facts.storm.reason}; look at its cable ` +
        'and power, it goes on by itself, or after "remapctl resume".',
    );
  }
  spareProblems(facts, add);
  if (facts.metadataFailure === undefined && facts.goodCopies < facts.allCopies) {
    add(
      'METADATA_DEGRADED',
      `${facts.allCopies - facts.goodCopies} of ${facts.allCopies} metadata copies are not good; ` +
        'a restart writes them again, and a spare that cannot hold them must be replaced.',
    );
  }
  if (facts.metadataMayBeOld) {
    add(
      'METADATA_MAY_BE_OLD',
      'So little of the metadata could be read that newer remaps may be lost; check the data, ' +
        'and replace the spare.',
    );
  }
  if (facts.pendingSectors > 0) {
    add(
      'PENDING_SECTORS',
      `${sectors(facts.pendingSectors)} could not be read; restore what was there, a write makes ` +
        'them good again.',
    );
  }
  return problems;
}

function spareProblems(facts: Facts, add: (code: Problem['code'], message: string) => void): void {
  const totals = facts.spares.map((spare) => spare.totals);
  const usable = totals.filter((spare) => spare.usable);
  const free = usable.reduce((sum, spare) => sum + spare.freeSectors, 0);
  const total = usable.reduce((sum, spare) => sum + spare.totalSectors, 0);
  for (const { path, totals: spare } of facts.spares) {
    if (!spare.usable) {
      add('SPARE_FAILED', `${path} failed, and nothing new is put on it; replace it.`);
    }
  }
  if (facts.spares.length > 0 && (facts.exhausted || free === 0)) {
    add(
      'SPARE_EXHAUSTED',
      'No spare block is free: the next bad block fails its write; move the data off this disk.',
    );
  } else if (free * LOW_SHARE < total) {
    add('SPARE_LOW', `Only ${free} of ${total} spare sectors are free; plan to replace the disk.`);
  }
}

const sectors = (n: number): string => (n === 1 ? '1 sector' : `${n} sectors`);
