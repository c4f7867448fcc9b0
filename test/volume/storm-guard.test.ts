import t from 'tap';
import { BadFlag, Operation } from '../../src/native/abi.js';
import { Reallocator } from '../../src/volume/reallocator.js';
import { parkedRequest, SimulatedRemapping } from '../fixtures/remapping.js';

const write = (...bad: Parameters<typeof parkedRequest>[1][]) =>
  parkedRequest(Operation.write, ...bad);
const read = (...bad: Parameters<typeof parkedRequest>[1][]) =>
  parkedRequest(Operation.read, ...bad);

const DEAD = { reads: { tried: 16, failed: 9 }, writes: { tried: 0, failed: 0 } };
const REFUSES = { reads: { tried: 16, failed: 0 }, writes: { tried: 2, failed: 2 } };

function make() {
  const sim = new SimulatedRemapping();
  const reallocator = new Reallocator(sim.parts);
  const serve = async (requests: readonly ReturnType<typeof write>[]): Promise<string[]> => {
    for (const request of requests) reallocator.accept(request);
    await reallocator.idle();
    return requests.map((request) => sim.answers.get(request.token) ?? 'none');
  };
  const far = (n: number, from = 0) =>
    Array.from({ length: n }, (_, i) => ({ lba: from + i * 100, count: 1 }));
  return { sim, serve, far };
}

t.test('64 blocks are believed, and main is not looked at', async (t) => {
  const { sim, serve, far } = make();
  t.ok((await serve(far(64).map((bad) => write(bad)))).every((answer) => answer === 'ok'));
  t.equal(sim.probes, 0);
  t.match(sim.guard, { storm: undefined, left: 0 });
});

t.test('more run again once main is seen to work, and are believed the second time', async (t) => {
  const { sim, serve, far } = make();
  const bad = far(65);
  t.ok((await serve(bad.map((b) => write(b)))).every((answer) => answer === 'retry'));
  t.equal(sim.usedSectors(), 0);
  t.ok((await serve(bad.map((b) => write(b)))).every((answer) => answer === 'ok'));
  t.equal(sim.usedSectors(), 65);
  t.equal(sim.probes, 1);
  t.equal(sim.guard.left, 64, 'blocks that failed twice cost no trust');
});

t.test('a path that is dead takes the allowance at most, and marks nothing', async (t) => {
  for (const finding of [DEAD, REFUSES]) {
    const { sim, serve, far } = make();
    await serve(far(60).map((b) => write(b)));
    sim.finding = finding;
    const answers = await serve([
      ...far(100, 20_000).map((b) => write(b)),
      ...far(100, 50_000).map((b) => read(b)),
    ]);
    t.ok(answers.every((answer) => answer === 'ioerr'));
    t.equal(sim.usedSectors(), 60);
    t.same(sim.pendings(), []);
    t.ok(sim.guard.storm);
    t.same(await serve([write({ lba: 7 }), read({ lba: 9 })]), ['ioerr', 'ioerr']);
    t.equal(sim.probes, 1, 'while it is open nobody waits for a probe');
    t.equal(sim.journal.health.writeErrorsTotal, 161);
  }
});

t.test('in a storm what is known of the spare goes on', async (t) => {
  const { sim, serve, far } = make();
  await serve([write({ lba: 10 })]);
  sim.finding = DEAD;
  await serve(far(65, 1000).map((b) => write(b)));
  const onSpare = { lba: 10, device: 1, flags: BadFlag.onSpare };
  t.same(await serve([write(onSpare)]), ['ok'], 'a bad block of a spare is replaced');
  t.same(await serve([write({ lba: 10, flags: BadFlag.pending })]), ['ioerr']);
});

t.test('a request goes when all its blocks are believed', async (t) => {
  const { sim, serve, far } = make();
  const most = far(65);
  await serve(most.map((b) => write(b)));
  const answers = await serve([write(...most), write({ lba: 9000 }, { lba: 9100, count: 65 })]);
  t.same(answers, ['ok', 'retry']);
  t.equal(sim.usedSectors(), 65);
});

t.test('resume vouches for main', async (t) => {
  const { sim, serve, far } = make();
  t.equal(await sim.guard.close(), false);
  await serve(far(64).map((b) => write(b)));
  sim.finding = DEAD;
  await serve([write({ lba: 9000 })]);
  t.equal(await sim.guard.close(), true);
  t.match(sim.guard, { storm: undefined, left: 64 });
  t.same(await serve([write({ lba: 9000 })]), ['ok']);
});
