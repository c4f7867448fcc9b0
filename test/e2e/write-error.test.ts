/** Write errors that the guest never sees. */
import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import type { RemapRow } from '../../src/protocol/messages.js';
import { Daemon, type VolumeFiles, volumeFiles } from '../fixtures/daemon.js';
import { FrontEnd, SECTOR, STATUS, TYPE } from '../fixtures/front-end.js';
import { Prng } from '../fixtures/prng.js';

interface Served {
  readonly files: VolumeFiles;
  readonly daemon: Daemon;
  readonly fe: FrontEnd;
}

async function serve(t: Test, ...args: string[]): Promise<Served> {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files, ...args);
  const fe = await FrontEnd.attach({ socketPath: files.socket });
  t.teardown(() => fe.close());
  return { files, daemon, fe };
}

const sectorsOf = (rows: readonly { lba: number; count: number }[]): number[] =>
  rows
    .flatMap((row) => Array.from({ length: row.count }, (_, i) => row.lba + i))
    .sort((a, b) => a - b);

const spareSectorsOf = (rows: readonly RemapRow[]): number[] =>
  sectorsOf(rows.map((row) => ({ lba: row.spareLba, count: row.count })));

t.test(
  'the bad sectors of a write and no other are remapped; contiguous ones to one extent',
  async (t) => {
    const { daemon, fe, files } = await serve(t);
    const prng = new Prng(7);
    const bad = [
      { lba: 1003, count: 1 },
      { lba: 1010, count: 20 },
      { lba: 1062, count: 2 },
    ];
    await daemon.inject('write-error', bad);
    const data = prng.bytes(64 * SECTOR);
    const answer = await fe.request({ type: TYPE.OUT, sector: 1000, data });
    t.strictSame([answer.status, answer.usedLength], [STATUS.OK, 1]);
    t.ok((await fe.read(1000, 64)).equals(data));

    const remaps = await daemon.remaps();
    t.strictSame(
      remaps.map(({ lba, count }) => ({ lba, count })),
      bad,
    );
    t.ok(remaps.every((row) => row.cause === 'write-error'));
    const status = await daemon.status();
    t.match(status, {
      remaps: { extents: 3, sectors: 23 },
      pending: { sectors: 0 },
      io: { errors: 0 },
      health: { inputs: { reallocatedSectors: 23 } },
    });
    const [spare] = status.spares;
    t.equal((spare?.totalSectors ?? 0) - (spare?.freeSectors ?? 0), 23);

    // What the raw files say: main has the plain sectors, the spare the others.
    await fe.flush();
    const main = readFileSync(files.main);
    const spareFile = readFileSync(files.spare);
    const badSectors = sectorsOf(bad);
    for (let i = 0; i < 64; i++) {
      const sector = 1000 + i;
      const row = remaps.find((r) => sector >= r.lba && sector < r.lba + r.count);
      const [file, at] = row ? [spareFile, row.spareLba + sector - row.lba] : [main, sector];
      const expected = data.subarray(i * SECTOR, (i + 1) * SECTOR);
      t.ok(file.subarray(at * SECTOR, (at + 1) * SECTOR).equals(expected), `sector ${sector}`);
      t.equal(row !== undefined, badSectors.includes(sector));
    }

    // Neighbours of an extent that fail later join it where the spare allows it.
    await daemon.inject('write-error', [{ lba: 1030, count: 5 }]);
    await fe.write(1030, prng.bytes(5 * SECTOR));
    t.equal((await daemon.status()).remaps.sectors, 28);
    t.strictSame(sectorsOf(await daemon.remaps()), sectorsOf([...bad, { lba: 1030, count: 5 }]));
  },
);

t.test('durable: kill -9, start again; later allocations do not collide', async (t) => {
  const { daemon, fe } = await serve(t);
  const prng = new Prng(8);
  const model = new Map<number, Buffer>();
  const known = new Map<number, number>();
  for (let round = 0; round < 4; round++) {
    const bad = Array.from({ length: 10 }, (_, i) => ({
      lba: 2000 * (round + 1) + 40 * i,
      count: 1 + prng.below(8),
    }));
    await daemon.inject('write-error', bad);
    await Promise.all(
      bad.map(async ({ lba }) => {
        const data = prng.bytes(24 * SECTOR);
        model.set(lba - 8, data);
        await fe.write(lba - 8, data);
      }),
    );
    const before = await daemon.remaps();
    for (const row of before) {
      for (let i = 0; i < row.count; i++) {
        const spare = known.get(row.lba + i) ?? row.spareLba + i;
        t.equal(row.spareLba + i, spare, `sector ${row.lba + i} stays where it was`);
        known.set(row.lba + i, spare);
      }
    }
    const places = spareSectorsOf(before);
    t.equal(new Set(places).size, places.length, 'no spare sector twice');
    const { generation } = await daemon.status();

    await daemon.kill();
    await daemon.restart();
    await fe.reconnect();
    t.strictSame(await daemon.remaps(), before, `round ${round}: the same map`);
    t.ok((await daemon.status()).generation >= generation, 'no older generation');
    for (const [sector, data] of model) {
      t.ok((await fe.read(sector, 24)).equals(data), `round ${round}: sector ${sector}`);
    }
  }
  t.match(await daemon.status(), { io: { errors: 0 }, state: 'healthy' });
  t.strictSame(fe.state().violations, []);
});

t.test('500 random bad blocks under a verified load', async (t) => {
  const { daemon, fe } = await serve(t);
  const prng = new Prng(9);
  const range = 20_000;
  const bad = new Set<number>();
  while (bad.size < 500) bad.add(prng.below(range));
  const load = fe.run({
    verify: true,
    readPercent: 20,
    blockBytes: 512,
    blockBytesMax: 16384,
    depth: 32,
    seconds: 60,
    sectorCount: range,
    flushEvery: 100,
  });
  for (const part of [0, 100, 200, 300, 400]) {
    const extents = [...bad].slice(part, part + 100).map((lba) => ({ lba, count: 1 }));
    await daemon.inject('write-error', extents);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  fe.finishLoads();
  const random = await load;
  t.match(random, { errors: 0, firstErrors: [], mismatchedSectors: 0 });
  t.ok(random.writes > 100);
  // One pass over everything, so that every bad block has met a write.
  const pass = await fe.run({
    verify: true,
    random: false,
    readPercent: 0,
    blockBytes: 32768,
    depth: 4,
    sectorCount: range,
    count: Math.ceil((range * SECTOR) / 32768),
  });
  t.match(pass, { errors: 0, firstErrors: [] });
  t.match(await fe.verifyAll(), { errors: 0, mismatchedSectors: 0, firstMismatches: [] });
  t.strictSame(
    sectorsOf(await daemon.remaps()),
    [...bad].sort((a, b) => a - b),
  );
  t.match(await daemon.status(), { remaps: { sectors: 500 }, io: { errors: 0 } });
});

t.test('a spare block that fails too is retired and another taken', async (t) => {
  const { daemon, fe } = await serve(t);
  const prng = new Prng(10);
  await daemon.inject('write-error', [{ lba: 0, count: 100 }]);
  await fe.write(0, prng.bytes(SECTOR));
  const [first] = await daemon.remaps();
  t.ok(first);
  const next = (first?.spareLba ?? 0) + 1;
  await daemon.inject('write-error', [{ lba: next, count: 3 }], { device: 'spare' });
  const data = prng.bytes(8 * SECTOR);
  await fe.write(50, data);
  t.ok((await fe.read(50, 8)).equals(data));
  const remaps = await daemon.remaps();
  t.equal(sectorsOf(remaps).length, 9);
  const places = spareSectorsOf(remaps);
  for (const bad of [next, next + 1, next + 2]) t.notOk(places.includes(bad), `not at ${bad}`);
  const status = await daemon.status();
  t.ok((status.spares[0]?.retiredSectors ?? 0) >= 1, 'retired');
  t.equal(status.io.errors, 0);
});

t.test('a remapped block whose spare block fails moves on', async (t) => {
  const { daemon, fe } = await serve(t);
  const prng = new Prng(11);
  await daemon.inject('write-error', [{ lba: 300, count: 4 }]);
  await fe.write(300, prng.bytes(4 * SECTOR));
  const [row] = await daemon.remaps();
  await daemon.inject('write-error', [{ lba: row?.spareLba ?? 0, count: 4 }], { device: 'spare' });
  const data = prng.bytes(4 * SECTOR);
  await fe.write(300, data);
  t.ok((await fe.read(300, 4)).equals(data));
  const after = await daemon.remaps();
  t.strictSame(sectorsOf(after), [300, 301, 302, 303]);
  for (const sector of spareSectorsOf(after)) {
    t.notOk(sector >= (row?.spareLba ?? 0) && sector < (row?.spareLba ?? 0) + 4);
  }
});

/** The whole zone of a copy on the spare. */
const zone = (offset: number) => ({ lba: offset / SECTOR, count: 2048 });

t.test('the guest is told when the map is durable, and not sooner', async (t) => {
  const { daemon, fe } = await serve(t);
  const prng = new Prng(12);
  const { metadata } = await daemon.status();
  const delayMs = 400;
  await daemon.inject('write-error', [{ lba: 800, count: 1 }]);
  await daemon.inject('slow', [zone(metadata.copies[3]?.offset ?? 0)], {
    delayMs,
    device: 'spare',
  });
  const data = prng.bytes(SECTOR);
  const begun = performance.now();
  await fe.write(800, data);
  t.ok(performance.now() - begun >= delayMs, 'a slow copy is waited for');
  await daemon.kill();
  await daemon.restart();
  await fe.reconnect();
  t.strictSame(sectorsOf(await daemon.remaps()), [800]);
  t.ok((await fe.read(800, 1)).equals(data));
});

t.test('a commit counts with four copies and not with three', async (t) => {
  const { daemon, fe } = await serve(t);
  const prng = new Prng(13);
  const { copies } = (await daemon.status()).metadata;
  const zones = copies.map((copy) => zone(copy.offset));
  await daemon.inject('write-error', [{ lba: 0, count: 1000 }]);
  await daemon.inject('write-error', zones.slice(4), { device: 'spare' });
  const data = prng.bytes(SECTOR);
  await fe.write(100, data);
  t.match(await daemon.status(), { state: 'degraded', metadata: { tolerance: 3 } });

  await daemon.inject('write-error', zones.slice(3, 4), { device: 'spare' });
  const lost = await fe.request({ type: TYPE.OUT, sector: 200, data: prng.bytes(SECTOR) });
  t.strictSame([lost.status, lost.usedLength], [STATUS.IOERR, 1]);
  t.ok((await fe.read(100, 1)).equals(data), 'what was committed is served');
  t.strictSame(sectorsOf(await daemon.remaps()), [100], 'nothing is published');
  t.not((await daemon.status()).state, 'healthy');

  await daemon.kill();
  await daemon.restart();
  await fe.reconnect();
  t.ok(sectorsOf(await daemon.remaps()).includes(100));
  t.ok((await fe.read(100, 1)).equals(data));
  t.match(await daemon.status(), { state: 'healthy', metadata: { tolerance: 4 } });
});

t.test('no spare block left: the write fails, the rest is served', async (t) => {
  const files = volumeFiles(t, { spareBytes: 8 << 20 });
  const daemon = await Daemon.serve(t, files);
  const fe = await FrontEnd.attach({ socketPath: files.socket });
  t.teardown(() => fe.close());
  const prng = new Prng(14);
  const total = (await daemon.status()).spares[0]?.totalSectors ?? 0;
  await daemon.inject('write-error', [{ lba: 0, count: total + 8 }]);
  const data = prng.bytes(total * SECTOR);
  for (let at = 0; at < total; at += 1024) {
    const count = Math.min(1024, total - at);
    await fe.write(at, data.subarray(at * SECTOR, (at + count) * SECTOR));
  }
  t.match(await daemon.status(), { remaps: { sectors: total }, spares: [{ freeSectors: 0 }] });
  const lost = await fe.request({ type: TYPE.OUT, sector: total, data: prng.bytes(SECTOR) });
  t.equal(lost.status, STATUS.IOERR);
  const status = await daemon.status();
  t.not(status.state, 'healthy');
  t.match(status.problems, [{ code: 'SPARE_EXHAUSTED' }]);
  for (let at = 0; at < total; at += 2048) {
    const count = Math.min(2048, total - at);
    t.ok((await fe.read(at, count)).equals(data.subarray(at * SECTOR, (at + count) * SECTOR)));
  }
  await fe.write(total + 100, prng.bytes(SECTOR));
});
