import t from 'tap';
import { RemapError } from '../../src/core/errors.js';
import { HAND_OVER_RETRY_MS, HAND_OVER_WAIT_MS } from '../../src/core/limits.js';
import { silentLogger } from '../../src/core/log.js';
import { HandOver } from '../../src/volume/hand-over.js';

const busy = () => new RemapError('DEVICE_BUSY', 'It is held by another process.');

/** A volume whose lock the test has in hand, and a clock that the test moves. */
function make() {
  const done: string[] = [];
  const sleepers: { ms: number; wake: () => void }[] = [];
  const gates: (() => void)[] = [];
  const world = { error: undefined as Error | undefined, slow: false };
  const gate = () => (world.slow ? new Promise<void>((open) => gates.push(open)) : undefined);
  const handOver = new HandOver({
    take: async () => {
      await gate();
      if (world.error !== undefined) throw world.error;
      done.push('take');
    },
    letGo: async () => {
      done.push('let go');
      await gate();
    },
    answer: (claim, granted) => done.push(`${granted ? 'grant' : 'deny'} ${claim}`),
    clock: { sleepMs: (ms) => new Promise((wake) => sleepers.push({ ms, wake })) },
    logger: silentLogger,
  });
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return {
    handOver,
    done,
    world,
    settle,
    /** Lets all sleepers of this length go on. */
    pass: async (ms: number) => {
      for (const one of sleepers.splice(0)) {
        if (one.ms === ms) one.wake();
        else sleepers.push(one);
      }
      await settle();
    },
    open: async () => {
      for (const open of gates.splice(0)) open();
      await settle();
    },
  };
}

t.test('taken for the first ring, let go after the last', async (t) => {
  const { handOver, done, settle } = make();
  t.equal(handOver.held, false);
  handOver.claim(1n);
  await settle();
  t.equal(handOver.held, true);
  handOver.giveUp();
  await settle();
  t.equal(handOver.held, false);
  t.same(done, ['take', 'grant 1', 'let go']);
});

t.test('whoever comes back while it is being let go gets what is loaded anew', async (t) => {
  const { handOver, done, settle, world, open } = make();
  handOver.claim(1n);
  await settle();
  world.slow = true;
  handOver.giveUp();
  await settle();
  t.equal(handOver.held, false, 'nothing is changed from here on');
  handOver.claim(2n);
  await settle();
  t.same(done, ['take', 'grant 1', 'let go'], 'not before it has been let go');
  world.slow = false;
  await open();
  t.same(done.slice(3), ['take', 'grant 2']);
});

t.test('a claim that has been given up while the volume was opened is not granted', async (t) => {
  const { handOver, done, settle, world, open } = make();
  world.slow = true;
  handOver.claim(1n);
  await settle();
  handOver.giveUp();
  world.slow = false;
  await open();
  t.same(done, ['take', 'let go']);
});

t.test('while another holds it: tried again, denied after a while, granted at last', async (t) => {
  const { handOver, done, settle, world, pass } = make();
  world.error = busy();
  handOver.claim(1n);
  await settle();
  await pass(HAND_OVER_RETRY_MS);
  t.same(done, []);
  t.equal(handOver.trouble, undefined, 'nobody is bothered yet');
  await pass(HAND_OVER_WAIT_MS);
  t.same(done, ['deny 1']);
  t.equal(handOver.trouble, 'It is held by another process.');
  world.error = undefined;
  await pass(HAND_OVER_RETRY_MS);
  t.same(done, ['deny 1', 'take', 'grant 1']);
  t.equal(handOver.trouble, undefined);
});

t.test('a claim in time is not denied later, nor one that has been given up', async (t) => {
  const { handOver, done, settle, world, pass } = make();
  handOver.claim(1n);
  await settle();
  await pass(HAND_OVER_WAIT_MS);
  handOver.giveUp();
  await settle();
  world.error = busy();
  handOver.claim(2n);
  await settle();
  handOver.giveUp();
  await pass(HAND_OVER_WAIT_MS);
  t.same(done, ['take', 'grant 1', 'let go']);
});

t.test('what does not go away by itself is denied at once', async (t) => {
  const { handOver, done, settle, world } = make();
  world.error = new RemapError('MAIN_CHANGED', 'Main is another one.');
  handOver.claim(1n);
  await settle();
  t.same(done, ['deny 1']);
  t.equal(handOver.trouble, 'Main is another one.');
});

t.test('a stop lets go, whatever is under way', async (t) => {
  const { handOver, done, settle, world, open } = make();
  world.slow = true;
  handOver.claim(1n);
  await settle();
  const stopped = handOver.stop();
  world.slow = false;
  await open();
  await stopped;
  t.same(done, ['take', 'let go']);
  handOver.claim(2n);
  await settle();
  t.same(done, ['take', 'let go'], 'for good');
});
