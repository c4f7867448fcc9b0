/** Two back-ends of one volume: each holds it while its rings run, and finds what the other did. */
import { truncateSync } from 'node:fs';
import t, { type Test } from 'tap';
import { call } from '../../src/protocol/client.js';
import { Daemon, serveArguments, type VolumeFiles, volumeFiles } from '../fixtures/daemon.js';
import { FrontEnd, PROTOCOL, PROTOCOL_ALL, SECTOR } from '../fixtures/front-end.js';
import { runProgram } from '../fixtures/program.js';

const filled = (sectors: number, value: number): Buffer => Buffer.alloc(sectors * SECTOR, value);

interface Side {
  readonly daemon: Daemon;
  readonly frontEnd: FrontEnd;
}

/** QEMU before 10 does not ask whether a ring could be enabled, and 10 does. */
type Asks = 'asks' | 'does not ask';

async function side(t: Test, files: VolumeFiles, name: string, asks: Asks): Promise<Side> {
  const socket = `${files.socket}.${name}`;
  const own = { ...files, socket, control: `${files.control}.${name}` };
  const args = [...serveArguments(own), '--create', '--shared-storage'];
  const daemon = await Daemon.start(t, args);
  const protocolFeatures = asks === 'asks' ? PROTOCOL_ALL : PROTOCOL_ALL & ~PROTOCOL.REPLY_ACK;
  const frontEnd = new FrontEnd({ socketPath: socket, protocolFeatures });
  t.teardown(() => frontEnd.close());
  await frontEnd.connect();
  return { daemon, frontEnd };
}

/** Sides A and B of one new volume, both connected, neither started. */
async function twoSides(t: Test, asks: Asks = 'does not ask') {
  const files = volumeFiles(t);
  return { a: await side(t, files, 'a', asks), b: await side(t, files, 'b', asks), files };
}

const held = ({ daemon }: Side, is = true) =>
  daemon.statusWhen(({ state }) => (state !== 'standby') === is);
const lbas = async ({ daemon }: Side) => (await daemon.remaps()).map(({ lba }) => lba).sort();

t.test('there and back, with remaps made on each side', async (t) => {
  const { a, b } = await twoSides(t, 'asks');
  t.equal((await b.daemon.status()).state, 'standby');
  t.equal(await b.frontEnd.capacity(), await a.frontEnd.capacity(), 'both tell the size');

  await a.frontEnd.start();
  await a.daemon.inject('write-error', [{ lba: 100, count: 2 }]);
  await a.frontEnd.write(96, filled(16, 1));
  await a.daemon.remapAdd([{ lba: 5000, count: 8 }]);
  t.same(await lbas(a), [100, 5000]);
  await a.frontEnd.stop();

  // What is remapped on A reads from the spare on B only when B has loaded A's last commit.
  await b.frontEnd.start();
  await b.daemon.inject('read-error', [{ lba: 100, count: 2 }]);
  t.same(await b.frontEnd.read(96, 16), filled(16, 1), 'B sees what A wrote');
  t.same(await lbas(b), [100, 5000]);
  t.equal((await held(a, false)).state, 'standby');
  await b.frontEnd.write(5000, filled(8, 2));
  await b.daemon.inject('write-error', [{ lba: 9000, count: 1 }]);
  await b.frontEnd.write(9000, filled(1, 3));
  await b.daemon.clearFaults();
  const back = [{ lba: 100, count: 2 }];
  await call(b.daemon.controlSocket, { verb: 'remap remove', extents: back });
  await b.frontEnd.write(100, filled(2, 4));
  await b.frontEnd.stop();

  // A's own map of before has 100 on the spare, where its old data still stands.
  await a.daemon.clearFaults();
  await a.frontEnd.start();
  t.same(await lbas(a), [5000, 9000]);
  t.same(await a.frontEnd.read(100, 2), filled(2, 4), 'no stale remap is served');
  t.same(await a.frontEnd.read(5000, 8), filled(8, 2));
  t.same(await a.frontEnd.read(9000, 1), filled(1, 3));
  t.equal((await a.daemon.status()).state, 'healthy');
  for (const { daemon } of [a, b]) t.equal(await daemon.stop(), 0);
});

t.test('what does not hold the volume says so, and changes nothing', async (t) => {
  const { a, b, files } = await twoSides(t, 'asks');
  await a.frontEnd.start();
  t.match(await b.daemon.status(), { state: 'standby', problems: [] });
  const extents = [{ lba: 7, count: 1 }];
  const code = { code: 'NOT_HELD' };
  await t.rejects(call(b.daemon.controlSocket, { verb: 'remap add', extents }), code);
  await t.rejects(call(b.daemon.controlSocket, { verb: 'remap remove', extents }), code);
  await t.rejects(call(b.daemon.controlSocket, { verb: 'remap list' }), code);
  await t.rejects(call(b.daemon.controlSocket, { verb: 'resize' }), code);
  const check = await runProgram('remapctl', ['check', files.spare]);
  t.match(check.stderr, /held by another process/, 'A holds the spare');

  const refused = b.frontEnd.start();
  await t.rejects(refused, /refused/, 'a start that is to be acknowledged fails in the end');
  const waiting = await b.daemon.remapctl('status');
  t.equal(waiting.status, 3);
  t.match(waiting.json, { volumes: [{ state: 'standby', problems: [{ code: 'RINGS_WAIT' }] }] });
  t.match(
    b.daemon.log.filter(({ level }) => level === 50),
    [{ msg: /rings cannot start, and wait: .*main\.img is held by another process/ }],
    'and is logged once',
  );
  await b.frontEnd.disconnect();
  await a.frontEnd.disconnect();
  await held(a, false);
  t.equal((await runProgram('remapctl', ['check', files.spare])).status, 0, 'nobody holds it');
  await b.frontEnd.reconnect();
  t.same((await held(b)).problems, []);
});

t.test('rings wait for a back-end that holds its volume from start to end', async (t) => {
  const files = volumeFiles(t);
  const a = await Daemon.serve(t, files);
  const b = await side(t, files, 'b', 'does not ask');
  const frontEnd = await FrontEnd.attach({ socketPath: files.socket });
  await frontEnd.write(0, filled(8, 5));
  await b.frontEnd.start();
  const read = b.frontEnd.read(0, 8);
  t.equal(await b.frontEnd.capacity(), 131_072, 'other messages are answered meanwhile');
  t.match(await b.daemon.status(), { state: 'standby', client: { queues: 0 } });
  await frontEnd.write(0, filled(8, 6));
  frontEnd.close();
  t.equal(await a.stop(), 0);
  t.same(await read, filled(8, 6), 'the request was not lost, and saw the last write');
  t.match(await held(b), { state: 'healthy', client: { queues: 1 } });
});

t.test('the holder is killed: the other takes over with all it had acknowledged', async (t) => {
  const { a, b } = await twoSides(t);
  await a.frontEnd.start();
  await b.frontEnd.start();
  const lost = Array.from({ length: 40 }, (_, i) => ({ lba: 1000 + 10 * i, count: 1 }));
  await a.daemon.inject('write-error', lost);
  const written: number[] = [];
  const writes = lost.map(async ({ lba }, i) => {
    await a.frontEnd.write(lba, filled(1, 10 + i));
    written.push(i);
    if (written.length === 10) a.daemon.signal('SIGKILL');
  });
  a.frontEnd.hangup().then(() => a.frontEnd.close());
  await Promise.allSettled(writes);
  t.ok(written.length >= 10, `${written.length} of 40 were acknowledged`);
  for (const i of written) t.same(await b.frontEnd.read(1000 + 10 * i, 1), filled(1, 10 + i));
  const remapped = await lbas(b);
  for (const i of written) t.ok(remapped.includes(1000 + 10 * i));

  await a.daemon.restart();
  t.equal((await a.daemon.status()).state, 'standby', 'and the killed one comes back beside it');
});

t.test('main that grew on one side has its size on the other', async (t) => {
  const { a, b, files } = await twoSides(t);
  await a.frontEnd.start();
  truncateSync(files.main, 96 << 20);
  t.equal((await a.daemon.remapctl('resize')).status, 0);
  await a.daemon.remapAdd([{ lba: 190_000, count: 1 }]);
  await a.frontEnd.stop();
  await b.frontEnd.start();
  t.match(await held(b), { sizeSectors: 196_608, remaps: { sectors: 1 } });
  t.equal(await b.frontEnd.capacity(), 196_608);
  await b.frontEnd.write(196_600, filled(8, 7));
  // Longer than the record, and nobody has asked for it: nothing changes for the guest.
  truncateSync(files.main, 128 << 20);
  await b.frontEnd.stop();
  await a.frontEnd.start();
  t.match(await held(a), { sizeSectors: 196_608, state: 'healthy' });
  t.same(await a.frontEnd.read(196_600, 8), filled(8, 7));
});

t.test('rings stop and start at once, again and again, under a load', async (t) => {
  const a = await side(t, volumeFiles(t), 'a', 'asks');
  await a.frontEnd.start();
  const load = a.frontEnd.run({ readPercent: 30, verify: true, seconds: 2, depth: 16 });
  for (let i = 0; i < 10; i++) {
    await a.frontEnd.stop();
    await a.frontEnd.start({ kick: true });
  }
  const { errors, mismatchedSectors, writes } = await load;
  t.same({ errors, mismatchedSectors }, { errors: 0, mismatchedSectors: 0 });
  t.ok(writes > 0);
  t.same(a.frontEnd.state().violations, []);
});
