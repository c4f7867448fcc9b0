/** What an errno of a device says about the medium; the same classes as native/io_error.h. */
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';

/**
 * medium: the block is bad. transient: worth another try. gone: the device does not answer any
 * more. other: no space, no permission, our own mistake; nothing is known of the block.
 */
export type IoErrorClass = 'medium' | 'transient' | 'gone' | 'other';

const CLASSES: Readonly<Record<string, IoErrorClass>> = {
  EIO: 'medium',
  ENODATA: 'medium',
  EREMOTEIO: 'medium',
  EILSEQ: 'medium',
  EBADMSG: 'medium',
  ETIMEDOUT: 'transient',
  EAGAIN: 'transient',
  EINTR: 'transient',
  ENOLINK: 'transient',
  ENODEV: 'gone',
  ENXIO: 'gone',
};

/** Errnos of Linux that Node's table lacks. */
const EXTRA_NAMES: Readonly<Record<number, string>> = {
  61: 'ENODATA',
  67: 'ENOLINK',
  74: 'EBADMSG',
  84: 'EILSEQ',
  121: 'EREMOTEIO',
  122: 'EDQUOT',
};

/** "EIO" for 5. */
export function errnoName(errno: number): string {
  return EXTRA_NAMES[errno] ?? getSystemErrorName(-errno).replace(/^Unknown.*/, `errno ${errno}`);
}

/** 5 for "EIO". Throws RangeError for a name nobody knows. */
export function errnoNumber(name: string): number {
  const extra = Object.entries(EXTRA_NAMES).find(([, known]) => known === name);
  const number =
    (constants.errno as Record<string, number | undefined>)[name] ?? Number(extra?.[0]);
  if (Number.isInteger(number)) return number;
  throw new RangeError(`no errno is called ${name}`);
}

/** `errno` is positive. */
export const classifyErrno = (errno: number): IoErrorClass => CLASSES[errnoName(errno)] ?? 'other';
