/** Takes what main has grown by into the volume. */
import { RemapError } from '../core/errors.js';
import type { SectorCount } from '../core/units.js';
import type { FileDevice } from '../device/file-device.js';
import { requireWholeBlocks } from '../metadata/format.js';
import type { MetadataStore } from '../metadata/store.js';
import type { Backend } from '../native/backend.js';

export interface ResizeParts {
  readonly main: Pick<FileDevice, 'path' | 'remeasure'>;
  /** undefined without a spare. */
  readonly store: Pick<MetadataStore, 'config' | 'commit'> | undefined;
  readonly backend: Pick<Backend, 'setCapacity'>;
  readonly logicalBlockSize: number;
  /** What the volume has, sectors. */
  readonly sizeSectors: number;
}

/**
 * Returns the size of the volume from now on: that of main. The record comes first, so that a
 * crash leaves a main that is as long as its record says. Throws RANGE when main is shorter than
 * the volume, BLOCK_SIZE when it is no whole number of blocks, DEVICE_IO, READ_ONLY, META_COMMIT;
 * the volume is as it was then.
 */
export async function growToMain(parts: ResizeParts): Promise<SectorCount> {
  const { main, store, backend, logicalBlockSize, sizeSectors: have } = parts;
  const size = main.remeasure();
  if (size < have) {
    throw new RemapError(
      'RANGE',
      `${main.path} has ${size} sectors and the volume ${have}, which cannot shrink; ` +
        'make main as long as it was.',
      { context: { device: main.path, have: size, need: have } },
    );
  }
  requireWholeBlocks({ path: main.path, sizeSectors: size }, logicalBlockSize);
  if (size === have) return size;
  await store?.commit({ config: { main: { ...store.config.main, sizeSectors: size } } });
  backend.setCapacity(size);
  return size;
}
