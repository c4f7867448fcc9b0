/** GNU ddrescue's mapfile: "Mapfile structure" in its manual. Positions and sizes are bytes. */
import { SECTOR_SIZE } from '../../core/units.js';
import { gapsIn, type Run, unionOf } from '../../remap/edit-runs.js';
import { badLine, wholeBlocks } from './map.js';

const hex = (sectors: number): string => `0x${(BigInt(sectors) * 512n).toString(16).toUpperCase()}`;

/** The whole disk: `-` for the sectors of `bad` (in order, apart), `+` for the rest. */
export function formatMapfile(bad: readonly Run[], sizeSectors: number, title: string): string {
  const good = gapsIn({ start: 0, count: sizeSectors }, bad);
  const blocks = [
    ...bad.map((run) => ({ ...run, status: '-' })),
    ...good.map((run) => ({ ...run, status: '+' })),
  ].sort((a, b) => a.start - b.start);
  return [
    `# Mapfile. ${title.replace(/[^\x20-\x7e]/g, '?')}\n`,
    '# current_pos  current_status  current_pass\n',
    '0x00000000     +               1\n',
    '#      pos        size  status\n',
    ...blocks.map(({ start, count, status }) => `${hex(start)}  ${hex(count)}  ${status}\n`),
  ].join('');
}

/**
 * The sectors that could not be read: blocks of status `-`. What was not tried, or not to the end,
 * is no evidence. Throws USAGE with the line that cannot be understood.
 */
export function parseMapfile(text: string): Run[] {
  const bad: Run[] = [];
  let current = false;
  for (const [index, line] of text.split('\n').entries()) {
    const words = line
      .replace(/#.*/, '')
      .split(/\s+/)
      .filter((word) => word !== '');
    if (words.length === 0) continue;
    // The first line that is no comment tells where ddrescue stood.
    if (!current) {
      current = true;
      if (/^0x[0-9a-f]+$|^\d+$/i.test(words[0] ?? '') && /^[?*/\-F+G]$/.test(words[1] ?? ''))
        continue;
      throw badLine(index + 1, 'this is no mapfile of ddrescue');
    }
    const [position, size, status] = words;
    const at = bytesOf(position);
    const length = bytesOf(size);
    if (at === undefined || length === undefined || !/^[?*/\-+]$/.test(status ?? '')) {
      throw badLine(index + 1, `'${line.trim()}' is no position, size and status`);
    }
    if (status !== '-' || length === 0) continue;
    const first = Math.floor(at / SECTOR_SIZE);
    bad.push({ start: first, count: Math.ceil((at + length) / SECTOR_SIZE) - first });
  }
  if (!current) throw badLine(1, 'this is no mapfile of ddrescue');
  return wholeBlocks(unionOf(bad), 1);
}

function bytesOf(word: string | undefined): number | undefined {
  if (word === undefined || !/^(0x[0-9a-f]+|\d+)$/i.test(word)) return undefined;
  const value = Number(word);
  return Number.isSafeInteger(value) ? value : undefined;
}
