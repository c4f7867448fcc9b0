/** npm run vm -- CASE...|all|suite|list [--qemu=7.2|10|all] [--verbose] [--back-end=KIND] */
import { parseArgs } from 'node:util';
import type { BackEndKind } from './back-end.js';
import { cases } from './cases/index.js';
import type { GuestEvent } from './guest-channel.js';
import { runCase } from './harness.js';
import { missingPart, type Part } from './parts.js';
import { partsOfQemu } from './qemu-program.js';
import { chooseRuns, QEMU_CHOICES, type Run } from './runs.js';

const BACK_ENDS: readonly BackEndKind[] = ['vhost-user-remap', 'qemu-storage-daemon'];

function refuse(sentence: string): never {
  console.error(sentence);
  process.exit(2);
}

function commandLine() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        verbose: { type: 'boolean', short: 'v' },
        'back-end': { type: 'string' },
        qemu: { type: 'string' },
      },
    });
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

const { values, positionals } = commandLine();
const backEnd = BACK_ENDS.find((kind) => kind === (values['back-end'] ?? BACK_ENDS[0]));
if (backEnd === undefined) refuse(`--back-end is one of: ${BACK_ENDS.join(', ')}.`);
const qemus = QEMU_CHOICES[values.qemu ?? '7.2'];
if (qemus === undefined) refuse(`--qemu is one of: ${Object.keys(QEMU_CHOICES).join(', ')}.`);

if (positionals.length === 0 || positionals[0] === 'list') {
  for (const [name, { title }] of Object.entries(cases)) console.log(`${name.padEnd(22)} ${title}`);
  process.exit(0);
}
const unknown = positionals.find((name) => !['all', 'suite', ...Object.keys(cases)].includes(name));
if (unknown !== undefined) {
  refuse(`no case is named ${unknown}: \`npm run vm -- list\` shows them.`);
}

const show = (event: GuestEvent): void => {
  if (event.kind === 'output') console.log(`    | ${event.text}`);
  if (event.kind === 'step' || event.kind === 'booted') console.log(`    ${event.text}`);
  if (event.kind === 'host') console.log(`    host: ${event.name} ${event.args.join(' ')}`);
};

const skipped = new Set<Part>();

async function canRun({ qemu, vmCase }: Run): Promise<boolean> {
  for (const part of [...partsOfQemu(qemu), ...(vmCase.needs ?? [])]) {
    const reason = await missingPart(part);
    if (reason === undefined) continue;
    if (!skipped.has(part)) console.log(`SKIP ${reason}`);
    skipped.add(part);
    return false;
  }
  return true;
}

process.once('SIGINT', () => process.exit(130));
const count = { passed: 0, failed: 0 };
for (const run of chooseRuns(cases, positionals, qemus)) {
  if (!(await canRun(run))) continue;
  const lacking = run.vmCase.missing?.();
  if (lacking !== undefined) {
    console.log(`SKIP ${lacking}`);
    continue;
  }
  if (values.verbose) console.log(run.name);
  const result = await runCase(run.name, run.vmCase, {
    backEnd,
    qemu: run.qemu,
    ...(values.verbose && { onEvent: show }),
  });
  const verdict = result.passed ? 'ok  ' : 'FAIL';
  const under = `QEMU ${run.qemu}`.padEnd(8);
  const line = `${verdict} ${run.name.padEnd(22)} ${under} ${result.seconds.toFixed(1)} s`;
  console.log(`${line}  ${result.counted}`.trimEnd());
  if (!result.passed) console.log(result.report);
  count[result.passed ? 'passed' : 'failed'] += 1;
}
console.log(`${count.passed} passed, ${count.failed} failed`);
process.exit(count.failed === 0 ? 0 : 1);
