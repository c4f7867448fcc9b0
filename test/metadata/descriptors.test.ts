import { test } from 'tap';
import { generation } from '../../src/core/units.js';
import { DescriptorStore } from '../../src/metadata/descriptors.js';
import { layoutOf } from '../../src/ondisk/layout.js';
import { MIB } from '../fixtures/metadata.js';
import { SimDevice } from '../fixtures/sim-device.js';

const VOLUME = '00112233-4455-6677-8899-aabbccddeeff';
const layout = layoutOf(8 * MIB, 512);

const on = (spare: SimDevice, volumeUuid = VOLUME): DescriptorStore =>
  new DescriptorStore([spare], { volumeUuid, logicalBlockSize: 512, layouts: [layout] });

const used = (block: number, count: number, mainStart: number) => ({
  spareIndex: 0,
  spareStart: layout.blockSector(block),
  count,
  state: 'used' as const,
  mainStart,
});

const found = async (store: DescriptorStore): Promise<string[]> => {
  const list: string[] = [];
  for await (const { spareStart, state, mainStart, generation: g } of store.scan(0)) {
    list.push(`${layout.blockOfSector(spareStart)} ${state} ${mainStart} @${g}`);
  }
  return list;
};

test('what was written is found by a scan', async (t) => {
  const spare = new SimDevice(8 * MIB);
  const store = on(spare);
  t.strictSame(await found(store), []);
  const retired = { ...used(600, 1, 0), state: 'retired' as const };
  await store.update([used(0, 2, 1000), used(247, 1, 5), retired], generation(7n));
  const expected = ['0 used 1000 @7', '1 used 1001 @7', '247 used 5 @7', '600 retired 0 @7'];
  t.strictSame(await found(store), expected);
  t.strictSame(await found(on(spare)), expected, 'and by another process');
  await store.update([{ ...used(1, 1, 0), state: 'free' }], generation(8n));
  t.strictSame(await found(on(spare)), expected.toSpliced(1, 1));
});

test('the two slots are written in turn, so a torn write loses that write only', async (t) => {
  const spare = new SimDevice(8 * MIB);
  const store = on(spare);
  const start = layout.groupAt(0).start * 512;
  await store.update([used(0, 1, 10)], generation(2n));
  await store.update([used(1, 1, 11)], generation(3n));
  await spare.flush();
  t.strictSame(
    spare.trace.filter((step) => step.operation === 'write').map(({ offset }) => offset - start),
    [4096, 0],
  );
  await store.update([used(100, 1, 12)], generation(4n));
  spare.crash(() => 1024);
  t.strictSame(await found(on(spare)), ['0 used 10 @2', '1 used 11 @3']);
});

test('many groups, more than are kept in memory', async (t) => {
  const size = 64 * MIB;
  const large = layoutOf(size, 512);
  t.ok(large.groupCount > 300);
  const spare = new SimDevice(size);
  const options = { volumeUuid: VOLUME, logicalBlockSize: 512, layouts: [large] };
  const store = new DescriptorStore([spare], options);
  for (const round of [0, 1]) {
    for (let group = 0; group < 300; group++) {
      const spareStart = large.blockSector(group * 248 + round);
      const change = {
        spareIndex: 0,
        spareStart,
        count: 1,
        state: 'used' as const,
        mainStart: group,
      };
      await store.update([change], generation(2n));
    }
  }
  let blocks = 0;
  for await (const _ of new DescriptorStore([spare], options).scan(0)) blocks++;
  t.equal(blocks, 600);
});

test('pages of another volume, or of another place, are none', async (t) => {
  const spare = new SimDevice(8 * MIB);
  await on(spare, 'ffffffff-4455-6677-8899-aabbccddeeff').update([used(0, 1, 1)], generation(2n));
  t.strictSame(await found(on(spare)), []);
  await on(spare).update([used(3, 1, 30)], generation(2n));
  t.strictSame(await found(on(spare)), ['3 used 30 @2']);
  const [from, to] = [layout.groupAt(0).start * 512, layout.groupAt(1).start * 512];
  spare.damage(to, spare.peek(from, 8192));
  t.strictSame(await found(on(spare)), ['3 used 30 @2']);
});

test('a failed write is not taken for written', async (t) => {
  const spare = new SimDevice(8 * MIB);
  const store = on(spare);
  await store.update([used(0, 1, 10)], generation(2n));
  spare.makeUnwritable(layout.groupAt(0).start * 512, 8192);
  await t.rejects(store.update([used(1, 1, 11)], generation(3n)), { code: 'DEVICE_IO' });
  t.notOk(await store.agrees(used(1, 1, 11)));
  t.ok(await store.agrees(used(0, 1, 10)));
  spare.heal();
  await store.update([used(2, 1, 12)], generation(4n));
  t.strictSame(await found(on(spare)), ['0 used 10 @2', '2 used 12 @4']);
});

test('what is no run of blocks of one group is refused', async (t) => {
  const store = on(new SimDevice(8 * MIB));
  const bad = [
    used(247, 2, 0),
    { ...used(0, 1, 0), spareStart: 0 },
    { ...used(0, 1, 0), spareIndex: 1 },
  ];
  for (const change of bad) await t.rejects(store.update([change], generation(2n)), RangeError);
  const wide = layoutOf(64 * MIB, 4096);
  const options = { volumeUuid: VOLUME, logicalBlockSize: 4096, layouts: [wide] };
  const large = new DescriptorStore([new SimDevice(64 * MIB)], options);
  const odd = {
    spareIndex: 0,
    spareStart: wide.blockSector(0) + 1,
    count: 8,
    state: 'used' as const,
  };
  await t.rejects(large.update([odd], generation(2n)), RangeError);
});
