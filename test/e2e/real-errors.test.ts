/** Errors that come from below, through the kernel: no fault layer of ours has a hand in them. */
import { readFileSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { Daemon, sparseFile } from '../fixtures/daemon.js';
import {
  FailingDevice,
  type Failure,
  loopDevice,
  missingForFailing,
} from '../fixtures/failing-device.js';
import { FrontEnd, SECTOR, STATUS, TYPE } from '../fixtures/front-end.js';
import { Prng } from '../fixtures/prng.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

const MIB = 1 << 20;
const missing = missingForFailing();
const skip = missing === undefined ? false : `SKIP ${missing}`;
if (missing !== undefined) t.comment(`SKIP ${missing}`);

interface Stage {
  readonly main: FailingDevice;
  readonly daemon: Daemon;
  readonly fe: FrontEnd;
  readonly socketPath: string;
}

async function stage(
  t: Test,
  failures: readonly Failure[],
  { loop = false, spareFailures = [] as readonly Failure[] } = {},
): Promise<Stage | undefined> {
  const directory = tempDirectory(t);
  const main = await FailingDevice.start(t, { directory, name: 'main', bytes: 16 * MIB }, failures);
  const mainPath = loop ? loopDevice(t, main.path) : main.path;
  if (mainPath === undefined) {
    t.comment('SKIP loop devices');
    return undefined;
  }
  const spare =
    spareFailures.length === 0
      ? sparseFile(`${directory}/spare`, 16 * MIB)
      : (await FailingDevice.start(t, { directory, name: 'spare', bytes: 16 * MIB }, spareFailures))
          .path;
  const socketPath = `${directory}/blk.sock`;
  const daemon = await Daemon.start(t, [
    `--socket-path=${socketPath}`,
    `--blk-file=${mainPath}`,
    `--spare=${spare}`,
    `--control-socket=${directory}/ctl.sock`,
    '--create',
  ]);
  const fe = await FrontEnd.attach({ socketPath, queues: 1 });
  t.teardown(() => fe.close());
  return { main, daemon, fe, socketPath };
}

async function remapsWhatFails(t: Test, loop: boolean): Promise<void> {
  const prng = new Prng(11);
  const unwritable = [1003, 1010, 1011, 5000];
  const unreadable = [2000, 2001];
  const block = 8;
  const on = await stage(
    t,
    [
      ...unwritable.map((sector) => ({ on: 'write' as const, sector })),
      ...unreadable.map((sector) => ({ on: 'read' as const, sector })),
    ],
    { loop },
  );
  if (on === undefined) return;
  const { main, daemon, fe, socketPath } = on;
  // Where there are no data, none are read.
  writeFileSync(main.backing, Buffer.alloc(16 * MIB, 0x5a), { flag: 'r+' });

  const data = prng.bytes(64 * SECTOR);
  t.equal(
    (await fe.request({ type: TYPE.OUT, sector: 1000 - (1000 % block), data })).status,
    STATUS.OK,
  );
  t.ok((await fe.read(1000, 64)).equals(data));
  const one = prng.bytes(block * SECTOR);
  t.equal((await fe.request({ type: TYPE.OUT, sector: 5000, data: one })).status, STATUS.OK);
  t.ok((await fe.read(5000, block)).equals(one));
  // None of their neighbours, though the block layer joins what it is given together.
  t.match(await daemon.status(), { remaps: { sectors: unwritable.length } });

  // Lost is lost, and only that; until it is written.
  const read = await fe.request({ type: TYPE.IN, sector: 1992, length: 32 * SECTOR });
  t.equal(read.status, STATUS.IOERR);
  t.match(await daemon.status(), { pending: { sectors: unreadable.length } });
  t.ok((await fe.read(2008, 8)).equals(Buffer.alloc(8 * SECTOR, 0x5a)));
  const fresh = prng.bytes(16 * SECTOR);
  t.equal((await fe.request({ type: TYPE.OUT, sector: 2000, data: fresh })).status, STATUS.OK);
  t.ok((await fe.read(2000, 16)).equals(fresh));
  t.match(await daemon.status(), { pending: { sectors: 0 }, state: 'healthy' });

  // All of it survives a crash, and what is not bad is on main.
  t.equal((await fe.request({ type: TYPE.FLUSH, sector: 0 })).status, STATUS.OK);
  await daemon.kill();
  fe.close();
  await daemon.restart();
  const again = await FrontEnd.attach({ socketPath, queues: 1 });
  t.ok((await again.read(1000, 64)).equals(data));
  t.ok((await again.read(5000, block)).equals(one));
  t.ok((await again.read(2000, 16)).equals(fresh));
  again.close();
  await daemon.stop();
  const good = readFileSync(main.backing).subarray(1024 * SECTOR, 1064 * SECTOR);
  t.ok(good.equals(data.subarray(24 * SECTOR)));
}

t.test('sectors of a file that fail', { skip }, (t) => remapsWhatFails(t, false));

t.test('sectors of a block device that fail', { skip }, (t) => remapsWhatFails(t, true));

t.test('an error that is gone on the next try costs no spare block', { skip }, async (t) => {
  const on = await stage(t, [
    { on: 'write', sector: 100, once: true },
    { on: 'read', sector: 200, once: true },
  ]);
  if (on === undefined) return;
  const data = Buffer.alloc(8 * SECTOR, 5);
  t.equal((await on.fe.request({ type: TYPE.OUT, sector: 96, data })).status, STATUS.OK);
  t.ok((await on.fe.read(96, 8)).equals(data));
  t.equal((await on.fe.read(200, 8)).length, 8 * SECTOR);
  t.match(await on.daemon.status(), { remaps: { sectors: 0 }, pending: { sectors: 0 } });
});

t.test('a flush that fails is told of, for ever', { skip }, async (t) => {
  const on = await stage(t, [{ on: 'flush', once: true }]);
  if (on === undefined) return;
  const flush = async () => (await on.fe.request({ type: TYPE.FLUSH, sector: 0 })).status;
  const write = { type: TYPE.OUT, sector: 8, data: Buffer.alloc(8 * SECTOR, 1) };
  t.equal((await on.fe.request(write)).status, STATUS.OK);
  t.equal(await flush(), STATUS.IOERR);
  // The device says yes now, and what it dropped stays dropped.
  t.equal(await flush(), STATUS.IOERR);
  t.equal((await on.fe.request(write)).status, STATUS.OK);
  t.equal(await flush(), STATUS.IOERR);
  t.match(await on.daemon.status(), { state: 'failed', problems: [{ code: 'FLUSH_FAILED' }] });
});

t.test('no space left is no bad block', { skip }, async (t) => {
  const on = await stage(t, [{ on: 'write', sector: 100, errno: 'ENOSPC' }]);
  if (on === undefined) return;
  const write = { type: TYPE.OUT, sector: 96, data: Buffer.alloc(8 * SECTOR, 1) };
  t.equal((await on.fe.request(write)).status, STATUS.IOERR);
  t.match(await on.daemon.status(), { remaps: { sectors: 0 }, pending: { sectors: 0 } });
});
