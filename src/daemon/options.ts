import { resolve } from 'node:path';
import { z } from 'zod';
import {
  type CommandLine,
  type OptionTable,
  parseCommandLine,
  parseNumber,
  usageError,
} from '../core/command-line.js';
import {
  HUNG_IO_SECONDS,
  HUNG_IO_SECONDS_MAX,
  METADATA_SCRUB_SECONDS,
  METADATA_SCRUB_SECONDS_MAX,
  QUEUES_DEFAULT,
  QUEUES_MAX,
  STORM_ALLOWANCE_BLOCKS,
  STORM_ALLOWANCE_BLOCKS_MAX,
} from '../core/limits.js';
import type { SuperviseOptions } from './supervise.js';

/** Bytes of the serial in VIRTIO_BLK_T_GET_ID (virtio 1.2, section 5.2.6). */
const SERIAL_MAX_BYTES = 20;
/** Room for the name in the superblock. */
const NAME_MAX_BYTES = 48;
/** Room for spare records in the superblock. */
const SPARES_MAX = 8;
const FD_MAX = 0x7fff_ffff;

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;

export const OPTIONS = {
  'socket-path': { type: 'string' },
  connect: { type: 'string' },
  fd: { type: 'string' },
  'blk-file': { type: 'string' },
  discover: { type: 'string', multiple: true },
  'socket-dir': { type: 'string' },
  spare: { type: 'string', multiple: true },
  create: { type: 'boolean' },
  name: { type: 'string' },
  'read-only': { type: 'boolean' },
  'shared-storage': { type: 'boolean' },
  'num-queues': { type: 'string' },
  serial: { type: 'string' },
  'logical-block-size': { type: 'string' },
  'control-socket': { type: 'string' },
  'allow-fault-injection': { type: 'boolean' },
  'storm-allowance': { type: 'string' },
  'hung-io-seconds': { type: 'string' },
  'metadata-scrub-seconds': { type: 'string' },
  workers: { type: 'string' },
  'log-level': { type: 'string' },
  'print-capabilities': { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean' },
} as const satisfies OptionTable;

/** Of the contract, and of a later version of this program. */
const LATER = ['config'];

/** What every process of a supervisor is given; the rest is each volume's own. */
const COMMON = [
  'read-only',
  'shared-storage',
  'num-queues',
  'allow-fault-injection',
  'metadata-scrub-seconds',
  'storm-allowance',
  'hung-io-seconds',
  'workers',
  'log-level',
] as const;

export const USAGE = `Usage: vhost-user-remap --socket-path=PATH --blk-file=MAIN [--spare=SPARE]...

Serve MAIN to a QEMU guest as one vhost-user-blk disk, its bad blocks from SPARE.

  --socket-path=PATH        listen on this Unix socket
  --connect=PATH            or connect to this one, where QEMU listens
  --fd=N                    or use this inherited socket, listening or connected
  --blk-file=MAIN           main device: a file, a block device, or null:SIZE for measurements
  --spare=SPARE             spare, may be given up to 8 times; without one, plain pass-through
  --discover=PATH           instead of --blk-file: serve every volume found among the devices and
                            images there, one process each; may be given more than once
  --socket-dir=DIR          with --discover: VOLUME.sock and VOLUME.ctl are made here
  --create                  format blank spares for MAIN first; its own stay as they are
  --name=NAME               name of the volume in status; by default the file name of MAIN
  --read-only               serve a read-only disk, write to no device
  --shared-storage          hold the devices only while the guest runs on this back-end, so that
                            another one of the same volume can take over in a live migration
  --num-queues=N            virtqueues offered, 1 to 64, by default 16
  --serial=S                serial number the guest sees, up to 20 ASCII characters
  --logical-block-size=N    512 or 4096, the unit of remapping
  --control-socket=PATH     socket for remapctl, made with mode 0600
  --allow-fault-injection   let remapctl inject plan failures
  --metadata-scrub-seconds=N
                            check the metadata copies so often, by default 600; 0 for never
  --storm-allowance=N       bad blocks believed at once, by default 64; beyond them main is probed
  --hung-io-seconds=N       alarm for an I/O that does not return, by default 40; 0 for none
  --workers=N               threads that serve queues, 1 to 64; by default as many as fit
  --log-level=LEVEL         trace, debug, info (default), warn, error, fatal or silent
  --print-capabilities      print what QEMU's tools ask for and exit
  --help, --version

Logs are JSON lines on stderr, "ready" once it accepts. SIGTERM drains and exits 0.
Exit status: 0 stopped as asked, 1 failed, 2 bad usage. See vhost-user-remap(1).
`;

const number = (option: string, min: number, max: number) =>
  z.string().transform((text) => parseNumber(text, option, { min, max }));

const path = z.string().refine((p) => !p.includes('\0'), 'a path cannot contain a zero byte');

const optionsSchema = z
  .strictObject({
    'socket-path': path.optional(),
    connect: path.optional(),
    fd: number('--fd', 0, FD_MAX).optional(),
    'blk-file': z.string({
      error: '--blk-file=MAIN is missing: name the device to serve; see --help',
    }),
    spare: z
      .array(path)
      .max(SPARES_MAX, `a volume has at most ${SPARES_MAX} spares; leave some --spare out`)
      .default([]),
    create: z.boolean().default(false),
    name: z
      .string()
      .refine(
        (name) => Buffer.byteLength(name) <= NAME_MAX_BYTES && !/\p{Cc}/u.test(name),
        `--name is at most ${NAME_MAX_BYTES} bytes of UTF-8 without control characters`,
      )
      .optional(),
    'read-only': z.boolean().default(false),
    'shared-storage': z.boolean().default(false),
    'num-queues': number('--num-queues', 1, QUEUES_MAX).default(QUEUES_DEFAULT),
    serial: z
      .string()
      .regex(
        new RegExp(`^[\\x20-\\x7e]{1,${SERIAL_MAX_BYTES}}$`),
        `--serial is at most ${SERIAL_MAX_BYTES} printable ASCII characters`,
      )
      .optional(),
    'logical-block-size': z
      .enum(['512', '4096'], { error: '--logical-block-size is 512 or 4096' })
      .transform((text) => Number(text) as 512 | 4096)
      .optional(),
    'control-socket': path.optional(),
    'allow-fault-injection': z.boolean().default(false),
    'metadata-scrub-seconds': number(
      '--metadata-scrub-seconds',
      0,
      METADATA_SCRUB_SECONDS_MAX,
    ).default(METADATA_SCRUB_SECONDS),
    'storm-allowance': number('--storm-allowance', 0, STORM_ALLOWANCE_BLOCKS_MAX).default(
      STORM_ALLOWANCE_BLOCKS,
    ),
    'hung-io-seconds': number('--hung-io-seconds', 0, HUNG_IO_SECONDS_MAX).default(HUNG_IO_SECONDS),
    workers: number('--workers', 1, QUEUES_MAX).default(0),
    'log-level': z
      .enum(LOG_LEVELS, { error: `--log-level is one of ${LOG_LEVELS.join(', ')}` })
      .default('info'),
  })
  .superRefine((o, ctx) => {
    const problem = combinationProblem(o);
    if (problem !== undefined) ctx.addIssue({ code: 'custom', message: problem });
  });

/** The first combination of options that makes no sense, as a sentence. */
function combinationProblem(o: {
  'socket-path'?: string | undefined;
  connect?: string | undefined;
  fd?: number | undefined;
  spare: string[];
  create: boolean;
  'read-only': boolean;
  'control-socket'?: string | undefined;
  'allow-fault-injection': boolean;
}): string | undefined {
  const sockets = (['socket-path', 'connect', 'fd'] as const).filter((n) => o[n] !== undefined);
  if (sockets.length > 1) {
    return `--${sockets[0]} and --${sockets[1]} exclude each other; give one of them`;
  }
  if (sockets.length === 0) {
    return 'no socket: give --socket-path=PATH, or --fd=N for an inherited one; see --help';
  }
  if (o.create && o.spare.length === 0) {
    return '--create formats spares and none is given; add --spare=SPARE';
  }
  if (o.create && o['read-only']) {
    return '--create writes to the spare and --read-only forbids it; leave one of them out';
  }
  for (const name of ['socket-path', 'connect'] as const) {
    if (o['control-socket'] !== undefined && o['control-socket'] === o[name]) {
      return `--control-socket and --${name} are the same path; give each its own`;
    }
  }
  return undefined;
}

export type DaemonOptions = z.infer<typeof optionsSchema>;

export type DaemonCommand =
  | { readonly kind: 'capabilities' | 'help' | 'version' }
  | { readonly kind: 'serve'; readonly options: DaemonOptions }
  | {
      readonly kind: 'supervise';
      readonly options: SuperviseOptions;
      readonly logLevel: DaemonOptions['log-level'];
    };

/** Reads the command line of vhost-user-remap. Throws USAGE, in one sentence. */
export function parseDaemonOptions(args: readonly string[]): DaemonCommand {
  // QEMU's convention: whatever else is there is not even looked at.
  if (args.includes('--print-capabilities')) return { kind: 'capabilities' };
  if (args.includes('--help') || args.includes('-h')) return { kind: 'help' };
  if (args.includes('--version')) return { kind: 'version' };
  const later = LATER.find((name) =>
    args.some((a) => a === `--${name}` || a.startsWith(`--${name}=`)),
  );
  if (later !== undefined) {
    throw usageError(
      `--${later} is not in this version; start one vhost-user-remap with --blk-file per volume`,
    );
  }
  const { values, positionals } = parseCommandLine(args, OPTIONS);
  if (positionals[0] !== undefined) {
    throw usageError(`'${positionals[0]}' is not an option; name the device with --blk-file=MAIN`);
  }
  if (values.discover !== undefined || values['socket-dir'] !== undefined) {
    return superviseCommand(values);
  }
  const parsed = optionsSchema.safeParse(values);
  if (!parsed.success) throw usageError(parsed.error.issues[0]?.message ?? 'bad options');
  return { kind: 'serve', options: parsed.data };
}

/** Checks the options that all processes share before any is started. Throws USAGE. */
function superviseCommand(values: CommandLine['values']): DaemonCommand {
  const { discover, 'socket-dir': socketDir, ...rest } = values;
  if (!Array.isArray(discover)) {
    throw usageError('--socket-dir goes with --discover=PATH; say where to look for volumes');
  }
  if (typeof socketDir !== 'string') {
    throw usageError('--discover needs --socket-dir=DIR, where each volume gets its socket');
  }
  const own = Object.keys(rest).find((name) => !COMMON.some((common) => common === name));
  if (own !== undefined) {
    throw usageError(`--${own} is for one volume; leave it out, or serve that one with --blk-file`);
  }
  const parsed = optionsSchema.safeParse({ ...rest, 'blk-file': '-', 'socket-path': '-' });
  if (!parsed.success) throw usageError(parsed.error.issues[0]?.message ?? 'bad options');
  const common = Object.entries(rest).map(([name, value]) =>
    value === true ? `--${name}` : `--${name}=${value}`,
  );
  return {
    kind: 'supervise',
    logLevel: parsed.data['log-level'],
    options: { discover, socketDir: resolve(socketDir), common },
  };
}
