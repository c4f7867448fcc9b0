/** What `npm test` runs once all is built: every check, one line each, and the sum of all tests. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { inRoot, root } from '../vm/paths.js';
import {
  type Counts,
  doctestCounts,
  plainCounts,
  skipped,
  tapCounts,
  tapFailures,
} from './ci/counts.js';

interface Step {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  /** How many tests the output names; a step without is one test. */
  readonly counts?: (output: string) => Counts | undefined;
  /** What of the output explains a failure. */
  readonly explain?: (output: string) => string;
  /** Show the output while it runs. */
  readonly live?: boolean;
}

const bin = (name: string): string => inRoot('node_modules/.bin', name);
const CLANG_FORMAT =
  "git ls-files -co --exclude-standard '*.cc' '*.h' | xargs -r clang-format --dry-run -Werror";

const STEPS: readonly Step[] = [
  { name: 'types', command: [bin('tsc'), '-p', '.', '--pretty', 'false'] },
  { name: 'biome', command: [bin('biome'), 'check', '--error-on-warnings', '.'] },
  { name: 'clang-format', command: ['bash', '-o', 'pipefail', '-c', CLANG_FORMAT] },
  {
    name: 'tidy',
    command: [process.execPath, inRoot('dist/scripts/tidy.js')],
    counts: plainCounts,
  },
  {
    name: 'native tests',
    command: [inRoot('native/build/unit_tests'), '--no-colors'],
    counts: doctestCounts,
  },
  // The corpus, and a moment more.
  {
    name: 'fuzzing',
    command: [process.execPath, inRoot('dist/scripts/fuzz.js'), 'all', '--seconds=2'],
  },
  {
    name: 'tap',
    command: [bin('tap'), '--reporter=tap'],
    counts: tapCounts,
    explain: tapFailures,
  },
  {
    name: 'virtual machines',
    command: [process.execPath, inRoot('dist/vm/run.js'), 'suite'],
    counts: plainCounts,
    live: true,
  },
];

interface Outcome extends Counts {
  readonly output: string;
}

function run({ command, counts, live }: Step): Promise<Outcome> {
  const [program, ...args] = command;
  return new Promise((resolve) => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const keep = (text: string): void => {
      output += text;
      if (live) process.stdout.write(text);
    };
    child.stdout.setEncoding('utf8').on('data', keep);
    child.stderr.setEncoding('utf8').on('data', keep);
    child.on('error', (error) => keep(`${error.message}\n`));
    child.on('close', (code) => resolve({ output, ...judge(code, counts, output) }));
  });
}

/** A step that names its tests must name some, and its exit status must agree with them. */
function judge(code: number | null, counts: Step['counts'], output: string): Counts {
  const whole: Counts = code === 0 ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 };
  if (!counts) return whole;
  const found = counts(output) ?? { passed: 0, failed: 0 };
  const agrees = (code === 0) === (found.failed === 0) && found.passed + found.failed > 0;
  return agrees ? found : { passed: found.passed, failed: found.failed + 1 };
}

const MORE_LINES = 60;

let passed = 0;
let failed = 0;
for (const step of STEPS) {
  const started = performance.now();
  const outcome = await run(step);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  passed += outcome.passed;
  failed += outcome.failed;
  const sum = `${outcome.passed} of ${outcome.passed + outcome.failed}`;
  const verdict = outcome.failed === 0 ? 'ok  ' : 'FAIL';
  console.log(`${verdict} ${step.name.padEnd(18)} ${seconds.padStart(6)} s  ${sum}`);
  for (const reason of skipped(outcome.output)) console.log(`     SKIP ${reason}`);
  if (outcome.failed === 0) continue;
  const log = inRoot('.cache', `ci-${step.name.replaceAll(' ', '-')}.log`);
  writeFileSync(log, outcome.output);
  const explained = step.explain?.(outcome.output) ?? '';
  const shown = explained === '' ? outcome.output : explained;
  if (!step.live) console.log(shown.trimEnd().split('\n').slice(-MORE_LINES).join('\n'));
  console.log(`     whole output: ${log}`);
}
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
