/**
 * Crash points by enumeration: at each moment of simulated lives every subset of the writes that
 * power loss may take, and each of them cut at every sector, opened as at a start and judged. More
 * of them: CRASH_POINTS=100000, and npm run sim -- --enumerate.
 */
import t from 'tap';
import { simulate } from '../fixtures/sim/run.js';

const WANTED = Number(process.env.CRASH_POINTS ?? 25_000);
const SEED = Number(process.env.SIM_SEED ?? 1);
const STEPS = 20;
const SETS = ['calm'] as const;

t.setTimeout(600_000);

t.test(`${WANTED} crash points lose nothing that was acknowledged`, async (t) => {
  let [points, images] = [0, 0];
  let seed = SEED;
  for (; points < WANTED; seed++) {
    const faults = SETS[seed % SETS.length] as string;
    try {
      const report = await simulate({ seed, steps: STEPS, faults, probes: 1, enumerate: true });
      points += report.crashPoints;
      images += report.images;
    } catch (e) {
      const options = `--seed=${seed} --runs=1 --steps=${STEPS} --faults=${faults} --enumerate`;
      t.fail(`${(e as Error).message}: npm run sim -- ${options}`);
      break;
    }
  }
  t.comment(`seeds ${SEED} to ${seed - 1}: ${points} crash points, ${images} images`);
  t.ok(points >= WANTED);
});
