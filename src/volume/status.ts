/** A volume as the control socket shows it. Pure. */
import { healthScore } from '../health/score.js';
import type { CopyStatus } from '../metadata/store.js';
import type { Counters } from '../native/backend.js';
import type { Health } from '../ondisk/health.js';
import type { VolumeStatus } from '../protocol/messages.js';
import type { TableTotals } from '../remap/remap-table.js';
import { type Facts, problemsOf, spareState, volumeState } from './states.js';

/** Everything the status is made of. */
export interface StatusInputs {
  readonly name: string;
  readonly uuid: string | null;
  readonly facts: Facts;
  readonly sizeSectors: number;
  readonly logicalBlockSize: 512 | 4096;
  readonly readOnly: boolean;
  readonly generation: bigint;
  readonly totals: TableTotals;
  readonly spareUuids: readonly string[];
  readonly copies: readonly CopyStatus[];
  readonly tolerance: number;
  readonly health: Health;
  readonly counters: Counters;
  readonly client: VolumeStatus['client'];
  readonly engine: VolumeStatus['engine'];
  readonly breaker: VolumeStatus['breaker'];
  readonly faultInjection: VolumeStatus['faultInjection'];
}

export function statusOf(inputs: StatusInputs): VolumeStatus {
  const { facts, totals, health } = inputs;
  const state = volumeState(facts);
  return {
    name: inputs.name,
    uuid: inputs.uuid,
    state,
    problems: problemsOf(facts),
    mainPath: facts.mainPath,
    sizeSectors: inputs.sizeSectors,
    logicalBlockSize: inputs.logicalBlockSize,
    readOnly: inputs.readOnly,
    generation: Number(inputs.generation),
    remaps: { extents: totals.extents, sectors: totals.sectors },
    pending: { extents: totals.pendingExtents, sectors: totals.pendingSectors },
    spares: facts.spares.map(({ path, totals: spare }, i) => ({
      path,
      uuid: inputs.spareUuids[i] ?? '',
      state: spareState(spare),
      totalSectors: spare.totalSectors,
      freeSectors: spare.freeSectors,
      retiredSectors: spare.retiredSectors,
    })),
    metadata: {
      copies: inputs.copies.map(({ spareIndex, offset, state: copyState, generation }) => ({
        spare: spareIndex,
        offset,
        state: copyState,
        generation: Number(generation),
      })),
      tolerance: inputs.tolerance,
      repairs: health.metadataRepairsTotal,
    },
    health: {
      score: scoreOf(inputs, state === 'failed'),
      inputs: {
        reallocatedSectors: health.reallocatedTotal,
        pendingSectors: totals.pendingSectors,
        recoveredSectors: health.recoveredTotal,
        readErrors: health.readErrorsTotal,
        writeErrors: health.writeErrorsTotal,
        retiredSectors: health.spareRetiredTotal,
        metadataRepairs: health.metadataRepairsTotal,
      },
    },
    io: ioOf(inputs.counters),
    client: inputs.client,
    engine: inputs.engine,
    breaker: inputs.breaker,
    faultInjection: inputs.faultInjection,
  };
}

function scoreOf({ facts, totals, counters }: StatusInputs, failed: boolean): number {
  const sum = (of: 'totalSectors' | 'freeSectors'): number =>
    facts.spares.reduce((n, spare) => n + spare.totals[of], 0);
  return healthScore({
    spareSectors: sum('totalSectors'),
    spareFreeSectors: sum('freeSectors'),
    pendingExtents: totals.pendingExtents,
    goodCopies: facts.goodCopies,
    allCopies: facts.allCopies,
    errors: counters.errors,
    failed,
  });
}

function ioOf(counters: Counters): VolumeStatus['io'] {
  const { reads, writes, flushes, discards, errors, remappedReads, remappedWrites } = counters;
  const { readSectors, writtenSectors, parked, unsupported, malformed, inFlight } = counters;
  return {
    reads,
    writes,
    flushes,
    discards,
    errors,
    remappedReads,
    remappedWrites,
    readSectors,
    writtenSectors,
    parked,
    unsupported,
    malformed,
    inFlight,
  };
}
