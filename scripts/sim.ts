/**
 * npm run sim -- [--seed=N] [--runs=M] [--steps=K] [--faults=NAME] [--probes=SHARE] [--seconds=S]
 * [--enumerate]: lives of a simulated volume, one for each seed from N on. `--probes`: share of the
 * events after which a crash is tried; `--enumerate`: every crash there can be; `--faults=list`
 * names the fault sets.
 */
import { parseArgs } from 'node:util';
import { FAULT_SETS } from '../test/fixtures/sim/fault-sets.js';
import { type RunReport, simulate } from '../test/fixtures/sim/run.js';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    runs: { type: 'string', default: '100' },
    steps: { type: 'string', default: '60' },
    faults: { type: 'string' },
    probes: { type: 'string', default: '1' },
    seconds: { type: 'string', default: '0' },
    enumerate: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
  },
});

const MASK = (1n << 64n) - 1n;
const names = Object.keys(FAULT_SETS);

if (values.faults === 'list') {
  for (const name of names) console.log(`${name.padEnd(12)} ${JSON.stringify(FAULT_SETS[name])}`);
  process.exit(0);
}

const first = Number(values.seed);
const runs = Number(values.runs);
const steps = Number(values.steps);
const probes = Number(values.probes);
const deadline = Number(values.seconds) > 0 ? performance.now() + Number(values.seconds) * 1e3 : 0;

interface Sum {
  runs: number;
  crashPoints: number;
  images: number;
  lives: number;
  requests: number;
  refused: number;
}

const sums = new Map<string, Sum>();
const digests: string[] = [];
let violations = 0;

function add(name: string, report: RunReport): void {
  const sum = sums.get(name) ?? {
    runs: 0,
    crashPoints: 0,
    images: 0,
    lives: 0,
    requests: 0,
    refused: 0,
  };
  sum.runs++;
  sum.crashPoints += report.crashPoints;
  sum.images += report.images;
  sum.lives += report.lives;
  sum.requests += report.requests;
  sum.refused += report.refused ? 1 : 0;
  sums.set(name, sum);
}

let seed = first;
for (; seed < first + runs && (deadline === 0 || performance.now() < deadline); seed++) {
  const faults = values.faults ?? (names[seed % names.length] as string);
  try {
    const report = await simulate({ seed, steps, faults, probes, enumerate: values.enumerate });
    digests.push(report.digest);
    add(faults, report);
    if (values.verbose) console.log(seed, faults, JSON.stringify(report));
  } catch (e) {
    violations++;
    console.log(`VIOLATION ${(e as Error).message}`);
    if (values.verbose) console.log((e as Error).stack);
    console.log(
      `  npm run sim -- --seed=${seed} --runs=1 --steps=${steps} --faults=${faults} ` +
        `--probes=${probes}${values.enumerate ? ' --enumerate' : ''}`,
    );
  }
}

for (const [name, sum] of sums) {
  const { crashPoints, images, lives, requests, refused } = sum;
  const states = `${crashPoints} crash points (${images} images)`;
  const counts = `${states}, ${lives} lives, ${requests} requests`;
  console.log(`${name.padEnd(12)} ${sum.runs} runs, ${counts}, ${refused} refused to open`);
}
const total = [...sums.values()].reduce((n, sum) => n + sum.crashPoints, 0);
const digest = digests.reduce((a, b) => BigInt(`0x${b}`) ^ (((a << 1n) | (a >> 63n)) & MASK), 0n);
console.log(`seeds ${first} to ${seed - 1}, digest ${digest.toString(16)}`);
console.log(`${total} crash points, ${violations} violations`);
process.exit(violations === 0 ? 0 : 1);
