import { test } from 'tap';
import { generation } from '../../src/core/units.js';
import { DescriptorStore } from '../../src/metadata/descriptors.js';
import { inspectSpare } from '../../src/metadata/inspect.js';
import { placeOf } from '../../src/metadata/slots.js';
import { crc32cWithout } from '../../src/ondisk/crc32c.js';
import {
  layoutOf,
  type SpareLayout,
  SUPERBLOCK_SIZE,
  TABLE_PAGE_SIZE,
} from '../../src/ondisk/layout.js';
import { digestOf, imageOf, stampCopy } from '../../src/ondisk/superblock.js';
import { contentOf, createOn, MIB, openSim, remaps, simVolume } from '../fixtures/metadata.js';
import { Prng } from '../fixtures/prng.js';
import { SimDevice } from '../fixtures/sim-device.js';

/** A volume with entries inside the superblock and on pages, at generation 4. */
async function filled(sizes: readonly number[] = [8 * MIB]) {
  const { spares, store } = await simVolume({ sizes });
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  await store.commit({ add: remaps(layout, 0, 2500) });
  const [third] = [...store.entries()].slice(2);
  await store.commit({ add: remaps(layout, 2500, 10), remove: third ? [third] : [] });
  await store.commit({ add: remaps(layout, 2510, 3) });
  const [spare] = spares as [SimDevice, ...SimDevice[]];
  return { spares, spare, store, layout, content: contentOf(store.entries()) };
}

test('any four of the five zones may be overwritten', async (t) => {
  const { spare, store, layout, content } = await filled();
  for (let survivor = 0; survivor < 5; survivor++) {
    const device = spare.clone();
    for (const [copy, offset] of layout.zoneOffsets.entries()) {
      if (copy !== survivor) device.damage(offset, new Prng(copy).bytes(MIB));
    }
    const opened = await openSim([device]);
    t.equal(opened.generation, store.generation);
    t.strictSame(contentOf(opened.entries()), content);
    t.notOk(opened.mayBeOld, 'the descriptors know nothing newer than the one copy');
    t.equal(opened.tolerance(), 4);
    t.equal(opened.health.metadataRepairsTotal, 4);

    const again = await openSim([device]);
    t.equal(again.bytesWritten, 0);
    t.notOk(again.mayBeOld);
    t.ok(again.copies().every((copy) => copy.state === 'good' && copy.generation === 4n));
    t.strictSame((await again.scrub({ repair: false })).findings, []);
  }
});

test('all five superblocks overwritten: refused, and nothing is written', async (t) => {
  const { spare, layout } = await filled();
  for (const [copy, offset] of layout.zoneOffsets.entries()) {
    spare.damage(offset, new Prng(copy).bytes(2 * SUPERBLOCK_SIZE));
  }
  const before = spare.clone();
  await t.rejects(openSim([spare]), { code: 'META_LOST', message: /nothing was written/ });
  t.ok(spare.equals(before));
  t.notOk(spare.trace.some((step) => step.operation === 'write' && step.offset < 0));
});

test('a device that cannot be read at all', async (t) => {
  const { spare } = await filled();
  spare.makeUnreadable(0, spare.sizeBytes);
  await t.rejects(openSim([spare]), { code: 'META_LOST' });
});

test('a blank device', async (t) => {
  const spare = new SimDevice(8 * MIB);
  await t.rejects(openSim([spare]), { code: 'META_ABSENT' });
  t.ok(spare.equals(new SimDevice(8 * MIB)));
});

test('two histories are a fork, and nothing is written', async (t) => {
  const { spare, layout } = await filled();
  const other = spare.clone();
  await (await openSim([spare])).commit({ health: { scanCursor: 1 } });
  await (await openSim([other])).commit({ health: { scanCursor: 2 } });
  spare.damage(layout.zoneOffset(3), other.peek(layout.zoneOffset(3), 2 * SUPERBLOCK_SIZE));
  const before = spare.clone();
  await t.rejects(openSim([spare]), { code: 'META_FORK', message: /nothing was written/ });
  t.ok(spare.equals(before));
});

test('a page that is in no zone: refused, and nothing is written', async (t) => {
  const { spare, layout } = await filled();
  for (let copy = 0; copy < 5; copy++) {
    const at = layout.pageOffset(copy, 0);
    spare.damage(at, new Prng(copy).bytes(layout.pageCapacity * TABLE_PAGE_SIZE));
  }
  const before = spare.clone();
  await t.rejects(openSim([spare]), { code: 'META_LOST', message: /Page 0 of the remap table/ });
  t.ok(spare.equals(before));
});

test('pages are found wherever they are whole, and written where they are not', async (t) => {
  const { spare, layout, content } = await filled();
  // Every page is damaged in four zones, in different ones.
  for (let location = 0; location < layout.pageCapacity; location++) {
    for (let copy = 0; copy < 5; copy++) {
      if (copy === location % 5) continue;
      spare.damage(layout.pageOffset(copy, location) + 64, new Prng(location).bytes(512));
    }
  }
  const opened = await openSim([spare]);
  t.strictSame(contentOf(opened.entries()), content);
  await opened.scrub();
  t.strictSame((await opened.scrub({ repair: false })).findings, []);
});

test('a copy that stands elsewhere is told by its own offset', async (t) => {
  const { spare, layout, store } = await filled();
  const at = layout.slotOffset(1, store.generation);
  spare.damage(at, spare.peek(layout.slotOffset(4, store.generation), SUPERBLOCK_SIZE));
  const reader = await openSim([spare], false);
  t.strictSame(
    reader.copies().map((copy) => copy.state),
    ['good', 'stale', 'good', 'good', 'good'],
  );
  spare.damage(layout.slotOffset(1, 1n as never), Buffer.alloc(SUPERBLOCK_SIZE));
  t.equal((await openSim([spare], false)).copies()[1]?.state, 'misplaced');
  t.equal((await openSim([spare])).tolerance(), 4);
});

test('a zone found to lack a page is mended at open', async (t) => {
  const { spare, layout } = await filled();
  const at = layout.pageOffset(0, 0);
  spare.damage(at, Buffer.alloc(layout.pageCapacity * TABLE_PAGE_SIZE, 1));
  const opened = await openSim([spare]);
  t.equal(opened.health.metadataRepairsTotal, 1);
  t.strictSame((await opened.scrub({ repair: false })).findings, []);
});

/** Sets one feature bit in the newest slot of every copy, all sums right. */
function setFeature(spare: SimDevice, field: number): void {
  const layout = layoutOf(spare.sizeBytes, 512);
  for (let copy = 0; copy < 5; copy++) {
    const offset = layout.slotOffset(copy, 4n as never);
    const bytes = spare.peek(offset, SUPERBLOCK_SIZE);
    const spareUuid = bytes.toString('hex', 48, 64);
    const image = imageOf(bytes);
    image[field] = 0x80;
    image.write(digestOf(image), 88, 'hex');
    spare.damage(offset, stampCopy(image, placeOf(layout, spareUuid, copy, offset)));
  }
}

test('features of a newer version', async (t) => {
  const { spare } = await filled();
  const incompatible = spare.clone();
  setFeature(incompatible, 8);
  const before = incompatible.clone();
  await t.rejects(openSim([incompatible]), { code: 'META_UNSUPPORTED', message: /0x80/ });
  t.ok(incompatible.equals(before));

  const readOnly = spare.clone();
  setFeature(readOnly, 16);
  const reader = await openSim([readOnly]);
  t.ok(reader.readOnly);
  await t.rejects(reader.commit({}), { code: 'READ_ONLY' });

  const compatible = spare.clone();
  setFeature(compatible, 24);
  const store = await openSim([compatible]);
  await store.commit({});
  const slot = layoutOf(8 * MIB, 512).slotOffset(0, store.generation);
  t.equal(compatible.peek(slot + 24, 1)[0], 0x80, 'unknown compatible bits are kept');
});

test('several spares, in any order', async (t) => {
  const { spares, content } = await filled([8 * MIB, 16 * MIB, 9 * MIB]);
  const [a, b, c] = spares as [SimDevice, SimDevice, SimDevice];
  const opened = await openSim([c, a, b]);
  t.strictSame(
    opened.spares.map((spare) => spare.path),
    ['spare0', 'spare1', 'spare2'],
  );
  t.strictSame(contentOf(opened.entries()), content);
  t.equal(opened.layouts[1]?.sizeBytes, 16 * MIB);
  t.equal(opened.copies().length, 15);
  t.match(opened.copies()[14], { spareIndex: 2, offset: 8 * MIB, state: 'good' });

  await t.rejects(openSim([a, b]), { code: 'USAGE', message: /3 spares and 2 of them.*spare2/ });
  await t.rejects(openSim([a, b, b.clone()]), { code: 'SAME_DEVICE' });
  const { spares: others } = await filled();
  await t.rejects(openSim([a, b, ...others]), { code: 'SPARE_FOREIGN' });
  for (let copy = 0; copy < 5; copy++) b.damage(copy * 4 * MIB, Buffer.alloc(MIB, 1));
  for (const at of opened.layouts[1]?.zoneOffsets ?? []) b.damage(at, Buffer.alloc(MIB, 1));
  const before = [a, b, c].map((spare) => spare.clone());
  await t.rejects(openSim([a, b, c]), { code: 'META_LOST', context: { device: 'spare1' } });
  t.ok([a, b, c].every((spare, i) => spare.equals(before[i] as SimDevice)));
});

test('a spare that has grown keeps its layout; one that has shrunk is refused', async (t) => {
  const { spare, content } = await filled([16 * MIB]);
  const grown = await openSim([spare.resized(64 * MIB)]);
  t.equal(grown.layouts[0]?.sizeBytes, 16 * MIB);
  t.strictSame(contentOf(grown.entries()), content);
  const shrunk = spare.resized(12 * MIB);
  const before = shrunk.clone();
  await t.rejects(openSim([shrunk]), {
    code: 'SPARE_TOO_SMALL',
    context: { have: 12 * MIB, need: 16 * MIB },
  });
  t.ok(shrunk.equals(before));
});

test('the layout is found without its first zone, whatever the block size', async (t) => {
  const size = 256 * MIB;
  t.not(layoutOf(size, 512).zoneOffset(1), layoutOf(size, 4096).zoneOffset(1));
  for (const logicalBlockSize of [512, 4096]) {
    const { spares, store } = await simVolume({ sizes: [size], logicalBlockSize });
    const [spare] = spares as [SimDevice];
    spare.damage(0, Buffer.alloc(MIB, 7));
    const opened = await openSim(spares);
    t.equal(opened.volumeUuid, store.volumeUuid);
    t.equal(opened.config.logicalBlockSize, logicalBlockSize);
    t.equal(opened.tolerance(), 4);
  }
});

test('nothing of an older volume comes back after a forced create', async (t) => {
  const size = 256 * MIB;
  const { spares, store } = await simVolume({ sizes: [size], logicalBlockSize: 4096 });
  await store.commit({});
  const [spare] = spares as [SimDevice];
  const fresh = await createOn(spares, { logicalBlockSize: 512, force: true });
  t.not(fresh.volumeUuid, store.volumeUuid);
  const layout = layoutOf(size, 512);
  for (const offset of layout.zoneOffsets.slice(0, 4)) spare.damage(offset, Buffer.alloc(MIB, 7));
  t.equal((await openSim(spares)).volumeUuid, fresh.volumeUuid);
});

test('of two layouts the one counts that more copies have', async (t) => {
  const size = 256 * MIB;
  const { spares } = await simVolume({ sizes: [size], logicalBlockSize: 4096 });
  const [other] = spares as [SimDevice];
  const { spares: own, store } = await simVolume({ sizes: [size] });
  const [spare] = own as [SimDevice];
  for (const offset of layoutOf(size, 4096).zoneOffsets.slice(1)) {
    spare.damage(offset, other.peek(offset, 2 * SUPERBLOCK_SIZE));
  }
  t.equal((await openSim([spare], false)).volumeUuid, store.volumeUuid);
});

/** A spare on which one copy is left, of generation 4 while generation 5 was acknowledged. */
async function oneStaleCopy(state?: 'used' | 'free' | 'retired') {
  const { spare, store, layout } = await filled();
  spare.makeUnwritable(layout.zoneOffset(2), 2 * SUPERBLOCK_SIZE);
  if (state !== undefined) {
    const options = { volumeUuid: store.volumeUuid, logicalBlockSize: 512, layouts: [layout] };
    const descriptors = new DescriptorStore([spare], options);
    const spareStart = layout.blockSector(layout.blockCount - 1);
    await descriptors.update([{ spareIndex: 0, spareStart, count: 1, state }], generation(5n));
  }
  if ((await store.commit({})).copiesDurable !== 4) throw new Error('one copy was to miss it');
  spare.heal();
  for (const copy of [0, 1, 3, 4]) {
    spare.damage(layout.zoneOffset(copy), Buffer.alloc(2 * SUPERBLOCK_SIZE, 1));
  }
  return { spare, layout };
}

test('one stale copy alone: what no block speaks of is taken for current', async (t) => {
  const { spare } = await oneStaleCopy();
  const opened = await openSim([spare]);
  t.equal(opened.generation, 4n);
  t.notOk(opened.mayBeOld, 'no remap can be missing');
});

test('one stale copy alone: any block described as newer refuses it', async (t) => {
  for (const state of ['used', 'free', 'retired'] as const) {
    const { spare } = await oneStaleCopy(state);
    const before = spare.clone();
    for (const repair of [true, false]) {
      await t.rejects(openSim([spare], repair), {
        code: 'META_OLD',
        message: /of generation 4, .* of generation 5: .* check spare0 .* --rebuild/,
      });
    }
    t.ok(spare.equals(before), 'and the old copy was spread nowhere');
    t.match(await inspectSpare(spare), {
      verdict: 'old',
      generation: 4,
      describedGeneration: 5,
      mayBeOld: true,
    });
  }
});

test('descriptors that cannot be read leave a lone copy unproven', async (t) => {
  const last = (layout: SpareLayout) => layout.groupAt(layout.groupCount - 1).start * 512;
  const faults: ((spare: SimDevice, at: number) => void)[] = [
    (spare, at) => spare.makeUnreadable(at + 4096, 512),
    // The one page there is rots, in what it says of its last block.
    (spare, at) => spare.damage(at + 4096 + 4031, Buffer.from([1])),
    (spare, at) => spare.damage(at + 4096, Buffer.from('dmrg')),
  ];
  for (const fault of faults) {
    const { spare, layout } = await oneStaleCopy('used');
    fault(spare, last(layout));
    const opened = await openSim([spare], false);
    t.ok(opened.mayBeOld);
    t.match(await inspectSpare(spare), { verdict: 'ok', mayBeOld: true, describedGeneration: 0 });
  }
});

test('a copy whose repair fails is reported, and the store serves', async (t) => {
  const { spare, layout } = await filled();
  spare.damage(layout.zoneOffset(1), Buffer.alloc(SUPERBLOCK_SIZE, 1));
  spare.makeUnwritable(layout.zoneOffset(1), MIB);
  const opened = await openSim([spare]);
  t.equal(opened.tolerance(), 3);
  t.equal(opened.copies()[1]?.state, 'damaged');
  t.equal(opened.health.metadataRepairsTotal, 0);
  t.equal((await opened.commit({})).copiesDurable, 4);
});

test('a sound superblock with nonsense in a section is not taken', async (t) => {
  const { spare, store, layout } = await filled();
  const offset = layout.slotOffset(0, store.generation);
  const image = imageOf(spare.peek(offset, SUPERBLOCK_SIZE));
  const table = image.subarray(3456, 23_936);
  table[64 + 15] = 9;
  table.writeUInt32LE(crc32cWithout(table, 0), 0);
  image.write(digestOf(image), 88, 'hex');
  const spareUuid = store.config.spares[0]?.uuid ?? '';
  spare.damage(offset, stampCopy(image, placeOf(layout, spareUuid, 0, offset)));
  const reader = await openSim([spare], false);
  t.strictSame(
    reader.copies().map((copy) => copy.state),
    ['torn', 'good', 'good', 'good', 'good'],
  );
});
