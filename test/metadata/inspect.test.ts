import { test } from 'tap';
import { inspectSpare } from '../../src/metadata/inspect.js';
import { tableEntry } from '../../src/ondisk/entry.js';
import { SUPERBLOCK_SIZE } from '../../src/ondisk/layout.js';
import { MIB, openSim, remaps, simVolume } from '../fixtures/metadata.js';
import { Prng } from '../fixtures/prng.js';
import { SimDevice } from '../fixtures/sim-device.js';

async function sample() {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  const other = { cause: 'read-error', timeSeconds: 0 } as const;
  await store.commit({ add: remaps(layout, 0, 1000) });
  await store.commit({
    add: [
      tableEntry({ kind: 'pending', start: 5000, count: 16, ...other }),
      tableEntry({ kind: 'retired', start: layout.blockSector(3000), count: 2, ...other }),
    ],
    health: { readErrorsTotal: 3 },
  });
  return { spare, store, layout };
}

test('all that a whole spare says', async (t) => {
  const { spare, store, layout } = await sample();
  const before = spare.clone();
  const seen = await inspectSpare(spare);
  t.match(seen, {
    path: 'spare0',
    sizeSectors: 16384,
    layout: {
      logicalBlockSize: 512,
      zoneSize: MIB,
      pageCapacity: 30,
      groups: 21,
      dataSectors: 5208,
    },
    verdict: 'ok',
    generation: 3,
    tolerance: 4,
    mayBeOld: false,
    describedGeneration: null,
    source: { copy: 0, slot: 1, sound: true },
    volumeUuid: store.volumeUuid,
    spareUuid: store.config.spares[0]?.uuid,
    config: store.config,
    health: { readErrorsTotal: 3 },
    table: {
      remapped: { extents: 1000, sectors: 1000 },
      pending: { extents: 1, sectors: 16 },
      retired: { extents: 1, sectors: 2 },
      inlineEntries: 2,
      pages: [{ location: 0, generation: 2, zones: 5 }],
    },
  });
  t.equal(seen.copies.length, 5);
  for (const [index, copy] of seen.copies.entries()) {
    t.match(copy, { offset: layout.zoneOffset(index), state: 'good' });
    t.match(copy.slots, [
      { offset: copy.offset, kind: 'valid', generation: 2, inPlace: true },
      { offset: copy.offset + SUPERBLOCK_SIZE, kind: 'valid', generation: 3, inPlace: true },
    ]);
  }
  t.same(JSON.parse(JSON.stringify(seen)), seen, 'plain data');
  t.ok(spare.equals(before));
});

test('damage is named by copy, slot and section', async (t) => {
  const { spare, layout } = await sample();
  spare.damage(layout.slotOffset(1, 3n as never) + 600, Buffer.from('x'));
  spare.damage(layout.zoneOffset(2), new Prng(1).bytes(MIB));
  spare.makeUnreadable(layout.zoneOffset(3), SUPERBLOCK_SIZE);
  const seen = await inspectSpare(spare);
  t.equal(seen.verdict, 'ok');
  t.equal(seen.tolerance, 2);
  t.match(seen.copies[1], {
    state: 'torn',
    slots: [{ kind: 'valid' }, { kind: 'damaged', damage: [{ section: 'config' }] }],
  });
  t.match(seen.copies[2], { state: 'damaged', slots: [{ kind: 'damaged' }, { kind: 'damaged' }] });
  t.equal(seen.copies[2]?.slots[0]?.damage.length, 5);
  t.match(seen.copies[3], { state: 'good', slots: [{ kind: 'unreadable' }, { kind: 'valid' }] });
  t.strictSame(seen.table?.pages, [{ location: 0, generation: 2, zones: 4 }]);
});

test('with every copy damaged it decodes what is left', async (t) => {
  const { spare, store, layout } = await sample();
  for (const [copy, offset] of layout.zoneOffsets.entries()) {
    for (const slot of [0, 1]) {
      const at = offset + slot * SUPERBLOCK_SIZE;
      spare.damage(at + (copy === 3 ? 3000 : 600), Buffer.from('rot'));
    }
  }
  const before = spare.clone();
  const seen = await inspectSpare(spare);
  t.match(seen, {
    verdict: 'lost',
    generation: 0,
    source: { sound: false },
    volumeUuid: store.volumeUuid,
    config: { name: 'test' },
    table: { remapped: { extents: 1000 } },
  });
  t.ok(spare.equals(before));
});

test('a blank device, noise, and a fork', async (t) => {
  const blank = await inspectSpare(new SimDevice(8 * MIB));
  t.match(blank, { verdict: 'absent', source: null, config: null, table: null });
  t.ok(blank.copies.every((copy) => copy.state === 'blank'));

  const noise = new SimDevice(8 * MIB);
  noise.damage(0, new Prng(3).bytes(8 * MIB));
  t.match(await inspectSpare(noise), { verdict: 'lost', source: null, config: null });

  const { spare, layout } = await sample();
  const other = spare.clone();
  await (await openSim([spare])).commit({ health: { scanCursor: 1 } });
  await (await openSim([other])).commit({ health: { scanCursor: 2 } });
  spare.damage(layout.zoneOffset(0), other.peek(layout.zoneOffset(0), 2 * SUPERBLOCK_SIZE));
  const fork = await inspectSpare(spare);
  t.match(fork, { verdict: 'fork', generation: 0, source: { sound: true } });
  t.ok(fork.copies.every((copy) => copy.state === 'good'));
  t.equal(new Set(fork.copies.map((copy) => copy.slots[0]?.digest)).size, 2);

  await t.rejects(inspectSpare(new SimDevice(MIB)), { code: 'SPARE_TOO_SMALL' });
});
