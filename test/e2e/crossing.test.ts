/**
 * Requests that cross remapped and plain blocks, at every offset: what is written is read back,
 * lies where the map says, and nothing outside the request is touched, on the disk and on the raw
 * files.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { RemapRow } from '../../src/protocol/messages.js';
import { Daemon, volumeFiles } from '../fixtures/daemon.js';
import { FrontEnd, SECTOR } from '../fixtures/front-end.js';
import { Prng } from '../fixtures/prng.js';

const MAIN_BYTES = 4 << 20;

/** Start and count of the bad extents, in blocks: single, neighbouring, every second, long. */
const LAYOUT: readonly (readonly [number, number])[] = [
  [1000, 1],
  [1003, 2],
  [1010, 7],
  [1030, 1],
  [1032, 1],
  [1034, 1],
  [1036, 1],
  [1060, 64],
  [1125, 3],
  [1200, 1],
];
const FIRST = 1000;
const LAST = 1201;
const LENGTH_MAX = 256;

interface Request {
  readonly start: number;
  readonly count: number;
}

/** Lengths 1 to 256, each at some offsets next to a border of the layout; some at all offsets. */
function requests(prng: Prng, offsetsEach: number): Request[] {
  const borders = LAYOUT.flatMap(([start, count]) =>
    [start, start + count].flatMap((b) => [b - 1, b, b + 1]),
  );
  const list: Request[] = [];
  for (let count = 1; count <= LENGTH_MAX; count++) {
    const starts = borders.flatMap((b) => [b, b - count]);
    for (let i = 0; i < offsetsEach; i++) list.push({ start: prng.pick(starts), count });
  }
  for (const count of [1, 2, 8, LENGTH_MAX]) {
    for (let start = FIRST - count; start <= LAST; start++) list.push({ start, count });
  }
  return prng.shuffle(list);
}

/** Where the map puts each sector of main. */
function targets(remaps: readonly RemapRow[]): Map<number, number> {
  const map = new Map<number, number>();
  for (const row of remaps) {
    for (let i = 0; i < row.count; i++) map.set(row.lba + i, row.spareLba + i);
  }
  return map;
}

const sectorOf = (file: Buffer, sector: number): Buffer =>
  file.subarray(sector * SECTOR, (sector + 1) * SECTOR);

/** Sectors in which two images differ. */
function differing(a: Buffer, b: Buffer): number[] {
  const sectors: number[] = [];
  for (let i = 0; i < a.length / SECTOR; i++) {
    if (!sectorOf(a, i).equals(sectorOf(b, i))) sectors.push(i);
  }
  return sectors;
}

async function check(
  t: Test,
  options: { unit: number; offsetsEach: number; args?: string[] },
): Promise<void> {
  const { unit } = options;
  const prng = new Prng(unit);
  const f = volumeFiles(t, { mainBytes: MAIN_BYTES * unit });
  const original = prng.bytes(MAIN_BYTES * unit);
  writeFileSync(f.main, original);
  const model = Buffer.from(original);
  const daemon = await Daemon.serve(t, f, ...(options.args ?? []));
  const fe = await FrontEnd.attach({ socketPath: f.socket });
  t.teardown(() => fe.close());

  const write = async (request: Request): Promise<void> => {
    const data = prng.bytes(request.count * unit * SECTOR);
    await fe.write(request.start * unit, data);
    model.set(data, request.start * unit * SECTOR);
  };

  // Every second extent by hand, the others by a write that fails on them.
  const extents = LAYOUT.map(([start, count]) => ({ lba: start * unit, count: count * unit }));
  const byHand = extents.filter((_, i) => i % 2 === 0);
  const byError = extents.filter((_, i) => i % 2 === 1);
  const list = join(f.directory, 'list.txt');
  writeFileSync(list, byHand.map(({ lba, count }) => `${lba} ${count}\n`).join(''));
  t.match(await daemon.remapctl('remap', 'add', `--from=${list}`), { status: 0, stderr: '' });
  await daemon.inject('write-error', byError);
  await write({ start: FIRST - 10, count: LAST - FIRST + 20 });
  const remaps = await daemon.remaps();
  const map = targets(remaps);
  const expected = extents.flatMap(({ lba, count }) =>
    Array.from({ length: count }, (_, i) => lba + i),
  );
  t.strictSame(
    [...map.keys()].sort((a, b) => a - b),
    expected,
    'the map is the bad sectors',
  );
  t.equal(new Set(map.values()).size, expected.length, 'no spare sector twice');

  await fe.flush();
  const spareBefore = readFileSync(f.spare);
  for (const request of requests(prng, options.offsetsEach)) {
    await write(request);
    const start = (request.start - 2) * unit;
    const count = (request.count + 4) * unit;
    const around = await fe.read(start, count);
    if (!around.equals(model.subarray(start * SECTOR, (start + count) * SECTOR))) {
      t.fail(`blocks ${request.start}+${request.count} or their neighbours read back wrong`);
      break;
    }
  }
  await fe.flush();

  const main = readFileSync(f.main);
  const mainExpected = Buffer.from(model);
  for (const sector of map.keys()) sectorOf(original, sector).copy(mainExpected, sector * SECTOR);
  t.strictSame(differing(main, mainExpected), [], 'main: plain sectors new, remapped ones as ever');
  const spare = readFileSync(f.spare);
  const spareExpected = Buffer.from(spareBefore);
  for (const [sector, target] of map) {
    sectorOf(model, sector).copy(spareExpected, target * SECTOR);
  }
  t.strictSame(differing(spare, spareExpected), [], 'spare: the remapped sectors and no other');

  const whole = Buffer.concat(
    await Promise.all(
      Array.from({ length: model.length >> 20 }, (_, i) => fe.read(i * 2048, 2048)),
    ),
  );
  t.ok(whole.equals(model), 'the whole disk is the model');
  t.strictSame(await daemon.remaps(), remaps, 'plain I/O has not changed the map');
  t.match(await daemon.status(), { io: { errors: 0 }, pending: { sectors: 0 } });
  t.strictSame(fe.state().violations, []);
  fe.close();
  t.equal(await daemon.stop(), 0);
}

t.test('blocks of 512 bytes', (t) => check(t, { unit: 1, offsetsEach: 5 }));

t.test('blocks of 4096 bytes', (t) =>
  check(t, { unit: 8, offsetsEach: 1, args: ['--logical-block-size=4096'] }),
);
