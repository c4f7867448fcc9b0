/** A front-end that sends nothing right: the control socket and the volume next door go on. */
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { connect } from 'node:net';
import t, { type Test } from 'tap';
import { Daemon, volumeFiles } from '../fixtures/daemon.js';
import { FrontEnd, STATUS, TYPE } from '../fixtures/front-end.js';
import { Prng } from '../fixtures/prng.js';

const CONNECTIONS = 100;
const BAD_CHAINS = 300;
/** Each of session, workers, and connections: ten at once, one in five seconds, and its sum. */
const LINES_MAX = 100;
const prng = new Prng(312);

/** The fewest of several looks: a control connection closes a moment after its answer. */
async function descriptors(daemon: Daemon): Promise<number> {
  const counts: number[] = [];
  for (let i = 0; i < 20; i++) {
    counts.push(readdirSync(`/proc/${daemon.pid}/fd`).length);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return Math.min(...counts);
}

/** Some messages that mean nothing, the last of them cut off. */
async function nonsense(socketPath: string): Promise<void> {
  const socket = connect(socketPath);
  await once(socket, 'connect');
  socket.on('error', () => undefined);
  for (let i = prng.below(4); i >= 0; i--) {
    const bytes = prng.bytes(12 + prng.below(80));
    bytes.writeUInt32LE(prng.below(45), 0);
    bytes.writeUInt32LE(prng.below(8) === 0 ? prng.below(16) : 1, 4);
    bytes.writeUInt32LE(prng.below(80), 8);
    socket.write(bytes);
  }
  socket.end();
  await new Promise((resolve) => socket.resume().once('close', resolve));
}

async function roundTrip(t: Test, fe: FrontEnd): Promise<void> {
  const data = prng.bytes(4096);
  const out = await fe.request({ type: TYPE.OUT, sector: 64, data });
  t.equal(out.status, STATUS.OK);
  const back = await fe.request({ type: TYPE.IN, sector: 64, length: data.length });
  t.ok(back.data.equals(data));
}

t.test('nonsense on the socket, then in the rings', async (t) => {
  const attacked = volumeFiles(t);
  const daemon = await Daemon.serve(t, attacked);
  const calm = volumeFiles(t);
  const neighbour = await Daemon.serve(t, calm);
  const beside = await FrontEnd.attach({ socketPath: calm.socket });
  t.teardown(() => beside.close());
  const calmLines = neighbour.log.length;
  await nonsense(attacked.socket);
  await daemon.statusWhen((s) => !s.client.connected);
  const before = { descriptors: await descriptors(daemon), lines: daemon.log.length };

  const asked = { answers: 0, over: false };
  const asking = (async () => {
    while (!asked.over) {
      const { state } = await daemon.status();
      if (state !== 'healthy') t.fail(`the volume is ${state}`);
      asked.answers++;
    }
  })();
  for (let i = 0; i < CONNECTIONS; i++) await nonsense(attacked.socket);
  const fe = await FrontEnd.attach({ socketPath: attacked.socket });
  t.teardown(() => fe.close());
  for (let i = 0; i < BAD_CHAINS; i++) {
    const { usedLength } = await fe.chain({ readable: prng.bytes(prng.below(16)), writable: 513 });
    if (usedLength !== 0) t.fail(`used length ${usedLength} for a request without a header`);
  }
  await roundTrip(t, fe);
  fe.close();
  asked.over = true;
  await asking;
  t.ok(asked.answers > 10, `status answered ${asked.answers} times meanwhile`);

  await roundTrip(t, beside);
  t.equal(neighbour.log.length, calmLines);
  await daemon.statusWhen((s) => !s.client.connected);
  t.equal(await descriptors(daemon), before.descriptors);
  const lines = daemon.log.length - before.lines;
  t.ok(lines > 0 && lines < LINES_MAX, `${lines} lines in the log`);
  t.equal(await daemon.stop(), 0);
});
