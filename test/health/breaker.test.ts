import t from 'tap';
import { STORM_REFILL_MS, STORM_SUSPECT_MS, STORM_SUSPECTS_MAX } from '../../src/core/limits.js';
import { Breaker } from '../../src/health/breaker.js';

t.test('believes as many blocks as it was given, and some more later', async (t) => {
  const breaker = new Breaker(10);
  t.ok(breaker.spend(7, 0));
  t.notOk(breaker.spend(4, 0), 'not one more');
  t.equal(breaker.left(0), 3, 'and what does not fit takes nothing');
  t.ok(breaker.spend(3, 0));
  t.ok(breaker.spend(0, 0), 'nothing always fits');
  t.notOk(breaker.spend(1, STORM_REFILL_MS - 1));
  t.ok(breaker.spend(1, STORM_REFILL_MS));
  t.equal(breaker.left(1000 * STORM_REFILL_MS), 10, 'never more than at first');
});

t.test('a block is confirmed by its second failure, for a while', async (t) => {
  const breaker = new Breaker(0);
  breaker.suspect([8, 16], 100);
  t.ok(breaker.confirmed(8, 100 + STORM_SUSPECT_MS));
  t.notOk(breaker.confirmed(8, 101 + STORM_SUSPECT_MS));
  t.notOk(breaker.confirmed(24, 100));
  breaker.forget([16]);
  t.notOk(breaker.confirmed(16, 100));
});

t.test('remembers a bounded number of first failures, the latest', async (t) => {
  const breaker = new Breaker(0);
  breaker.suspect(Array(STORM_SUSPECTS_MAX).keys(), 0);
  breaker.suspect([1e6], 0);
  t.notOk(breaker.confirmed(0, 0));
  t.ok(breaker.confirmed(1, 0));
  t.ok(breaker.confirmed(1e6, 0));
});

t.test('what failed with the path proves nothing, and what was spent stays spent', async (t) => {
  const breaker = new Breaker(10);
  breaker.spend(10, 0);
  breaker.suspect([8], 0);
  breaker.trip();
  t.ok(breaker.open);
  t.notOk(breaker.confirmed(8, 0));
  breaker.close();
  t.notOk(breaker.open);
  t.notOk(breaker.spend(1, 0));
  breaker.refill(0);
  t.ok(breaker.spend(10, 0));
});
