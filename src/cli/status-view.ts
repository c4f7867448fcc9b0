import type { ProblemCode, VolumeState, VolumeStatus } from '../protocol/messages.js';
import { coloured, field, formatBytes, formatSectors, plural, printable, table } from './render.js';

const MOODS = { healthy: 'good', degraded: 'warn', failed: 'bad', standby: 'good' } as const;

const STATE_SENTENCES: Readonly<Record<VolumeState, string>> = {
  healthy: 'Everything is served and every copy of the metadata is good.',
  degraded: 'The volume is served, and something asks for attention.',
  failed: 'The volume serves nothing that can be relied on.',
  standby: 'No ring runs, so another back-end may hold the volume; the figures may be old.',
};

/** One volume for a person to read: state, what to do about it, then the numbers. */
export function renderVolume(volume: VolumeStatus, controlSocket: string, colour: boolean): string {
  const state = coloured(volume.state, MOODS[volume.state], colour);
  const why = volume.problems.map((problem) => printable(problem.message));
  return [
    field('volume', `${printable(volume.name)}${volume.uuid === null ? '' : ` (${volume.uuid})`}`),
    field(
      'state',
      `${state}\n${(why.length > 0 ? why : [STATE_SENTENCES[volume.state]]).join('\n')}`,
    ),
    ...actions(volume, controlSocket).map((action) => field('action', action)),
    field('main', mainLine(volume)),
    field('client', clientLine(volume)),
    field(
      'remaps',
      `${plural(volume.remaps.extents, 'extent')}, ${formatSectors(volume.remaps.sectors)}`,
    ),
    field('pending', formatSectors(volume.pending.sectors)),
    field('health', healthLine(volume)),
    field('io', ioLine(volume)),
    faultLine(volume),
    '\n',
    volume.spares.length === 0 ? 'no spare: bad blocks are not remapped\n\n' : spareTables(volume),
    `errors: ${errorsLine(volume)}\n`,
  ].join('');
}

function mainLine(v: VolumeStatus): string {
  const access = v.readOnly ? ', read-only' : '';
  const size = formatSectors(v.sizeSectors);
  return `${printable(v.mainPath)}, ${size}, blocks of ${v.logicalBlockSize} bytes${access}`;
}

function clientLine(v: VolumeStatus): string {
  const cache = v.client.writeThrough ? ', write-through' : '';
  const client = v.client.connected
    ? `connected, ${v.client.queues} of ${plural(v.client.maxQueues, 'queue')} in use${cache}`
    : `none connected, ${plural(v.client.maxQueues, 'queue')} offered`;
  return `${client}; ${v.engine.name}, ${plural(v.engine.workers, 'worker')}`;
}

function healthLine(v: VolumeStatus): string {
  const i = v.health.inputs;
  return (
    `${v.health.score} of 100; sectors reallocated ${i.reallocatedSectors}, recovered ` +
    `${i.recoveredSectors}, of spares retired ${i.retiredSectors}\n` +
    `device errors: read ${i.readErrors}, write ${i.writeErrors}; metadata copies repaired ` +
    `${i.metadataRepairs}`
  );
}

function ioLine(v: VolumeStatus): string {
  const io = v.io;
  return (
    `reads ${io.reads} (${formatBytes(io.readSectors * 512)}), ` +
    `writes ${io.writes} (${formatBytes(io.writtenSectors * 512)}), ` +
    `flushes ${io.flushes}, discards ${io.discards}\n` +
    `remapped reads ${io.remappedReads}, remapped writes ${io.remappedWrites}, parked ` +
    `${io.parked}, in flight ${io.inFlight}`
  );
}

const faultLine = (v: VolumeStatus): string =>
  v.faultInjection.allowed
    ? field('faults', `injection allowed, ${plural(v.faultInjection.rules, 'rule')} active`)
    : '';

function spareTables(v: VolumeStatus): string {
  const spares = v.spares.map((s, index) => [
    index,
    s.path,
    s.state,
    s.totalSectors,
    s.freeSectors,
    s.retiredSectors,
  ]);
  const copies = v.metadata.copies.map((c) => [c.spare, c.offset, c.state, c.generation]);
  return (
    `${table(['SPARE', 'PATH', 'STATE', 'SECTORS', 'FREE', 'RETIRED'], spares)}\n` +
    `metadata generation ${v.generation}, may lose ${v.metadata.tolerance} of its copies\n` +
    `${table(['SPARE', 'OFFSET', 'STATE', 'GENERATION'], copies)}\n`
  );
}

function errorsLine(v: VolumeStatus): string {
  const parts = [
    v.pending.sectors > 0 ? `${plural(v.pending.sectors, 'sector')} unreadable` : '',
    v.io.errors > 0 ? `${plural(v.io.errors, 'request')} answered with an I/O error` : '',
    v.state === 'failed' ? 'volume failed' : '',
  ].filter((part) => part !== '');
  return parts.length === 0 ? 'none known' : parts.join(', ');
}

/** What to do about each problem, the exact command where there is one; doubles left out. */
export function actions(v: VolumeStatus, controlSocket: string): string[] {
  const remapctl = `remapctl --control-socket=${shellWord(controlSocket)}`;
  const spares = v.spares.map((spare) => shellWord(spare.path)).join(' ');
  const check = `stop the back-end, then: remapctl check ${spares} --repair`;
  const replace = 'copy the guest to another disk while it reads; this version cannot add a spare';
  const byCode: Readonly<Record<ProblemCode, string>> = {
    PENDING_SECTORS:
      'write the sectors again in the guest, from a backup; ' +
      `they are listed by: ${remapctl} remap list`,
    SPARE_LOW: replace,
    SPARE_EXHAUSTED: replace,
    SPARE_FAILED: check,
    METADATA_DEGRADED: check,
    METADATA_MAY_BE_OLD:
      'check the files of the guest, then copy it to another disk; this spare has lost most of ' +
      'what it said of itself',
    METADATA_FAILED: check,
    FLUSH_FAILED:
      'shut the guest down, look for the cause in the log of the host, then restart the ' +
      'back-end and check the files of the guest',
    MAIN_FAILED:
      `check ${shellWord(v.mainPath)}, its cable and the log of the host, ` +
      'then restart the back-end',
    RINGS_WAIT:
      'stop the guest on the other back-end, or that back-end; this one goes on by itself then',
    IO_HUNG: 'check the device, its cable and the log of the host; it ends when the I/O returns',
    ERROR_STORM:
      `check ${shellWord(v.mainPath)}, its cable, its power and the log of the host; not to wait ` +
      `until it is seen to work: ${remapctl} resume`,
  };
  return [...new Set(v.problems.map((problem) => byCode[problem.code]))];
}

/** A word as a shell takes it back. */
export const shellWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
