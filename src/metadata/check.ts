/** Checks all that a volume's spares say about themselves, and mends what can be mended. */
import type { Clock } from '../core/clock.js';
import { isRemapError } from '../core/errors.js';
import type { BlockDevice } from '../device/block-device.js';
import type { TableEntry } from '../ondisk/entry.js';
import { type DescriptorChange, DescriptorStore } from './descriptors.js';
import { MetadataStore, type ScrubFinding } from './store.js';
import { brokenRules } from './table-rules.js';

export interface CheckProblem {
  /**
   * The code of the RemapError that kept the metadata from being used, or COPY_BAD, PAGE_BAD,
   * MAY_BE_OLD, DESCRIPTOR_WRONG, or a rule of the table (ENTRY_...).
   */
  readonly code: string;
  readonly message: string;
  /** What is known of the place. */
  readonly where: {
    readonly device?: string;
    readonly copy?: number;
    readonly lba?: number;
    readonly count?: number;
  };
  readonly repaired: boolean;
}

export interface CheckReport {
  /** whole: no problem is left. degraded: it can be used. unusable: it cannot be opened. */
  readonly verdict: 'whole' | 'degraded' | 'unusable';
  readonly volumeUuid: string | null;
  readonly name: string | null;
  readonly generation: number;
  readonly entries: number;
  readonly problems: readonly CheckProblem[];
  /** Problems beyond the first 1,000, counted only. */
  readonly moreProblems: number;
}

export interface CheckOptions {
  readonly repair: boolean;
  readonly clock: Clock;
}

const PROBLEMS_LISTED_MAX = 1000;

/** `devices` are all spares of one volume. Writes nothing without `repair`. */
export async function checkSpares(
  devices: readonly BlockDevice[],
  options: CheckOptions,
): Promise<CheckReport> {
  let store: MetadataStore;
  try {
    store = await MetadataStore.open(devices, { ...options, repair: false });
  } catch (error) {
    if (!isRemapError(error)) throw error;
    const { code, message, context } = error;
    const where = context.device === undefined ? {} : { device: context.device };
    return report(undefined, 'unusable', [{ code, message, where, repaired: false }]);
  }
  const rules = brokenRules(store.entries(), store.config, store.layouts);
  const problems: CheckProblem[] = [
    ...oldProblems(store),
    ...(await copyProblems(store, devices, options)),
    ...rules.map(({ rule, message, entry }) => {
      const where = { lba: entry.start, count: entry.count };
      return { code: rule, message, where, repaired: false };
    }),
  ];
  // Descriptors follow the table; one that breaks its own rules must not be spread.
  if (rules.length === 0) problems.push(...(await descriptorProblems(store, options.repair)));
  return report(store, problems.every((p) => p.repaired) ? 'whole' : 'degraded', problems);
}

function report(
  store: MetadataStore | undefined,
  verdict: CheckReport['verdict'],
  problems: readonly CheckProblem[],
): CheckReport {
  return {
    verdict,
    volumeUuid: store?.volumeUuid ?? null,
    name: store?.config.name ?? null,
    generation: Number(store?.generation ?? 0n),
    entries: store?.entryCount ?? 0,
    problems: problems.slice(0, PROBLEMS_LISTED_MAX),
    moreProblems: Math.max(0, problems.length - PROBLEMS_LISTED_MAX),
  };
}

function oldProblems(store: MetadataStore): CheckProblem[] {
  if (!store.mayBeOld) return [];
  const message =
    `Too few copies can be read to be sure that generation ${store.generation} is the newest, ` +
    'and not all descriptors of the spare blocks can be read that would tell.';
  return [{ code: 'MAY_BE_OLD', message, where: {}, repaired: false }];
}

/** What a scrub finds, and what it finds again once everything has been written anew. */
async function copyProblems(
  store: MetadataStore,
  devices: readonly BlockDevice[],
  options: CheckOptions,
): Promise<CheckProblem[]> {
  const { findings } = await store.scrub({ repair: false });
  let left: readonly ScrubFinding[] = findings;
  if (options.repair && findings.length > 0) {
    const writable = await MetadataStore.open(devices, { ...options, repair: true });
    await writable.scrub();
    left = (await writable.scrub({ repair: false })).findings;
  }
  return findings.flatMap(({ spareIndex, copyIndex, state, pages }) => {
    const device = store.spares[spareIndex]?.path ?? '';
    const where = { device, copy: copyIndex };
    const again = left.some((f) => f.spareIndex === spareIndex && f.copyIndex === copyIndex);
    const repaired = options.repair && !again;
    const problems: CheckProblem[] = [];
    if (state !== 'good') {
      const message = `Copy ${copyIndex} of the metadata on ${device} is ${state}.`;
      problems.push({ code: 'COPY_BAD', message, where, repaired });
    }
    if (pages.length > 0) {
      const message = `Zone ${copyIndex} of ${device} lacks ${pages.length} pages of the table.`;
      problems.push({ code: 'PAGE_BAD', message, where, repaired });
    }
    return problems;
  });
}

const descriptorsOf = (store: MetadataStore): DescriptorStore =>
  new DescriptorStore(store.spares, {
    volumeUuid: store.volumeUuid,
    logicalBlockSize: store.config.logicalBlockSize,
    layouts: store.layouts,
  });

/** What the table says of spare blocks, against what is written beside them. */
async function descriptorProblems(store: MetadataStore, repair: boolean): Promise<CheckProblem[]> {
  const descriptors = descriptorsOf(store);
  const wrong: { entry: TableEntry; change: DescriptorChange }[] = [];
  const onSpares = [...store.entries()]
    .filter((entry) => entry.kind !== 'pending')
    .map((entry) => ({ entry, change: changeFor(entry) }))
    .sort((a, b) => {
      return a.change.spareIndex - b.change.spareIndex || a.change.spareStart - b.change.spareStart;
    });
  for (const item of onSpares) {
    if (!(await descriptors.agrees(item.change))) wrong.push(item);
  }
  let repaired = false;
  if (repair && wrong.length > 0) {
    repaired = await descriptors
      .update(
        wrong.map(({ change }) => change),
        store.generation,
      )
      .then(() => Promise.all(store.spares.map((spare) => spare.flush())))
      .then(
        () => true,
        () => false,
      );
  }
  return wrong.map(({ change }) => {
    const { spareIndex, spareStart: lba, count } = change;
    const device = store.spares[spareIndex]?.path ?? '';
    const message =
      `The descriptors of sectors ${lba}+${count} of ${device} do not say what the table ` +
      'does.';
    return { code: 'DESCRIPTOR_WRONG', message, where: { device, lba, count }, repaired };
  });
}

const changeFor = ({ kind, start, count, spareIndex, spareStart }: TableEntry): DescriptorChange =>
  kind === 'retired'
    ? { spareIndex, spareStart: start, count, state: 'retired' }
    : { spareIndex, spareStart, count, state: 'used', mainStart: start };
