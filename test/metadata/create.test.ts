import { test } from 'tap';
import { classifySpare } from '../../src/metadata/create.js';
import { MetadataStore } from '../../src/metadata/store.js';
import { layoutOf, SUPERBLOCK_SIZE } from '../../src/ondisk/layout.js';
import { createOn, fixedClock, MAIN, MIB, openSim, simVolume } from '../fixtures/metadata.js';
import { SimDevice } from '../fixtures/sim-device.js';

test('generation 1 in five copies, as the document says', async (t) => {
  const { spares, store } = await simVolume({ sizes: [8 * MIB, 64 * MIB] });
  t.match(store.config, {
    name: 'test',
    logicalBlockSize: 512,
    main: { ...MAIN, uuid: '00000000-0000-0000-0000-000000000000' },
  });
  t.equal(store.createdSeconds, fixedClock.nowSeconds());
  for (const [index, spare] of spares.entries()) {
    const layout = layoutOf(spare.sizeBytes, 512);
    for (const [copy, offset] of layout.zoneOffsets.entries()) {
      t.ok(spare.peek(offset, SUPERBLOCK_SIZE).equals(Buffer.alloc(SUPERBLOCK_SIZE)));
      const b = spare.peek(offset + SUPERBLOCK_SIZE, SUPERBLOCK_SIZE);
      t.equal(b.toString('latin1', 0, 4), 'DMR4');
      t.equal(b.readUInt32LE(104), copy);
      t.equal(b.readUInt32LE(108), 5);
      t.equal(b.readBigUInt64LE(64), 1n);
      t.equal(b.toString('hex', 72, 88), '0'.repeat(32), 'no parent');
      t.equal(b.toString('hex', 48, 64), store.config.spares[index]?.uuid.replaceAll('-', ''));
    }
  }
  t.not(store.config.spares[0]?.uuid, store.config.spares[1]?.uuid);
});

test('what is on a spare', async (t) => {
  const blank = new SimDevice(256 * MIB);
  t.equal(await classifySpare(blank), 'blank');
  const { spares } = await simVolume();
  const [ours] = spares as [SimDevice];
  t.equal(await classifySpare(ours), 'ours');
  for (const offset of layoutOf(8 * MIB, 512).zoneOffsets.slice(1)) {
    ours.damage(offset, Buffer.alloc(MIB, 1));
  }
  t.equal(await classifySpare(ours), 'ours', 'one copy left');
  ours.damage(0, Buffer.alloc(MIB, 1));
  t.equal(await classifySpare(ours), 'foreign-data', 'never formatted over unasked');
  const places = [0, 1024, 256 * MIB - 512, layoutOf(256 * MIB, 4096).zoneOffset(2)];
  for (const offset of [...places, layoutOf(256 * MIB, 512).zoneOffset(3) + SUPERBLOCK_SIZE]) {
    const used = new SimDevice(256 * MIB);
    used.damage(offset, Buffer.from([1]));
    t.equal(await classifySpare(used), 'foreign-data', `a byte at ${offset}`);
  }
});

test('what is not blank is formatted by force only', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const before = spare.clone();
  await t.rejects(createOn(spares), { code: 'SPARE_NOT_BLANK', message: /is a spare already/ });
  const used = new SimDevice(8 * MIB);
  used.damage(1024, Buffer.from('a file system'));
  await t.rejects(createOn([used]), { code: 'SPARE_NOT_BLANK', message: /holds data/ });
  t.ok(spare.equals(before));
  const fresh = await createOn(spares, { force: true });
  t.not(fresh.volumeUuid, store.volumeUuid);
  t.equal((await openSim(spares)).volumeUuid, fresh.volumeUuid);
});

test('refused before anything is written', async (t) => {
  await t.rejects(createOn([new SimDevice(8 * MIB - 4096)]), { code: 'SPARE_TOO_SMALL' });
  const spare = new SimDevice(8 * MIB);
  const named = MetadataStore.create([spare], {
    name: 'é'.repeat(25),
    logicalBlockSize: 512,
    main: MAIN,
    spareRecords: [{ ...MAIN }],
    clock: fixedClock,
    force: false,
  });
  await t.rejects(named, { code: 'USAGE', message: /48 bytes/ });
  t.ok(spare.equals(new SimDevice(8 * MIB)));
});

test('one copy that cannot be written is borne, two are not', async (t) => {
  const layout = layoutOf(8 * MIB, 512);
  const spare = new SimDevice(8 * MIB);
  spare.makeUnwritable(layout.zoneOffset(1), MIB);
  t.equal((await createOn([spare])).tolerance(), 3);
  const worse = new SimDevice(8 * MIB);
  worse.makeUnwritable(layout.zoneOffset(1), MIB);
  worse.makeUnwritable(layout.zoneOffset(4), MIB);
  await t.rejects(createOn([worse]), { code: 'META_COMMIT', context: { have: 3, need: 4 } });
});

test('a crash at any flush of create leaves nothing half made', async (t) => {
  const { spares, store } = await simVolume();
  const [old] = spares as [SimDevice];
  for (const flush of [1, 2]) {
    for (const kept of [0, 1, 2, 3, 4, 5]) {
      const spare = old.clone();
      spare.cutPowerAtFlush(flush, (_, index) => index < kept);
      await t.rejects(createOn([spare], { force: true }));
      spare.heal();
      const uuid = await openSim([spare]).then(
        (opened) => opened.volumeUuid,
        (error: { code: string }) => error.code,
      );
      const expected =
        flush === 1 && kept < 5
          ? store.volumeUuid
          : kept === 0 || flush === 1
            ? 'META_ABSENT'
            : uuid;
      t.equal(uuid, expected, `flush ${flush}, ${kept} kept`);
      if (flush === 2) t.not(uuid, store.volumeUuid);
    }
  }
});
