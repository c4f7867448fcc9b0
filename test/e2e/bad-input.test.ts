/**
 * Everything a user can get wrong at the start: one clear sentence, an exit status that is not
 * zero, and nothing changed on any device.
 */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import {
  Daemon,
  runRefused,
  serveArguments,
  sha256,
  sparseFile,
  type VolumeFiles,
  volumeFiles,
} from '../fixtures/daemon.js';
import { type ProgramResult, runProgram } from '../fixtures/program.js';

const SIZES = { mainBytes: 16 << 20, spareBytes: 8 << 20 };

const FAILED = 1;
const USAGE = 2;

interface Refusal {
  readonly name: string;
  readonly says: RegExp;
  readonly status?: number;
  /** Prepares files; returns the arguments of the back-end, after those given to it. */
  arrange(t: Test, f: VolumeFiles): Promise<readonly string[]> | readonly string[];
  readonly program?: 'remapctl';
}

/** One line, a sentence of the program's own, without log, stack or raw errno. */
function checkSentence(t: Test, result: ProgramResult, refusal: Refusal): void {
  const program = refusal.program ?? 'vhost-user-remap';
  t.equal(result.status, refusal.status ?? FAILED, `status: ${result.stderr}`);
  t.equal(result.stdout, '', 'stdout stays clean');
  t.match(result.stderr, /^[^\n]+\n$/, 'one line');
  t.ok(result.stderr.startsWith(`${program}: `), 'that says who speaks');
  t.notMatch(result.stderr, /\{|\bat .*:\d+:\d+|undefined|\[object/, 'no JSON, no stack');
  t.match(result.stderr, refusal.says);
}

/** A volume formatted and stopped. */
async function formatted(t: Test, f: VolumeFiles, ...more: string[]): Promise<void> {
  const daemon = await Daemon.serve(t, f, ...more);
  await daemon.stop();
}

const copyOf = (f: VolumeFiles, file: string, name: string): string => {
  const path = join(f.directory, name);
  copyFileSync(file, path);
  return path;
};

const MAIN_AND_SPARE: Refusal[] = [
  {
    name: 'main missing',
    says: /missing\.img.*nothing at this path/,
    arrange: (_, f) => serveArguments({ ...f, main: join(f.directory, 'missing.img') }),
  },
  {
    name: 'spare missing',
    says: /missing\.img.*nothing at this path/,
    arrange: (_, f) => serveArguments({ ...f, spare: join(f.directory, 'missing.img') }),
  },
  {
    name: 'main is a directory',
    says: /directory/,
    arrange: (_, f) => {
      const main = join(f.directory, 'sub');
      mkdirSync(main);
      return [...serveArguments({ ...f, main }), '--create'];
    },
  },
  {
    name: 'main is empty',
    says: /empty|0 bytes|0 sectors|size/,
    arrange: (_, f) => {
      truncateSync(f.main, 0);
      return [...serveArguments(f), '--create'];
    },
  },
  {
    name: 'spare blank and not asked to format it',
    says: /--create|remapctl create/,
    arrange: (_, f) => serveArguments(f),
  },
  {
    name: 'spare too small',
    says: /\b1048576\b.*\b8388608\b|\b1 MiB\b.*\b8 MiB\b|\b2048\b.*\b16384\b/,
    arrange: (_, f) => {
      truncateSync(f.spare, 1 << 20);
      return [...serveArguments(f), '--create'];
    },
  },
  {
    name: 'spare holds a filesystem',
    says: /ext[234]/,
    arrange: (_, f) => {
      const made = spawnSync('mkfs.ext4', ['-q', '-F', f.spare], {
        env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
      });
      if (made.status !== 0) throw new Error('mkfs.ext4 of e2fsprogs is needed');
      return [...serveArguments(f), '--create'];
    },
  },
  {
    name: 'spare holds something',
    says: /blank|empty|data/,
    arrange: (_, f) => {
      writeFileSync(f.spare, Buffer.alloc(SIZES.spareBytes, 0x55));
      return [...serveArguments(f), '--create'];
    },
  },
  {
    name: 'main and spare one path',
    says: /twice/,
    arrange: (_, f) => [...serveArguments({ ...f, spare: f.main }), '--create'],
  },
  {
    name: 'main and spare one file through a symbolic link',
    says: /same/,
    arrange: (_, f) => {
      const spare = join(f.directory, 'link.img');
      symlinkSync(f.main, spare);
      return [...serveArguments({ ...f, spare }), '--create'];
    },
  },
  {
    name: 'main and spare one file through a hard link',
    says: /same/,
    arrange: (_, f) => {
      const spare = join(f.directory, 'link.img');
      linkSync(f.main, spare);
      return [...serveArguments({ ...f, spare }), '--create'];
    },
  },
  {
    name: 'one spare twice',
    says: /twice/,
    arrange: (_, f) => [...serveArguments(f), `--spare=${f.spare}`, '--create'],
  },
];

const BOUND: Refusal[] = [
  {
    name: 'main has grown',
    says: /size|sectors|bytes/,
    arrange: async (t, f) => {
      await formatted(t, f);
      truncateSync(f.main, SIZES.mainBytes + (1 << 20));
      return serveArguments(f);
    },
  },
  {
    name: 'main has shrunk',
    says: /size|sectors|bytes/,
    arrange: async (t, f) => {
      await formatted(t, f);
      truncateSync(f.main, SIZES.mainBytes - (1 << 20));
      return serveArguments(f);
    },
  },
  {
    name: 'spare of another volume',
    says: /another|belongs|other/,
    arrange: async (t, f) => {
      await formatted(t, f);
      const main = sparseFile(join(f.directory, 'other.img'), 20 << 20);
      return [...serveArguments({ ...f, main }), '--create'];
    },
  },
  {
    name: 'spares of two volumes together',
    says: /another|belongs|other/,
    arrange: async (t, f) => {
      const other = volumeFiles(t, SIZES);
      await formatted(t, f);
      await formatted(t, other);
      return [...serveArguments(f), `--spare=${other.spare}`];
    },
  },
  {
    name: 'main held by another back-end',
    says: /main\.img.*held by another process/,
    arrange: async (t, f) => {
      await Daemon.serve(t, f);
      const spare = sparseFile(join(f.directory, 'new.img'), SIZES.spareBytes);
      const other = { ...f, spare, socket: `${f.socket}2`, control: `${f.control}2` };
      return [...serveArguments(other), '--create'];
    },
  },
  {
    name: 'spare held by another back-end',
    says: /spare\.img.*held by another process/,
    arrange: async (t, f) => {
      await Daemon.serve(t, f);
      const main = copyOf(f, f.main, 'new.img');
      return serveArguments({ ...f, main, socket: `${f.socket}2`, control: `${f.control}2` });
    },
  },
  {
    name: 'block size that does not divide main',
    says: /4096/,
    arrange: (_, f) => {
      truncateSync(f.main, SIZES.mainBytes + 512);
      return [...serveArguments(f), '--create', '--logical-block-size=4096'];
    },
  },
  {
    name: 'block size other than the volume was made with',
    says: /4096.*512|512.*4096/,
    arrange: async (t, f) => {
      await formatted(t, f, '--logical-block-size=4096');
      return [...serveArguments(f), '--logical-block-size=512'];
    },
  },
];

const SOCKETS_AND_OPTIONS: Refusal[] = [
  {
    name: 'socket path too long',
    says: /107/,
    arrange: (_, f) => serveArguments({ ...f, socket: join(f.directory, 'x'.repeat(108)) }),
  },
  {
    name: 'socket in use',
    says: /blk\.sock/,
    arrange: async (t, f) => {
      const server = createServer();
      t.teardown(() => server.close());
      await new Promise<void>((resolve) => server.listen(f.socket, resolve));
      return [...serveArguments(f), '--create'];
    },
  },
  {
    name: 'control socket in use',
    says: /ctl\.sock/,
    arrange: async (t, f) => {
      const server = createServer();
      t.teardown(() => server.close());
      await new Promise<void>((resolve) => server.listen(f.control, resolve));
      return [...serveArguments(f), '--create'];
    },
  },
  {
    name: 'a file where the socket should be',
    says: /not a socket/,
    arrange: (_, f) => {
      writeFileSync(f.socket, 'precious');
      return [...serveArguments(f), '--create'];
    },
  },
  {
    name: 'no such directory for the socket',
    says: /does not exist/,
    arrange: (_, f) => serveArguments({ ...f, socket: join(f.directory, 'no', 's') }),
  },
  ...(
    [
      ['unknown option', ['--frobnicate'], /--frobnicate/],
      ['a word that is no option', ['word'], /'word'/],
      ['both --socket-path and --fd', ['--fd=0'], /--socket-path.*--fd|--fd.*--socket-path/],
      ['too many queues', ['--num-queues=65'], /--num-queues/],
      ['no queues', ['--num-queues=0'], /--num-queues/],
      ['block size nobody has', ['--logical-block-size=1024'], /--logical-block-size/],
      ['serial too long', ['--serial=123456789012345678901'], /--serial/],
      ['option without its value', ['--serial'], /--serial/],
    ] as const
  ).map(
    ([name, more, says]): Refusal => ({
      name,
      says,
      status: USAGE,
      arrange: (_, f) => [...serveArguments(f), ...more],
    }),
  ),
  {
    name: 'no device at all',
    says: /--blk-file/,
    status: USAGE,
    arrange: (_, f) => [`--socket-path=${f.socket}`],
  },
  {
    name: 'no socket at all',
    says: /--socket-path/,
    status: USAGE,
    arrange: (_, f) => [`--blk-file=${f.main}`],
  },
];

const CONTROL: Refusal[] = [
  {
    name: 'control socket that is not there',
    says: /ctl\.sock/,
    program: 'remapctl',
    arrange: (_, f) => [`--control-socket=${f.control}`, 'status'],
  },
  {
    name: 'control socket nobody listens on',
    says: /ctl\.sock/,
    program: 'remapctl',
    arrange: async (t, f) => {
      const daemon = await Daemon.serve(t, f);
      await daemon.kill();
      t.ok(existsSync(f.control), 'left behind by the kill');
      return [`--control-socket=${f.control}`, 'status'];
    },
  },
  {
    name: 'no verb of ours',
    says: /frobnicate/,
    status: USAGE,
    program: 'remapctl',
    arrange: () => ['frobnicate'],
  },
  {
    name: 'remap add beyond the end',
    says: /32768/,
    program: 'remapctl',
    arrange: async (t, f) => {
      await Daemon.serve(t, f);
      return [`--control-socket=${f.control}`, 'remap', 'add', '32768', '1'];
    },
  },
  {
    name: 'remap remove of what is not remapped',
    says: /remapped/,
    program: 'remapctl',
    arrange: async (t, f) => {
      await Daemon.serve(t, f);
      return [`--control-socket=${f.control}`, 'remap', 'remove', '5'];
    },
  },
  {
    name: 'inject without leave',
    says: /--allow-fault-injection/,
    program: 'remapctl',
    arrange: async (t, f) => {
      const args = serveArguments(f).filter((a) => a !== '--allow-fault-injection');
      await Daemon.start(t, [...args, '--create']);
      const rule = ['--kind=read-error', '--lba=0', '--count=1'];
      return [`--control-socket=${f.control}`, 'inject', 'add', ...rule];
    },
  },
];

const OFFLINE: Refusal[] = [
  {
    name: 'create: spare too small',
    says: /\b1048576\b.*\b8388608\b|\b1 MiB\b.*\b8 MiB\b|\b2048\b.*\b16384\b/,
    program: 'remapctl',
    arrange: (_, f) => {
      truncateSync(f.spare, 1 << 20);
      return ['create', f.main, `--spare=${f.spare}`];
    },
  },
  {
    name: 'create: spare not blank',
    says: /--force/,
    program: 'remapctl',
    arrange: (_, f) => {
      writeFileSync(f.spare, Buffer.alloc(SIZES.spareBytes, 0x55));
      return ['create', f.main, `--spare=${f.spare}`];
    },
  },
  {
    name: 'create: spare of this volume already',
    says: /already/,
    program: 'remapctl',
    arrange: async (t, f) => {
      await formatted(t, f);
      return ['create', f.main, `--spare=${f.spare}`];
    },
  },
  {
    name: 'create: spare of another volume',
    says: /--force/,
    program: 'remapctl',
    arrange: async (t, f) => {
      await formatted(t, f);
      const main = sparseFile(join(f.directory, 'other.img'), SIZES.mainBytes);
      return ['create', main, `--spare=${f.spare}`];
    },
  },
  {
    name: 'create: one file twice',
    says: /twice|same/,
    program: 'remapctl',
    arrange: (_, f) => ['create', f.main, `--spare=${f.main}`],
  },
  {
    name: 'create: devices in use, forced',
    says: /\.img is held by another process/,
    program: 'remapctl',
    arrange: async (t, f) => {
      await Daemon.serve(t, f);
      return ['create', f.main, `--spare=${f.spare}`, '--force'];
    },
  },
  {
    name: 'inspect: no metadata',
    says: /spare\.img/,
    program: 'remapctl',
    arrange: (_, f) => ['inspect', f.spare],
  },
  {
    name: 'inspect: no such file',
    says: /missing\.img/,
    program: 'remapctl',
    arrange: (_, f) => ['inspect', join(f.directory, 'missing.img')],
  },
];

function check(group: string, refusals: readonly Refusal[]): void {
  t.test(group, { jobs: 2 }, (t) => {
    for (const refusal of refusals) {
      t.test(refusal.name, async (t) => {
        const f = volumeFiles(t, SIZES);
        const args = await refusal.arrange(t, f);
        const before = [f.main, f.spare].map(sha256);
        const result = await (refusal.program === 'remapctl'
          ? runProgram('remapctl', args)
          : runRefused(args));
        checkSentence(t, result, refusal);
        t.strictSame([f.main, f.spare].map(sha256), before, 'nothing changed');
      });
    }
    t.end();
  });
}

check('main and spare', MAIN_AND_SPARE);
check('volumes', BOUND);
check('sockets and options', SOCKETS_AND_OPTIONS);
check('control', CONTROL);
check('without a daemon', OFFLINE);
