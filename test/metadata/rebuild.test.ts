import t, { test } from 'tap';
import { generation, lba } from '../../src/core/units.js';
import { checkSpares } from '../../src/metadata/check.js';
import { DescriptorStore } from '../../src/metadata/descriptors.js';
import { writeRebuilt } from '../../src/metadata/rebuild.js';
import type { MetadataStore } from '../../src/metadata/store.js';
import { type Survey, surveySpares } from '../../src/metadata/survey.js';
import type { TableEntry } from '../../src/ondisk/entry.js';
import { type SpareLayout, SUPERBLOCK_SIZE } from '../../src/ondisk/layout.js';
import { randomHistory } from '../fixtures/history.js';
import {
  fixedClock,
  MAIN,
  MIB,
  openSim,
  remapOf,
  remaps,
  simVolume,
} from '../fixtures/metadata.js';
import { Prng } from '../fixtures/prng.js';
import { SimDevice } from '../fixtures/sim-device.js';

const SEED = Number(process.env.REBUILD_SEED ?? 1);
/** docs/testing.md names the command for more. */
const VOLUMES = Number(process.env.REBUILD_VOLUMES ?? 20);

t.setTimeout(30_000 + VOLUMES * 1000);

const survey = (spares: readonly SimDevice[], volumeUuid?: string): Promise<Survey> =>
  surveySpares(spares, { volumeUuid, nowSeconds: fixedClock.nowSeconds() });

async function rebuilt(spares: readonly SimDevice[]): Promise<MetadataStore> {
  await write(await survey(spares), spares);
  return openSim(spares);
}

const write = (found: Survey, spares: readonly SimDevice[], main = MAIN as object) =>
  writeRebuilt(found, {
    main: { ...MAIN, ...main },
    spareRecords: spares.map((spare) => {
      const { path, sizeSectors } = spare;
      return { kind: 'file', identity: '', pathHint: path, sizeSectors };
    }),
    name: 'rebuilt',
    clock: fixedClock,
  });

/** Both slots and the table pages of the zones. */
function wipe(spare: SimDevice, layout: SpareLayout, prng: Prng, copies = [0, 1, 2, 3, 4]): void {
  for (const copy of copies) {
    const bytes = prng.below(2) === 0 ? Buffer.alloc(layout.zoneSize) : prng.bytes(layout.zoneSize);
    spare.damage(layout.zoneOffset(copy), bytes);
  }
}

const codeOf = (e: { code: string }): string => e.code;

/** What matters of a table: which sector of main stands where, and what is retired. */
function mapOf(entries: Iterable<TableEntry>, blockSectors: number): string[] {
  const lines: string[] = [];
  for (const { kind, start, count, spareIndex, spareStart } of entries) {
    if (kind === 'pending') continue;
    for (let i = 0; i < count; i += blockSectors) {
      const at = kind === 'remapped' ? ` at ${spareStart + i}` : '';
      lines.push(`${kind} ${start + i}${at} of ${spareIndex}`);
    }
  }
  return lines.sort();
}

test(`${VOLUMES} random volumes wiped five of five: block for block (seed ${SEED})`, async (t) => {
  let remapped = 0;
  let retired = 0;
  let refused = 0;
  for (let i = 0; i < VOLUMES; i++) {
    const seed = SEED + i;
    const prng = new Prng(seed);
    const { spares, store, table } = await randomHistory(prng, prng.between(4, 24));
    const blockSectors = store.config.logicalBlockSize / 512;
    const before = mapOf(store.entries(), blockSectors);
    for (const [s, spare] of spares.entries()) wipe(spare, store.layouts[s] as SpareLayout, prng);
    const mute = spares.some((_, s) => !before.some((line) => line.endsWith(` of ${s}`)));
    const refusal = mute && (await survey(spares).then(() => '', codeOf));
    if (refusal) {
      // A spare that never held anything says nothing of itself.
      if (!/META_ABSENT|SPARE_FOREIGN/.test(refusal)) t.fail(`seed ${seed}: ${refusal}`);
      refused++;
      continue;
    }
    const after = await rebuilt(spares);
    remapped += table.totals.sectors;
    retired += table.totals.retiredSectors;
    const same =
      after.volumeUuid === store.volumeUuid &&
      after.generation > store.generation &&
      after.tolerance() === 4 &&
      mapOf(after.entries(), blockSectors).join('\n') === before.join('\n');
    if (!same) t.fail(`REBUILD_SEED=${seed} REBUILD_VOLUMES=1`);
    const report = await checkSpares(spares, { repair: false, clock: fixedClock });
    if (report.verdict !== 'whole') t.fail(`seed ${seed}: ${JSON.stringify(report.problems)}`);
  }
  const sectors = `${remapped} sectors remapped, ${retired} retired`;
  t.comment(`${VOLUMES - refused} volumes rebuilt, ${refused} with a mute spare; ${sectors}`);
  t.ok(remapped > 0 && retired > 0);
});

/** One spare of 8 MiB whose first `count` blocks hold every second sector of main. */
async function sample(count: number) {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [SpareLayout];
  const { volumeUuid } = store;
  const options = { volumeUuid, logicalBlockSize: 512, layouts: [layout] };
  const descriptors = new DescriptorStore(spares, options);
  const add = remaps(layout, 0, count).map((e) => ({ ...e, start: lba(e.start * 2) }));
  const describe = (entries: readonly TableEntry[], number: bigint) =>
    descriptors.update(
      entries.map(({ spareIndex, spareStart, start, count: sectors }) => {
        return { spareIndex, spareStart, count: sectors, state: 'used', mainStart: start };
      }),
      generation(number),
    );
  await describe(add, 2n);
  await store.commit({ add });
  return { spares, spare, store, layout, descriptors, describe, add };
}

test('more entries than a superblock holds', async (t) => {
  const { spares, spare, layout, store } = await sample(3000);
  const before = mapOf(store.entries(), 1);
  wipe(spare, layout, new Prng(1));
  t.strictSame(mapOf((await rebuilt(spares)).entries(), 1), before);
});

test('power fails at any flush of a rebuild: refused as before, or whole', async (t) => {
  const { spare, layout, store } = await sample(3000);
  const before = mapOf(store.entries(), 1);
  wipe(spare, layout, new Prng(2));
  const found: string[] = [];
  for (const flush of [1, 2, 3, 4, 5]) {
    const device = spare.clone();
    const prng = new Prng(flush);
    const keep = () => prng.below(2) === 0;
    device.cutPowerAtFlush(flush, keep);
    const done = await rebuilt([device]).then(
      () => true,
      () => false,
    );
    device.heal();
    const opened = await openSim([device]).catch((e: { code: string }) => e.code);
    found.push(typeof opened === 'string' ? opened : 'whole');
    if (typeof opened !== 'string') t.strictSame(mapOf(opened.entries(), 1), before);
    t.strictSame(mapOf((await again(device, opened)).entries(), 1), before, 'and again');
    if (done) break;
  }
  t.match(found.join(), /^(META_\w+,)+(whole,?)+$/);
});

const again = (device: SimDevice, opened: unknown): Promise<MetadataStore> =>
  typeof opened === 'string' ? rebuilt([device]) : openSim([device]);

test('metadata that can be used is never replaced', async (t) => {
  const { spares, spare, layout } = await sample(10);
  wipe(spare, layout, new Prng(3), [0, 1, 3, 4]);
  const before = spare.clone();
  await t.rejects(survey(spares), { code: 'USAGE', message: /can be used as it is/ });
  t.ok(spare.equals(before));
});

test('a lone copy that is old gives its name and identity, not its table', async (t) => {
  const { spares, spare, layout, store, describe } = await sample(10);
  spare.makeUnwritable(layout.zoneOffset(2), 2 * SUPERBLOCK_SIZE);
  const more = [remapOf(layout, 20)];
  await describe(more, 3n);
  await store.commit({ add: more });
  const before = mapOf(store.entries(), 1);
  spare.heal();
  wipe(spare, layout, new Prng(4), [0, 1, 3, 4]);
  await t.rejects(openSim(spares), { code: 'META_OLD' });
  const after = await rebuilt(spares);
  t.strictSame(mapOf(after.entries(), 1), before);
  t.equal(after.config.name, 'test');
  t.equal(after.config.spares[0]?.uuid, store.config.spares[0]?.uuid);
});

test('of two blocks for one sector the newer counts, and the older never comes back', async (t) => {
  const { spares, spare, layout, descriptors, describe, store } = await sample(3);
  const newer = { ...remapOf(layout, 100), start: lba(2) };
  await describe([newer], 9n);
  wipe(spare, layout, new Prng(5));
  const { resolved } = await survey(spares);
  t.equal(resolved.superseded.length, 1);
  t.equal(resolved.ambiguousSectors, 0);
  const after = await rebuilt(spares);
  const { spareStart } = newer;
  t.match(mapOf(after.entries(), 1), [
    `remapped 0 `,
    `remapped 2 at ${spareStart} `,
    `remapped 4 `,
  ]);
  t.notOk(await descriptors.agrees({ spareIndex: 0, spareStart, count: 1, state: 'free' }));
  const fresh = new DescriptorStore(spares, {
    volumeUuid: store.volumeUuid,
    logicalBlockSize: 512,
    layouts: [layout],
  });
  const old = layout.blockSector(1);
  t.ok(await fresh.agrees({ spareIndex: 0, spareStart: old, count: 1, state: 'free' }));
  await describe([{ ...newer, spareStart: layout.blockSector(101) }], 9n);
  wipe(spare, layout, new Prng(6));
  t.equal((await survey(spares)).resolved.ambiguousSectors, 1, 'two of one generation');
});

test('the blocks of a commit that never happened are taken', async (t) => {
  const { spares, spare, layout, describe, store } = await sample(3);
  const inFlight = remapOf(layout, 50);
  await describe([inFlight], 3n);
  const expected = mapOf([...store.entries(), inFlight], 1);
  wipe(spare, layout, new Prng(7));
  t.strictSame(mapOf((await rebuilt(spares)).entries(), 1), expected);
});

test('a group whose pages cannot be read is told', async (t) => {
  const { spares, spare, layout, store } = await sample(300);
  wipe(spare, layout, new Prng(8));
  spare.makeUnreadable(layout.groupAt(0).start * 512 + 4096, 512);
  const { doubtfulGroups, resolved, generation: next } = await survey(spares);
  t.equal(doubtfulGroups, 1);
  t.equal(mapOf(resolved.entries, 1).length, 300 - 248);
  t.ok(next > store.generation + 999_999n);
});

test('what is not one whole volume is refused', async (t) => {
  const { spares, spare, layout, store } = await sample(10);
  await t.rejects(survey([new SimDevice(8 * MIB)]), { code: 'META_ABSENT' });
  wipe(spare, layout, new Prng(9));

  const other = await sample(5);
  wipe(other.spare, layout, new Prng(10));
  await t.rejects(survey([spare, other.spare]), { code: 'META_FORK', message: /--volume=UUID/ });
  await t.rejects(survey([spare, other.spare], store.volumeUuid), { code: 'SPARE_FOREIGN' });
  await t.rejects(survey([spare, new SimDevice(8 * MIB)]), { code: 'SPARE_FOREIGN' });
  t.equal((await survey(spares, store.volumeUuid)).volumeUuid, store.volumeUuid);

  await t.rejects(write(await survey(spares), spares, { sizeSectors: 18 }), {
    code: 'MAIN_CHANGED',
    context: { have: 18, need: 19 },
  });
  await t.rejects(survey([spare.resized(16 * MIB)]), { code: 'META_LOST', message: /its size/ });
  await t.rejects(survey([spare.resized(9 * MIB)]), { code: 'META_LOST', message: /its size/ });
  t.equal((await survey(spares)).resolved.entries.length, 10);
});

test('one of two spares wiped: the other says which it is', async (t) => {
  const { spares, store } = await simVolume({ sizes: [8 * MIB, 10 * MIB] });
  const [a, b] = store.layouts as [SpareLayout, SpareLayout];
  const { volumeUuid } = store;
  const options = { volumeUuid, logicalBlockSize: 512, layouts: [a, b] };
  const descriptors = new DescriptorStore(spares, options);
  const add = [remapOf(a, 1, 0), remapOf(b, 7, 1)];
  for (const { spareIndex, spareStart, start } of add) {
    const change = { spareIndex, spareStart, count: 1, state: 'used', mainStart: start } as const;
    await descriptors.update([change], generation(2n));
  }
  await store.commit({ add });
  const before = mapOf(store.entries(), 1);
  wipe(spares[1] as SimDevice, b, new Prng(11));
  await t.rejects(openSim(spares), { code: 'META_LOST' });
  await t.rejects(survey([spares[0] as SimDevice]), { code: 'USAGE', message: /name all of them/ });
  const after = await rebuilt(spares);
  t.strictSame(mapOf(after.entries(), 1), before);
  t.strictSame(
    after.config.spares.map((spare) => spare.uuid),
    store.config.spares.map((spare) => spare.uuid),
  );
});
