/** Options that `export` and `import` share. */
import { nearest, type OptionTable, parseNumber, usageError } from '../../core/command-line.js';
import { SECTOR_SIZE } from '../../core/units.js';
import type { Invocation } from '../command.js';
import type { View } from './map.js';

export const FORMATS = ['json', 'csv', 'badblocks', 'ddrescue'] as const;
export type Format = (typeof FORMATS)[number];

export const FORMAT_OPTIONS = {
  format: { type: 'string' },
  'block-size': { type: 'string' },
} as const satisfies OptionTable;

export const FORMAT_HELP = `\
  --format=FORMAT   json (the default), csv, badblocks, or ddrescue for its mapfile
  --block-size=N    of badblocks, bytes; it has to be told, for the lists do not say
`;

type Values = Invocation['values'];

export function formatOf({ format = 'json' }: Values): Format {
  const found = FORMATS.find((one) => one === format);
  if (found !== undefined) return found;
  const near = nearest(String(format), FORMATS);
  const hint = near === undefined ? `one of ${FORMATS.join(', ')}` : `did you mean ${near}?`;
  throw usageError(`there is no format '${format}'; ${hint}`);
}

export function viewOf({ view }: Values, format: Format): View {
  if (view === undefined) return 'guest';
  if (format === 'json' || format === 'csv') {
    throw usageError('--view goes with badblocks and ddrescue; json and csv have all there is');
  }
  if (view === 'guest' || view === 'media') return view;
  throw usageError(`--view is guest or media, not '${view}'`);
}

/** Bytes, a multiple of 512 up to 1 MiB. */
export function badblocksSize({ 'block-size': size }: Values): number {
  if (size === undefined) {
    throw usageError('badblocks counts blocks of any size; tell which with --block-size=N');
  }
  const bytes = parseNumber(String(size), '--block-size', { min: SECTOR_SIZE, max: 1024 * 1024 });
  if (bytes % SECTOR_SIZE === 0) return bytes;
  throw usageError(`--block-size is a multiple of ${SECTOR_SIZE}, not ${size}`);
}
