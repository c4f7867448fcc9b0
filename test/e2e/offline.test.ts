/** The verbs that work on devices, around a life of the back-end. */
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import t from 'tap';
import { Daemon, serveArguments, sha256, volumeFiles } from '../fixtures/daemon.js';
import { FrontEnd, SECTOR } from '../fixtures/front-end.js';
import { Prng } from '../fixtures/prng.js';
import { runProgram } from '../fixtures/program.js';

const prng = new Prng(70);
const remapctl = (...args: string[]) => runProgram('remapctl', args);

t.test('create, serve, inspect, damage, check, repair', async (t) => {
  const f = volumeFiles(t);
  writeFileSync(f.main, prng.bytes(64 << 20));
  const create = ['create', f.main, `--spare=${f.spare}`];
  const main = sha256(f.main);
  const spare = sha256(f.spare);
  t.match(await remapctl(...create, '--dry-run'), { status: 0, stderr: '' });
  t.equal(sha256(f.spare), spare, 'a dry run writes nothing');
  t.match(await remapctl(...create), { status: 0, stderr: '' });
  t.equal(sha256(f.main), main, 'main is never written');

  const daemon = await Daemon.start(t, serveArguments(f));
  const fe = await FrontEnd.attach({ socketPath: f.socket });
  t.teardown(() => fe.close());
  await daemon.inject('write-error', [{ lba: 500, count: 3 }]);
  const data = prng.bytes(8 * SECTOR);
  await fe.write(498, data);
  const remaps = await daemon.remaps();
  const { metadata } = await daemon.status();
  t.equal(await daemon.stop(), 0);

  const good = sha256(f.spare);
  t.match(await remapctl('inspect', f.spare), { status: 0, stderr: '' });
  t.match(await remapctl('check', f.spare), { status: 0, stderr: '' });
  t.equal(sha256(f.spare), good, 'both only look');

  const fd = openSync(f.spare, 'r+');
  writeSync(fd, prng.bytes(48 << 10), 0, 48 << 10, metadata.copies[2]?.offset ?? 0);
  closeSync(fd);
  const damaged = sha256(f.spare);
  t.match(await remapctl('inspect', f.spare), { status: 3 });
  t.match(await remapctl('check', f.spare), { status: 3 });
  t.equal(sha256(f.spare), damaged, 'both only look');
  t.match(await remapctl('check', f.spare, '--repair'), { status: 0 });
  t.match(await remapctl('inspect', f.spare), { status: 0, stderr: '' });

  await daemon.restart();
  await fe.reconnect();
  t.strictSame(await daemon.remaps(), remaps);
  t.ok((await fe.read(498, 8)).equals(data));
  t.match(await remapctl('--json', 'inspect', f.spare), { status: 0 }, 'also of a spare in use');
});

t.test('create --force takes a spare that is not blank', async (t) => {
  const f = volumeFiles(t);
  writeFileSync(f.spare, prng.bytes(16 << 20));
  t.match(await remapctl('create', f.main, `--spare=${f.spare}`), { status: 1 });
  t.match(await remapctl('create', f.main, `--spare=${f.spare}`, '--force'), { status: 0 });
  const daemon = await Daemon.start(t, serveArguments(f));
  t.match(await daemon.status(), { state: 'healthy', remaps: { extents: 0 } });
});
