import t from 'tap';
import { systemClock } from '../../src/core/clock.js';
import { silentLogger } from '../../src/core/log.js';
import { SUPERBLOCK_SIZE } from '../../src/ondisk/layout.js';
import { MetadataScrub } from '../../src/volume/metadata-scrub.js';
import { openSim, simVolume } from '../fixtures/metadata.js';
import type { SimDevice } from '../fixtures/sim-device.js';

async function make() {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const turns: string[] = [];
  const journal = {
    failure: undefined as string | undefined,
    exclusive: async <T>(job: () => Promise<T>): Promise<T> => {
      const from = spare.trace.length;
      const result = await job();
      const written = spare.trace.slice(from).filter((step) => step.operation === 'write');
      turns.push(written.map((step) => step.offset).join());
      return result;
    },
    fail(why: string): void {
      this.failure = why;
    },
  };
  const scrub = (everySeconds = 0) =>
    new MetadataScrub({ store, journal, clock: systemClock, logger: silentLogger, everySeconds });
  return { spare, store, journal, turns, scrub, offsets: store.copies().map((c) => c.offset) };
}

const ruin = (spare: SimDevice, offset: number | undefined): void =>
  spare.damage(offset ?? 0, Buffer.alloc(2 * SUPERBLOCK_SIZE, 1));

t.test('damaged copies are written again, one at a time and in turn with commits', async (t) => {
  const { spare, store, turns, scrub, offsets } = await make();
  for (const copy of [1, 3]) ruin(spare, offsets[copy]);
  await scrub().run();
  const slot = (copy: number) => String((offsets[copy] ?? 0) + SUPERBLOCK_SIZE);
  t.same(turns, ['', slot(1), '', slot(3), '']);
  t.ok(store.copies().every((copy) => copy.state === 'good'));
  t.equal(store.health.metadataRepairsTotal, 2);
  await store.commit({});
  t.equal((await openSim([spare])).health.metadataRepairsTotal, 2, 'durable with the next commit');
});

t.test('what cannot be repaired stays told, and is tried again', async (t) => {
  const { spare, store, scrub, offsets } = await make();
  ruin(spare, offsets[2]);
  spare.makeUnwritable(offsets[2] ?? 0, 4 * SUPERBLOCK_SIZE);
  await scrub().run();
  t.equal(store.copies()[2]?.state, 'damaged');
  spare.heal();
  await scrub().run();
  t.equal(store.copies()[2]?.state, 'good');
});

t.test('what another process committed ends all commits', async (t) => {
  const { spare, journal, scrub, turns } = await make();
  await (await openSim([spare])).commit({});
  await scrub().run();
  t.match(journal.failure, /did not write/);
  t.same(turns, [], 'nothing was written over it');
  await scrub().run();
  t.same(turns, []);
});

t.test('it runs on its timer, and not after a stop', async (t) => {
  const { spare, store, scrub, offsets } = await make();
  const timed = scrub(0.01);
  timed.start();
  ruin(spare, offsets[4]);
  // The timer keeps no process alive.
  const alive = setInterval(() => {}, 1000);
  while (store.health.metadataRepairsTotal === 0) await new Promise((r) => setTimeout(r, 5));
  clearInterval(alive);
  await timed.stop();
  const reads = spare.trace.length;
  timed.start();
  await new Promise((r) => setTimeout(r, 50));
  t.equal(spare.trace.length, reads);
});

t.test('an interval of 0 is never', async (t) => {
  const { spare, scrub } = await make();
  const reads = spare.trace.length;
  scrub(0).start();
  await new Promise((r) => setTimeout(r, 20));
  t.equal(spare.trace.length, reads);
});
