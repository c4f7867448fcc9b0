import { parseNumber, usageError } from '../../core/command-line.js';
import { RemapError } from '../../core/errors.js';
import { call } from '../../protocol/client.js';
import {
  FAULT_DELAY_DEFAULT_MS,
  FAULT_DELAY_MAX_MS,
  FAULT_ERRNOS,
  type FaultRequest,
  faultDeviceSchema,
  faultErrnoSchema,
  faultKindSchema,
  type InjectAnswer,
} from '../../protocol/messages.js';
import { type Command, EXIT, type ExitStatus, type Invocation } from '../command.js';
import { parseExtent, readList } from '../extent-list.js';
import { plural, table } from '../render.js';

const TIMES_MAX = 0xffff_ffff;

export const injectAddCommand: Command = {
  verb: 'inject add',
  synopsis: '--kind=KIND --lba=N --count=N [OPTION]... | --from=FILE',
  summary: 'plan failures of a device, for tests and demonstrations',
  help: `  --kind=KIND       read-error, write-error or slow
  --lba=N           first sector of the device, of 512 bytes
  --count=N         sectors
  --times=N         how many I/Os to hit; without it every one
  --delay-ms=N      how long slow takes, by default ${FAULT_DELAY_DEFAULT_MS}
  --errno=NAME      what an error is, by default EIO; ENODEV, ENOSPC, ETIMEDOUT, ...
  --percent=P       how many of the I/Os it meets a rule hits, by default 100; 0.0001 to 100
  --device=DEVICE   main (default), spare, or spare1 to spare7 for further spares
  --from=FILE       many at once: lines "KIND LBA COUNT [TIMES]", # starts a comment, - is stdin
The back-end must run with --allow-fault-injection.
`,
  options: {
    kind: { type: 'string' },
    lba: { type: 'string' },
    count: { type: 'string' },
    times: { type: 'string' },
    'delay-ms': { type: 'string' },
    errno: { type: 'string' },
    percent: { type: 'string' },
    device: { type: 'string' },
    from: { type: 'string' },
  },
  words: [0, 0],
  run: add,
};

export const injectListCommand: Command = {
  verb: 'inject list',
  synopsis: '',
  summary: 'list planned failures and how often they were met',
  help: 'TIMES is what is left; "ever" never ends.\n',
  options: {},
  words: [0, 0],
  run: list,
};

export const injectClearCommand: Command = {
  verb: 'inject clear',
  synopsis: '[ID] [--device=DEVICE]',
  summary: 'take back one planned failure, or all',
  help:
    '  --device=DEVICE   main, spare, spare1 ...; by default all, and main where ID is given\n' +
    'IDs are those of inject list.\n',
  options: { device: { type: 'string' } },
  words: [0, 1],
  run: clear,
};

async function add(invocation: Invocation): Promise<ExitStatus> {
  const faults = await readFaults(invocation);
  const answer = await call(invocation.controlSocket(), { verb: 'inject add', faults });
  return show(invocation, answer);
}

async function list(invocation: Invocation): Promise<ExitStatus> {
  return show(invocation, await call(invocation.controlSocket(), { verb: 'inject list' }));
}

async function clear(invocation: Invocation): Promise<ExitStatus> {
  const [idText] = invocation.positionals;
  const id = idText === undefined ? undefined : parseNumber(idText, 'ID', { min: 1 });
  const chosen = text(invocation, 'device');
  const device =
    chosen === undefined ? (id === undefined ? undefined : 'main') : parseDevice(chosen);
  const answer = await call(invocation.controlSocket(), { verb: 'inject clear', device, id });
  if (id !== undefined && answer.action === 'clear' && answer.cleared === 0) {
    throw new RemapError('RANGE', `${device} has no rule ${id}; see remapctl inject list`);
  }
  return show(invocation, answer);
}

async function readFaults(invocation: Invocation): Promise<FaultRequest[]> {
  const from = text(invocation, 'from');
  const device = parseDevice(text(invocation, 'device') ?? 'main');
  const delayMs = parseDelay(text(invocation, 'delay-ms'));
  const choice = { delayMs, ...parseChoice(invocation) };
  if (from !== undefined) {
    if (['kind', 'lba', 'count', 'times'].some((name) => text(invocation, name) !== undefined)) {
      throw usageError('--from excludes --kind, --lba, --count and --times; each line has its own');
    }
    return readList(from, invocation.terminal, (words) => {
      const [kind = '', lba, count, times] = words;
      if (lba === undefined || count === undefined || words.length > 4) {
        throw usageError(`expected "KIND LBA COUNT [TIMES]", not '${words.join(' ')}'`);
      }
      return buildFault({ kind, lba, count, times, device, ...choice });
    });
  }
  const missing = ['kind', 'lba', 'count'].find((name) => text(invocation, name) === undefined);
  if (missing !== undefined) throw usageError(`inject add needs --${missing}=... or --from=FILE`);
  return [
    buildFault({
      kind: text(invocation, 'kind') ?? '',
      lba: text(invocation, 'lba') ?? '',
      count: text(invocation, 'count') ?? '',
      times: text(invocation, 'times'),
      device,
      ...choice,
    }),
  ];
}

function buildFault(words: {
  kind: string;
  lba: string;
  count: string;
  times: string | undefined;
  device: string;
  delayMs: number | undefined;
  errno?: FaultRequest['errno'];
  percent?: FaultRequest['percent'];
}): FaultRequest {
  const kind = faultKindSchema.safeParse(words.kind);
  if (!kind.success) {
    throw usageError(`a kind is read-error, write-error or slow, not '${words.kind}'`);
  }
  if (kind.data !== 'slow' && words.delayMs !== undefined) {
    throw usageError('--delay-ms goes with --kind=slow only');
  }
  if (kind.data === 'slow' && words.errno !== undefined) {
    throw usageError('--errno does not go with --kind=slow');
  }
  const extent = parseExtent(words.lba, words.count, ['--lba', '--count']);
  const times =
    words.times === undefined ? 0 : parseNumber(words.times, '--times', { min: 1, max: TIMES_MAX });
  const delayMs = kind.data === 'slow' ? (words.delayMs ?? FAULT_DELAY_DEFAULT_MS) : 0;
  const { device, errno = 'EIO', percent = 100 } = words;
  return { device, kind: kind.data, ...extent, times, delayMs, errno, percent };
}

function parseChoice(invocation: Invocation): Pick<FaultRequest, 'errno' | 'percent'> {
  const errno = faultErrnoSchema.optional().safeParse(text(invocation, 'errno'));
  if (!errno.success) throw usageError(`--errno is one of ${FAULT_ERRNOS.join(', ')}`);
  const given = text(invocation, 'percent');
  const percent = given === undefined ? undefined : Number(given);
  if (percent !== undefined && !(percent >= 0.0001 && percent <= 100)) {
    throw usageError(`--percent is a number from 0.0001 to 100, not '${given}'`);
  }
  return { errno: errno.data, percent };
}

function parseDevice(device: string): string {
  if (faultDeviceSchema.safeParse(device).success) return device;
  throw usageError(`--device is main, spare, or spare1 to spare7, not '${device}'`);
}

const parseDelay = (delay: string | undefined): number | undefined =>
  delay === undefined
    ? undefined
    : parseNumber(delay, '--delay-ms', { min: 1, max: FAULT_DELAY_MAX_MS });

function text(invocation: Invocation, name: string): string | undefined {
  const value = invocation.values[name];
  return typeof value === 'string' ? value : undefined;
}

function show(invocation: Invocation, answer: InjectAnswer): ExitStatus {
  invocation.terminal.out(invocation.json ? `${JSON.stringify(answer)}\n` : render(answer));
  return EXIT.done;
}

function render(answer: InjectAnswer): string {
  if (answer.action === 'clear') return `cleared ${plural(answer.cleared, 'rule')}\n`;
  if (answer.action === 'add' && answer.faults.length > 10) {
    return `added ${plural(answer.faults.length, 'rule')}\n`;
  }
  if (answer.faults.length === 0) return 'no rules\n';
  return table(
    ['ID', 'DEVICE', 'KIND', 'LBA', 'COUNT', 'TIMES', 'DELAY-MS', 'ERRNO', 'PERCENT', 'HITS'],
    answer.faults.map((f) => [
      f.id,
      f.device,
      f.kind,
      f.lba,
      f.count,
      f.times === 0 ? 'ever' : f.times,
      f.delayMs,
      f.kind === 'slow' ? '-' : f.errno,
      f.percent,
      f.hits,
    ]),
  );
}
