import t from 'tap';
import { type Facts, problemsOf, spareState, volumeState } from '../../src/volume/states.js';

const totals = { totalSectors: 1000, freeSectors: 900, retiredSectors: 0, usable: true };
const sound: Facts = {
  held: true,
  ringsWait: undefined,
  mainPath: '/dev/main',
  mainFailure: undefined,
  flushFailed: false,
  metadataFailure: undefined,
  metadataMayBeOld: false,
  goodCopies: 5,
  allCopies: 5,
  spares: [{ path: '/dev/spare', totals }],
  exhausted: false,
  pendingSectors: 0,
  storm: undefined,
  hung: undefined,
};
const codes = (facts: Partial<Facts>): string[] =>
  problemsOf({ ...sound, ...facts }).map((problem) => problem.code);
const spareWith = (change: Partial<typeof totals>): Partial<Facts> => ({
  spares: [{ path: '/dev/spare', totals: { ...totals, ...change } }],
});

t.test('a sound volume has no problem', async (t) => {
  t.same(codes({}), []);
  t.equal(volumeState(sound), 'healthy');
  const bare = { spares: [], goodCopies: 0, allCopies: 0 };
  t.same(codes(bare), [], 'neither has one without a spare');
});

t.test('each trouble has its code', async (t) => {
  t.same(codes({ pendingSectors: 3 }), ['PENDING_SECTORS']);
  t.same(codes({ goodCopies: 4 }), ['METADATA_DEGRADED']);
  t.same(codes({ metadataMayBeOld: true }), ['METADATA_MAY_BE_OLD']);
  t.same(codes({ metadataFailure: 'gone', goodCopies: 2 }), ['METADATA_FAILED']);
  t.same(codes({ flushFailed: true }), ['FLUSH_FAILED']);
  t.same(codes({ mainFailure: 'a read ended with ENXIO' }), ['MAIN_FAILED']);
  t.same(codes(spareWith({ freeSectors: 99 })), ['SPARE_LOW']);
  t.same(codes(spareWith({ freeSectors: 100 })), []);
  t.same(codes(spareWith({ freeSectors: 0 })), ['SPARE_EXHAUSTED']);
  const hung = { device: '/dev/main', operation: 'read', lba: 8, ageSeconds: 41, requests: 2 };
  t.same(codes({ hung }), ['IO_HUNG']);
  t.same(codes({ storm: { reason: 'all fails' } }), ['ERROR_STORM']);
  t.same(codes({ exhausted: true }), ['SPARE_EXHAUSTED']);
  t.same(codes(spareWith({ usable: false })), ['SPARE_FAILED', 'SPARE_EXHAUSTED']);
});

t.test('every problem is one sentence', async (t) => {
  const all: Facts = {
    ...sound,
    mainFailure: 'a read ended with ENXIO',
    flushFailed: true,
    metadataFailure: 'Only 3 of 5 copies could be written',
    pendingSectors: 1,
    spares: [{ path: '/dev/spare', totals: { ...totals, usable: false } }],
  };
  for (const { message } of problemsOf(all)) {
    t.match(message, /^[A-Z0-9/][^.]*(\.\w[^.]*)*\.$/, message);
  }
});

t.test('only a lost main or lost writes are a failed volume', async (t) => {
  t.equal(volumeState({ ...sound, mainFailure: 'x' }), 'failed');
  t.equal(volumeState({ ...sound, flushFailed: true }), 'failed');
  t.equal(volumeState({ ...sound, metadataFailure: 'x' }), 'degraded');
  t.equal(volumeState({ ...sound, exhausted: true }), 'degraded');
  t.equal(volumeState({ ...sound, pendingSectors: 1 }), 'degraded');
});

t.test('states of a spare', async (t) => {
  t.equal(spareState(totals), 'healthy');
  t.equal(spareState({ ...totals, retiredSectors: 8 }), 'degraded');
  t.equal(spareState({ ...totals, freeSectors: 0 }), 'exhausted');
  t.equal(spareState({ ...totals, usable: false, freeSectors: 0 }), 'failed');
});
