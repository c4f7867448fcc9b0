/** How many tests a program says it ran. */

export interface Counts {
  readonly passed: number;
  readonly failed: number;
}

/** tap's closing line; skipped tests count as neither. */
export function tapCounts(output: string): Counts | undefined {
  const line = [...output.matchAll(/^# \{ total: \d+(.*) \}$/gm)].at(-1)?.[1];
  if (line === undefined) return undefined;
  const of = (name: string) => Number(new RegExp(`\\b${name}: (\\d+)`).exec(line)?.[1] ?? 0);
  return { passed: of('pass'), failed: of('fail') };
}

/** doctest's closing line, by test cases. */
export function doctestCounts(output: string): Counts | undefined {
  const line = /test cases:\s*\d+\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed/.exec(output);
  return line ? { passed: Number(line[1]), failed: Number(line[2]) } : undefined;
}

/** The plain line that our own scripts close with. */
export function plainCounts(output: string): Counts | undefined {
  const line = [...output.matchAll(/^(\d+) passed, (\d+) failed$/gm)].at(-1);
  return line ? { passed: Number(line[1]), failed: Number(line[2]) } : undefined;
}

const LINES_OF_A_FAILURE = 25;

/** The failed assertions of TAP output, each with its diagnosis, without what passed. */
export function tapFailures(output: string): string {
  const lines = output.split('\n');
  return lines
    .flatMap((line, index) => {
      if (!/^\s*not ok/.test(line)) return [];
      const rest = lines.slice(index + 1, index + 1 + LINES_OF_A_FAILURE);
      const end = rest.findIndex((next) => /^\s*(\.\.\.|(not )?ok )/.test(next));
      return [line, ...rest.slice(0, end < 0 ? rest.length : end)];
    })
    .join('\n');
}

/** Prerequisites that a test did not find: never silent. */
export const skipped = (output: string): string[] => [
  ...new Set(
    output.split('\n').flatMap((line) => {
      const reason = /(?:^|# )SKIP (.+)$/.exec(line)?.[1];
      return reason === undefined ? [] : [reason];
    }),
  ),
];
