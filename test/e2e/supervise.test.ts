/** One supervisor, a process for each volume it finds. */
import { copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { call } from '../../src/protocol/client.js';
import { Daemon, sparseFile } from '../fixtures/daemon.js';
import { FrontEnd } from '../fixtures/front-end.js';
import { runProgram } from '../fixtures/program.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

const MIB = 1 << 20;

async function make(directory: string, name: string, mainMib: number): Promise<void> {
  const main = sparseFile(join(directory, `${name}.main`), mainMib * MIB);
  const spare = sparseFile(join(directory, `${name}.spare`), 8 * MIB);
  await runProgram('remapctl', ['create', main, `--spare=${spare}`, `--name=${name}`]);
}

async function setUp(t: Test) {
  const images = tempDirectory(t);
  const sockets = join(tempDirectory(t), 'sockets');
  const args = [`--discover=${images}`, `--socket-dir=${sockets}`, '--num-queues=2'];
  const ask = async (name: string): Promise<number | undefined> => {
    try {
      return (await call(join(sockets, `${name}.ctl`), { verb: 'status' })).pid;
    } catch {
      return undefined;
    }
  };
  /** The process of a volume, once there is one that is not `other`. */
  const pidOf = async (name: string, other?: number): Promise<number> => {
    for (;;) {
      const pid = await ask(name);
      if (pid !== undefined && pid !== other) return pid;
      await sleep(20);
    }
  };
  // They outlive their supervisor, and must not outlive the test.
  t.teardown(async () => {
    for (const name of ['a', 'b', 'c']) {
      const pid = await ask(name);
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
    }
  });
  return { images, sockets, args, ask, pidOf };
}

t.test('found, served, started again, taken over, stopped', async (t) => {
  const { images, sockets, args, ask, pidOf } = await setUp(t);
  await make(images, 'a', 1);
  await make(images, 'b', 2);
  const first = await Daemon.start(t, args);
  const ready = first.log.find(({ msg }) => msg === 'ready');
  t.match(ready, { volumes: [{ name: 'a' }, { name: 'b' }], unserved: 0 });
  const [a, b] = [await pidOf('a'), await pidOf('b')];
  t.not(a, b);
  const frontEnd = await FrontEnd.attach({ socketPath: join(sockets, 'b.sock'), queues: 1 });
  await frontEnd.write(0, Buffer.alloc(512, 7));

  // The crash of one touches no other.
  process.kill(a, 'SIGKILL');
  const again = await pidOf('a', a);
  t.equal(await pidOf('b'), b);
  t.ok((await frontEnd.read(0, 1)).equals(Buffer.alloc(512, 7)));

  // A new volume is taken when it appears, and a copy of a spare is not.
  await make(images, 'c', 3);
  const c = await pidOf('c');
  copyFileSync(join(images, 'c.spare'), join(images, 'x.spare'));

  // The supervisor dies, and the next one touches nothing that runs.
  first.signal('SIGKILL');
  t.ok((await frontEnd.read(0, 1)).equals(Buffer.alloc(512, 7)));
  const second = await Daemon.start(t, args);
  t.same([await pidOf('a'), await pidOf('b')], [again, b]);
  t.match(
    second.log
      .filter(({ msg }) => msg === 'runs already, taken over')
      .map(({ volume }) => volume)
      .sort(),
    ['a', 'b'],
  );
  t.ok(
    second.log.some(({ msg }) => /^not served: conflicting: .*x\.spare all say/.test(String(msg))),
  );
  frontEnd.close();
  process.kill(c, 'SIGTERM');
  t.equal(await second.stop(), 0);
  t.same([await ask('a'), await ask('b')], [undefined, undefined]);
  t.notOk(existsSync(join(sockets, 'a.sock')));
});

t.test('bad usage: one sentence, status 2', async (t) => {
  const { sockets, images } = await setUp(t);
  const cases: [string[], RegExp][] = [
    [[`--discover=${images}`], /--discover needs --socket-dir=DIR/],
    [[`--socket-dir=${sockets}`], /--socket-dir goes with --discover/],
    [[`--discover=${images}`, `--socket-dir=${sockets}`, '--spare=x'], /--spare is for one volume/],
    [[`--discover=${images}`, `--socket-dir=${sockets}`, '--num-queues=99'], /at most 64/],
  ];
  for (const [args, message] of cases) {
    const result = await runProgram('vhost-user-remap', args);
    t.match(result, { status: 2, stdout: '', stderr: message });
  }
  const missing = [`--discover=${join(images, 'x')}`, `--socket-dir=${sockets}`];
  const nowhere = await runProgram('vhost-user-remap', missing);
  t.match(nowhere, { status: 1, stderr: /There is nothing at/ });
});
