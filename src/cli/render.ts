/** Plain text for people: ASCII of our own, control characters of others made visible. */
import { styleText } from 'node:util';
import { SECTOR_SIZE } from '../core/units.js';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** 1536 -> "1.5 KiB". */
export function formatBytes(bytes: number): string {
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

/** "2048 sectors (1 MiB)". */
export const formatSectors = (sectors: number): string =>
  `${plural(sectors, 'sector')} (${formatBytes(sectors * SECTOR_SIZE)})`;

export const plural = (n: number, one: string, many = `${one}s`): string =>
  `${n} ${n === 1 ? one : many}`;

/** A path or name from elsewhere must not move the cursor. */
export const printable = (text: string): string =>
  text.replace(/\p{Cc}/gu, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);

export type Cell = string | number;

/** Columns two spaces apart, numbers to the right, no blanks at the end of a line. */
export function table(header: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const cells = [header, ...rows].map((row) => row.map((cell) => printable(String(cell))));
  const widths = header.map((_, column) =>
    cells.reduce((width, row) => Math.max(width, row[column]?.length ?? 0), 0),
  );
  const numeric = header.map((_, column) => rows.every((row) => typeof row[column] === 'number'));
  return cells
    .map((row) =>
      row
        .map((cell, column) => {
          const width = widths[column] ?? 0;
          return numeric[column] && rows.length > 0 ? cell.padStart(width) : cell.padEnd(width);
        })
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

/** `label: text` with the labels right-aligned, continuation lines below the text. */
export function field(label: string, text: string): string {
  const [first = '', ...more] = text.split('\n');
  return [`${label.padStart(8)}: ${first}`, ...more.map((line) => `${' '.repeat(10)}${line}`)]
    .map((line) => `${line}\n`)
    .join('');
}

const STATE_COLOURS = { good: 'green', warn: 'yellow', bad: 'red' } as const;

/** A state word, coloured only where colours are wanted. */
export function coloured(text: string, mood: keyof typeof STATE_COLOURS, colour: boolean): string {
  return colour ? styleText(STATE_COLOURS[mood], text, { validateStream: false }) : text;
}
