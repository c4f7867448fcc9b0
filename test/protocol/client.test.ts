import { writeFile } from 'node:fs/promises';
import { createServer as createHttpServer } from 'node:http';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { call } from '../../src/protocol/client.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

const STATUS = { verb: 'status' } as const;

async function listen(t: Test, server: Server): Promise<string> {
  const path = join(tempDirectory(t), 'some.sock');
  await new Promise<void>((resolve) => server.listen(path, resolve));
  t.teardown(() => new Promise((resolve) => server.close(resolve)));
  return path;
}

const answering = (status: number, body: string) =>
  createHttpServer((incoming, response) => {
    incoming.resume();
    response.writeHead(status, { Connection: 'close' }).end(body);
  });

t.test('nobody there: the sentence names the path and what to start', async (t) => {
  const path = join(tempDirectory(t), 'none.sock');
  await t.rejects(call(path, STATUS), {
    code: 'DAEMON_UNREACHABLE',
    message:
      `no back-end listens on ${path}; start vhost-user-remap with --control-socket=${path}, ` +
      'or name the right socket',
    context: { errno: 'ENOENT' },
  });
});

t.test('a file that is no socket, a path too long', async (t) => {
  const directory = tempDirectory(t);
  await writeFile(join(directory, 'file'), '');
  await t.rejects(call(join(directory, 'file'), STATUS), { code: 'DAEMON_UNREACHABLE' });
  await t.rejects(call(`/${'x'.repeat(200)}`, STATUS), { code: 'SOCKET_PATH' });
});

t.test('somebody else listens there', async (t) => {
  for (const body of ['hello', '{}', '{"schema":"status/2","volumes":[]}']) {
    const path = await listen(t, answering(200, body));
    await t.rejects(call(path, STATUS), { code: 'DAEMON_UNREACHABLE', message: /check the path/ });
  }
  const path = await listen(t, answering(404, 'not found'));
  await t.rejects(call(path, STATUS), { code: 'DAEMON_UNREACHABLE', message: /check the path/ });
});

t.test('a back-end that goes away before it answers', async (t) => {
  const path = await listen(
    t,
    createServer((socket) => socket.once('data', () => socket.destroy())),
  );
  await t.rejects(call(path, STATUS), { code: 'DAEMON_UNREACHABLE', message: /went away/ });
});

t.test('an answer cut off in the middle', async (t) => {
  const path = await listen(
    t,
    createServer((socket) =>
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"schema"');
        setTimeout(() => socket.destroy(), 20);
      }),
    ),
  );
  await t.rejects(call(path, STATUS), { code: 'DAEMON_UNREACHABLE' });
});

t.test('its error is ours, an unknown code too', async (t) => {
  const error = { code: 'FROM_THE_FUTURE', message: 'no', context: { lba: 3 } };
  const path = await listen(t, answering(409, JSON.stringify({ schema: 'error/1', error })));
  await t.rejects(call(path, STATUS), error);
});

t.test('fields of a newer back-end are let be', async (t) => {
  const path = await listen(t, answering(200, '{"schema":"status/1","volumes":[],"more":1}'));
  t.strictSame(await call(path, STATUS), { schema: 'status/1', volumes: [] });
});
