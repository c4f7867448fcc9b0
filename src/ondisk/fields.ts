/** Reading and writing of the field types that the format's structures share. */
import { isUtf8 } from 'node:buffer';

/** Bytes that do not follow docs/on-disk-format.md; the message says which and how. */
export class FormatError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'FormatError';
  }
}

export const UUID_SIZE = 16;
export const UUID_ZERO = '00000000-0000-0000-0000-000000000000';

/** Without the checks of Buffer.readUInt32LE, for tables of a million entries. */
export const getU32 = (bytes: Buffer, at: number): number =>
  ((bytes[at] as number) |
    ((bytes[at + 1] as number) << 8) |
    ((bytes[at + 2] as number) << 16) |
    ((bytes[at + 3] as number) << 24)) >>>
  0;

export function getU48(bytes: Buffer, at: number): number {
  const high = (bytes[at + 4] as number) | ((bytes[at + 5] as number) << 8);
  const low = getU32(bytes, at);
  return high === 0 ? low : high * 2 ** 32 + low;
}

export function putU48(bytes: Buffer, at: number, value: number): void {
  bytes.writeUIntLE(value, at, 6);
}

/** A 64-bit field that this program keeps as a number. Throws FormatError above 2^53. */
export function getU64(bytes: Buffer, at: number): number {
  const value = bytes.readUInt32LE(at + 4) * 2 ** 32 + bytes.readUInt32LE(at);
  if (!Number.isSafeInteger(value)) throw new FormatError(`the number at ${at} is out of range`);
  return value;
}

export function putU64(bytes: Buffer, at: number, value: number): void {
  bytes.writeBigUInt64LE(BigInt(value), at);
}

/** UUIDs stand in the order in which they are written down (RFC 9562, section 4). */
export function getUuid(bytes: Buffer, at: number): string {
  const hex = bytes.toString('hex', at, at + UUID_SIZE);
  const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20)];
  return `${parts.join('-')}-${hex.slice(20)}`;
}

export function putUuid(bytes: Buffer, at: number, uuid: string): void {
  putHex(bytes, at, UUID_SIZE, uuid.replaceAll('-', ''));
}

export const getHex = (bytes: Buffer, at: number, size: number): string =>
  bytes.toString('hex', at, at + size);

export function putHex(bytes: Buffer, at: number, size: number, hex: string): void {
  if (!/^[0-9a-f]*$/.test(hex) || hex.length !== size * 2) {
    throw new RangeError(`not ${size} bytes of lower-case hex: ${hex}`);
  }
  bytes.write(hex, at, 'hex');
}

/** Zero-filled UTF-8. Throws FormatError when it is not, or goes on behind the first zero byte. */
export function getText(bytes: Buffer, at: number, size: number): string {
  const field = bytes.subarray(at, at + size);
  // What stands for a bad byte is longer than it, and would not fit when written again.
  if (!isUtf8(field)) throw new FormatError('a text is not UTF-8');
  const end = field.indexOf(0);
  if (end < 0) return field.toString('utf8');
  requireZero(field, end, size, 'the rest of a text');
  return field.toString('utf8', 0, end);
}

/** Throws RangeError when `text` does not fit or contains a zero character. */
export function putText(bytes: Buffer, at: number, size: number, text: string): void {
  if (Buffer.byteLength(text) > size || text.includes('\0')) {
    throw new RangeError(`not a text of at most ${size} bytes: ${JSON.stringify(text)}`);
  }
  bytes.fill(0, at, at + size);
  bytes.write(text, at, 'utf8');
}

/** The longest prefix of whole characters that takes at most `size` bytes. */
export function cutText(text: string, size: number): string {
  let cut = '';
  let used = 0;
  for (const character of text) {
    used += Buffer.byteLength(character);
    if (used > size) break;
    cut += character;
  }
  return cut;
}

const ZEROES = Buffer.alloc(4096);

export function isZero(bytes: Buffer, from = 0, to = bytes.length): boolean {
  for (let at = from; at < to; at += ZEROES.length) {
    const end = Math.min(to, at + ZEROES.length);
    if (bytes.compare(ZEROES, 0, end - at, at, end) !== 0) return false;
  }
  return true;
}

/** Throws FormatError naming `what` when one of the bytes [from, to) is not zero. */
export function requireZero(bytes: Buffer, from: number, to: number, what: string): void {
  if (!isZero(bytes, from, to)) throw new FormatError(`${what} is not zero`);
}
