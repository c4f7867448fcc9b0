/** What cannot be read is an error, never invented data, and nothing else is lost with it. */
import t from 'tap';
import { Daemon, volumeFiles } from '../fixtures/daemon.js';
import { FrontEnd, SECTOR, STATUS, TYPE } from '../fixtures/front-end.js';
import { Prng } from '../fixtures/prng.js';

const prng = new Prng(20);

t.test('one unreadable block of a request of 64', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files);
  const fe = await FrontEnd.attach({ socketPath: files.socket });
  t.teardown(() => fe.close());
  const first = 5000;
  const bad = first + 23;
  const data = prng.bytes(64 * SECTOR);
  await fe.write(first, data);
  const sector = (s: number) => data.subarray((s - first) * SECTOR, (s - first + 1) * SECTOR);

  await daemon.inject('read-error', [{ lba: bad, count: 1 }]);
  const whole = await fe.request({ type: TYPE.IN, sector: first, length: 64 * SECTOR });
  t.strictSame([whole.status, whole.usedLength], [STATUS.IOERR, 1]);

  for (let s = first; s < first + 64; s++) {
    const answer = await fe.request({ type: TYPE.IN, sector: s, length: SECTOR });
    if (s === bad) {
      t.equal(answer.status, STATUS.IOERR, 'the bad one stays an error');
    } else {
      t.equal(answer.status, STATUS.OK);
      t.ok(answer.data.equals(sector(s)), `sector ${s}`);
    }
  }
  t.strictSame(await daemon.pending(), [{ lba: bad, count: 1 }]);
  t.match(await daemon.status(), { pending: { sectors: 1 }, remaps: { sectors: 0 } });

  // Known across a crash.
  await daemon.kill();
  await daemon.restart();
  await fe.reconnect();
  t.strictSame(await daemon.pending(), [{ lba: bad, count: 1 }]);
  await daemon.inject('read-error', [{ lba: bad, count: 1 }]);

  const fresh = prng.bytes(SECTOR);
  await fe.write(bad, fresh);
  t.ok((await fe.read(bad, 1)).equals(fresh), 'a write makes it good');
  t.match(await daemon.status(), {
    pending: { sectors: 0 },
    remaps: { sectors: 1 },
    state: 'healthy',
  });
  fresh.copy(data, (bad - first) * SECTOR);
  t.ok((await fe.read(first, 64)).equals(data), 'and the whole request reads again');

  await daemon.kill();
  await daemon.restart();
  await fe.reconnect();
  t.ok((await fe.read(first, 64)).equals(data), 'also after a crash');
  t.strictSame(fe.state().violations, []);
});

t.test('an error that goes away within the retries is no error', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files);
  const fe = await FrontEnd.attach({ socketPath: files.socket });
  t.teardown(() => fe.close());
  const data = prng.bytes(8 * SECTOR);
  await fe.write(0, data);
  await daemon.inject('read-error', [{ lba: 3, count: 1 }], { times: 2 });
  t.ok((await fe.read(0, 8)).equals(data));
  t.match(await daemon.status(), { pending: { sectors: 0 }, io: { errors: 0 } });
});

t.test('a pending block that can be read after all is recovered to the spare', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files);
  const fe = await FrontEnd.attach({ socketPath: files.socket });
  t.teardown(() => fe.close());
  const data = prng.bytes(8 * SECTOR);
  await fe.write(40, data);
  const read = (sector: number, count: number) =>
    fe.request({ type: TYPE.IN, sector, length: count * SECTOR });
  await daemon.inject('read-error', [{ lba: 40, count: 8 }]);
  t.equal((await read(40, 8)).status, STATUS.IOERR);
  t.strictSame(await daemon.pending(), [{ lba: 40, count: 8 }]);

  await daemon.clearFaults();
  await daemon.inject('read-error', [{ lba: 44, count: 1 }]);
  const answer = await read(42, 2);
  t.equal(answer.status, STATUS.OK);
  t.ok(answer.data.equals(data.subarray(2 * SECTOR, 4 * SECTOR)));
  // The copy follows the answer.
  await daemon.statusWhen((s) => s.remaps.sectors > 0);
  t.strictSame(
    (await daemon.remaps()).map(({ lba, count, cause }) => ({ lba, count, cause })),
    [{ lba: 42, count: 2, cause: 'read-error' }],
  );
  t.strictSame(
    await daemon.pending(),
    [
      { lba: 40, count: 2 },
      { lba: 44, count: 4 },
    ],
    'what was not read stays pending',
  );
  t.match(await daemon.status(), { health: { inputs: { recoveredSectors: 2 } } });
  t.equal((await read(40, 8)).status, STATUS.IOERR, 'and one of them is still lost');
  await daemon.inject('read-error', [{ lba: 42, count: 2 }]);
  const again = await read(42, 2);
  t.equal(again.status, STATUS.OK, 'main is not needed for it any more');
  t.ok(again.data.equals(data.subarray(2 * SECTOR, 4 * SECTOR)));
});

t.test(
  'a partial write of a pending block of 4096 bytes is not possible, a whole one heals',
  async (t) => {
    const files = volumeFiles(t);
    const daemon = await Daemon.serve(t, files, '--logical-block-size=4096');
    const fe = await FrontEnd.attach({ socketPath: files.socket });
    t.teardown(() => fe.close());
    await fe.write(64, prng.bytes(4096));
    await daemon.inject('read-error', [{ lba: 66, count: 1 }]);
    t.equal((await fe.request({ type: TYPE.IN, sector: 64, length: 4096 })).status, STATUS.IOERR);
    t.strictSame(await daemon.pending(), [{ lba: 64, count: 8 }], 'the whole block');
    const data = prng.bytes(4096);
    await fe.write(64, data);
    t.ok((await fe.read(64, 8)).equals(data));
    t.match(await daemon.status(), { pending: { sectors: 0 }, remaps: { sectors: 8 } });
  },
);
