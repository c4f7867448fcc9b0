import t from 'tap';
import { healthScore } from '../../src/health/score.js';

const sound = {
  spareSectors: 1000,
  spareFreeSectors: 1000,
  pendingExtents: 0,
  goodCopies: 5,
  allCopies: 5,
  errors: 0,
  failed: false,
};

t.test('is the least of what is left', async (t) => {
  t.equal(healthScore(sound), 100);
  t.equal(healthScore({ ...sound, spareFreeSectors: 999 }), 100);
  t.equal(healthScore({ ...sound, spareFreeSectors: 250 }), 25);
  t.equal(healthScore({ ...sound, spareFreeSectors: 0 }), 0);
  t.equal(healthScore({ ...sound, goodCopies: 4 }), 80);
  t.equal(healthScore({ ...sound, pendingExtents: 3 }), 97);
  t.equal(healthScore({ ...sound, pendingExtents: 3000 }), 50);
  t.equal(healthScore({ ...sound, goodCopies: 4, spareFreeSectors: 100 }), 10);
  t.equal(healthScore({ ...sound, errors: 9 }), 100, 'a spare is still there for the next');
  t.equal(healthScore({ ...sound, failed: true }), 0);
});

t.test('without a spare the first error is the end of it', async (t) => {
  const bare = { ...sound, spareSectors: 0, spareFreeSectors: 0, goodCopies: 0, allCopies: 0 };
  t.equal(healthScore(bare), 100);
  t.equal(healthScore({ ...bare, errors: 1 }), 0);
});
