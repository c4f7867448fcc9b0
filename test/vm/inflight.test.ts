import t from 'tap';
import { finishedOutOfOrder, type InflightEntry } from '../../vm/inflight.js';

const entries = (...list: readonly (readonly [0 | 1, number])[]): InflightEntry[] =>
  list.map(([inflight, counter]) => ({ inflight: inflight === 1, counter: BigInt(counter) }));

const before = entries([0, 90], [0, 91], [0, 0], [1, 92]);

for (const [title, now, expected] of [
  ['nothing was on its way', entries([0, 1], [0, 2], [0, 3], [0, 4]), false],
  ['all that was answered is older', entries([0, 1], [1, 2], [0, 0], [1, 3]), false],
  ['a later one was answered', entries([0, 5], [1, 2], [0, 0], [1, 3]), true],
  [
    'what an earlier back-end left does not count',
    entries([0, 90], [0, 91], [1, 5], [1, 6]),
    false,
  ],
  ['what it left unanswered does, once answered', entries([0, 90], [0, 91], [1, 5], [0, 7]), true],
] as const) {
  t.equal(finishedOutOfOrder(before, now), expected, title);
}
