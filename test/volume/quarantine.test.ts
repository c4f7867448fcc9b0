import t from 'tap';
import type { SpareRun } from '../../src/remap/spare-pool.js';
import { Quarantine } from '../../src/volume/quarantine.js';
import { turn } from '../fixtures/remapping.js';

const run = (spareStart: number): SpareRun => ({ spareIndex: 0, spareStart, count: 1 });

function make(inFlight: number[]) {
  const released: number[] = [];
  let looks = 0;
  const quarantine = new Quarantine({
    inFlight: () => inFlight,
    release: ({ spareStart }) => released.push(spareStart),
    clock: {
      nowSeconds: () => 0,
      monotonicMs: () => 0,
      after: () => () => {},
      sleepMs: async () => {
        looks++;
        await turn();
      },
    },
  });
  return { quarantine, released, looks: () => looks };
}

async function turns(n: number): Promise<void> {
  for (let i = 0; i < n; i++) await turn();
}

t.test('blocks come free once every queue has been idle, each in its own time', async (t) => {
  const inFlight = [1, 1, 0];
  const { quarantine, released } = make(inFlight);
  quarantine.add([run(1)]);
  await turns(5);
  t.same(released, []);
  inFlight[0] = 0;
  await turns(3);
  inFlight[0] = 7;
  t.same(released, [], 'queue 1 has not been idle yet');
  quarantine.add([run(2)]);
  inFlight[1] = 0;
  await turns(3);
  t.same(released, [1], 'queue 0 was idle before the second came, not since');
  inFlight[0] = 0;
  await turns(3);
  t.same(released, [1, 2]);
  await quarantine.stop();
});

t.test('never at once: a read may have begun a moment ago', async (t) => {
  const { quarantine, released, looks } = make([0, 0]);
  quarantine.add([run(1), run(2)]);
  t.same(released, []);
  await turns(3);
  t.same(released, [1, 2]);
  const before = looks();
  await turns(5);
  t.equal(looks(), before, 'nobody looks when there is nothing to wait for');
});

t.test('stops with blocks still held', async (t) => {
  const { quarantine, released } = make([1]);
  quarantine.add([run(1)]);
  await quarantine.stop();
  t.same(released, []);
});
