import { test } from 'tap';
import type { TableEntry } from '../../src/ondisk/entry.js';
import { SUPERBLOCK_SIZE } from '../../src/ondisk/layout.js';
import { contentOf, MIB, openSim, remaps, simVolume } from '../fixtures/metadata.js';
import { Prng } from '../fixtures/prng.js';
import type { PendingWrite, SimDevice } from '../fixtures/sim-device.js';

const SECTOR = 512;
const SECTORS = SUPERBLOCK_SIZE / SECTOR;
/** A superblock cut short here is whole: its last sector is reserved, and zero before and after. */
const WHOLE = SUPERBLOCK_SIZE - SECTOR;

/** What was in the cache at each flush of `action`, copied before the flush. */
async function recordFlushes(
  device: SimDevice,
  action: () => Promise<unknown>,
): Promise<PendingWrite[][]> {
  const flushes: PendingWrite[][] = [];
  const flush = device.flush.bind(device);
  device.flush = async () => {
    flushes.push(
      device.pending.map(({ offset, bytes }) => ({ offset, bytes: Buffer.from(bytes) })),
    );
    await flush();
  };
  await action();
  device.flush = flush;
  return flushes;
}

/** A volume at generation 4, and the writes of a commit that changes a page and the superblock. */
async function commitRecorded() {
  const { spares, store } = await simVolume();
  const [before] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  await store.commit({ add: remaps(layout, 0, 1000) });
  await store.commit({ remove: [...store.entries()].filter((entry) => entry.start >= 20) });
  await store.commit({ add: remaps(layout, 1000, 10) });
  const oldContent = contentOf(store.entries());
  const device = before.clone();
  const writer = await openSim([device]);
  const change = { add: remaps(layout, 1010, 10), remove: [onPage(writer.entries())] };
  const flushes = await recordFlushes(device, () => writer.commit(change));
  const [pages, superblocks] = flushes as [PendingWrite[], PendingWrite[]];
  const newContent = contentOf(writer.entries());
  return { before, pages, superblocks, oldContent, newContent, layout };
}

/** One of the entries that stand on a page, in a volume as above. */
const onPage = (entries: Iterable<TableEntry>): TableEntry =>
  [...entries].find((entry) => entry.start === 5) as TableEntry;

const apply = (device: SimDevice, write: PendingWrite, bytes = write.bytes.length): void =>
  device.damage(write.offset, write.bytes.subarray(0, bytes));

test('a commit cut short opens as the generation before or as this one', async (t) => {
  const { before, pages, superblocks, oldContent, newContent } = await commitRecorded();
  t.equal(pages.length, 5);
  t.equal(superblocks.length, 5);
  const prng = new Prng(7);
  const all = (length: number): number[] => superblocks.map(() => length);
  const cases: { name: string; pages: number[]; superblocks: number[] }[] = [];
  const whole = all(pages[0]?.bytes.length ?? 0);
  for (let sector = 0; sector <= SECTORS; sector++) {
    const length = sector * SECTOR;
    const one = (rest: number): number[] => superblocks.map((_, i) => (i === 2 ? length : rest));
    cases.push({ name: `all torn at ${sector}`, pages: whole, superblocks: all(length) });
    cases.push({ name: `one torn at ${sector}`, pages: whole, superblocks: one(0) });
    if (sector % 4 !== 0) continue;
    const others = one(SUPERBLOCK_SIZE);
    cases.push({ name: `torn at ${sector}, others whole`, pages: whole, superblocks: others });
    cases.push({ name: `pages torn at ${sector}`, pages: all(length), superblocks: all(0) });
    const some = superblocks.map(() => prng.below(SECTORS + 1) * SECTOR);
    cases.push({ name: `each torn: ${some}`, pages: whole, superblocks: some });
  }
  for (const { name, pages: pageLengths, superblocks: lengths } of cases) {
    const device = before.clone();
    for (const [i, write] of pages.entries()) apply(device, write, pageLengths[i]);
    for (const [i, write] of superblocks.entries()) apply(device, write, lengths[i]);
    const opened = await openSim([device]);
    const reached = lengths.some((length) => length >= WHOLE);
    const content = contentOf(opened.entries());
    const right =
      opened.generation === (reached ? 5n : 4n) &&
      content.join() === (reached ? newContent : oldContent).join() &&
      opened.tolerance() === 4 &&
      !opened.mayBeOld;
    if (!right) t.fail(name);
  }
  t.equal(cases.length, 49 * 2 + 13 * 3);
});

test('power fails at every flush of a commit: what was in force is untouched', async (t) => {
  const { before, oldContent, layout } = await commitRecorded();
  for (const flush of [1, 2]) {
    const device = before.clone();
    const store = await openSim([device]);
    device.cutPowerAtFlush(flush);
    const change = { add: remaps(layout, 1010, 10), remove: [onPage(store.entries())] };
    await t.rejects(store.commit(change), { code: 'META_COMMIT' });
    device.heal();
    const opened = await openSim([device]);
    t.equal(opened.generation, 4n);
    t.strictSame(contentOf(opened.entries()), oldContent);
  }
});

test('a repair cut short can be done again', async (t) => {
  const { before, oldContent, layout } = await commitRecorded();
  const damaged = before.clone();
  for (const copy of [0, 1, 3, 4]) {
    damaged.damage(layout.zoneOffset(copy), new Prng(copy).bytes(MIB));
  }
  const device = damaged.clone();
  const [settled, ...steps] = await recordFlushes(device, () => openSim([device]));
  t.same(settled, [], 'what was read is made durable before anything is written');
  t.equal(steps.length, 8, 'a page and a superblock for each of four zones');
  t.ok(
    steps.every((writes) => writes.length === 1),
    'never two copies in flight',
  );
  for (let step = 0; step < steps.length; step++) {
    for (const sectors of [1, 30, SECTORS]) {
      const cut = damaged.clone();
      for (const writes of steps.slice(0, step)) for (const write of writes) apply(cut, write);
      for (const write of steps[step] ?? []) apply(cut, write, sectors * SECTOR);
      const opened = await openSim([cut]);
      t.equal(opened.generation, 4n);
      t.equal(contentOf(opened.entries()).join(), oldContent.join());
      t.equal(opened.tolerance(), 4);
    }
  }
});

test('random commits, crashes and damage never lose what was acknowledged', async (t) => {
  const seed = Number(process.env.SEED ?? 31_415_926);
  t.comment(`SEED=${seed}`);
  const prng = new Prng(seed);
  const { spares, store } = await simVolume({ sizes: [8 * MIB, 9 * MIB] });
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  let current = store;
  let acknowledged = contentOf(current.entries());
  let next = 0;
  let crashes = 0;
  for (let step = 0; step < 60; step++) {
    const add = remaps(layout, next % 4000, prng.below(300));
    next += add.length;
    const remove = [...current.entries()].filter(() => prng.below(15) === 0);
    const gone = new Set(remove);
    const attempted = contentOf([...current.entries(), ...add].filter((entry) => !gone.has(entry)));
    const crashing = prng.below(3) === 0;
    if (crashing) {
      const nth = prng.between(1, 2);
      for (const spare of spares) {
        spare.cutPowerAtFlush(nth, ({ bytes }) => prng.below(bytes.length / SECTOR + 1) * SECTOR);
      }
    }
    const done = await current.commit({ add, remove }).then(
      () => true,
      () => false,
    );
    for (const spare of spares) spare.heal();
    if (done) acknowledged = attempted;
    else crashes++;
    // Up to three copies of each spare rot; then everything is started again.
    for (const spare of done && prng.below(4) > 0 ? [] : spares) {
      const zones = layoutZones(current, spare);
      const rotten = prng.shuffle(zones).slice(0, done ? prng.below(4) : 0);
      for (const offset of rotten) spare.damage(offset, prng.bytes(2 * SUPERBLOCK_SIZE));
    }
    if (done && prng.below(2) === 0) continue;
    current = await openSim(spares);
    const content = contentOf(current.entries()).join();
    const kept = content === acknowledged.join();
    if (!kept && (done || content !== attempted.join())) t.fail(`step ${step} of SEED=${seed}`);
    if (current.tolerance() !== 4) t.fail(`step ${step}: not whole`);
    acknowledged = contentOf(current.entries());
  }
  t.ok(crashes > 5, `${crashes} crashes`);
});

const layoutZones = (
  store: Awaited<ReturnType<typeof openSim>>,
  spare: SimDevice,
): readonly number[] => store.layouts[store.spares.indexOf(spare)]?.zoneOffsets ?? [];
