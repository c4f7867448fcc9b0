import { existsSync, statSync } from 'node:fs';
import t from 'tap';
import { Daemon, volumeFiles } from '../fixtures/daemon.js';

t.test('ready, then SIGTERM', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files);
  const ready = daemon.log.find((line) => line.msg === 'ready');
  const { uuid } = await daemon.status();
  t.match(ready, {
    level: 30,
    socket: files.socket,
    control: files.control,
    volume: uuid,
    sectors: 131072,
    state: 'healthy',
  });
  t.equal(statSync(files.control).mode & 0o777, 0o600);
  t.ok(statSync(files.socket).isSocket());
  t.equal(await daemon.stop(), 0);
  t.notOk(existsSync(files.socket) || existsSync(files.control));
  t.match(daemon.log.at(-1), { msg: 'stopped' });
});

t.test('killed: the sockets it left are taken over; SIGINT is as good as SIGTERM', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files);
  await daemon.remapAdd([{ lba: 8, count: 4 }]);
  await daemon.kill();
  t.ok(existsSync(files.control) && existsSync(files.socket));
  await daemon.restart();
  t.match(await daemon.status(), { remaps: { sectors: 4 } });
  daemon.signal('SIGINT');
  t.equal(await daemon.exited, 0);
  t.notOk(existsSync(files.socket) || existsSync(files.control));
});
