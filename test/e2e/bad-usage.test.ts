/**
 * Sockets, options and requests that cannot be: one clear sentence, an exit status that is not
 * zero, and nothing changed on any device. Every option's own limits are in test/daemon.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { Daemon, serveArguments } from '../fixtures/daemon.js';
import { checkRefusals, type Refusal, USAGE } from '../fixtures/refusal.js';

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
      ['both --socket-path and --fd', ['--fd=0'], /--socket-path.*--fd|--fd.*--socket-path/],
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

checkRefusals(t, [...SOCKETS_AND_OPTIONS, ...CONTROL]);
