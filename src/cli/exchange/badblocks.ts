/** Lists of bad blocks as badblocks(8), e2fsck -l and mke2fs -l write and read them. */
import { SECTOR_SIZE } from '../../core/units.js';
import type { Run } from '../../remap/edit-runs.js';
import { badLine, wholeBlocks } from './map.js';

/** One number a line; a block is bad when any sector in it is. `blockSize` in bytes. */
export function formatBadblocks(runs: readonly Run[], blockSize: number): string {
  const step = blockSize / SECTOR_SIZE;
  const lines: string[] = [];
  for (const { start, count } of wholeBlocks(runs, step)) {
    for (let at = start; at < start + count; at += step) lines.push(`${at / step}\n`);
  }
  return lines.join('');
}

/** Throws USAGE with the line that is no block number. */
export function parseBadblocks(text: string, blockSize: number): Run[] {
  const step = blockSize / SECTOR_SIZE;
  return text.split('\n').flatMap((line, index) => {
    const word = line.trim();
    if (word === '') return [];
    if (!/^\d+$/.test(word) || !Number.isSafeInteger(Number(word) * step)) {
      throw badLine(index + 1, `'${word}' is no block number`);
    }
    return [{ start: Number(word) * step, count: step }];
  });
}
