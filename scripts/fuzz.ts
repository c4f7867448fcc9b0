/**
 * npm run fuzz -- TARGET|all [--seconds=N | --runs=N] [--seed=N] [--corpus=DIR]
 *     looks for inputs that break something; --corpus keeps those that lead to new places
 * npm run fuzz -- TARGET FILE...
 *     runs these inputs only
 * npm run fuzz -- TARGET --merge=DIR
 *     takes what DIR adds into the project's corpus, and makes that as small as it can be
 */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { inRoot, root } from '../vm/paths.js';

interface Target {
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
}

const TARGETS: readonly Target[] = [
  { name: 'virtqueue', program: 'virtqueue', args: [] },
  { name: 'virtqueue-race', program: 'virtqueue', args: ['--race'] },
  { name: 'messages', program: 'messages', args: [] },
];
const CLANG = 'clang-14';
/** Longer programs find no more, and take their time. */
const INPUT_BYTES_MAX = 400;

const {
  values,
  positionals: [wanted, ...files],
} = parseArgs({
  allowPositionals: true,
  options: {
    seconds: { type: 'string' },
    runs: { type: 'string' },
    seed: { type: 'string' },
    corpus: { type: 'string' },
    merge: { type: 'string' },
  },
});

const corpusOf = (target: Target): string => inRoot('test/fuzz/corpus', target.program);
const programOf = (target: Target): string => inRoot('native/build/fuzz', target.program);

function fail(message: string): never {
  console.error(`fuzz: ${message}`);
  process.exit(2);
}

function build(): void {
  const made = spawnSync(
    'make',
    ['--silent', '--no-print-directory', '-j2', '-C', 'native', 'SANITIZE=fuzz', 'fuzz'],
    { cwd: root, stdio: 'inherit' },
  );
  if (made.status !== 0) fail('the targets do not build.');
}

/** Runs a target with options of libFuzzer; its output, and whether it ended well. */
function run(target: Target, args: readonly string[]): Promise<{ ok: boolean; output: string }> {
  const found = inRoot('.cache/fuzz');
  mkdirSync(found, { recursive: true });
  const all = [...target.args, `-artifact_prefix=${found}/${target.name}-`, ...args];
  return new Promise((resolve) => {
    const child = spawn(programOf(target), all, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: {
        ...process.env,
        ASAN_OPTIONS: 'allow_addr2line=1',
        UBSAN_OPTIONS: 'print_stacktrace=1',
      },
    });
    let output = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-OUTPUT_KEPT);
    });
    child.on('close', (code) => resolve({ ok: code === 0, output }));
  });
}
const OUTPUT_KEPT = 20_000;

async function explore(target: Target): Promise<boolean> {
  const finds = values.corpus ?? mkdtempSync(path.join(tmpdir(), 'remap-fuzz-'));
  mkdirSync(finds, { recursive: true });
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31) + 1);
  const limit = values.runs
    ? `-runs=${values.runs}`
    : `-max_total_time=${values.seconds ?? DEFAULT_SECONDS}`;
  const options = [limit, `-seed=${seed}`, `-max_len=${INPUT_BYTES_MAX}`, '-print_final_stats=1'];
  const started = performance.now();
  const { ok, output } = await run(target, [...options, finds, corpusOf(target)]);
  const seconds = (performance.now() - started) / 1000;
  if (!values.corpus) rmSync(finds, { recursive: true });
  const runs = Number(/number_of_executed_units:\s*(\d+)/.exec(output)?.[1] ?? 0);
  const verdict = ok && runs > 0;
  if (!verdict) console.log(output);
  const rate = Math.round(runs / seconds);
  console.log(
    `${verdict ? 'ok  ' : 'FAIL'} ${target.name.padEnd(15)} ${runs} executions in ` +
      `${seconds.toFixed(0)} s (${rate}/s), seed ${seed}`,
  );
  return verdict;
}
const DEFAULT_SECONDS = 60;

async function replay(target: Target): Promise<boolean> {
  const { ok, output } = await run(target, files);
  console.log(output);
  return ok;
}

async function merge(target: Target, from: string): Promise<boolean> {
  const fresh = inRoot('.cache/fuzz', `${target.name}-merged`);
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh, { recursive: true });
  // One input for each place in the code; how often it runs there makes ten times as many.
  const options = ['-merge=1', '-use_counters=0'];
  const { ok, output } = await run(target, [...options, fresh, corpusOf(target), from]);
  console.log(output.trimEnd().split('\n').slice(-3).join('\n'));
  if (!ok) return false;
  rmSync(corpusOf(target), { recursive: true, force: true });
  mkdirSync(path.dirname(corpusOf(target)), { recursive: true });
  renameSync(fresh, corpusOf(target));
  return true;
}

const chosen = TARGETS.filter(({ name }) => wanted === 'all' || name === wanted);
if (chosen.length === 0)
  fail(`name a target: ${TARGETS.map(({ name }) => name).join(', ')} or all.`);
if (spawnSync(CLANG, ['--version']).error) {
  console.log(`SKIP fuzzing: ${CLANG} is not installed (Debian: ${CLANG} libclang-rt-14-dev)`);
  process.exit(0);
}
build();
let failed = 0;
for (const target of chosen) {
  if (!existsSync(corpusOf(target))) mkdirSync(corpusOf(target), { recursive: true });
  const work = values.merge ? merge(target, values.merge) : undefined;
  const ok = await (work ?? (files.length > 0 ? replay(target) : explore(target)));
  if (!ok) failed += 1;
}
console.log(`${chosen.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
