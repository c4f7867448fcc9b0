/**
 * The second witness of what is newest: each spare block is described beside it with the
 * generation of the commit that last changed it. Never writes.
 */
import { RemapError } from '../core/errors.js';
import { type Generation, generation } from '../core/units.js';
import type { BlockDevice } from '../device/block-device.js';
import type { SpareLayout } from '../ondisk/layout.js';
import { isDoubtful, newestPage, readGroup } from './descriptor-slots.js';

export interface Witness {
  /** Newest generation that a block of the volume is described with; 0 when none is. */
  readonly newest: Generation;
  /** Pages that may have said something newer, and cannot be read. */
  readonly doubtfulGroups: number;
}

/** One spare and how it is laid out. */
export interface LaidOut {
  readonly device: BlockDevice;
  readonly layout: SpareLayout;
}

export async function askDescriptors(
  spares: readonly LaidOut[],
  volumeUuid: string,
): Promise<Witness> {
  let newest = 0n;
  let doubtfulGroups = 0;
  for (const { device, layout } of spares) {
    for (let index = 0; index < layout.groupCount; index++) {
      const slots = await readGroup(device, layout.groupAt(index), layout.logicalBlockSize);
      if (isDoubtful(slots)) doubtfulGroups++;
      // Freed blocks count as well: giving one back is a commit like any other.
      for (const block of newestPage(slots, volumeUuid)?.blocks ?? []) {
        if (block.generation > newest) newest = block.generation;
      }
    }
  }
  return { newest: generation(newest), doubtfulGroups };
}

/** What is to be thrown when blocks are described as newer than the newest superblock there is. */
export const tooOld = (path: string, found: Generation, described: Generation): RemapError =>
  new RemapError(
    'META_OLD',
    `The newest metadata left on ${path} is of generation ${found}, but blocks on it are ` +
      `described as of generation ${described}: it is too old to be served, and nothing was ` +
      `written; see what can be rebuilt with remapctl check ${path} and write it with --rebuild.`,
    { context: { device: path, have: Number(found), need: Number(described) } },
  );
