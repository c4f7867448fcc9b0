import { join } from 'node:path';
import t from 'tap';
import { ControlServer } from '../../src/control/server.js';
import { silentLogger } from '../../src/core/log.js';
import { MemoryVolume } from '../fixtures/memory-volume.js';
import { runProgram } from '../fixtures/program.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

t.test('the program: streams, environment, exit status', async (t) => {
  const socket = join(tempDirectory(t), 'c.sock');
  const server = await ControlServer.listen(socket, silentLogger);
  t.teardown(() => server.close());
  const volume = new MemoryVolume();
  server.attach(volume);
  const env = { REMAPCTL_SOCKET: socket };

  const status = await runProgram('remapctl', ['status'], { env });
  t.match(status, { status: 0, stderr: '' });
  t.match(status.stdout, /^ {2}volume: memory .*errors: none known\n$/s);
  t.notMatch(status.stdout, '\u001b', 'a pipe gets no colours');

  const added = await runProgram('remapctl', ['remap', 'add', '--from=-'], { env, input: '1 2\n' });
  t.match(added, { status: 0, stdout: 'moved 2 sectors to the spare\n' });

  volume.state = 'failed';
  t.match(await runProgram('remapctl', ['status', '--json'], { env }), { status: 3, stderr: '' });
  t.match(await runProgram('remapctl', ['stauts']), {
    status: 2,
    stdout: '',
    stderr: "remapctl: unknown verb 'stauts'; did you mean status?\n",
  });
});

t.test('a control socket nobody listens on', async (t) => {
  const socket = join(tempDirectory(t), 'none.sock');
  for (const verb of [['status'], ['remap', 'list'], ['inject', 'list']]) {
    t.match(await runProgram('remapctl', [...verb, `--control-socket=${socket}`]), {
      status: 1,
      stdout: '',
      stderr: `remapctl: no back-end listens on ${socket}; start vhost-user-remap`,
    });
  }
});
