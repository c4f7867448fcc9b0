/** Looks at devices and tells the volumes they make up. Never writes. */
import { assemble, type Discovery } from './assemble.js';
import { candidates } from './candidates.js';
import { type Probe, probe, type Unreadable } from './probe.js';

/** Devices read at a time: each takes a few file descriptors and half a MiB. */
const PROBES_AT_ONCE = 16;

export interface DiscoveryReport extends Discovery {
  /** Devices and files looked at. */
  readonly looked: number;
}

/** As `candidates` for `paths`. Throws DEVICE_OPEN for a path that is not there. */
export async function discover(paths: readonly string[]): Promise<DiscoveryReport> {
  const waiting = await candidates(paths);
  const looked = waiting.length;
  const found: (Probe | Unreadable)[] = [];
  const worker = async (): Promise<void> => {
    for (let path = waiting.shift(); path !== undefined; path = waiting.shift()) {
      found.push(await probe(path));
    }
  };
  await Promise.all(Array.from({ length: PROBES_AT_ONCE }, worker));
  found.sort((a, b) => (a.path < b.path ? -1 : 1));
  return { ...assemble(found), looked };
}
