import t from 'tap';
import { RemapError } from '../../src/core/errors.js';
import { type DaemonOptions, parseDaemonOptions, USAGE } from '../../src/daemon/options.js';

const DEFAULTS: DaemonOptions = {
  spare: [],
  create: false,
  'read-only': false,
  'shared-storage': false,
  'num-queues': 16,
  'allow-fault-injection': false,
  'metadata-scrub-seconds': 600,
  'storm-allowance': 64,
  'hung-io-seconds': 40,
  workers: 0,
  'log-level': 'info',
  'blk-file': 'm',
};

const GOOD: readonly [string, Partial<DaemonOptions>][] = [
  ['--socket-path=s --blk-file=m', { 'socket-path': 's' }],
  ['--socket-path s --blk-file m', { 'socket-path': 's' }],
  ['--connect=s --blk-file=m', { connect: 's' }],
  ['--fd=3 --blk-file=m', { fd: 3 }],
  ['--fd 0x10 --blk-file m', { fd: 16 }],
  ['--fd=3 --blk-file=null:1G', { fd: 3, 'blk-file': 'null:1G' }],
  ['--fd=3 --blk-file=m --spare=a --spare b', { fd: 3, spare: ['a', 'b'] }],
  ['--fd=3 --blk-file=m --spare=a --create --name=vm', { spare: ['a'], create: true, name: 'vm' }],
  ['--fd=3 --blk-file=m --read-only --read-only', { 'read-only': true }],
  ['--fd=3 --blk-file=m --num-queues=1', { 'num-queues': 1 }],
  ['--fd=3 --blk-file=m --num-queues 64', { 'num-queues': 64 }],
  ['--fd=3 --blk-file=m --serial=ABCDEFGHIJKLMNOPQRST', { serial: 'ABCDEFGHIJKLMNOPQRST' }],
  ['--fd=3 --blk-file=m --logical-block-size=512', { 'logical-block-size': 512 }],
  ['--fd=3 --blk-file=m --logical-block-size 4096', { 'logical-block-size': 4096 }],
  [
    '--fd=3 --blk-file=m --control-socket=c --allow-fault-injection',
    { 'control-socket': 'c', 'allow-fault-injection': true },
  ],
  ['--fd=3 --blk-file=m --metadata-scrub-seconds=0', { 'metadata-scrub-seconds': 0 }],
  ['--fd=3 --blk-file=m --hung-io-seconds=0', { 'hung-io-seconds': 0 }],
  ['--fd=3 --blk-file=m --storm-allowance=0', { 'storm-allowance': 0 }],
  ['--fd=3 --blk-file=m --workers=2 --log-level=debug', { workers: 2, 'log-level': 'debug' }],
];

t.test('options that are taken', async (t) => {
  for (const [line, expected] of GOOD) {
    const parsed = parseDaemonOptions(line.split(' '));
    const socket = line.includes('--fd') ? { fd: 3 } : {};
    t.strictSame(parsed, { kind: 'serve', options: { ...DEFAULTS, ...socket, ...expected } }, line);
  }
});

const BAD: readonly [string, string][] = [
  ['', '--blk-file=MAIN is missing: name the device to serve; see --help'],
  ['--socket-path=s', '--blk-file=MAIN is missing: name the device to serve; see --help'],
  [
    '--blk-file=m',
    'no socket: give --socket-path=PATH, or --fd=N for an inherited one; see --help',
  ],
  [
    '--blk-file=m --socket-path=s --fd=3',
    '--socket-path and --fd exclude each other; give one of them',
  ],
  ['--blk-file=m --blk-file=n --fd=3', '--blk-file is given twice; give it once'],
  ['--blk-fiel=m --fd=3', 'unknown option --blk-fiel; did you mean --blk-file?'],
  ['--frobnicate', 'unknown option --frobnicate; see --help'],
  ['-x', 'unknown option -x; see --help'],
  ['--constructor', 'unknown option --constructor; see --help'],
  ['m --fd=3', "'m' is not an option; name the device with --blk-file=MAIN"],
  ['--blk-file=m --fd=x', "--fd must be a whole number, decimal or 0x hexadecimal, not 'x'"],
  ['--blk-file=m --fd=-1', "--fd must be a whole number, decimal or 0x hexadecimal, not '-1'"],
  ['--blk-file --fd=3', '--blk-file needs a value: --blk-file=VALUE'],
  ['--fd=3 --blk-file', '--blk-file needs a value: --blk-file=VALUE'],
  ['--fd=3 --blk-file=', '--blk-file needs a value: --blk-file=VALUE'],
  ['--fd=3 --blk-file=m --read-only=yes', '--read-only takes no value; write --read-only alone'],
  ['--fd=3 --blk-file=m --num-queues=0', '--num-queues must be at least 1, not 0'],
  ['--fd=3 --blk-file=m --num-queues=65', '--num-queues must be at most 64, not 65'],
  [
    '--fd=3 --blk-file=m --num-queues=1.5',
    "--num-queues must be a whole number, decimal or 0x hexadecimal, not '1.5'",
  ],
  ['--fd=3 --blk-file=m --workers=0', '--workers must be at least 1, not 0'],
  [
    '--fd=3 --blk-file=m --serial=ABCDEFGHIJKLMNOPQRSTU',
    '--serial is at most 20 printable ASCII characters',
  ],
  ['--fd=3 --blk-file=m --serial=\u00fc', '--serial is at most 20 printable ASCII characters'],
  ['--fd=3 --blk-file=m --logical-block-size=1024', '--logical-block-size is 512 or 4096'],
  [
    '--fd=3 --blk-file=m --log-level=loud',
    '--log-level is one of trace, debug, info, warn, error, fatal, silent',
  ],
  ['--fd=3 --blk-file=m --create', '--create formats spares and none is given; add --spare=SPARE'],
  [
    '--fd=3 --blk-file=m --spare=s --create --read-only',
    '--create writes to the spare and --read-only forbids it; leave one of them out',
  ],
  [
    `--fd=3 --blk-file=m${' --spare=s'.repeat(9)}`,
    'a volume has at most 8 spares; leave some --spare out',
  ],
  [
    '--connect=s --control-socket=s --blk-file=m',
    '--control-socket and --connect are the same path; give each its own',
  ],
  [
    '--blk-file=m --socket-path=s --connect=t',
    '--socket-path and --connect exclude each other; give one of them',
  ],
  ['--blk-file=m --connect=t --fd=3', '--connect and --fd exclude each other; give one of them'],
  ['--blk-file=m --connect=', '--connect needs a value: --connect=VALUE'],
  [
    '--socket-path=s --control-socket=s --blk-file=m',
    '--control-socket and --socket-path are the same path; give each its own',
  ],
  [
    `--fd=3 --blk-file=m --name=${'n'.repeat(49)}`,
    '--name is at most 48 bytes of UTF-8 without control characters',
  ],
  ['--discover=/dev', '--discover needs --socket-dir=DIR, where each volume gets its socket'],
  [
    '--config f',
    '--config is not in this version; start one vhost-user-remap with --blk-file per volume',
  ],
];

t.test('options that are refused, each with one sentence', async (t) => {
  for (const [line, message] of BAD) {
    const args = line.split(' ').filter((arg) => arg !== '');
    t.throws(() => parseDaemonOptions(args), new RemapError('USAGE', message), line);
  }
});

t.test('--print-capabilities wins over everything', async (t) => {
  for (const line of [
    '--print-capabilities',
    '--rubbish --print-capabilities --fd=x --fd=y',
    '--blk-file --print-capabilities',
    '--help --print-capabilities stray',
  ]) {
    t.strictSame(parseDaemonOptions(line.split(' ')), { kind: 'capabilities' }, line);
  }
});

t.test('the help is this text', async (t) => {
  t.equal(
    USAGE,
    `Usage: vhost-user-remap --socket-path=PATH --blk-file=MAIN [--spare=SPARE]...

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
`,
  );
});
