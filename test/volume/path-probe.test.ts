import t from 'tap';
import type { Clock } from '../../src/core/clock.js';
import { PROBE_PLACES, PROBE_WRITES_MAX } from '../../src/core/limits.js';
import type { CopyOrder, RecentPlace } from '../../src/native/backend.js';
import { tableEntry } from '../../src/ondisk/entry.js';
import { RemapTable } from '../../src/remap/remap-table.js';
import { PathProbe, pathIsDead } from '../../src/volume/path-probe.js';

const BLOCK = 8;

function make(main: { reads: (lba: number) => boolean; writes: (lba: number) => boolean }) {
  const steps: string[] = [];
  const state = { recent: [] as RecentPlace[], busy: new Set<number>(), hangs: false };
  const table = new RemapTable();
  const clock: Clock = {
    nowSeconds: () => 0,
    monotonicMs: () => 0,
    sleepMs: async () => {},
    after: (_, run) => {
      if (state.hangs) setImmediate(run);
      return () => {};
    },
  };
  const probe = new PathProbe({
    main: {
      read: async (buffer: Buffer, offset: number) => {
        const lba = offset / 512;
        steps.push(`read ${lba}+${buffer.length / 512}`);
        if (state.hangs) await new Promise(() => {});
        if (!main.reads(lba)) throw new Error('EIO');
      },
    },
    table,
    backend: {
      recentPlaces: () => state.recent,
      lockWithin: async (lba: number) => {
        if (state.busy.has(lba)) return undefined;
        steps.push(`lock ${lba}`);
        return BigInt(lba);
      },
      unlock: (token: bigint) => {
        steps.push(`unlock ${token}`);
      },
      copy: async ({ sourceDevice, source, device, target, count }: CopyOrder) => {
        steps.push(`copy ${sourceDevice}:${source}+${count} to ${device}:${target}`);
        return { error: main.writes(target) ? 0 : 5, device: 0 };
      },
    },
    sizeSectors: () => 16_000,
    blockSectors: BLOCK,
    clock,
  });
  return { probe, steps, state, table };
}

const nothing = new Set<number>();
const always = () => true;
const never = () => false;

t.test('reads whole blocks from the first to the last', async (t) => {
  const { probe, steps } = make({ reads: never, writes: never });
  const finding = await probe.run(nothing, true);
  t.ok(pathIsDead(finding));
  t.same(finding.writes, { tried: 0, failed: 0 });
  t.equal(steps[0], 'read 0+8');
  t.ok(steps.length > PROBE_PLACES / 2);
  t.notOk(steps.some((step) => step.startsWith('lock')));
  const half = make({ reads: (lba) => lba >= 8000, writes: never });
  await half.probe.run(nothing, false);
  t.ok(half.steps.includes('read 15992+8'), 'the last block');
});

t.test('half of the places are enough to be alive', async (t) => {
  const { probe } = make({ reads: (lba) => lba >= 8000, writes: never });
  t.notOk(pathIsDead(await probe.run(nothing, false)));
  const { probe: few } = make({ reads: (lba) => lba < 5000, writes: never });
  t.ok(pathIsDead(await few.run(nothing, false)));
});

t.test('main is back when all of it is', async (t) => {
  const whole = make({ reads: always, writes: never });
  t.ok(await whole.probe.readsEverywhere());
  t.ok(whole.steps.includes('read 0+8') && whole.steps.includes('read 15992+8'));
  const short = make({ reads: (lba) => lba < 15_992, writes: always });
  t.notOk(await short.probe.readsEverywhere());
});

t.test('what fails already, is pending or remapped is not asked', async (t) => {
  const { probe, steps, state, table } = make({ reads: always, writes: always });
  state.recent = [
    { lba: 800, write: true },
    { lba: 1600, write: true },
  ];
  const common = { count: BLOCK, cause: 'read-error', timeSeconds: 1_700_000_000 } as const;
  table.load([
    tableEntry({ kind: 'pending', start: 0, ...common }),
    tableEntry({ kind: 'remapped', start: 800, spareIndex: 0, spareStart: 4096, ...common }),
  ]);
  const { writes } = await probe.run(new Set([1600]), true);
  t.same(writes, { tried: 0, failed: 0 });
  t.notOk(steps.some((step) => /^read (0|800|1600)\+/.test(step)));
});

t.test('writes again what stands there, under a lock; one that goes well is enough', async (t) => {
  const { probe, steps, state } = make({ reads: always, writes: (lba) => lba !== 80 });
  state.recent = [
    { lba: 40, write: false },
    { lba: 80, write: true },
    { lba: 160, write: true },
    { lba: 320, write: true },
  ];
  const finding = await probe.run(nothing, true);
  t.same(finding.writes, { tried: 2, failed: 1 });
  t.notOk(pathIsDead(finding));
  t.same(
    steps.filter((step) => !step.startsWith('read')),
    [
      'lock 80',
      'copy 0:80+8 to 0:80',
      'unlock 80',
      'lock 160',
      'copy 0:160+8 to 0:160',
      'unlock 160',
    ],
  );
});

t.test('main that takes no write at places it took them before is dead', async (t) => {
  const { probe, state } = make({ reads: always, writes: never });
  state.recent = Array.from({ length: 8 }, (_, i) => ({ lba: 400 + 8 * i, write: true }));
  state.busy.add(400);
  const finding = await probe.run(nothing, true);
  t.same(finding.writes, { tried: PROBE_WRITES_MAX - 1, failed: PROBE_WRITES_MAX - 1 });
  t.ok(pathIsDead(finding));
});

t.test('a read that hangs says that the path is dead', async (t) => {
  const { probe, steps, state } = make({ reads: always, writes: always });
  state.hangs = true;
  t.ok(pathIsDead(await probe.run(nothing, true)));
  t.equal(steps.length, 4, 'and no more threads are risked');
});
