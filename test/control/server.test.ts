import { spawnSync } from 'node:child_process';
import { stat, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { ControlServer } from '../../src/control/server.js';
import { CONTROL_REQUEST_MAX_BYTES } from '../../src/core/limits.js';
import { silentLogger } from '../../src/core/log.js';
import { call } from '../../src/protocol/client.js';
import { errorAnswerSchema } from '../../src/protocol/messages.js';
import { MemoryVolume } from '../fixtures/memory-volume.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

async function start(t: Test) {
  const path = join(tempDirectory(t), 'control.sock');
  const server = await ControlServer.listen(path, silentLogger);
  t.teardown(() => server.close());
  const volume = new MemoryVolume();
  server.attach(volume);
  return { path, server, volume };
}

function post(socketPath: string, url: string, body: string | Buffer, method = 'POST') {
  return new Promise<{ status: number | undefined; body: string }>((resolve, reject) => {
    const outgoing = httpRequest({ socketPath, path: url, method, agent: false }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => {
        text += chunk;
      });
      response.on('end', () => resolve({ status: response.statusCode, body: text }));
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

t.test('every verb answers', async (t) => {
  const { path } = await start(t);
  const status = await call(path, { verb: 'status' });
  t.match(status, { schema: 'status/1', volumes: [{ name: 'memory', sizeSectors: 8192 }] });
  const add = await call(path, { verb: 'remap add', extents: [{ lba: 5, count: 3 }] });
  t.strictSame(add, {
    schema: 'remap/1',
    action: 'add',
    requested: 3,
    moved: 3,
    skipped: 0,
    failed: 0,
    pending: 0,
  });
  const list = await call(path, { verb: 'remap list' });
  t.match(list, { action: 'list', remaps: [{ lba: 5 }, { lba: 6 }, { lba: 7 }], pending: [] });
  const remove = await call(path, { verb: 'remap remove', extents: [{ lba: 6, count: 1 }] });
  t.match(remove, { action: 'remove', moved: 1 });
  const faults = [
    { device: 'main', kind: 'slow' as const, lba: 1, count: 2, times: 3, delayMs: 4 },
    { device: 'spare', kind: 'read-error' as const, lba: 9, count: 1, times: 0, delayMs: 0 },
  ];
  const injected = await call(path, { verb: 'inject add', faults });
  t.match(injected, { action: 'add', faults: [{ id: 1, ...faults[0], hits: 0 }, { id: 2 }] });
  const cleared = await call(path, { verb: 'inject clear', device: 'spare' });
  t.strictSame(cleared, { schema: 'inject/1', action: 'clear', cleared: 1 });
  t.match(await call(path, { verb: 'inject list' }), { action: 'list', faults: [{ id: 1 }] });
});

t.test('the socket is for its owner alone and goes away with the server', async (t) => {
  const before = process.umask(0);
  t.teardown(() => process.umask(before));
  const { path, server } = await start(t);
  const made = await stat(path);
  t.ok(made.isSocket());
  t.equal(made.mode & 0o777, 0o600);
  t.equal(process.umask(0), 0, 'the umask of the process is as it was');
  await server.close();
  await t.rejects(stat(path), { code: 'ENOENT' });
});

t.test('what the volume refuses comes back with its code and status', async (t) => {
  const { path, volume } = await start(t);
  volume.faultsAllowed = false;
  await t.rejects(call(path, { verb: 'inject list' }), {
    code: 'FAULTS_OFF',
    message: /--allow-fault-injection/,
  });
  const statuses = {
    400: [
      'nonsense',
      '[]',
      '{"verb":"reboot"}',
      '{"verb":"remap add","extents":[{"lba":8192,"count":1}]}',
      '{"verb":"remap remove","extents":[{"lba":1,"count":1}]}',
    ],
    409: ['{"verb":"inject clear"}'],
  };
  for (const [status, bodies] of Object.entries(statuses)) {
    for (const body of bodies) {
      const answer = await post(path, '/rpc', body);
      t.equal(answer.status, Number(status), body);
      t.ok(errorAnswerSchema.safeParse(JSON.parse(answer.body)).success, answer.body);
    }
  }
  t.equal((await post(path, '/other', '{"verb":"status"}')).status, 400);
  t.equal((await post(path, '/rpc', '{"verb":"status"}', 'PUT')).status, 400);
});

t.test('an error that is none of ours is a 500 and does not end the server', async (t) => {
  const { path, volume } = await start(t);
  volume.listRemaps = () => {
    throw new TypeError('broken');
  };
  const answer = await post(path, '/rpc', '{"verb":"remap list"}');
  t.equal(answer.status, 500);
  t.match(JSON.parse(answer.body), { error: { code: 'INTERNAL', message: 'broken' } });
  t.match(await call(path, { verb: 'inject list' }), { action: 'list' });
});

t.test('a request over the limit is refused', async (t) => {
  const { path } = await start(t);
  const long = Buffer.alloc(CONTROL_REQUEST_MAX_BYTES + 1, '{"verb":"inject list"}'.padEnd(4096));
  long.fill(' ', 4096);
  const answer = await post(path, '/rpc', long).catch((e: NodeJS.ErrnoException) => e.code);
  if (typeof answer === 'object') t.match(answer, { status: 400, body: /longer than 67108864 / });
  else t.match(answer, /^(EPIPE|ECONNRESET)$/);
  t.match(await call(path, { verb: 'inject list' }), { action: 'list' });
});

t.test('a hundred thousand extents fit into one request', async (t) => {
  const { path, volume } = await start(t);
  let got = 0;
  volume.addRemaps = async (extents) => {
    got = extents.length;
    return { requested: got, moved: got, skipped: 0, failed: 0, pending: 0 };
  };
  const extents = Array.from({ length: 100_000 }, (_, n) => ({ lba: n * 4_000_000, count: 8 }));
  await call(path, { verb: 'remap add', extents });
  t.equal(got, 100_000);
});

t.test('before a volume is there, requests are told to come again', async (t) => {
  const path = join(tempDirectory(t), 'control.sock');
  const server = await ControlServer.listen(path, silentLogger);
  t.teardown(() => server.close());
  await t.rejects(call(path, { verb: 'status' }), { message: /still opening/ });
});

t.test('a path that is taken is left alone, a stale socket is replaced', async (t) => {
  const { path } = await start(t);
  await t.rejects(ControlServer.listen(path, silentLogger), {
    code: 'SOCKET_BUSY',
    message: /another process listens on .*control\.sock/,
  });
  t.match(await call(path, { verb: 'inject list' }), { action: 'list' });

  const directory = tempDirectory(t);
  const file = join(directory, 'plain.txt');
  await writeFile(file, 'mine');
  await t.rejects(ControlServer.listen(file, silentLogger), { code: 'SOCKET_PATH' });
  t.equal((await stat(file)).size, 4);
  await t.rejects(ControlServer.listen(join(directory, 'no/dir.sock'), silentLogger), {
    code: 'SOCKET_PATH',
    message: /does not exist/,
  });
  await t.rejects(ControlServer.listen(join(directory, 'x'.repeat(108)), silentLogger), {
    code: 'SOCKET_PATH',
    message: /room for 107/,
  });

  const stale = join(directory, 'stale.sock');
  await leaveStaleSocket(stale);
  const server = await ControlServer.listen(stale, silentLogger);
  t.teardown(() => server.close());
  await t.rejects(call(stale, { verb: 'status' }), { message: /still opening/ });
});

t.test('close lets a running answer finish', async (t) => {
  const { path, server, volume } = await start(t);
  let finish = () => {};
  const running = new Promise<void>((started) => {
    volume.addRemaps = async (extents) => {
      started();
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      return { requested: extents.length, moved: 1, skipped: 0, failed: 0, pending: 0 };
    };
  });
  const answer = call(path, { verb: 'remap add', extents: [{ lba: 1, count: 1 }] });
  await running;
  const idle = connect(path);
  await new Promise((resolve) => idle.once('connect', resolve));
  const closed = server.close();
  finish();
  t.match(await answer, { moved: 1 });
  await closed;
});

/** A socket file whose maker died: bound by a process that is gone. */
async function leaveStaleSocket(path: string): Promise<void> {
  const script =
    `require('net').createServer().listen(${JSON.stringify(path)}, ` +
    `() => process.kill(process.pid, 'SIGKILL'))`;
  spawnSync(process.execPath, ['-e', script]);
  await stat(path);
}

t.test('a client that leaves in the middle does no harm', async (t) => {
  const { path } = await start(t);
  const socket = connect(path);
  socket.write('POST /rpc HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"verb"');
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.destroy();
  t.match(await call(path, { verb: 'inject list' }), { action: 'list' });
});
