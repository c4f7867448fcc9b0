/** VM_ROUNDS=N: how often a case repeats what it is about; `npm test` is content with a few. */
export function rounds(few: number): number {
  const asked = process.env.VM_ROUNDS;
  if (asked === undefined) return few;
  const count = Number(asked);
  if (!Number.isInteger(count) || count < 1) {
    throw new Error(`VM_ROUNDS is a number from 1 up, not '${asked}'`);
  }
  return count;
}

/** Time for a guest that does something so often. */
export const roundsTimeoutMs = (count: number): number => 300_000 + count * 120_000;
