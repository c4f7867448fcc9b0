import t from 'tap';
import { IndexFlag, Operation } from '../../src/native/abi.js';
import type { CopyOrder } from '../../src/native/backend.js';
import { Mover } from '../../src/volume/mover.js';
import { Reallocator } from '../../src/volume/reallocator.js';
import {
  commitFailed,
  parkedRequest,
  SimulatedRemapping,
  tableFull,
} from '../fixtures/remapping.js';

function make(): { sim: SimulatedRemapping; mover: Mover } {
  const sim = new SimulatedRemapping();
  return { sim, mover: new Mover(sim.parts) };
}

const covers = (order: CopyOrder, sector: number): boolean =>
  order.source <= sector && sector < order.source + order.count;

t.test('moves blocks under a lock, and lets writes go on when all is public', async (t) => {
  const { sim, mover } = make();
  const report = await mover.add([{ lba: 100, count: 4 }]);
  t.same(report, { requested: 4, moved: 4, skipped: 0, failed: 0, pending: 0 });
  t.same(sim.steps, [
    'lock 100+4',
    'copy 100+4',
    'describe',
    'flush',
    'commit',
    'publish',
    'unlock 100',
  ]);
  t.same(sim.remaps(), [[100, 4, 0]]);
  t.equal(sim.table.remapped()[0]?.cause, 'administrator');
  t.equal(sim.journal.health.recoveredTotal, 4);
});

t.test('leaves what is remapped already', async (t) => {
  const { sim, mover } = make();
  await mover.add([{ lba: 101, count: 2 }]);
  const report = await mover.add([{ lba: 100, count: 4 }]);
  t.same(report, { requested: 4, moved: 2, skipped: 2, failed: 0, pending: 0 });
  t.equal(sim.table.totals.sectors, 4);
});

t.test('a block that cannot be read is not moved, and is pending', async (t) => {
  const { sim, mover } = make();
  sim.copyResult = (order) =>
    covers(order, 102) ? { error: 5, device: 0 } : { error: 0, device: 0 };
  const report = await mover.add([{ lba: 100, count: 8 }]);
  t.same(report, { requested: 8, moved: 7, skipped: 0, failed: 0, pending: 1 });
  t.same(sim.pendings(), [[102, 1]]);
  t.equal(sim.table.remappedIn(102, 1).length, 0);
  t.equal(sim.usedSectors(), 7);
  t.equal(sim.journal.health.readErrorsTotal, 1);
});

t.test('a bad block of the spare is retired and another taken', async (t) => {
  const { sim, mover } = make();
  sim.copyResult = (order) => {
    const bad = order.target <= sim.first + 1 && sim.first + 1 < order.target + order.count;
    return bad ? { error: 84, device: 1 } : { error: 0, device: 0 };
  };
  t.match(await mover.add([{ lba: 100, count: 3 }]), { moved: 3, failed: 0 });
  t.equal(sim.table.totals.retiredSectors, 1);
  t.equal(sim.pool.totals()[0]?.retiredSectors, 1);
});

t.test('one batch, one commit', async (t) => {
  const { sim, mover } = make();
  const extents = Array.from({ length: 300 }, (_, i) => ({ lba: i * 300, count: 1 }));
  t.match(await mover.add(extents), { moved: 300 });
  t.equal(sim.steps.filter((s) => s === 'commit').length, 1);
  t.equal(sim.steps.filter((s) => s.startsWith('unlock')).length, 300);
});

t.test('nothing moved is claimed when the commit fails, and the locks go', async (t) => {
  const { sim, mover } = make();
  sim.commitError = tableFull;
  await t.rejects(mover.add([{ lba: 100, count: 4 }]), { code: 'META_FULL' });
  t.equal(sim.usedSectors(), 0);
  t.equal(sim.steps.at(-1), 'unlock 100');
  sim.commitError = commitFailed;
  await t.rejects(mover.add([{ lba: 100, count: 4 }]), { code: 'META_COMMIT' });
  t.same(sim.remaps(), []);
  const [served] = sim.published;
  t.match(served, { lba: 100, count: 4, device: 0, flags: IndexFlag.pending }, 'takes no write');
});

t.test('moves back: main has the data, durably, before the map forgets the spare', async (t) => {
  const { sim, mover } = make();
  await mover.add([{ lba: 100, count: 4 }]);
  sim.steps.length = 0;
  const report = await mover.remove([{ lba: 101, count: 2 }]);
  t.same(report, { requested: 2, moved: 2, skipped: 0, failed: 0, pending: 0 });
  t.same(sim.steps, [
    'lock 101+2',
    `copy ${sim.first + 1}+2`,
    'flush',
    'describe',
    'flush',
    'commit',
    'publish',
    'unlock 101',
  ]);
  t.same(sim.remaps(), [
    [100, 1, 0],
    [103, 1, 3],
  ]);
  t.same(
    sim.retained.map(({ spareStart, count }) => [spareStart - sim.first, count]),
    [[1, 2]],
  );
  t.equal(sim.usedSectors(), 4, 'not free before no read of them can be under way');
});

t.test('a block that main does not take stays on its spare', async (t) => {
  const { sim, mover } = make();
  await mover.add([{ lba: 100, count: 8 }]);
  sim.copyResult = (order) => {
    const bad = order.device === 0 && order.target <= 105 && 105 < order.target + order.count;
    return bad ? { error: 5, device: 0 } : { error: 0, device: 0 };
  };
  const report = await mover.remove([{ lba: 100, count: 8 }]);
  t.same(report, { requested: 8, moved: 7, skipped: 0, failed: 1, pending: 0 });
  t.same(sim.remaps(), [[105, 1, 5]]);
});

t.test('what was lost on the spare is not copied to main', async (t) => {
  const { sim, mover } = make();
  await mover.add([{ lba: 100, count: 3 }]);
  const reallocator = new Reallocator(sim.parts);
  reallocator.accept(parkedRequest(Operation.read, { lba: 101, flags: 1, device: 1 }));
  await reallocator.idle();
  t.match(await mover.remove([{ lba: 100, count: 3 }]), { moved: 2, failed: 1 });
  t.same(sim.remaps(), [[101, 1, 1]]);
  t.same(sim.pendings(), [[101, 1]]);
});

t.test('a main that cannot be flushed gets nothing back', async (t) => {
  const { sim, mover } = make();
  await mover.add([{ lba: 100, count: 3 }]);
  sim.flushError = () => new Error('EIO');
  t.match(await mover.remove([{ lba: 100, count: 3 }]), { moved: 0, failed: 3 });
  t.same(sim.remaps(), [[100, 3, 0]]);
  t.same(sim.retained, []);
});

t.test('refuses what is not remapped, or not there', async (t) => {
  const { sim, mover } = make();
  await t.rejects(mover.remove([{ lba: 100, count: 3 }]), { code: 'NOT_REMAPPED' });
  t.throws(() => mover.add([{ lba: 99_999, count: 2 }]), { code: 'RANGE' });
  t.same(sim.steps, []);
});

t.test('parked writes go on while a lock is waited for', async (t) => {
  const { sim } = make();
  const reallocator = new Reallocator(sim.parts);
  const request = parkedRequest(Operation.write, { lba: 100 });
  let granted = (): void => {};
  const waits = new Promise<void>((resolve) => {
    granted = resolve;
  });
  const backend = {
    ...sim.backend,
    lock: async (lba: number, count: number) => {
      await waits;
      return sim.backend.lock(lba, count);
    },
  };
  const move = new Mover({ ...sim.parts, backend }).add([{ lba: 100, count: 2 }]);
  reallocator.accept(request);
  await reallocator.idle();
  t.equal(sim.answers.get(request.token), 'ok');
  granted();
  t.same(await move, { requested: 2, moved: 1, skipped: 1, failed: 0, pending: 0 });
});

t.test('moves come one after the other, and stop between batches', async (t) => {
  const { sim, mover } = make();
  const extents = Array.from({ length: 1200 }, (_, i) => ({ lba: i * 80, count: 1 }));
  const first = mover.add(extents);
  const second = mover.add([{ lba: 1, count: 1 }]);
  await mover.stop();
  t.match(await first, { requested: 1200, moved: 0, failed: 1200 });
  t.match(await second, { moved: 0, failed: 1 });
  t.same(sim.remaps(), []);
});
