import t from 'tap';
import { median, medianRatio } from '../../scripts/bench/summary.js';

t.test('median', (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 2, 3]), 2.5);
  t.ok(Number.isNaN(median([])));
  t.end();
});

t.test('the ratio is taken within a round', (t) => {
  const of = (...iops: number[]) => iops.map((value) => ({ iops: value, cpuUs: 1 }));
  const ratio = medianRatio(of(50, 200, 99), of(100, 200, 100), (sample) => sample.iops);
  t.equal(ratio, 0.99);
  t.end();
});
