import { closeSync, existsSync, openSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { RemapError } from '../../src/core/errors.js';
import { type DaemonOptions, parseDaemonOptions } from '../../src/daemon/options.js';
import { type ServedVolume, serve } from '../../src/daemon/serve.js';
import { call } from '../../src/protocol/client.js';
import { MemoryVolume } from '../fixtures/memory-volume.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

/** Writes down what is asked of it, in order. */
class RecordingVolume extends MemoryVolume implements ServedVolume {
  readonly calls: string[];
  readonly ended: Promise<void>;
  end: () => void = () => {};
  onListen: () => void = () => {};

  constructor(calls: string[]) {
    super();
    this.calls = calls;
    this.ended = new Promise((resolve) => {
      this.end = resolve;
    });
  }

  listen(): void {
    this.calls.push('listen');
    this.onListen();
  }

  async stop(): Promise<void> {
    this.calls.push('stop');
  }
}

function setUp(t: Test, extra: string[] = []) {
  const directory = tempDirectory(t);
  const control = join(directory, 'control.sock');
  const command = parseDaemonOptions([
    `--socket-path=${join(directory, 'vhost.sock')}`,
    `--control-socket=${control}`,
    '--blk-file=m',
    ...extra,
  ]);
  if (command.kind !== 'serve') throw new Error('not a serve command');
  const lines: Record<string, unknown>[] = [];
  const log = pino({ base: null }, { write: (line: string) => lines.push(JSON.parse(line)) });
  let signal = () => {};
  const shutdown = {
    isRequested: false,
    requested: new Promise<NodeJS.Signals>((resolve) => {
      signal = () => {
        shutdown.isRequested = true;
        resolve('SIGTERM');
      };
    }),
  };
  const calls: string[] = [];
  const volume = new RecordingVolume(calls);
  const open = async (_: DaemonOptions): Promise<ServedVolume> => {
    calls.push('open');
    return volume;
  };
  const run = (openVolume = open) => serve(command.options, log, shutdown, openVolume);
  return { directory, control, run, volume, calls, lines, signal: () => signal(), open };
}

t.test('a signal: stopped, drained, sockets gone', async (t) => {
  const { control, run, volume, calls, lines, signal, directory } = setUp(t);
  let status: unknown;
  volume.onListen = () => {
    void call(control, { verb: 'status' }).then((answer) => {
      status = answer;
      signal();
    });
  };
  await run();
  t.strictSame(calls, ['open', 'listen', 'stop']);
  t.match(status, { schema: 'status/1' });
  t.notOk(existsSync(control));
  t.match(lines, [
    {
      msg: 'ready',
      socket: join(directory, 'vhost.sock'),
      control,
      volume: '01234567-89ab-4cde-8f01-23456789abcd',
      sectors: 8192,
    },
    { msg: 'stopped' },
  ]);
});

t.test('the only front-end leaves', async (t) => {
  const { run, volume, calls } = setUp(t);
  volume.onListen = () => volume.end();
  await run();
  t.strictSame(calls, ['open', 'listen', 'stop']);
});

t.test('a signal while the devices are opened: never listens', async (t) => {
  const { run, calls, signal, open } = setUp(t);
  await run(async (options) => {
    signal();
    return open(options);
  });
  t.strictSame(calls, ['open', 'stop']);
});

t.test('devices that do not open: the control socket goes away again', async (t) => {
  const { control, run } = setUp(t);
  const refusal = new RemapError('DEVICE_OPEN', 'no');
  let seen = false;
  await t.rejects(
    run(async () => {
      seen = existsSync(control);
      throw refusal;
    }),
    refusal,
  );
  t.ok(seen, 'the control socket was there before the devices');
  t.notOk(existsSync(control));
});

t.test('a socket that cannot be listened on: all is closed again', async (t) => {
  const { control, run, volume, calls } = setUp(t);
  volume.onListen = () => {
    throw new RemapError('SOCKET_BUSY', 'somebody came first');
  };
  await t.rejects(run(), { code: 'SOCKET_BUSY' });
  t.strictSame(calls, ['open', 'listen', 'stop']);
  t.notOk(existsSync(control));
});

t.test('conflicts of sockets are found before any device is opened', async (t) => {
  for (const name of ['vhost.sock', 'control.sock']) {
    const busy = setUp(t);
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(join(busy.directory, name), resolve));
    t.teardown(() => server.close());
    await t.rejects(busy.run(), { code: 'SOCKET_BUSY', message: /another process listens/ }, name);
    t.strictSame(busy.calls, []);

    const file = setUp(t);
    await writeFile(join(file.directory, name), 'mine');
    await t.rejects(file.run(), { code: 'SOCKET_PATH', message: /is not a socket/ }, name);
    t.strictSame(file.calls, []);
  }
});

t.test('--fd has to be a socket', async (t) => {
  const { calls, open } = setUp(t);
  const log = pino({ level: 'silent' });
  const file = openSync(fileURLToPath(import.meta.url), 'r');
  t.teardown(() => closeSync(file));
  for (const fd of [0xffff, file]) {
    const command = parseDaemonOptions([`--fd=${fd}`, '--blk-file=m']);
    if (command.kind !== 'serve') throw new Error('not a serve command');
    const shutdown = { isRequested: false, requested: new Promise<NodeJS.Signals>(() => {}) };
    await t.rejects(serve(command.options, log, shutdown, open), {
      code: 'USAGE',
      message: `--fd=${fd} is not an open socket; pass one to this process, or --socket-path`,
    });
  }
  t.strictSame(calls, []);
});
