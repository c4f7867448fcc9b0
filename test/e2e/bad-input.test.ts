/**
 * Devices that a volume cannot be made of: one clear sentence, an exit status that is not zero, and
 * nothing changed on any device.
 */
import { spawnSync } from 'node:child_process';
import {
  copyFileSync,
  linkSync,
  mkdirSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Daemon, serveArguments, sparseFile, volumeFiles } from '../fixtures/daemon.js';
import { checkRefusals, formatted, type Refusal, SIZES } from '../fixtures/refusal.js';

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
    name: 'main has shrunk, with --create: never advised to format',
    says: /^(?!.*--force).*sectors/,
    arrange: async (t, f) => {
      await formatted(t, f);
      truncateSync(f.main, SIZES.mainBytes - (1 << 20));
      return [...serveArguments(f), '--create'];
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
      const main = join(f.directory, 'new.img');
      copyFileSync(f.main, main);
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

checkRefusals(t, [...MAIN_AND_SPARE, ...BOUND, ...OFFLINE]);
