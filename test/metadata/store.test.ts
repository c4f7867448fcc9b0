import { test } from 'tap';
import type { Health } from '../../src/ondisk/health.js';
import { layoutOf, SUPERBLOCK_SIZE, TABLE_PAGE_SIZE } from '../../src/ondisk/layout.js';
import { inlineCapacity } from '../../src/ondisk/table-section.js';
import {
  contentOf,
  createOn,
  MIB,
  openSim,
  remapOf,
  remaps,
  simVolume,
} from '../fixtures/metadata.js';
import { Prng } from '../fixtures/prng.js';
import { SimDevice } from '../fixtures/sim-device.js';

const KIB = 1024;

test('what is committed is there after opening again', async (t) => {
  const { spares, store } = await simVolume();
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  t.equal(store.generation, 1n);
  const entries = remaps(layout, 0, 10);
  const result = await store.commit({
    add: entries,
    health: { reallocatedTotal: 10, scanCursor: 5 },
    config: { name: 'renamed' },
  });
  t.match(result, { generation: 2n, copiesDurable: 5, bytesWritten: 5 * 24 * KIB });
  await store.commit({ remove: entries.slice(3, 5), add: [remapOf(layout, 99)] });

  const [spare] = spares as [SimDevice];
  const headerOf = (g: bigint): Buffer => spare.peek(layout.slotOffset(1, g as never), 512);
  t.equal(headerOf(3n).toString('hex', 72, 88), headerOf(2n).toString('hex', 88, 104), 'parent');

  const again = await openSim(spares);
  t.equal(again.generation, 3n);
  t.equal(again.volumeUuid, store.volumeUuid);
  t.equal(again.config.name, 'renamed');
  t.match(again.health, { reallocatedTotal: 10, scanCursor: 5 });
  t.equal(again.entryCount, 9);
  t.strictSame(contentOf(again.entries()), contentOf(store.entries()));
  t.equal(again.tolerance(), 4);
  t.equal(again.bytesWritten, 0, 'opening what is whole writes nothing');
  t.strictSame(
    again.copies().map(({ offset, state, generation }) => [offset / MIB, state, generation]),
    [0, 1, 3, 5, 7].map((at) => [at, 'good', 3n]),
  );
});

test('the order of a commit, as the device sees it', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  spare.trace.length = 0;
  await store.commit({ add: remaps(layout, 0, 900) });
  const steps = spare.trace.map(({ operation, offset, length }) => {
    if (operation === 'flush') return 'flush';
    const zone = layout.zoneOffsets.findLastIndex((at) => at <= offset);
    const within = offset - layout.zoneOffset(zone);
    const what = length === SUPERBLOCK_SIZE ? `slot ${within / SUPERBLOCK_SIZE}` : 'page';
    return `${operation} ${zone} ${what}`;
  });
  const five = (text: string): string[] =>
    [0, 1, 2, 3, 4].map((zone) => text.replace('#', `${zone}`));
  t.strictSame(steps, [
    ...five('write # page'),
    'flush',
    ...five('read # page'),
    ...five('write # slot 0'),
    'flush',
    ...five('read # slot 0'),
  ]);
});

test('commits are carried out one after the other', async (t) => {
  const { store } = await simVolume();
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  const results = await Promise.all(
    remaps(layout, 0, 20).map((entry) => store.commit({ add: [entry] })),
  );
  t.strictSame(
    results.map((result) => result.generation),
    Array.from({ length: 20 }, (_, i) => BigInt(i + 2)),
  );
  t.equal(store.entryCount, 20);
});

test('a commit writes a bounded number of bytes with 100,000 entries', async (t) => {
  const { spares, store } = await simVolume({ sizes: [80 * MIB] });
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  await store.commit({ add: remaps(layout, 0, 100_000) });
  let most = 0;
  let pages = 0;
  for (let i = 0; i < 20; i++) {
    const { bytesWritten } = await store.commit({ add: remaps(layout, 100_000 + i * 64, 64) });
    most = Math.max(most, bytesWritten);
    if (bytesWritten > 5 * SUPERBLOCK_SIZE) pages++;
  }
  t.equal(most, 280 * KIB);
  t.ok(pages >= 1 && pages <= 3, `${pages} of 20 commits changed a page`);
  const again = await openSim(spares);
  t.equal(again.entryCount, 101_280);
});

test('pages in force are never written over', async (t) => {
  const { spares, store } = await simVolume({ sizes: [16 * MIB] });
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  const entries = remaps(layout, 0, 5000);
  await store.commit({ add: entries });
  const prng = new Prng(11);
  let inForce = pagesOf(spare, store);
  for (let i = 0; i < 30; i++) {
    spare.trace.length = 0;
    const gone = entries.splice(prng.below(entries.length), 1);
    await store.commit({ remove: gone });
    const written = spare.trace
      .filter(({ operation, length }) => operation === 'write' && length === TABLE_PAGE_SIZE)
      .map(({ offset }) => offset);
    const over = written.filter((offset) => inForce.has(offset));
    t.strictSame(over, []);
    inForce = pagesOf(spare, store);
  }
});

/** Byte offsets of the pages that the newest superblock on the device names. */
function pagesOf(spare: SimDevice, store: Awaited<ReturnType<typeof openSim>>): Set<number> {
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  const slot = layout.slotOffset(0, store.generation);
  const table = spare.peek(slot + 3456, 20_480);
  const locations = Array.from({ length: table.readUInt32LE(8) }, (_, i) =>
    table.readUInt32LE(20_480 - 16 * (i + 1) + 4),
  );
  return new Set(
    locations.flatMap((location) => {
      return [0, 1, 2, 3, 4].map((copy) => layout.pageOffset(copy, location));
    }),
  );
}

test('random histories read back as they were, spill and all', async (t) => {
  const seed = Number(process.env.SEED ?? 20_241_123);
  t.comment(`SEED=${seed}`);
  const prng = new Prng(seed);
  for (let history = 0; history < 4; history++) {
    const { spares, store } = await simVolume({ sizes: [16 * MIB, 12 * MIB] });
    const [layout] = store.layouts as [(typeof store.layouts)[0]];
    let current = store;
    let next = 0;
    for (let step = 0; step < 15; step++) {
      const add = remaps(layout, next, prng.below(600));
      next += add.length;
      const share = prng.below(4);
      const remove = [...current.entries()].filter(() => prng.below(20) < share);
      await current.commit({ add, remove });
      if (prng.below(3) > 0) continue;
      const before = contentOf(current.entries());
      current = await openSim(spares);
      t.strictSame(contentOf(current.entries()), before);
    }
    t.equal(current.tolerance(), 4);
    const { findings } = await current.scrub({ repair: false });
    t.strictSame(findings, []);
  }
});

test('a full table is refused with nothing written', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  const capacity = layout.pagesMax * 1362 + inlineCapacity(layout.pagesMax);
  const entry = remapOf(layout, 0);
  await store.commit({ add: Array.from({ length: capacity }, () => ({ ...entry })) });
  const before = spare.clone();
  await t.rejects(store.commit({ add: [remapOf(layout, 1)] }), { code: 'META_FULL' });
  const all = [...store.entries()];
  const everyPage = all.filter((_, i) => i % 1000 === 0);
  await t.rejects(store.commit({ remove: everyPage }), {
    code: 'META_FULL',
    context: { have: 8, need: 22 },
  });
  t.ok(spare.equals(before));
  await store.commit({ remove: all.slice(0, 10) });
  t.equal(store.entryCount, capacity - 10, 'and it goes on');
});

test('what cannot be written down is refused with nothing written', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const before = spare.clone();
  const record = store.config.spares[0];
  if (record === undefined) throw new Error('no record');
  await t.rejects(store.commit({ config: { name: 'x'.repeat(100) } }), RangeError);
  await t.rejects(store.commit({ config: { spares: [record, record] } }), RangeError);
  await t.rejects(store.commit({ remove: [remapOf(store.layouts[0] as never, 1)] }), RangeError);
  t.ok(spare.equals(before));
  t.equal((await store.commit({})).generation, 2n);
});

test('four copies of five are enough, and three are not', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  spare.makeUnwritable(layout.zoneOffset(2), SUPERBLOCK_SIZE * 2);
  t.match(await store.commit({ add: remaps(layout, 0, 5) }), { copiesDurable: 4 });
  t.equal(store.tolerance(), 3);
  t.match(store.copies()[2], { state: 'damaged' });
  t.equal((await store.commit({})).copiesDurable, 4);
  t.equal(spare.peek(layout.slotOffset(0, store.generation) + 108, 4).readUInt32LE(), 4);

  spare.makeUnwritable(layout.zoneOffset(4), SUPERBLOCK_SIZE * 2);
  const refused = { code: 'META_COMMIT', context: { have: 3, need: 4 } };
  await t.rejects(store.commit({ add: remaps(layout, 5, 1) }), refused);
  t.equal(store.entryCount, 5, 'what was not committed is not in force');
  spare.heal();
  await t.rejects(store.commit({}), refused, 'until it is opened again');

  const again = await openSim(spares);
  t.equal(again.generation, 4n);
  t.equal(again.tolerance(), 4);
  t.equal(again.health.metadataRepairsTotal, 2);
  await again.commit({ health: { ...again.health, scanCursor: 1 } });
  t.equal((await openSim(spares)).health.metadataRepairsTotal, 2);
});

test('every spare needs its four copies', async (t) => {
  const { spares, store } = await simVolume({ sizes: [8 * MIB, 20 * MIB] });
  const [, second] = spares as [SimDevice, SimDevice];
  t.match(await store.commit({ add: [remapOf(store.layouts[1] as never, 7, 1)] }), {
    copiesDurable: 5,
    bytesWritten: 10 * SUPERBLOCK_SIZE,
  });
  second.makeUnwritable(0, 5 * MIB);
  await t.rejects(store.commit({}), {
    code: 'META_COMMIT',
    context: { device: 'spare1', have: 3 },
  });
});

test('a lost, a misdirected and a damaged write are found by reading back', async (t) => {
  for (const fault of ['lost', 'misdirected', 'unflushed'] as const) {
    const { spares, store } = await simVolume();
    const [spare] = spares as [SimDevice];
    if (fault === 'lost') spare.loseWrites(1);
    if (fault === 'misdirected') spare.misdirectWrite(2 * MIB);
    if (fault === 'unflushed') spare.failFlushes(1);
    const commit = store.commit({});
    if (fault === 'unflushed') await t.rejects(commit, { code: 'META_COMMIT' });
    else t.equal((await commit).copiesDurable, 4, fault);
  }
});

test('a bad page location is left for another one', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  spare.makeUnwritable(layout.pageOffset(3, 0), 512);
  const { copiesDurable } = await store.commit({ add: remaps(layout, 0, 1000) });
  t.equal(copiesDurable, 5);
  t.equal(pagesOf(spare, store).has(layout.pageOffset(3, 1)), true);
  t.equal((await openSim(spares)).entryCount, 1000);
});

test('a zone that takes no page at all counts as lost until a scrub finds it whole', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  spare.makeUnwritable(layout.pageOffset(3, 0), 30 * TABLE_PAGE_SIZE);
  const { copiesDurable } = await store.commit({ add: remaps(layout, 0, 1000) });
  t.equal(copiesDurable, 4);
  t.match(store.copies()[3], { state: 'damaged' });
  t.match((await store.scrub()).findings, [{ copyIndex: 3, repaired: false, pages: [0] }]);
  spare.heal();
  t.match((await store.scrub()).findings, [{ copyIndex: 3, repaired: true, pages: [0] }]);
  t.match((await store.scrub()).findings, []);
  t.equal(store.tolerance(), 4);
});

test('a scrub finds and mends rot, in superblocks and in pages', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  await store.commit({ add: remaps(layout, 0, 3000) });
  spare.damage(layout.slotOffset(1, store.generation) + 100, Buffer.from('rot'));
  spare.damage(layout.pageOffset(4, 1) + 1000, Buffer.from('rot'));
  const looked = await store.scrub({ repair: false });
  const findings = [
    { spareIndex: 0, copyIndex: 1, state: 'torn', pages: [], repaired: false },
    { spareIndex: 0, copyIndex: 4, state: 'good', pages: [1], repaired: false },
  ];
  t.match(looked, { copiesChecked: 5, pagesChecked: 10, findings });
  t.equal(store.tolerance(), 2);
  const before = store.bytesWritten;
  const mended = await store.scrub();
  t.match(mended.findings, [{ repaired: true }, { repaired: true }]);
  t.equal(store.bytesWritten - before, SUPERBLOCK_SIZE + TABLE_PAGE_SIZE, 'and nothing else');
  t.equal(store.tolerance(), 4);
  t.equal(store.health.metadataRepairsTotal, 2);
  t.strictSame((await store.scrub()).findings, []);
});

test('a scrub mends what was lost altogether while the store was open', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  await store.commit({ add: remaps(layout, 0, 2000) });
  for (const offset of layout.zoneOffsets) spare.damage(offset, new Prng(offset).bytes(MIB));
  t.equal((await store.scrub()).findings.length, 5);
  t.strictSame(contentOf((await openSim(spares)).entries()), contentOf(store.entries()));
});

test('a scrub leaves alone what somebody else has committed', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  await (await openSim(spares)).commit({});
  const before = spare.clone();
  await t.rejects(store.scrub(), { code: 'META_FORK' });
  await t.rejects(store.commit({}), { code: 'META_FORK' });
  t.ok(spare.equals(before));
});

test('without repair nothing is ever written', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  await store.commit({ add: remaps(layout, 0, 10) });
  spare.damage(layout.zoneOffset(2), new Prng(1).bytes(MIB));
  const before = spare.clone();
  const reader = await openSim(spares, false);
  t.ok(reader.readOnly);
  t.equal(reader.entryCount, 10);
  t.equal(reader.copies()[2]?.state, 'damaged');
  t.equal(reader.tolerance(), 3);
  await t.rejects(reader.commit({}), { code: 'READ_ONLY' });
  await t.rejects(reader.scrub(), { code: 'READ_ONLY' });
  t.ok(spare.equals(before));
});

test('a caller may hand back the whole health, and the count of repairs stays true', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  const health: Health = store.health;
  spare.damage(layout.zoneOffset(2), new Prng(1).bytes(MIB));
  await store.scrub();
  await store.commit({ health });
  t.equal(store.health.metadataRepairsTotal, 1);
});

test('a spare that has gone fails the commit, and nothing else', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  spare.disappear();
  spare.trace.length = 0;
  // An answer that nobody waits for would end the process.
  await t.rejects(store.commit({ add: remaps(layout, 0, 1) }), { code: 'META_COMMIT' });
  t.equal(spare.trace.filter(({ operation }) => operation === 'flush').length, 0);
});

test('blocks of 4096 bytes on a device that takes nothing smaller', async (t) => {
  const spare = new SimDevice(40 * MIB, { logicalBlockSize: 4096 });
  await t.rejects(createOn([spare], { logicalBlockSize: 512 }), { code: 'BLOCK_SIZE' });
  const store = await createOn([spare], { logicalBlockSize: 4096 });
  const layout = layoutOf(40 * MIB, 4096);
  await store.commit({ add: remaps(layout, 0, 2000) });
  const again = await openSim([spare]);
  t.equal(again.config.logicalBlockSize, 4096);
  t.equal(again.entryCount, 2000);
});
