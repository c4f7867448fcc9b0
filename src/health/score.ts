/** What the score is made of. Counts and sectors. */
export interface ScoreInputs {
  /** Sectors of all spares for remapped data; 0 without a spare. */
  readonly spareSectors: number;
  readonly spareFreeSectors: number;
  readonly pendingExtents: number;
  /** Copies of the metadata that are sound, and all there should be; 0 of 0 without a spare. */
  readonly goodCopies: number;
  readonly allCopies: number;
  /** Requests that had to be failed. */
  readonly errors: number;
  /** The volume serves nothing any more. */
  readonly failed: boolean;
}

const PENDING_MAX = 50;

/**
 * What is left of a volume's defences, 0 to 100: the least of the free share of the spare, the
 * share of sound metadata copies, and 100 less one for each pending extent (but never less than
 * 50 for these). 0 for a volume that failed, and for one without a spare once a request failed.
 */
export function healthScore(inputs: ScoreInputs): number {
  if (inputs.failed) return 0;
  if (inputs.spareSectors === 0) return inputs.errors === 0 ? 100 : 0;
  return Math.min(
    Math.ceil((100 * inputs.spareFreeSectors) / inputs.spareSectors),
    Math.floor((100 * inputs.goodCopies) / inputs.allCopies),
    100 - Math.min(PENDING_MAX, inputs.pendingExtents),
  );
}
