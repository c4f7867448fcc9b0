/** Tells what is on a device before anything is written to it. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { BlockDevice } from './block-device.js';

const run = promisify(execFile);

const BLKID_TIMEOUT_MS = 10_000;
const MIB = 1024 * 1024;
/** Devices up to this size are read whole; larger ones are sampled. */
const READ_WHOLE_MAX_BYTES = 64 * MIB;
const SAMPLES = 64;

/**
 * Names what a device holds for the sentence "PATH holds ...", or undefined when it is blank: no
 * signature that blkid knows, and nothing but zeroes. A device of more than 64 MiB is not read
 * whole for that but in 66 samples of 1 MiB: the first, the last, and 64 spread between, so that
 * the places where file systems and this format keep their superblocks are among them.
 */
export async function contentsOf(device: BlockDevice): Promise<string | undefined> {
  const known = await probe(device.path);
  if (known !== undefined) return known;
  return (await hasData(device)) ? 'data that is not zero' : undefined;
}

/** What `blkid` of util-linux says; undefined when it knows nothing, or is not installed. */
export async function probe(path: string): Promise<string | undefined> {
  try {
    const { stdout } = await run('blkid', ['-p', '-o', 'export', path], {
      timeout: BLKID_TIMEOUT_MS,
      env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' },
    });
    return describe(stdout);
  } catch (cause) {
    // 8 is "ambivalent": more than one signature, which is all the more a reason not to write.
    return (cause as { code?: unknown }).code === 8 ? 'several signatures at once' : undefined;
  }
}

/** Turns the KEY=value lines of `blkid -o export` into words. */
export function describe(output: string): string | undefined {
  const values = new Map<string, string>();
  for (const line of output.split('\n')) {
    const at = line.indexOf('=');
    if (at > 0) values.set(line.slice(0, at), line.slice(at + 1));
  }
  const type = values.get('TYPE');
  const table = values.get('PTTYPE');
  if (type !== undefined) {
    const label = values.get('LABEL');
    const what = USAGE[values.get('USAGE') ?? ''] ?? 'a signature';
    return `${what} of type ${type}${label === undefined ? '' : ` labelled "${label}"`}`;
  }
  return table === undefined ? undefined : `a partition table of type ${table}`;
}

const USAGE: Readonly<Record<string, string>> = {
  filesystem: 'a file system',
  raid: 'a RAID member',
  crypto: 'an encrypted volume',
  other: 'a signature',
};

async function hasData(device: BlockDevice): Promise<boolean> {
  const buffer = Buffer.alloc(MIB);
  const size = device.sizeSectors * 512;
  for (const offset of probeOffsets(size)) {
    const part = buffer.subarray(0, Math.min(MIB, size - offset));
    await device.read(part, offset);
    if (!part.equals(ZEROES.subarray(0, part.length))) return true;
  }
  return false;
}

const ZEROES = Buffer.alloc(MIB);

/** Byte offsets of the 1 MiB runs to look at, in order, multiples of 512. */
export function probeOffsets(size: number): number[] {
  if (size <= READ_WHOLE_MAX_BYTES) {
    return Array.from({ length: Math.ceil(size / MIB) }, (_, i) => i * MIB);
  }
  const last = Math.floor((size - MIB) / 512) * 512;
  const spread = Array.from({ length: SAMPLES + 1 }, (_, i) => {
    return Math.floor((last * i) / SAMPLES / MIB) * MIB;
  });
  return [...new Set([...spread, last])];
}
