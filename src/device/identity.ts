/**
 * Who a device is, told from what the system knows of it, so that a volume is never served from a
 * disk that merely stands where the right one stood.
 */
import { readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { DeviceKind } from '../ondisk/config.js';

/** As kept in the device records of the superblock (docs/on-disk-format.md). */
export interface DeviceIdentity {
  readonly kind: DeviceKind;
  readonly sizeSectors: number;
  /** `file:DEV:INO`, `wwn:...`, `serial:...`, `partuuid:...`, or empty when nothing is known. */
  readonly identity: string;
}

/**
 * strong: an identifier of the device itself agrees.
 * weak: nothing contradicts, but nothing proves it either.
 * mismatch: another device.
 */
export type IdentityGrade = 'strong' | 'weak' | 'mismatch';

export interface IdentityVerdict {
  readonly grade: IdentityGrade;
  /** Each a clause for a person: "its serial number is ..., not ...". */
  readonly reasons: readonly string[];
}

/** Where the system keeps what it knows; tests point it elsewhere. */
export interface IdentityRoots {
  readonly sys: string;
  readonly dev: string;
}

/** Bytes the superblock has for an identity. */
export const IDENTITY_MAX_BYTES = 96;

const SYSTEM_ROOTS: IdentityRoots = { sys: '/sys', dev: '/dev' };

/**
 * Identity of the file or block device at `path`; never fails for want of an identifier, only
 * when `path` cannot be looked up.
 */
export async function identify(
  path: string,
  sizeSectors: number,
  roots: IdentityRoots = SYSTEM_ROOTS,
): Promise<DeviceIdentity> {
  const info = await stat(path);
  if (!info.isBlockDevice()) {
    return { kind: 'file', sizeSectors, identity: `file:${info.dev}:${info.ino}` };
  }
  const { major, minor } = deviceNumbers(info.rdev);
  const identity = await identifyBlock(`${major}:${minor}`, await realpath(path), roots);
  return { kind: 'block', sizeSectors, identity };
}

/** Identifier of the block device with numbers `MAJOR:MINOR` and node `node`; empty for none. */
export async function identifyBlock(
  numbers: string,
  node: string,
  roots: IdentityRoots,
): Promise<string> {
  const sys = join(roots.sys, 'dev/block', numbers);
  const own = await realpath(sys).catch(() => sys);
  const partition = await attribute(join(own, 'partition'));
  if (partition !== '') {
    const uuid = await linkTo(join(roots.dev, 'disk/by-partuuid'), basename(node));
    if (uuid !== '') return cut(`partuuid:${uuid.toLowerCase()}`);
  }
  // A partition is a directory inside its disk's; the number keeps partitions of a disk apart.
  const disk = partition === '' ? own : dirname(own);
  const suffix = partition === '' ? '' : `-part${partition}`;
  const wwn = await firstOf(disk, ['wwid', 'device/wwid']);
  if (wwn !== '') return cut(`wwn:${wwn}${suffix}`);
  const serial = await firstOf(disk, ['serial', 'device/serial', 'dm/uuid', 'md/uuid']);
  if (serial !== '') return cut(`serial:${serial}${suffix}`);
  const byId = await linkTo(join(roots.dev, 'disk/by-id'), basename(node));
  return byId === '' ? '' : cut(`serial:${byId}`);
}

/** Compares what was recorded at creation with what is found now. */
export function compareIdentity(recorded: DeviceIdentity, found: DeviceIdentity): IdentityVerdict {
  if (recorded.sizeSectors !== found.sizeSectors) {
    const reason = `it has ${found.sizeSectors} sectors, not ${recorded.sizeSectors}`;
    return { grade: 'mismatch', reasons: [reason] };
  }
  const size = `its size of ${found.sizeSectors} sectors agrees`;
  if (recorded.kind !== found.kind) {
    const reason = `it was a ${KIND_NAMES[recorded.kind]} and is a ${KIND_NAMES[found.kind]} now`;
    return { grade: 'weak', reasons: [size, reason] };
  }
  if (recorded.identity === '' || found.identity === '') {
    const when = recorded.identity === '' ? 'was known when the volume was made' : 'is known now';
    return { grade: 'weak', reasons: [size, `no identifier of it ${when}`] };
  }
  if (recorded.identity === found.identity) {
    return { grade: 'strong', reasons: [size, `its identifier ${found.identity} agrees`] };
  }
  const differs = `its identifier is ${found.identity}, not ${recorded.identity}`;
  const another = scheme(recorded.identity) === scheme(found.identity) && found.kind === 'block';
  return { grade: another ? 'mismatch' : 'weak', reasons: [size, differs] };
}

const KIND_NAMES: Readonly<Record<DeviceKind, string>> = { file: 'file', block: 'block device' };

/** What two paths must differ in: the inode of a file, the device number of a block device. */
export async function nodeKey(path: string): Promise<string> {
  const info = await stat(path);
  return info.isBlockDevice() ? `block:${info.rdev}` : `file:${info.dev}:${info.ino}`;
}

const scheme = (identity: string): string => identity.slice(0, identity.indexOf(':'));

/** Linux's encoding of dev_t, as in sys/sysmacros.h. */
function deviceNumbers(rdev: number): { major: number; minor: number } {
  const n = BigInt(rdev);
  const major = ((n >> 8n) & 0xfffn) | ((n >> 32n) & 0xfffff000n);
  const minor = (n & 0xffn) | ((n >> 12n) & 0xffffff00n);
  return { major: Number(major), minor: Number(minor) };
}

const attribute = async (path: string): Promise<string> =>
  (await readFile(path, 'latin1').catch(() => '')).trim().replace(/\s+/g, '_');

async function firstOf(directory: string, names: readonly string[]): Promise<string> {
  for (const name of names) {
    const value = await attribute(join(directory, name));
    if (value !== '') return value;
  }
  return '';
}

/** Name of the first link in `directory`, alphabetically, that leads to a node called `name`. */
async function linkTo(directory: string, name: string): Promise<string> {
  const links = (await readdir(directory).catch(() => [])).sort();
  for (const link of links) {
    const target = await readlink(join(directory, link)).catch(() => '');
    if (basename(target) === name) return link;
  }
  return '';
}

/** Identifiers are ASCII in practice; what is not becomes `?`, so that bytes are characters. */
const cut = (identity: string): string =>
  identity.replace(/[^\x20-\x7e]/g, '?').slice(0, IDENTITY_MAX_BYTES);
