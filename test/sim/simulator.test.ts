/** Lives of simulated volumes. More of them: npm run sim; SIM_SEED, SIM_RUNS and SIM_STEPS here. */
import t from 'tap';
import { FAULT_SETS } from '../fixtures/sim/fault-sets.js';
import { simulate } from '../fixtures/sim/run.js';

const SEED = Number(process.env.SIM_SEED ?? 1);
const RUNS = Number(process.env.SIM_RUNS ?? 1);
const STEPS = Number(process.env.SIM_STEPS ?? 30);

t.setTimeout(600_000);

t.test('nothing acknowledged is lost, whatever fails', async (t) => {
  let crashPoints = 0;
  let seed = SEED;
  for (const faults of Object.keys(FAULT_SETS)) {
    for (let i = 0; i < RUNS; i++, seed++) {
      const options = { seed, steps: STEPS, faults, probes: 0.2 };
      const replay = `npm run sim -- --seed=${seed} --runs=1 --steps=${STEPS} --faults=${faults}`;
      try {
        crashPoints += (await simulate(options)).crashPoints;
      } catch (e) {
        t.fail(`${(e as Error).message}: ${replay} --probes=0.2`);
      }
    }
  }
  t.comment(`seeds ${SEED} to ${seed - 1}, ${crashPoints} crash points`);
  t.ok(crashPoints > 100, `${crashPoints} crash points`);
});

t.test('a seed gives the same life again, bit for bit', async (t) => {
  const options = { seed: SEED, steps: STEPS, faults: 'transient', probes: 0.2 };
  const first = await simulate(options);
  t.same(await simulate(options), first);
  t.not((await simulate({ ...options, seed: SEED + 1 })).digest, first.digest);
});
