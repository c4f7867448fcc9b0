import { readFile } from 'node:fs/promises';
import { parseNumber, usageError } from '../core/command-line.js';
import { LBA_LIMIT } from '../core/units.js';
import type { ExtentMessage } from '../protocol/messages.js';
import type { Terminal } from './command.js';

/** LBA and COUNT as a person gives them; COUNT is 1 where it is left out. Throws USAGE. */
export function parseExtent(
  lbaText: string,
  countText: string | undefined,
  names: readonly [string, string] = ['LBA', 'COUNT'],
): ExtentMessage {
  const lba = parseNumber(lbaText, names[0], { max: LBA_LIMIT - 1 });
  const count =
    countText === undefined ? 1 : parseNumber(countText, names[1], { min: 1, max: LBA_LIMIT });
  return { lba, count };
}

/** The words of each line that is neither empty nor a comment; '-' is standard input. */
export async function readList<T>(
  path: string,
  terminal: Terminal,
  parseLine: (words: readonly string[]) => T,
): Promise<T[]> {
  const text = await readText(path, terminal);
  const rows: T[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const words = line
      .replace(/#.*/, '')
      .split(/\s+/)
      .filter((word) => word !== '');
    if (words.length === 0) continue;
    try {
      rows.push(parseLine(words));
    } catch (e) {
      const why = e instanceof Error ? e.message : String(e);
      throw usageError(`${path === '-' ? 'stdin' : path}:${index + 1}: ${why}; nothing was done`);
    }
  }
  if (rows.length === 0) throw usageError(`${path} holds no line to work on`);
  return rows;
}

/** All of a file, or of standard input for '-'. Throws USAGE. */
export async function readText(path: string, terminal: Terminal): Promise<string> {
  if (path === '-') return terminal.readStdin();
  try {
    return await readFile(path, 'utf8');
  } catch (e) {
    const code = (e as NodeJS.ErrnoException).code ?? 'unknown error';
    throw usageError(`cannot read ${path} (${code}); name a readable text file, or - for stdin`);
  }
}
