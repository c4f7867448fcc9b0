/**
 * The inflight region that QEMU keeps for the back-end, as the back-end's death left it: the
 * vhost-user specification, "Inflight I/O tracking", split virtqueue.
 */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

export interface InflightEntry {
  readonly inflight: boolean;
  /** Grows from one request taken to the next. */
  readonly counter: bigint;
}

const HEADER_BYTES = 16;
const ENTRY_BYTES = 16;

/** The entries of the first queue, by descriptor. */
export function inflightEntries(qemuPid: number): InflightEntry[] {
  const folder = `/proc/${qemuPid}/fd`;
  const fd = readdirSync(folder).find((name) => linkOf(`${folder}/${name}`).includes('inflight'));
  if (fd === undefined) throw new Error('QEMU keeps no inflight region');
  const region = readFileSync(`${folder}/${fd}`);
  return Array.from({ length: region.readUInt16LE(10) }, (_, index) => {
    const at = HEADER_BYTES + index * ENTRY_BYTES;
    return { inflight: region[at] === 1, counter: region.readBigUInt64LE(at + 8) };
  });
}

/**
 * Whether a request was still on its way when one taken later had been answered. Only entries that
 * changed since `before` count: the counters of an earlier life of the back-end compare with none.
 */
export function finishedOutOfOrder(
  before: readonly InflightEntry[],
  now: readonly InflightEntry[],
): boolean {
  const answered = now.filter(
    (entry, n) => !entry.inflight && entry.counter !== before[n]?.counter,
  );
  const oldest = now
    .filter(({ inflight }) => inflight)
    .reduce<bigint | undefined>((least, { counter }) => min(least, counter), undefined);
  return oldest !== undefined && answered.some(({ counter }) => counter > oldest);
}

const min = (a: bigint | undefined, b: bigint): bigint => (a === undefined || b < a ? b : a);

/** Descriptors come and go while they are listed. */
function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}
