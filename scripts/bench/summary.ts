/** What a set of alternating rounds says. */

export interface Sample {
  readonly iops: number;
  /** CPU time of the back-end for one request. */
  readonly cpuUs: number;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}

/**
 * The median of the ratios within each round: what disturbs a round disturbs both sides of it,
 * and a ratio of medians would compare rounds that had different luck.
 */
export function medianRatio(
  samples: readonly Sample[],
  baseline: readonly Sample[],
  of: (sample: Sample) => number,
): number {
  return median(
    samples.flatMap((sample, round) => {
      const base = baseline[round];
      return base === undefined ? [] : [of(sample) / of(base)];
    }),
  );
}
