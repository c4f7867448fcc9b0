/**
 * Command lines of both programs: `node:util` splits, this file says in one sentence what is wrong.
 */
import { parseArgs } from 'node:util';
import { RemapError } from './errors.js';

export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  /** May be given more than once; the value is then a list. */
  readonly multiple?: boolean;
  readonly short?: string;
}
export type OptionTable = Readonly<Record<string, OptionSpec>>;
export type OptionValue = string | boolean | string[];

export interface CommandLine {
  readonly values: Readonly<Record<string, OptionValue>>;
  readonly positionals: readonly string[];
}

export const usageError = (message: string): RemapError => new RemapError('USAGE', message);

type Token = NonNullable<ReturnType<typeof tokenize>>[number];

function tokenize(args: readonly string[], options: OptionTable) {
  const { tokens } = parseArgs({
    args: [...args],
    options: { ...options },
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  return tokens;
}

/** The words that are neither options nor their values, each with its place in `args`. */
export function findWords(
  args: readonly string[],
  options: OptionTable,
): { index: number; value: string }[] {
  return tokenize(args, options).flatMap((token) =>
    token.kind === 'positional' ? [{ index: token.index, value: token.value }] : [],
  );
}

/**
 * Reads a whole command line. Throws USAGE for an unknown option (with the nearest known one), a
 * missing or unwanted value, an option given twice.
 */
export function parseCommandLine(args: readonly string[], options: OptionTable): CommandLine {
  const values: Record<string, OptionValue> = {};
  const positionals: string[] = [];
  for (const token of tokenize(args, options)) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const value = optionValue(token, options);
    const before = values[token.name];
    if (options[token.name]?.multiple === true) {
      values[token.name] = [...(Array.isArray(before) ? before : []), String(value)];
    } else if (before !== undefined && value !== true) {
      throw usageError(`${token.rawName} is given twice; give it once`);
    } else {
      values[token.name] = value;
    }
  }
  return { values, positionals };
}

function optionValue(
  token: Extract<Token, { kind: 'option' }>,
  options: OptionTable,
): string | true {
  const spec = Object.hasOwn(options, token.name) ? options[token.name] : undefined;
  if (spec === undefined) throw unknownOption(token.rawName, token.name, options);
  if (spec.type === 'boolean') {
    if (token.value === undefined) return true;
    throw usageError(`${token.rawName} takes no value; write ${token.rawName} alone`);
  }
  const missing =
    token.value === undefined ||
    token.value === '' ||
    (!token.inlineValue && /^-[^0-9]/.test(token.value));
  if (missing) throw usageError(`${token.rawName} needs a value: ${token.rawName}=VALUE`);
  return token.value as string;
}

function unknownOption(rawName: string, name: string, options: OptionTable): RemapError {
  if (/^-[0-9]$/.test(rawName)) {
    return usageError('a number on the command line is negative; sectors count from 0');
  }
  const near = nearest(name, Object.keys(options));
  const hint = near === undefined ? 'see --help' : `did you mean --${near}?`;
  return usageError(`unknown option ${rawName}; ${hint}`);
}

/** The known word that differs by the fewest edits, at most a third of the word and one more. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const ranked = known
    .map((candidate) => ({ candidate, distance: editDistance(word, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= 1 + word.length / 3 ? best.candidate : undefined;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replace = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replace, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

/** A whole number, decimal or 0x hexadecimal, within [min, max]; `what` names it. Throws USAGE. */
export function parseNumber(
  text: string,
  what: string,
  { min = 0, max = Number.MAX_SAFE_INTEGER }: { min?: number; max?: number } = {},
): number {
  if (!/^([0-9]+|0x[0-9a-f]+)$/i.test(text)) {
    throw usageError(`${what} must be a whole number, decimal or 0x hexadecimal, not '${text}'`);
  }
  const value = Number(text);
  if (value < min) throw usageError(`${what} must be at least ${min}, not ${text}`);
  if (value > max) throw usageError(`${what} must be at most ${max}, not ${text}`);
  return value;
}
