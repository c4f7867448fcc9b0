/** What a policy may know of a spare; sectors. */
export interface SpareTotals {
  readonly totalSectors: number;
  readonly freeSectors: number;
  readonly retiredSectors: number;
  /** False: nothing new is put there. */
  readonly usable: boolean;
}

/** Indices of the spares to allocate from, in the order to try them. Pure. */
export type SparePolicy = (spares: readonly SpareTotals[]) => readonly number[];

/** Fill the first spare before the second is touched. */
export const firstFit: SparePolicy = (spares) =>
  spares.flatMap(({ usable, freeSectors }, i) => (usable && freeSectors > 0 ? [i] : []));
