import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { run } from '../../src/cli/run.js';
import { ControlServer } from '../../src/control/server.js';
import { silentLogger } from '../../src/core/log.js';
import {
  errorAnswerSchema,
  injectAnswerSchema,
  remapAnswerSchema,
  resizeAnswerSchema,
  statusAnswerSchema,
} from '../../src/protocol/messages.js';
import { MemoryVolume } from '../fixtures/memory-volume.js';
import { tempDirectory } from '../fixtures/temp-directory.js';
import { MemoryTerminal } from '../fixtures/terminal.js';

async function remapctl(line: string | string[], env = {}, input = '') {
  const terminal = new MemoryTerminal({ input });
  const args = typeof line === 'string' ? line.split(' ').filter((word) => word !== '') : line;
  const status = await run(args, env, terminal);
  return { status, stdout: terminal.stdout, stderr: terminal.stderr };
}

async function start(t: Test) {
  const directory = tempDirectory(t);
  const socket = join(directory, 'c.sock');
  const server = await ControlServer.listen(socket, silentLogger);
  t.teardown(() => server.close());
  const volume = new MemoryVolume();
  server.attach(volume);
  const ctl = (line: string, input = '') => remapctl(line, { REMAPCTL_SOCKET: socket }, input);
  return { directory, socket, volume, ctl };
}

const BAD_USAGE: readonly [string, string][] = [
  ['', 'no verb; see remapctl --help'],
  ['--json=x status', '--json takes no value; write --json alone'],
  ['--frob', 'unknown option --frob; see --help'],
  ['stauts', "unknown verb 'stauts'; did you mean status?"],
  ['dance', "unknown verb 'dance'; see remapctl --help"],
  ['remap', 'remap needs one of: list, add, remove'],
  ['remap ad 1', "unknown verb 'remap ad'; remap knows list, add, remove"],
  ['inject', 'inject needs one of: add, list, clear'],
  ['status now', "status does not know what to do with 'now'; see remapctl status --help"],
  ['status --form=1', 'unknown option --form; see --help'],
  [
    'status',
    'which back-end? give --control-socket=PATH, the one vhost-user-remap was started with, ' +
      'or set REMAPCTL_SOCKET',
  ],
  ['status --control-socket', '--control-socket needs a value: --control-socket=VALUE'],
  ['remap add', 'remap add needs LBA [COUNT] or --from=FILE'],
  ['remap add x', "LBA must be a whole number, decimal or 0x hexadecimal, not 'x'"],
  ['remap add 1.5', "LBA must be a whole number, decimal or 0x hexadecimal, not '1.5'"],
  ['remap add 1 0', 'COUNT must be at least 1, not 0'],
  ['remap add 0x1000000000000', 'LBA must be at most 281474976710655, not 0x1000000000000'],
  ['remap add -1', 'a number on the command line is negative; sectors count from 0'],
  ['remap add 1 2 3', "remap add does not know what to do with '3'; see remapctl remap add --help"],
  ['remap add 1 --from=x', 'LBA and --from exclude each other; give one of them'],
  ['remap add --frm=x', 'unknown option --frm; did you mean --from?'],
  ['inject add', 'inject add needs --kind=... or --from=FILE'],
  ['inject add --kind=slow --lba=1', 'inject add needs --count=... or --from=FILE'],
  [
    'inject add --kind=fire --lba=1 --count=1',
    "a kind is read-error, write-error or slow, not 'fire'",
  ],
  [
    'inject add --kind=slow --lba=-1 --count=1',
    "--lba must be a whole number, decimal or 0x hexadecimal, not '-1'",
  ],
  ['inject add --kind=slow --lba=1 --count=0', '--count must be at least 1, not 0'],
  ['inject add --kind=slow --lba=1 --count=1 --times=0', '--times must be at least 1, not 0'],
  [
    'inject add --kind=read-error --lba=1 --count=1 --delay-ms=5',
    '--delay-ms goes with --kind=slow only',
  ],
  [
    'inject add --kind=slow --lba=1 --count=1 --device=tape',
    "--device is main, spare, or spare1 to spare7, not 'tape'",
  ],
  [
    'inject add --from=x --lba=1',
    '--from excludes --kind, --lba, --count and --times; each line has its own',
  ],
  ['inject clear x', "ID must be a whole number, decimal or 0x hexadecimal, not 'x'"],
];

t.test('bad usage: one sentence, status 2', async (t) => {
  for (const [line, message] of BAD_USAGE) {
    t.strictSame(
      await remapctl(line),
      { status: 2, stdout: '', stderr: `remapctl: ${message}\n` },
      line,
    );
  }
});

t.test('with --json the error is JSON on stdout as well', async (t) => {
  const { status, stdout, stderr } = await remapctl('remap add x --json');
  t.equal(status, 2);
  t.equal(stdout.split('\n').length, 2, 'one line');
  t.match(errorAnswerSchema.parse(JSON.parse(stdout)), { error: { code: 'USAGE' } });
  t.match(stderr, /^remapctl: LBA must be/);
});

t.test('the socket is named before the verb, after it, or by the environment', async (t) => {
  const { socket } = await start(t);
  for (const line of [
    `--control-socket=${socket} --json status`,
    `--control-socket ${socket} status --json`,
    `status --json --control-socket ${socket}`,
    `--json status --control-socket=${socket}`,
  ]) {
    const { status, stdout } = await remapctl(line);
    t.equal(status, 0, line);
    statusAnswerSchema.parse(JSON.parse(stdout));
  }
  const other = { REMAPCTL_SOCKET: '/nowhere/at.all' };
  t.equal((await remapctl(`status --control-socket=${socket}`, other)).status, 0);
  t.match(await remapctl('status', other), {
    status: 1,
    stdout: '',
    stderr: /^remapctl: no back-end listens on \/nowhere\/at\.all; start vhost-user-remap .*\n$/,
  });
});

t.test('status: 0 when healthy, 3 when not', async (t) => {
  const { ctl, volume } = await start(t);
  t.equal((await ctl('status')).status, 0);
  volume.state = 'degraded';
  volume.problems.push({ code: 'PENDING_SECTORS', message: '1 sector could not be read.' });
  const { status, stdout } = await ctl('status');
  t.equal(status, 3);
  t.match(stdout, /action: write the sectors again/);
  t.equal((await ctl('status --json')).status, 3);
});

t.test('resize', async (t) => {
  const { ctl, volume } = await start(t);
  t.match(await ctl('resize'), {
    status: 0,
    stdout: 'the main device has not grown: 8192 sectors (4 MiB)\n',
  });
  volume.mainSectors = 16384;
  t.match(await ctl('resize'), {
    status: 0,
    stdout: 'grown from 8192 sectors (4 MiB) to 16384 sectors (8 MiB)\n',
  });
  volume.mainSectors = 1;
  t.match(await ctl('resize'), { status: 1, stderr: 'remapctl: it cannot shrink\n' });
  t.equal((await ctl('resize 5')).status, 2);
});

t.test('remap add, list, remove', async (t) => {
  const { ctl } = await start(t);
  t.match(await ctl('remap list'), {
    status: 0,
    stdout: 'remapped: 0 extents, 0 sectors (0 B)\npending: 0 extents, 0 sectors (0 B)\n',
  });
  t.match(await ctl('remap add 10'), { status: 0, stdout: 'moved 1 sector to the spare\n' });
  t.match(await ctl('remap add 0xa 2'), {
    status: 0,
    stdout: 'moved 1 sector to the spare; 1 sector already there\n',
  });
  t.equal(
    (await ctl('remap list')).stdout,
    `LBA  COUNT  SPARE  SPARE-LBA  CAUSE          EVIDENCE  TIME
 10      1      0       2064  administrator         0  2026-01-02T03:04:05.000Z
 11      1      0       2065  administrator         0  2026-01-02T03:04:05.000Z

remapped: 2 extents, 2 sectors (1 KiB)
pending: 0 extents, 0 sectors (0 B)
`,
  );
  t.match(await ctl('remap remove 11'), {
    status: 0,
    stdout: 'moved 1 sector back to the main device\n',
  });
  t.match(await ctl('remap remove 11'), {
    status: 1,
    stdout: '',
    stderr: 'remapctl: no such sector is remapped\n',
  });
  t.match(await ctl('remap add 8192'), { status: 1, stderr: /past the end/ });
});

t.test('remap: 3 when only some moved, 1 when none did', async (t) => {
  const { ctl, volume } = await start(t);
  volume.pending.push({
    lba: 5,
    count: 1,
    cause: 'read-error',
    evidence: 1,
    time: '2026-01-02T03:04:05.000Z',
  });
  t.match(await ctl('remap add 4 2'), {
    status: 3,
    stdout: 'moved 1 sector to the spare; 1 sector unreadable and now pending\n',
  });
  t.equal((await ctl('remap add 5')).status, 1);
  t.match(await ctl('remap list'), { status: 0, stdout: /pending: 1 extent, 1 sector \(512 B\)/ });
});

t.test('bulk lists: a file, standard input, and what is wrong in which line', async (t) => {
  const { ctl, directory, volume } = await start(t);
  const file = join(directory, 'list');
  await writeFile(file, '# bad blocks\n1\n\n 0x10 2 # two\n100\t3\r\n');
  t.match(await ctl(`remap add --from=${file}`), { stdout: 'moved 6 sectors to the spare\n' });
  t.strictSame([...volume.remapped.keys()], [1, 16, 17, 100, 101, 102]);
  t.match(await ctl('remap remove --from=-', '1\n'), { stdout: /^moved 1 sector back/ });
  t.strictSame(await ctl('remap add --from=-', '7\n8 y\n'), {
    status: 2,
    stdout: '',
    stderr:
      "remapctl: stdin:2: COUNT must be a whole number, decimal or 0x hexadecimal, not 'y'; " +
      'nothing was done\n',
  });
  t.equal(volume.remapped.has(7), false);
  await writeFile(file, '1 2 3\n');
  t.match(await ctl(`remap add --from=${file}`), {
    status: 2,
    stderr: `remapctl: ${file}:1: expected "LBA [COUNT]", not '1 2 3'; nothing was done\n`,
  });
  t.match(await ctl('remap add --from=-', '# none\n'), { status: 2, stderr: /holds no line/ });
  t.match(await ctl(`remap add --from=${directory}/none`), { status: 2, stderr: /ENOENT/ });
});

t.test('inject add, list, clear', async (t) => {
  const { ctl } = await start(t);
  const header = 'ID  DEVICE  KIND         LBA  COUNT  TIMES  DELAY-MS  ERRNO  PERCENT  HITS\n';
  t.match(await ctl('inject list'), { status: 0, stdout: 'no rules\n' });
  t.strictSame(await ctl('inject add --kind=write-error --lba=0x10 --count=8'), {
    status: 0,
    stdout: `${header} 1  main    write-error   16      8  ever          0  EIO        100     0\n`,
    stderr: '',
  });
  const slow = await ctl(
    'inject add --kind slow --lba 1 --count 2 --times 3 --device=spare --json',
  );
  t.match(injectAnswerSchema.parse(JSON.parse(slow.stdout)), {
    action: 'add',
    faults: [{ id: 2, device: 'spare', kind: 'slow', times: 3, delayMs: 1000 }],
  });
  const bulk = 'read-error 5 1\nwrite-error 6 2 9 # nine times\n';
  t.equal((await ctl('inject add --from=-', bulk)).status, 0);
  const list = JSON.parse((await ctl('inject list --json')).stdout);
  t.match(injectAnswerSchema.parse(list), {
    faults: [{}, {}, { kind: 'read-error', lba: 5 }, { kind: 'write-error', count: 2, times: 9 }],
  });
  t.match(await ctl('inject add --from=-', 'read-error 5\n'), {
    status: 2,
    stderr: /stdin:1: expected "KIND LBA COUNT \[TIMES\]", not 'read-error 5'/,
  });
  t.match(await ctl('inject clear 1'), { status: 0, stdout: 'cleared 1 rule\n' });
  t.match(await ctl('inject clear 2'), { status: 1, stderr: /main has no rule 2/ });
  t.match(await ctl('inject clear 2 --device=spare'), { status: 0 });
  t.match(await ctl('inject clear'), { status: 0, stdout: 'cleared 2 rules\n' });
});

t.test('inject where it is off says how to turn it on', async (t) => {
  const { ctl, volume } = await start(t);
  volume.faultsAllowed = false;
  for (const line of ['inject add --kind=slow --lba=1 --count=1', 'inject list', 'inject clear']) {
    t.match(await ctl(line), { status: 1, stderr: /start the back-end with --allow-fault-inj/ });
  }
});

t.test(
  'every verb that talks to a back-end answers --json in one line of its schema',
  async (t) => {
    const { ctl } = await start(t);
    for (const [line, schema] of [
      ['status', statusAnswerSchema],
      ['resize', resizeAnswerSchema],
      ['remap add 1', remapAnswerSchema],
      ['remap list', remapAnswerSchema],
      ['remap remove 1', remapAnswerSchema],
      ['inject add --kind=slow --lba=1 --count=1', injectAnswerSchema],
      ['inject list', injectAnswerSchema],
      ['inject clear', injectAnswerSchema],
    ] as const) {
      const { status, stdout, stderr } = await ctl(`${line} --json`);
      t.equal(status, 0, line);
      t.equal(stderr, '');
      t.match(stdout, /^\{.*\}\n$/);
      const parsed = schema.parse(JSON.parse(stdout));
      t.equal(parsed.schema, `${line.split(' ')[0]}/1`);
    }
  },
);
