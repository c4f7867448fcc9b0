/** Which devices and files discovery looks at. Never opens them. */
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { RemapError } from '../core/errors.js';

/** Where the kernel lists block devices; tests point it elsewhere. */
export interface BlockRoots {
  readonly sys: string;
  readonly dev: string;
}

const SYSTEM_ROOTS: BlockRoots = { sys: '/sys/class/block', dev: '/dev' };

/** RAM disks and the like hold nothing over a restart. */
const VOLATILE = /^(ram|zram|fd|sr)\d/;

/**
 * The regular files and block devices that `paths` name, directories being looked into one level
 * deep; without paths, every block device of the machine that has a size. Each once, whatever
 * links lead to it, in the order of the paths. Throws DEVICE_OPEN for a path that is not there.
 */
export async function candidates(
  paths: readonly string[],
  roots: BlockRoots = SYSTEM_ROOTS,
): Promise<string[]> {
  const found = paths.length === 0 ? await blockDevices(roots) : await named(paths);
  const seen = new Set<string>();
  const kept: string[] = [];
  for (const path of found) {
    const own = await realpath(path);
    if (seen.has(own)) continue;
    seen.add(own);
    kept.push(path);
  }
  return kept;
}

async function named(paths: readonly string[]): Promise<string[]> {
  const lists = await Promise.all(
    paths.map(async (path) => {
      const info = await stat(path).catch((cause) => {
        throw new RemapError('DEVICE_OPEN', `There is nothing at ${path}; check the path.`, {
          context: { device: path },
          cause,
        });
      });
      return info.isDirectory() ? filesIn(path) : [path];
    }),
  );
  return lists.flat();
}

async function filesIn(directory: string): Promise<string[]> {
  const kept: string[] = [];
  for (const name of (await readdir(directory)).sort()) {
    const path = join(directory, name);
    // A link that leads nowhere is nothing to look at; sockets lie among images.
    const info = await stat(path).catch(() => undefined);
    if (info?.isFile() || info?.isBlockDevice()) kept.push(path);
  }
  return kept;
}

async function blockDevices({ sys, dev }: BlockRoots): Promise<string[]> {
  const kept: string[] = [];
  for (const name of (await readdir(sys)).sort()) {
    if (VOLATILE.test(name)) continue;
    const size = await readFile(join(sys, name, 'size'), 'latin1').catch(() => '0');
    const path = join(dev, name.replaceAll('!', '/'));
    if (Number(size) > 0 && (await stat(path).catch(() => undefined))) kept.push(path);
  }
  return kept;
}
