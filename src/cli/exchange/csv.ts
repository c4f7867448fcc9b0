/** The remap table as CSV, RFC 4180, with a header line; no field needs quoting. */
import { z } from 'zod';
import { mapRowSchema } from '../../protocol/device-answers.js';
import { badLine, type MapRow } from './map.js';

const COLUMNS = ['kind', 'lba', 'count', 'spare', 'spareLba', 'cause', 'evidence', 'time'] as const;

export function formatCsv(rows: readonly MapRow[]): string {
  const lines = rows.map((row) => COLUMNS.map((column) => row[column] ?? '').join(','));
  return [COLUMNS.join(','), ...lines].map((line) => `${line}\r\n`).join('');
}

/** Throws USAGE with the line that cannot be understood. */
export function parseCsv(text: string): MapRow[] {
  const [header = '', ...lines] = text.split(/\r?\n/);
  if (header !== COLUMNS.join(',')) throw badLine(1, `the first line is not ${COLUMNS.join(',')}`);
  return lines.flatMap((line, index) => {
    if (line === '') return [];
    const cells = line.split(',');
    if (cells.length !== COLUMNS.length) {
      throw badLine(index + 2, `${cells.length} fields, not ${COLUMNS.length}`);
    }
    const parsed = mapRowSchema.safeParse(
      Object.fromEntries(COLUMNS.map((column, i) => [column, cellValue(column, cells[i] ?? '')])),
    );
    if (parsed.success) return [parsed.data];
    throw badLine(index + 2, z.prettifyError(parsed.error).replace(/\s+/g, ' '));
  });
}

const TEXTS: readonly string[] = ['kind', 'cause', 'time'];

function cellValue(column: string, cell: string): string | number | null {
  if (TEXTS.includes(column)) return cell;
  return cell === '' ? null : Number(cell);
}
