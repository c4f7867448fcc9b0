/** Front-ends come, go, stop, start and die; the back-end goes on, or ends as it should. */
import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { Daemon, serveArguments, type VolumeFiles, volumeFiles } from '../fixtures/daemon.js';
import {
  FEATURE,
  FEATURES_ALL,
  FrontEnd,
  type FrontEndOptions,
  listeningSocket,
  PROTOCOL,
  PROTOCOL_ALL,
  STATUS,
  type StartStep,
  socketPair,
  TYPE,
} from '../fixtures/front-end.js';
import { Prng } from '../fixtures/prng.js';

const prng = new Prng(40);
const data = prng.bytes(8192);

function frontEnd(t: Test, files: VolumeFiles, options: FrontEndOptions = {}): FrontEnd {
  const fe = new FrontEnd({ socketPath: files.socket, ...options });
  t.teardown(() => fe.close());
  return fe;
}

/** Queues that the back-end says are started: it says so a moment after the front-end knows. */
async function checkQueues(t: Test, daemon: Daemon, queues: number): Promise<void> {
  const { client } = await daemon.statusWhen(
    (s) => s.client.connected && s.client.queues === queues,
  );
  t.match(client, { connected: true, queues });
}

async function roundTrip(t: Test, fe: FrontEnd, queue = 0): Promise<void> {
  const sector = prng.below(1000) * 16;
  const out = await fe.request({ type: TYPE.OUT, sector, data, queue });
  t.equal(out.status, STATUS.OK, `write on queue ${queue}`);
  const back = await fe.request({ type: TYPE.IN, sector, length: data.length, queue });
  t.equal(back.status, STATUS.OK, `read on queue ${queue}`);
  t.ok(back.data.equals(data));
}

t.test('front-ends one after the other, leaving in every way', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files);
  const leave: ((fe: FrontEnd) => Promise<unknown>)[] = [
    (fe) => fe.stop(),
    (fe) => fe.disconnect(),
    async (fe) => {
      // With requests on their way.
      void fe.run({ seconds: 60, depth: 32 }).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, 20));
    },
    async () => undefined,
  ];
  for (let i = 0; i < 3; i++) {
    for (const goodbye of leave) {
      const fe = frontEnd(t, files, { queues: 2 });
      await fe.connect();
      await fe.start();
      await roundTrip(t, fe, 1);
      await goodbye(fe);
      fe.close();
    }
    // And in the middle of the handshake.
    const half = connect(files.socket);
    await once(half, 'connect');
    half.end(Buffer.from([1, 0, 0, 0, 1, 0]));
    await once(half.resume(), 'close');
  }
  const fe = frontEnd(t, files);
  await fe.connect();
  await checkQueues(t, daemon, 0);
  fe.close();
  t.equal(await daemon.stop(), 0);
  t.notOk(existsSync(files.socket), 'the socket is gone');
});

t.test('stop, start, reset: the rings go on where they were', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files);
  const fe = frontEnd(t, files, { queues: 2 });
  await fe.connect();
  await fe.start();
  for (let i = 0; i < 5; i++) {
    await roundTrip(t, fe, i % 2);
    const bases = await fe.stop();
    t.equal(bases.length, 2);
    await checkQueues(t, daemon, 0);
    if (i === 2) await fe.reset();
    await fe.start();
    await checkQueues(t, daemon, 2);
  }
  await roundTrip(t, fe);
  t.strictSame(fe.state().violations, []);
});

t.test('a stop under load answers everything first', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files);
  const fe = frontEnd(t, files);
  await fe.connect();
  await fe.start();
  await fe.capacity();
  await daemon.inject('slow', [{ lba: 0, count: 64 }], { delayMs: 200 });
  const load = fe.run({ seconds: 60, depth: 32, readPercent: 50, verify: true, indirect: true });
  const slow = fe.request({ type: TYPE.IN, sector: 0, length: 512 });
  for (let i = 0; i < 10; i++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const [base = -1] = await fe.stop();
    const { used } = fe.queueLayout(0);
    t.equal(fe.readMemory(used + 2, 2).readUInt16LE(0), base, 'base is the used index: drained');
    if (i === 0) t.equal((await slow).status, STATUS.OK, 'the slow one was waited for');
    await fe.start();
  }
  fe.finishLoads();
  t.match(await load, { errors: 0, mismatchedSectors: 0 });
  t.strictSame(fe.state().violations, []);
});

t.test('kick before enable, and every order of the start', async (t) => {
  const files = volumeFiles(t);
  await Daemon.serve(t, files);
  const orders: StartStep[][] = [
    ['num', 'base', 'address', 'kick', 'enable'],
    ['num', 'address', 'base', 'call', 'kick', 'enable'],
    ['enable', 'num', 'base', 'address', 'kick'],
    ['num', 'enable', 'base', 'address', 'call', 'kick'],
  ];
  for (const order of orders) {
    for (const ackEverything of [false, true]) {
      const fe = frontEnd(t, files, { queues: 2, ackEverything });
      await fe.connect();
      await fe.start({ order });
      await roundTrip(t, fe, 0);
      await roundTrip(t, fe, 1);
      fe.close();
    }
  }

  const fe = frontEnd(t, files);
  await fe.connect();
  await fe.start({ enable: false });
  const early = fe.request({ type: TYPE.IN, sector: 0, length: 512 });
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(fe.state().outstanding, 1, 'a disabled queue is not served');
  await fe.enable(0, true);
  t.equal((await early).status, STATUS.OK, 'the kick that came before is not lost');
  await fe.enable(0, false);
  const later = fe.request({ type: TYPE.IN, sector: 0, length: 512 });
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.equal(fe.state().outstanding, 1);
  await fe.enable(0, true);
  t.equal((await later).status, STATUS.OK);
});

t.test('half the queues started, as firmware does, then all', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files, '--num-queues=4');
  const fe = frontEnd(t, files, { queues: 4 });
  await fe.connect();
  for (const queues of [[0], [1, 3], [0, 1, 2, 3]]) {
    await fe.start({ queues });
    for (const queue of queues) await roundTrip(t, fe, queue);
    await checkQueues(t, daemon, queues.length);
    const bases = await fe.stop();
    t.strictSame(
      bases.map((b) => b >= 0),
      [0, 1, 2, 3].map((q) => queues.includes(q)),
    );
    await fe.reset();
  }
});

t.test('front-ends that speak half the features', async (t) => {
  const files = volumeFiles(t);
  await Daemon.serve(t, files);
  const without = (...bits: bigint[]) => bits.reduce((f, bit) => f & ~bit, FEATURES_ALL);
  for (const [name, options] of [
    ['no event index', { features: without(FEATURE.EVENT_IDX) }],
    ['no indirect', { features: without(FEATURE.INDIRECT) }],
    ['neither, no flush', { features: FEATURE.VERSION_1 | FEATURE.PROTOCOL }],
    ['no inflight', { protocolFeatures: PROTOCOL_ALL & ~PROTOCOL.INFLIGHT }],
    ['no acknowledgements', { protocolFeatures: PROTOCOL_ALL & ~PROTOCOL.REPLY_ACK }],
    ['no memory slots', { protocolFeatures: PROTOCOL_ALL & ~PROTOCOL.MEM_SLOTS }],
    ['config only', { protocolFeatures: PROTOCOL.CONFIG }],
    ['no protocol features: rings enabled at once', { features: without(FEATURE.PROTOCOL) }],
  ] as const) {
    const fe = frontEnd(t, files, options);
    await fe.connect();
    await fe.start();
    await roundTrip(t, fe);
    // 40 MiB of a disk of 64, so that no config is asked for.
    if (name.startsWith('no protocol')) t.pass('no config without the protocol');
    else t.equal(await fe.capacity(), 131072, name);
    t.strictSame(fe.state().violations, [], name);
    await fe.stop();
    fe.close();
  }
});

t.test('a second front-end is refused while the first is served', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files);
  const first = frontEnd(t, files);
  await first.connect();
  await first.start();
  const second = frontEnd(t, files, { timeoutMs: 5000 });
  await t.rejects(second.connect(), 'refused, not left waiting');
  second.close();
  await roundTrip(t, first);
  t.ok(
    daemon.log.some((line) => Number(line.level) >= 40),
    'and the log says so',
  );
  first.close();
  await daemon.statusWhen((s) => !s.client.connected);
  const third = frontEnd(t, files);
  await third.connect();
  await third.start();
  await roundTrip(t, third);
});

t.test(
  'SIGTERM under load: drains, publishes, exits 0, and the load goes on after a start',
  async (t) => {
    const files = volumeFiles(t);
    const daemon = await Daemon.serve(t, files);
    const fe = frontEnd(t, files);
    await fe.connect();
    await fe.start();
    await fe.capacity();
    const load = fe.run({
      verify: true,
      readPercent: 30,
      depth: 32,
      seconds: 60,
      sectorCount: 65536,
    });
    for (let i = 0; i < 3; i++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const gone = fe.hangup();
      t.equal(await daemon.stop(), 0);
      await gone;
      await daemon.restart();
      await fe.reconnect();
    }
    fe.finishLoads();
    t.match(await load, { errors: 0, mismatchedSectors: 0 });
    t.match(await fe.verifyAll(), { errors: 0, mismatchedSectors: 0 });
    t.strictSame(fe.state().violations, []);
  },
);

t.test('--fd, a listening socket', async (t) => {
  const files = volumeFiles(t);
  const listening = listeningSocket(files.socket);
  const args = ['--fd=3', ...serveArguments(files).slice(1), '--create'];
  const daemon = await Daemon.start(t, args, { fds: [listening] });
  closeSync(listening);
  for (let i = 0; i < 3; i++) {
    const fe = frontEnd(t, files);
    await fe.connect();
    await fe.start();
    await roundTrip(t, fe);
    fe.close();
  }
  t.equal(await daemon.stop(), 0);
});

t.test('--fd, a connected socket: ends with its front-end', async (t) => {
  const files = volumeFiles(t);
  const [ours, theirs] = socketPair();
  const args = ['--fd=3', ...serveArguments(files).slice(1), '--create'];
  const daemon = await Daemon.start(t, args, { fds: [theirs] });
  closeSync(theirs);
  const fe = frontEnd(t, files);
  await fe.connect(ours);
  closeSync(ours);
  await fe.start();
  await roundTrip(t, fe);
  fe.close();
  t.equal(await daemon.exited, 0, 'nothing is left to serve');
});

t.test('--fd, not a socket', async (t) => {
  const files = volumeFiles(t);
  const fd = openSync(files.main, 'r');
  const args = ['--fd=3', ...serveArguments(files).slice(1), '--create'];
  await t.rejects(Daemon.start(t, args, { fds: [fd] }), /--fd=3 is not an open socket/);
  closeSync(fd);
});
