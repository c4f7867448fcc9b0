/**
 * Design section 4, as the devices see it: main and spare are recorded files, and for every way a
 * block can change its place the order of the writes and flushes is read from what they wrote down,
 * and compared with the moment at which the guest was answered.
 */
import t, { type Test } from 'tap';
import { Daemon } from '../fixtures/daemon.js';
import { type BlockAnswer, FrontEnd, SECTOR, STATUS, TYPE } from '../fixtures/front-end.js';
import {
  missingForRecording,
  type Operation,
  RecordedDevice,
} from '../fixtures/recorded-device.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

/** Long beside everything else that happens between two steps. */
const WRITE_MS = 10;
const SUPERBLOCK_SECTORS = 48;
const MIB = 1 << 20;

interface Stage {
  readonly main: RecordedDevice;
  readonly spare: RecordedDevice;
  readonly daemon: Daemon;
  readonly fe: FrontEnd;
  /** Sectors of the metadata zones on the spare. */
  readonly zones: readonly number[];
}

async function stage(t: Test): Promise<Stage> {
  const directory = tempDirectory(t);
  const device = (name: string, bytes: number) =>
    RecordedDevice.start(t, { directory, name, bytes, writeMs: WRITE_MS });
  const main = await device('main', 8 * MIB);
  const spare = await device('spare', 8 * MIB);
  const socketPath = `${directory}/blk.sock`;
  const daemon = await Daemon.start(t, [
    `--socket-path=${socketPath}`,
    `--blk-file=${main.path}`,
    `--spare=${spare.path}`,
    `--control-socket=${directory}/ctl.sock`,
    '--allow-fault-injection',
    '--create',
  ]);
  const fe = await FrontEnd.attach({ socketPath, queues: 2 });
  t.teardown(() => fe.close());
  const { metadata } = await daemon.status();
  const zones = metadata.copies.map(({ offset }) => offset / SECTOR);
  return { main, spare, daemon, fe, zones };
}

const wallClockMs = (): number => performance.timeOrigin + performance.now();
const firstBegan = (list: readonly Operation[]) => Math.min(...list.map((o) => o.beganMs));
const lastEnded = (list: readonly Operation[]) => Math.max(...list.map((o) => o.endedMs));
const sectorsOf = (list: readonly Operation[]) => list.reduce((sum, o) => sum + o.count, 0);
const meets = (o: Operation, lba: number, count: number) =>
  o.lba < lba + count && lba < o.lba + o.count;

/** A flush of all that had ended by `afterMs`, durable before `beforeMs`. */
const flushBetween = (list: readonly Operation[], afterMs: number, beforeMs: number) =>
  list.find((o) => o.kind === 'flush' && o.beganMs >= afterMs && o.endedMs <= beforeMs);

interface Commit {
  /** Spare sectors that took data; none when data leaves the spare. */
  readonly data: readonly { readonly spareLba: number; readonly count: number }[];
  readonly sinceMs: number;
  /** When somebody was told. */
  readonly toldMs: number;
}

/** One remap, data to answer: when its superblocks began, and when they were durable. */
function checkCommit(t: Test, { spare, zones }: Stage, commit: Commit) {
  const all = spare.operations(commit.sinceMs);
  const writes = all.filter((o) => o.kind === 'write' || o.kind === 'zero');
  const zoneOf = (o: Operation) => zones.findIndex((zone) => meets(o, zone, MIB / SECTOR));
  const superblocks = writes.filter((o) => zoneOf(o) >= 0);
  const begunMs = firstBegan(superblocks);
  for (const [copy] of zones.entries()) {
    const written = superblocks.filter((o) => zoneOf(o) === copy);
    t.equal(sectorsOf(written), SUPERBLOCK_SECTORS, `copy ${copy} is written whole, and once`);
  }
  // What comes later is the guest's, on the new place.
  const others = writes.filter((o) => zoneOf(o) < 0);
  const before = others.filter((o) => o.beganMs < lastEnded(superblocks));
  t.ok(lastEnded(before) <= begunMs, 'data and descriptors end before the superblocks begin');
  for (const { spareLba, count } of commit.data) {
    const taken = before.filter((o) => meets(o, spareLba, count));
    t.ok(sectorsOf(taken) >= count, `data is on ${count} spare sectors from ${spareLba}`);
  }
  t.ok(
    before.some((o) => !commit.data.some((d) => meets(o, d.spareLba, d.count))),
    'the spare says of itself what it holds',
  );
  t.ok(flushBetween(all, lastEnded(before), begunMs), 'and are flushed before');
  const flush = flushBetween(all, lastEnded(superblocks), commit.toldMs);
  t.ok(flush, 'the superblocks are flushed before anybody is told');
  const durableMs = flush?.endedMs ?? Number.POSITIVE_INFINITY;
  const readBack = all.filter((o) => o.kind === 'read' && zoneOf(o) >= 0 && o.beganMs >= durableMs);
  const copies = new Set(readBack.filter((o) => o.endedMs <= commit.toldMs).map(zoneOf));
  t.equal(copies.size, zones.length, 'every copy is read back from the device before that');
  return { begunMs, durableMs };
}

async function remapsIn({ daemon }: Stage, lba: number, count: number) {
  return (await daemon.remaps()).filter((r) => r.lba < lba + count && lba < r.lba + r.count);
}

/** A write that has to be remapped in part, and what the devices saw of it. */
async function remappedWrite(
  t: Test,
  s: Stage,
  request: { lba: number; data: Buffer; bad: readonly number[]; type?: number },
): Promise<BlockAnswer> {
  const { lba, data, bad, type = TYPE.OUT } = request;
  const sinceMs = wallClockMs();
  const answer = await s.fe.request({ type, sector: type === TYPE.OUT ? lba : 0, data });
  t.equal(answer.status, STATUS.OK);
  const rows = (await Promise.all(bad.map((sector) => remapsIn(s, sector, 1)))).flat();
  t.equal(rows.length, bad.length, 'each bad sector has its place');
  checkCommit(t, s, { data: rows, sinceMs, toldMs: answer.atMs });
  return answer;
}

/** I/Os that injected faults have failed. */
async function hits({ daemon }: Stage, device?: string): Promise<number> {
  const { json } = await daemon.remapctl('inject', 'list');
  const { faults } = json as { faults: { device: string; hits: number }[] };
  const struck = faults.filter((fault) => device === undefined || fault.device === device);
  return struck.reduce((sum, fault) => sum + fault.hits, 0);
}

const filled = (sectors: number, value: number): Buffer => Buffer.alloc(sectors * SECTOR, value);

async function makePending(t: Test, s: Stage, lba: number): Promise<void> {
  await s.daemon.inject('read-error', [{ lba, count: 1 }]);
  const answer = await s.fe.request({ type: TYPE.IN, sector: lba, length: SECTOR });
  t.equal(answer.status, STATUS.IOERR);
  t.strictSame(await s.daemon.pending(), [{ lba, count: 1 }]);
}

const missing = missingForRecording();
const options = missing === undefined ? {} : { skip: `${missing} is needed to record a device` };

t.test('the order of every way to another place', options, async (t) => {
  const s = await stage(t);
  const { main, spare, daemon, fe } = s;

  await t.test(
    'a write to a block that has gone bad; readers see it when it is durable',
    async (t) => {
      await fe.write(100, filled(1, 0x0a));
      await daemon.inject('write-error', [{ lba: 100, count: 1 }]);
      const seen: { fresh: boolean; atMs: number }[] = [];
      let over = false;
      const reader = (async () => {
        while (!over) {
          const read = await fe.request({ type: TYPE.IN, sector: 100, length: SECTOR, queue: 1 });
          seen.push({ fresh: read.data[0] === 0x0b, atMs: read.atMs });
        }
      })();
      const sinceMs = wallClockMs();
      const answer = await fe.request({ type: TYPE.OUT, sector: 100, data: filled(1, 0x0b) });
      t.equal((await fe.read(100, 1))[0], 0x0b, 'what was acknowledged is read');
      over = true;
      await reader;
      t.equal(answer.status, STATUS.OK);
      t.ok((await hits(s)) > 0, 'main has refused it');
      const data = await remapsIn(s, 100, 1);
      const { durableMs } = checkCommit(t, s, { data, sinceMs, toldMs: answer.atMs });
      const early = seen.filter((read) => read.fresh && read.atMs < durableMs);
      t.ok(seen.filter((read) => !read.fresh && read.atMs > sinceMs).length > 0, 'read meanwhile');
      t.strictSame(early, [], 'nobody read the new data before it could be relied on');
    },
  );

  await t.test('a write to a pending block: main is not tried', async (t) => {
    await makePending(t, s, 200);
    const tried = await hits(s);
    const sinceMs = wallClockMs();
    await remappedWrite(t, s, { lba: 200, data: filled(1, 2), bad: [200] });
    t.equal(await hits(s), tried);
    t.strictSame(
      main.operations(sinceMs).filter((o) => o.kind === 'write'),
      [],
    );
  });

  await t.test('the spare block fails too: the next one takes it', async (t) => {
    const next = Math.max(...(await daemon.remaps()).map((r) => r.spareLba + r.count));
    await daemon.clearFaults();
    await daemon.inject('write-error', [{ lba: 300, count: 1 }]);
    await daemon.inject('write-error', [{ lba: next, count: 1 }], { device: 'spare' });
    await remappedWrite(t, s, { lba: 300, data: filled(1, 3), bad: [300] });
    t.ok((await hits(s, 'main')) > 0, 'main has refused it');
    t.ok((await hits(s, 'spare')) > 0, 'and the spare block');
    t.match((await daemon.status()).spares, [{ retiredSectors: 1 }]);
    await daemon.clearFaults();
  });

  await t.test('a write over sound and bad blocks', async (t) => {
    const bad = [402, 405];
    await daemon.inject(
      'write-error',
      bad.map((lba) => ({ lba, count: 1 })),
    );
    const sinceMs = wallClockMs();
    const { atMs } = await remappedWrite(t, s, { lba: 400, data: filled(8, 4), bad });
    const onMain = main.operations(sinceMs).filter((o) => o.kind === 'write');
    t.equal(sectorsOf(onMain), 6, 'the sound ones are on main');
    t.notOk(
      onMain.some((o) => bad.some((lba) => meets(o, lba, 1))),
      'and no bad one',
    );
    t.ok(lastEnded(onMain) <= atMs);
  });

  await t.test('zeroes over a bad block', async (t) => {
    await daemon.inject('write-error', [{ lba: 503, count: 1 }]);
    const range = Buffer.alloc(16);
    range.writeBigUInt64LE(500n, 0);
    range.writeUInt32LE(8, 8);
    const type = TYPE.WRITE_ZEROES;
    await remappedWrite(t, s, { lba: 500, data: range, bad: [503], type });
    t.strictSame(await fe.read(500, 8), filled(8, 0));
  });

  await t.test('a pending block that can be read again is brought to safety', async (t) => {
    await fe.write(600, filled(1, 6));
    await makePending(t, s, 600);
    await daemon.clearFaults();
    const sinceMs = wallClockMs();
    t.strictSame(await fe.read(600, 1), filled(1, 6));
    const { pending } = await daemon.statusWhen((status) => status.pending.sectors === 0);
    const toldMs = wallClockMs();
    t.equal(pending.sectors, 0);
    checkCommit(t, s, { data: await remapsIn(s, 600, 1), sinceMs, toldMs });
  });

  await t.test('remap add: writers wait, and then write to the spare', async (t) => {
    await fe.write(700, filled(8, 7));
    const sinceMs = wallClockMs();
    const told = daemon.remapAdd([{ lba: 700, count: 8 }]).then(wallClockMs);
    const copied = () => spare.operations(sinceMs).some((o) => o.kind === 'write');
    while (!copied()) await new Promise((resolve) => setTimeout(resolve, 1));
    const write = await fe.request({ type: TYPE.OUT, sector: 703, data: filled(1, 8) });
    const toldMs = await told;
    const data = await remapsIn(s, 700, 8);
    const { durableMs } = checkCommit(t, s, { data, sinceMs, toldMs });
    t.ok(write.atMs >= durableMs, 'a write that came meanwhile ends after the move');
    t.strictSame(await fe.read(703, 1), filled(1, 8), 'and is not lost');
    t.strictSame(
      main.operations(sinceMs).filter((o) => o.kind === 'write'),
      [],
    );
  });

  await t.test('remap remove: on main, flushed, and only then forgotten', async (t) => {
    const sinceMs = wallClockMs();
    const answer = await daemon.remapctl('remap', 'remove', '700', '8');
    const toldMs = wallClockMs();
    t.equal(answer.status, 0);
    const { begunMs } = checkCommit(t, s, { data: [], sinceMs, toldMs });
    const onMain = main.operations(sinceMs);
    const back = onMain.filter((o) => o.kind === 'write');
    t.equal(sectorsOf(back), 8);
    t.ok(flushBetween(onMain, lastEnded(back), begunMs), 'main is flushed before the superblocks');
    t.strictSame(await fe.read(703, 1), filled(1, 8));
  });

  t.strictSame(fe.state().violations, []);
  fe.close();
  t.equal(await daemon.stop(), 0);
});
