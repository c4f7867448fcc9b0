import { readdirSync, statSync } from 'node:fs';

/**
 * Whether a process that runs has `path` open, as far as this one may see. A lock that nobody
 * living holds belongs to I/O that a killed process has left behind.
 */
export function hasLivingHolder(path: string): boolean {
  const wanted = nodeOf(path);
  if (wanted === undefined) return true; // not ours to tell
  return list('/proc').some((name) => {
    if (!/^\d+$/.test(name)) return false;
    const fds = `/proc/${name}/fd`;
    return list(fds).some((fd) => nodeOf(`${fds}/${fd}`) === wanted);
  });
}

/** A block device is one by its number, wherever its name stands. */
function nodeOf(path: string): string | undefined {
  try {
    const found = statSync(path);
    return found.isBlockDevice() ? `b${found.rdev}` : `${found.dev} ${found.ino}`;
  } catch {
    return undefined;
  }
}

/** Nothing where we may not look, or what was there has gone. */
function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
