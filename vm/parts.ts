/** What some cases need and setup fetches on first use, into .cache. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { inRoot } from './paths.js';

const PARTS = {
  'qemu-10': 'QEMU 10 of bookworm-backports',
  'boot-loaders': 'boot loaders and firmware of bookworm',
  'file-systems': 'xfs, btrfs, LVM and md of bookworm',
} as const;

export type Part = keyof typeof PARTS;

export const inPart = (part: Part, ...file: string[]): string => inRoot('.cache', part, ...file);

const asked = new Map<Part, Promise<string | undefined>>();

/** Fetches it where it is not here; resolves with what is missing and why where that fails. */
export function missingPart(part: Part): Promise<string | undefined> {
  const answer = asked.get(part) ?? fetchPart(part);
  asked.set(part, answer);
  return answer;
}

async function fetchPart(part: Part): Promise<string | undefined> {
  try {
    await promisify(execFile)(inRoot('scripts/setup.sh'), [part]);
    return undefined;
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1);
    return `${PARTS[part]} (${said || String(error)})`;
  }
}
