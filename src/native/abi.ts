/**
 * The records and the shared memory of `native/abi.h`, offset for offset. All integers are
 * little-endian, as on every machine libvhost-user serves here.
 */
import { RemapError } from '../core/errors.js';

export const ABI_VERSION = 1;

export const EventKind = {
  client: 1,
  queue: 2,
  badExtent: 3,
  parked: 4,
  spareWritten: 5,
  copied: 6,
  locked: 7,
  recovered: 8,
  deviceError: 9,
  log: 10,
  stopped: 11,
  claim: 12,
  watched: 13,
} as const;

export const Operation = { read: 0, write: 1, flush: 2, discard: 3, writeZeroes: 4 } as const;

export const BadFlag = { onSpare: 1 << 0, pending: 1 << 1 } as const;

export const CommandKind = {
  writeSpare: 1,
  complete: 2,
  retry: 3,
  lock: 4,
  unlock: 5,
  copy: 6,
  watch: 7,
} as const;

export const IndexFlag = { remapped: 1 << 0, pending: 1 << 1 } as const;

/** virtio-blk request status, virtio 1.3 section 5.2.6. */
export const BlkStatus = { ok: 0, ioerr: 1, unsupp: 2 } as const;

export const EVENT_SIZE = 128;
export const COMMAND_SIZE = 64;
export const INDEX_RECORD_SIZE = 32;
export const COUNTERS_SIZE = 256;
/** Places of `recent` in the counters of a queue. */
export const RECENT_PLACES = 8;
export const RECENT_OFFSET = 128;

const EVENT = {
  kind: 0,
  queue: 4,
  token: 8,
  lba: 16,
  count: 24,
  error: 32,
  operation: 36,
  flags: 40,
  device: 44,
  text: 48,
} as const;

const COMMAND = {
  kind: 0,
  status: 4,
  token: 8,
  lba: 16,
  count: 24,
  target: 32,
  source: 40,
  device: 48,
  source_device: 52,
} as const;

const INDEX = { lba: 0, count: 8, target: 16, device: 24, flags: 28 } as const;

/** Names of the 64-bit counters of one queue, in their order in memory. */
export const COUNTER_NAMES = [
  'reads',
  'writes',
  'flushes',
  'discards',
  'readSectors',
  'writtenSectors',
  'errors',
  'unsupported',
  'malformed',
  'remappedReads',
  'remappedWrites',
  'parked',
  'kicks',
  'calls',
  'inFlight',
  'started',
] as const;
export type CounterName = (typeof COUNTER_NAMES)[number];

/** One record from native. `lba` and `count` are sectors; `error` is a positive errno or 0. */
export interface BackendEvent {
  readonly kind: number;
  readonly queue: number;
  readonly token: bigint;
  readonly lba: number;
  readonly count: number;
  readonly error: number;
  readonly operation: number;
  readonly flags: number;
  /** 0 is main, n is spare n - 1. */
  readonly device: number;
  readonly text: string;
}

/** One command to native; what a kind does not use is left out and sent as zero. */
export interface BackendCommand {
  readonly kind: number;
  readonly token: bigint;
  readonly status?: number;
  readonly lba?: number;
  readonly count?: number;
  readonly target?: number;
  readonly source?: number;
  readonly device?: number;
  readonly sourceDevice?: number;
}

/** One change of the remap index; no flag makes the range plain again. */
export interface IndexChange {
  readonly lba: number;
  readonly count: number;
  readonly target: number;
  readonly device: number;
  readonly flags: number;
}

/** Decodes record `index` of `view`, which holds whole EventRecords. */
export function decodeEvent(view: DataView, index: number): BackendEvent {
  const at = index * EVENT_SIZE;
  const kind = view.getUint32(at + EVENT.kind, true);
  return {
    kind,
    queue: view.getUint32(at + EVENT.queue, true),
    token: view.getBigUint64(at + EVENT.token, true),
    lba: Number(view.getBigUint64(at + EVENT.lba, true)),
    count: Number(view.getBigUint64(at + EVENT.count, true)),
    error: view.getInt32(at + EVENT.error, true),
    operation: view.getUint32(at + EVENT.operation, true),
    flags: view.getUint32(at + EVENT.flags, true),
    device: view.getUint32(at + EVENT.device, true),
    text: kind === EventKind.log ? text(view, at + EVENT.text, EVENT_SIZE - EVENT.text) : '',
  };
}

/** All commands as one block of CommandRecords. */
export function encodeCommands(commands: readonly BackendCommand[]): Uint8Array {
  const bytes = new Uint8Array(commands.length * COMMAND_SIZE);
  const view = new DataView(bytes.buffer);
  commands.forEach((c, i) => {
    const at = i * COMMAND_SIZE;
    view.setUint32(at + COMMAND.kind, c.kind, true);
    view.setUint32(at + COMMAND.status, c.status ?? 0, true);
    view.setBigUint64(at + COMMAND.token, c.token, true);
    setUint53(view, at + COMMAND.lba, c.lba ?? 0);
    setUint53(view, at + COMMAND.count, c.count ?? 0);
    setUint53(view, at + COMMAND.target, c.target ?? 0);
    setUint53(view, at + COMMAND.source, c.source ?? 0);
    view.setUint32(at + COMMAND.device, c.device ?? 0, true);
    view.setUint32(at + COMMAND.source_device, c.sourceDevice ?? 0, true);
  });
  return bytes;
}

/** All changes as one block of IndexRecords. */
export function encodeIndexRecords(changes: readonly IndexChange[]): Uint8Array {
  const bytes = new Uint8Array(changes.length * INDEX_RECORD_SIZE);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < changes.length; i++) {
    const c = changes[i] as IndexChange;
    const at = i * INDEX_RECORD_SIZE;
    setUint53(view, at + INDEX.lba, c.lba);
    setUint53(view, at + INDEX.count, c.count);
    setUint53(view, at + INDEX.target, c.target);
    view.setUint32(at + INDEX.device, c.device, true);
    view.setUint32(at + INDEX.flags, c.flags, true);
  }
  return bytes;
}

/**
 * The numbers that native must agree with, by the names native gives them: `Record` for a size,
 * `Record.field` for an offset, `Kind.name` for a value.
 */
export const ABI: Readonly<Record<string, number>> = {
  version: ABI_VERSION,
  ...layout('EventRecord', EVENT_SIZE, EVENT),
  ...layout('CommandRecord', COMMAND_SIZE, COMMAND),
  ...layout('IndexRecord', INDEX_RECORD_SIZE, INDEX),
  ...layout(
    'QueueCounters',
    COUNTERS_SIZE,
    Object.fromEntries([
      ...COUNTER_NAMES.map((name, i) => [snake(name), i * 8]),
      ['recent', RECENT_OFFSET],
    ]),
  ),
  ...values('EventKind', EventKind),
  ...values('Operation', Operation),
  ...values('BadFlags', BadFlag),
  ...values('CommandKind', CommandKind),
  ...values('IndexFlags', IndexFlag),
};

/** Throws NATIVE unless `reported`, the addon's own numbers, says all that `ABI` says. */
export function checkAbi(reported: Readonly<Record<string, number>>): void {
  const wrong = Object.entries(ABI).filter(([name, value]) => reported[name] !== value);
  if (wrong.length === 0) return;
  const [name, value] = wrong[0] as [string, number];
  throw new RemapError(
    'NATIVE',
    `The addon was built from other sources than this program: ${name} is ` +
      `${reported[name] ?? 'unknown'} there and ${value} here; run "npm run build" again.`,
  );
}

function layout(
  record: string,
  size: number,
  fields: Readonly<Record<string, number>>,
): Record<string, number> {
  const out: Record<string, number> = { [record]: size };
  for (const [field, offset] of Object.entries(fields)) out[`${record}.${field}`] = offset;
  return out;
}

function values(kind: string, names: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(names).map(([n, v]) => [`${kind}.${n}`, v]));
}

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (c) => `_${c.toLowerCase()}`);
}

/** Two 32-bit stores: several times faster than a BigInt for each of a million records. */
function setUint53(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true);
}

function text(view: DataView, at: number, size: number): string {
  const bytes = Buffer.from(view.buffer, view.byteOffset + at, size);
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? size : end);
}
