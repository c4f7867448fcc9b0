import t from 'tap';
import { BadFlag, IndexFlag, Operation } from '../../src/native/abi.js';
import { Reallocator } from '../../src/volume/reallocator.js';
import {
  commitFailed,
  parkedRequest,
  SimulatedRemapping,
  tableFull,
  turn,
} from '../fixtures/remapping.js';

const write = (...bad: Parameters<typeof parkedRequest>[1][]) =>
  parkedRequest(Operation.write, ...bad);
const read = (...bad: Parameters<typeof parkedRequest>[1][]) =>
  parkedRequest(Operation.read, ...bad);

function make(): { sim: SimulatedRemapping; reallocator: Reallocator } {
  const sim = new SimulatedRemapping();
  return { sim, reallocator: new Reallocator(sim.parts) };
}

t.test('data, flush, metadata, index, guest: in this order and no other', async (t) => {
  const { sim, reallocator } = make();
  const request = write({ lba: 10, count: 2 });
  reallocator.accept(request);
  await reallocator.idle();
  t.same(sim.steps, ['write 10+2', 'describe', 'flush', 'commit', 'publish', 'ok']);
  t.same(sim.remaps(), [[10, 2, 0]]);
  t.same([...sim.durable], sim.table.remapped());
  t.same(sim.published, [{ lba: 10, count: 2, target: sim.first, device: 1, flags: 1 }]);
});

t.test('what fails together shares one commit', async (t) => {
  const { sim, reallocator } = make();
  const requests = Array.from({ length: 64 }, (_, i) => write({ lba: i * 100 }));
  for (const request of requests) reallocator.accept(request);
  await reallocator.idle();
  t.equal(sim.steps.filter((s) => s === 'commit').length, 1);
  t.ok(requests.every((r) => sim.answers.get(r.token) === 'ok'));
  t.equal(sim.table.totals.sectors, 64);
});

t.test('what comes during a commit shares the next', async (t) => {
  const { sim, reallocator } = make();
  reallocator.accept(write({ lba: 1 }));
  while (!sim.steps.includes('commit')) await turn();
  for (const lba of [20, 30, 40]) reallocator.accept(write({ lba }));
  await reallocator.idle();
  t.equal(sim.steps.filter((s) => s === 'commit').length, 2);
  t.equal(sim.table.totals.sectors, 4);
});

t.test('a second write to the same block runs again once the first is public', async (t) => {
  const { sim, reallocator } = make();
  const [first, second] = [write({ lba: 10 }), write({ lba: 10 })];
  reallocator.accept(first);
  reallocator.accept(second);
  await reallocator.idle();
  t.same(sim.steps.slice(-3), ['publish', 'ok', 'retry']);
  t.equal(sim.answers.get(second.token), 'retry');
  t.equal(sim.usedSectors(), 1);
});

t.test('no commit, no OK: the table on disk decides', async (t) => {
  const { sim, reallocator } = make();
  sim.commitError = commitFailed;
  const request = write({ lba: 10 });
  reallocator.accept(request);
  await reallocator.idle();
  t.equal(sim.answers.get(request.token), 'ioerr');
  t.same(sim.remaps(), []);
  t.match(sim.journal.failure, /3 of 5/);

  sim.commitError = () => undefined;
  const later = write({ lba: 20 });
  reallocator.accept(later);
  await reallocator.idle();
  t.equal(sim.answers.get(later.token), 'ioerr', 'nothing is tried any more');
  t.notOk(sim.steps.includes('write 20+1'));
});

t.test('what a failed commit was about takes no write until the next start', async (t) => {
  const { sim, reallocator } = make();
  sim.commitError = commitFailed;
  reallocator.accept(write({ lba: 10, count: 2 }));
  await reallocator.idle();
  t.same(sim.steps.slice(-3), ['commit', 'publish', 'ioerr'], 'before anybody is told');
  const asItIs = { lba: 10, count: 2, target: 10, device: 0, flags: IndexFlag.pending };
  t.same(sim.published, [asItIs]);
  // Native parks it as it parks any write to a pending block.
  const held = [write({ lba: 11, flags: BadFlag.pending }), read({ lba: 10 })];
  for (const request of held) reallocator.accept(request);
  await reallocator.idle();
  t.same(
    held.map(({ token }) => sim.answers.get(token)),
    ['ioerr', 'ioerr'],
    'and not run again for ever',
  );
});

t.test('a spare that cannot be flushed has not got the data', async (t) => {
  const { sim, reallocator } = make();
  sim.flushError = () => new Error('EIO');
  const request = write({ lba: 10 });
  reallocator.accept(request);
  await reallocator.idle();
  t.equal(sim.answers.get(request.token), 'ioerr');
  t.notOk(sim.steps.includes('commit'));
});

t.test('a full table fails the write and nothing else', async (t) => {
  const { sim, reallocator } = make();
  sim.commitError = tableFull;
  const request = write({ lba: 10 });
  reallocator.accept(request);
  await reallocator.idle();
  t.equal(sim.answers.get(request.token), 'ioerr');
  t.equal(sim.usedSectors(), 0);
  t.equal(sim.journal.failure, undefined);
  sim.commitError = () => undefined;
  reallocator.accept(write({ lba: 20 }));
  await reallocator.idle();
  t.same(sim.remaps(), [[20, 1, 0]]);
});

t.test('descriptors that cannot be written do not lose the write', async (t) => {
  const { sim, reallocator } = make();
  sim.descriptorError = () => new Error('EIO');
  const request = write({ lba: 10 });
  reallocator.accept(request);
  await reallocator.idle();
  t.equal(sim.answers.get(request.token), 'ok');
});

t.test('a bad spare block is retired in the same commit', async (t) => {
  const { sim, reallocator } = make();
  sim.spareErrno = (run) => (run.target === sim.first ? 5 : 0);
  reallocator.accept(write({ lba: 10 }));
  await reallocator.idle();
  t.same(sim.remaps(), [[10, 1, 1]]);
  t.same(
    [...sim.table.retired()].map(({ start, count }) => [start, count]),
    [[sim.first, 1]],
  );
  t.equal(sim.steps.filter((s) => s === 'commit').length, 1);
  t.equal(sim.journal.health.spareRetiredTotal, 1);
  t.equal(sim.journal.health.reallocatedTotal, 1);
});

t.test('a block that goes bad on the spare gets another, and the old one none', async (t) => {
  const { sim, reallocator } = make();
  reallocator.accept(write({ lba: 10, count: 3 }));
  await reallocator.idle();
  const again = write({ lba: 11, flags: BadFlag.onSpare, device: 1 });
  reallocator.accept(again);
  await reallocator.idle();
  t.equal(sim.answers.get(again.token), 'ok');
  t.same(sim.remaps(), [
    [10, 1, 0],
    [11, 1, 3],
    [12, 1, 2],
  ]);
  t.equal(sim.table.totals.sectors, 3, 'as many as failed');
  t.equal(sim.table.totals.retiredSectors, 1);
  t.equal(sim.pool.totals()[0]?.retiredSectors, 1);
  t.equal(sim.usedSectors(), 4);
});

t.test('a read that fails is on record before the guest hears of it', async (t) => {
  const { sim, reallocator } = make();
  const request = read({ lba: 50, error: 61 });
  reallocator.accept(request);
  await reallocator.idle();
  t.same(sim.steps, ['commit', 'publish', 'ioerr']);
  t.same(sim.pendings(), [[50, 1]]);
  t.same(sim.published, [{ lba: 50, count: 1, target: 50, device: 0, flags: 2 }]);
  const again = read({ lba: 50 });
  reallocator.accept(again);
  await reallocator.idle();
  t.equal(sim.answers.get(again.token), 'ioerr');
  t.equal(sim.steps.filter((s) => s === 'commit').length, 1, 'it is on record already');
  t.equal(sim.journal.health.readErrorsTotal, 2);
});

t.test('a write to a pending block makes it good in one commit', async (t) => {
  const { sim, reallocator } = make();
  reallocator.accept(read({ lba: 50, count: 4 }));
  await reallocator.idle();
  sim.steps.length = 0;
  const request = write({ lba: 51, count: 2, flags: BadFlag.pending, error: 0 });
  reallocator.accept(request);
  await reallocator.idle();
  t.same(sim.steps, ['write 51+2', 'describe', 'flush', 'commit', 'publish', 'ok']);
  t.same(sim.remaps(), [[51, 2, 0]]);
  t.same(sim.pendings(), [
    [50, 1],
    [53, 1],
  ]);
  t.equal(sim.table.remapped()[0]?.cause, 'read-error');
  t.equal(sim.journal.health.writeErrorsTotal, 0, 'no write was tried on main');
});

t.test('a remapped block that cannot be read stays where it is, pending', async (t) => {
  const { sim, reallocator } = make();
  reallocator.accept(write({ lba: 10, count: 2 }));
  await reallocator.idle();
  reallocator.accept(read({ lba: 11, flags: BadFlag.onSpare, device: 1 }));
  await reallocator.idle();
  t.same(sim.remaps(), [[10, 2, 0]]);
  t.same(sim.pendings(), [[11, 1]]);
  t.same(sim.published.at(-1), {
    lba: 11,
    count: 1,
    target: sim.first + 1,
    device: 1,
    flags: 3,
  });
  const flags = BadFlag.onSpare | BadFlag.pending;
  reallocator.accept(write({ lba: 11, flags, device: 1, error: 0 }));
  await reallocator.idle();
  t.same(sim.pendings(), []);
  t.equal(sim.table.totals.sectors, 2);
  t.equal(sim.table.totals.retiredSectors, 1);
});

t.test('an exhausted spare fails what needs it, says so, and serves the rest', async (t) => {
  const { sim, reallocator } = make();
  sim.pool.allocate(sim.layout.dataSectors - 1);
  const [one, two] = [write({ lba: 10 }), write({ lba: 20 })];
  reallocator.accept(one);
  reallocator.accept(two);
  await reallocator.idle();
  t.same([sim.answers.get(one.token), sim.answers.get(two.token)], ['ok', 'ioerr']);
  t.equal(reallocator.exhausted, true);
  t.same(sim.remaps().length, 1);
});

t.test('a request with two bad extents is OK only when both stand', async (t) => {
  const { sim, reallocator } = make();
  sim.pool.allocate(sim.layout.dataSectors - 1);
  const request = write({ lba: 10 }, { lba: 20 });
  reallocator.accept(request);
  await reallocator.idle();
  t.equal(sim.answers.get(request.token), 'ioerr');
  t.equal(sim.table.totals.sectors, 1, 'the data of the other is safe all the same');
});

t.test('entries carry when and why', async (t) => {
  const { sim, reallocator } = make();
  sim.nowSeconds = 1_800_000_000;
  reallocator.accept(write({ lba: 10 }));
  await reallocator.idle();
  const [entry] = sim.table.remapped();
  t.match(entry, { cause: 'write-error', evidence: 1, timeSeconds: 1_800_000_000 });
});
