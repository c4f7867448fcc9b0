/** A dying cable must not eat the spare; a dying disk may (design section 3). */
import t, { type Test } from 'tap';
import { STORM_ALLOWANCE_BLOCKS } from '../../src/core/limits.js';
import type { FaultRequest, VolumeStatus } from '../../src/protocol/messages.js';
import { Daemon, volumeFiles } from '../fixtures/daemon.js';
import { FrontEnd, SECTOR, STATUS, TYPE } from '../fixtures/front-end.js';
import { Prng } from '../fixtures/prng.js';

/** How long a device is away; VANISH_SECONDS=5 for the campaign of docs/testing.md. */
const VANISH_MS = 1000 * Number(process.env.VANISH_SECONDS ?? 1);
/** Requests under a device that fails one I/O in a hundred. */
const TRANSIENT_REQUESTS = Number(process.env.TRANSIENT_REQUESTS ?? 2000);

const MAIN_SECTORS = (64 << 20) / SECTOR;
const WHOLE = [{ lba: 0, count: MAIN_SECTORS }];
const prng = new Prng(70);

async function serve(t: Test, ...args: string[]) {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files, ...args);
  const fe = await FrontEnd.attach({ socketPath: files.socket });
  t.teardown(() => fe.close());
  return { daemon, fe };
}

const used = ({ spares }: VolumeStatus): number =>
  spares.reduce((sum, spare) => sum + spare.totalSectors - spare.freeSectors, 0);

const codes = (status: VolumeStatus): string[] => status.problems.map(({ code }) => code);

/** One block at each of `places`, 32 at a time; the statuses. */
async function writeAll(fe: FrontEnd, places: readonly number[]): Promise<number[]> {
  const left = [...places];
  const statuses: number[] = [];
  const one = async (): Promise<void> => {
    for (let sector = left.shift(); sector !== undefined; sector = left.shift()) {
      const request = { type: TYPE.OUT, sector, data: prng.bytes(SECTOR) };
      statuses.push((await fe.request(request)).status);
    }
  };
  await Promise.all(Array.from({ length: 32 }, one));
  return statuses;
}

const farApart = (n: number): number[] =>
  Array.from({ length: n }, (_, i) => 1 + i * Math.floor((MAIN_SECTORS - 2) / n));

/** When main has been seen to work again, which takes some seconds. */
async function recovers(daemon: Daemon): Promise<VolumeStatus> {
  const works = (s: VolumeStatus) => s.breaker?.state === 'closed' && s.state !== 'failed';
  let status = await daemon.statusWhen(works);
  for (let tries = 0; tries < 10 && !works(status); tries++) {
    status = await daemon.statusWhen(works);
  }
  return status;
}

async function vanish(daemon: Daemon, errno: FaultRequest['errno']): Promise<void> {
  await daemon.inject('write-error', WHOLE, { errno });
  await daemon.inject('read-error', WHOLE, { errno });
}

t.test('a cable that dies: the allowance and not a block more, until it works again', async (t) => {
  const { daemon, fe } = await serve(t);
  await writeAll(fe, farApart(40));
  await vanish(daemon, 'EIO');
  const statuses = await writeAll(fe, farApart(300));
  const failed = statuses.filter((status) => status === STATUS.IOERR).length;
  t.ok(failed >= 300 - STORM_ALLOWANCE_BLOCKS, `${failed} of 300 writes failed`);
  const reads = await Promise.all(
    farApart(100).map((s) => fe.request({ type: TYPE.IN, sector: s + 1, length: SECTOR })),
  );
  t.ok(reads.every(({ status }) => status === STATUS.IOERR));
  const storm = await daemon.status();
  t.match(storm, { state: 'degraded', breaker: { state: 'open' }, pending: { sectors: 0 } });
  t.ok(codes(storm).includes('ERROR_STORM'));
  t.ok(daemon.log.some((line) => String(line.msg).startsWith('ERROR_STORM')));
  t.ok(used(storm) <= STORM_ALLOWANCE_BLOCKS, `${used(storm)} spare sectors`);

  await daemon.clearFaults();
  const calm = await recovers(daemon);
  t.match(calm, { state: 'healthy', breaker: { state: 'closed', since: null } });
  t.ok((await writeAll(fe, farApart(300))).every((status) => status === STATUS.OK));
  t.equal(used(await daemon.status()), used(storm));

  // What is bad now is bad.
  await daemon.inject('write-error', [{ lba: 5000, count: 200 }]);
  await fe.write(5000, prng.bytes(200 * SECTOR));
  t.equal(used(await daemon.status()), used(storm) + 200);
});

t.test(
  'a disk that is read and takes no write any more is no disk full of bad blocks',
  async (t) => {
    const { daemon, fe } = await serve(t);
    await writeAll(fe, farApart(40));
    await daemon.inject('write-error', WHOLE);
    await writeAll(fe, farApart(300));
    const status = await daemon.status();
    t.ok(codes(status).includes('ERROR_STORM'));
    t.ok(used(status) <= STORM_ALLOWANCE_BLOCKS, `${used(status)} spare sectors`);

    const resumed = await daemon.remapctl('resume');
    t.same(resumed.json, { schema: 'resume/1', wasOpen: true });
    t.equal((await daemon.status()).breaker?.leftBlocks, STORM_ALLOWANCE_BLOCKS);
    t.same((await daemon.remapctl('resume')).json, { schema: 'resume/1', wasOpen: false });
  },
);

t.test('nothing but fresh bad blocks: all of them are remapped', async (t) => {
  const { daemon, fe } = await serve(t);
  await writeAll(fe, [10, 20, 30]);
  await daemon.inject('write-error', [{ lba: 20_000, count: 4000 }]);
  const places = Array.from({ length: 1500 }, (_, i) => 20_000 + 2 * i);
  t.ok((await writeAll(fe, places)).every((status) => status === STATUS.OK));
  const status = await daemon.status();
  t.match(status, { breaker: { state: 'closed' }, remaps: { sectors: 1500 }, io: { errors: 0 } });
});

t.test(
  'one I/O in a hundred fails, on main and spare, and goes well when tried again',
  async (t) => {
    const { daemon, fe } = await serve(t);
    for (const device of ['main', 'spare']) {
      const count = device === 'main' ? MAIN_SECTORS : (16 << 20) / SECTOR;
      for (const kind of ['read-error', 'write-error'] as const) {
        await daemon.inject(kind, [{ lba: 0, count }], { percent: 1, device });
      }
    }
    await daemon.inject('write-error', [{ lba: 30_000, count: 20 }]);
    const load = await fe.run({
      verify: true,
      readPercent: 50,
      blockBytes: 512,
      blockBytesMax: 16_384,
      depth: 32,
      count: TRANSIENT_REQUESTS,
      sectorCount: 20_000,
    });
    t.match(load, { mismatchedSectors: 0 });
    await fe.write(30_000, prng.bytes(20 * SECTOR));
    const answer = (await daemon.remapctl('inject', 'list')).json as { faults: { hits: number }[] };
    const hits = answer.faults.reduce((sum, { hits: n }) => sum + n, 0);
    t.ok(hits > TRANSIENT_REQUESTS / 200, `${hits} I/Os failed`);
    const status = await daemon.status();
    t.ok(used(status) <= 20 + STORM_ALLOWANCE_BLOCKS, `${used(status)} spare sectors`);
    t.comment(`${hits} I/Os failed, ${used(status) - 20} spare sectors used for it`);
    t.not(status.state, 'failed');
  },
);

for (const errno of ['EIO', 'ENODEV'] as const) {
  t.test(`a device that is away for a while, as ${errno}`, async (t) => {
    const { daemon, fe } = await serve(t);
    const load = fe.run({
      verify: true,
      readPercent: 50,
      blockBytes: 512,
      blockBytesMax: 8192,
      depth: 32,
      seconds: 600,
      sectorCount: 20_000,
    });
    await vanish(daemon, errno);
    await new Promise((resolve) => setTimeout(resolve, VANISH_MS));
    const away = await daemon.status();
    t.ok(away.io.errors > 0, 'the guest was told');
    await daemon.clearFaults();
    const back = await recovers(daemon);
    fe.finishLoads();
    t.match(await load, { mismatchedSectors: 0 });
    t.ok(used(back) <= STORM_ALLOWANCE_BLOCKS, `${used(back)} spare sectors`);
    t.comment(`${away.io.errors} requests failed, ${used(back)} spare sectors used`);
    t.match(back, { breaker: { state: 'closed' } });
    t.not(back.state, 'failed', 'it is seen to serve again');
  });
}
