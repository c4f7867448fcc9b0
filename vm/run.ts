/** npm run vm -- CASE...|all|list [--verbose] [--back-end=qemu-storage-daemon] */
import { parseArgs } from 'node:util';
import type { BackEndKind } from './back-end.js';
import { cases } from './cases/index.js';
import type { GuestEvent } from './guest-channel.js';
import { runCase } from './harness.js';

const BACK_ENDS: readonly BackEndKind[] = ['vhost-user-remap', 'qemu-storage-daemon'];

function refuse(sentence: string): never {
  console.error(sentence);
  process.exit(2);
}

function commandLine() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: { verbose: { type: 'boolean', short: 'v' }, 'back-end': { type: 'string' } },
    });
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

const { values, positionals } = commandLine();
const backEnd = BACK_ENDS.find((kind) => kind === (values['back-end'] ?? BACK_ENDS[0]));
if (backEnd === undefined) refuse(`--back-end is one of: ${BACK_ENDS.join(', ')}.`);

if (positionals.length === 0 || positionals[0] === 'list') {
  for (const [name, { title }] of Object.entries(cases)) console.log(`${name.padEnd(22)} ${title}`);
  process.exit(0);
}

const names = positionals[0] === 'all' ? Object.keys(cases) : positionals;
const show = (event: GuestEvent): void => {
  if (event.kind === 'output') console.log(`    | ${event.text}`);
  if (event.kind === 'step' || event.kind === 'booted') console.log(`    ${event.text}`);
  if (event.kind === 'host') console.log(`    host: ${event.name} ${event.args.join(' ')}`);
};

process.once('SIGINT', () => process.exit(130));
let failed = 0;
for (const name of names) {
  const vmCase = cases[name];
  if (!vmCase) refuse(`no case is named ${name}: \`npm run vm -- list\` shows them.`);
  if (values.verbose) console.log(name);
  const result = await runCase(name, vmCase, {
    backEnd,
    ...(values.verbose && { onEvent: show }),
  });
  const verdict = result.passed ? 'ok  ' : 'FAIL';
  console.log(`${verdict} ${name.padEnd(22)} ${result.seconds.toFixed(1)} s`);
  if (!result.passed) {
    failed += 1;
    console.log(result.report);
  }
}
console.log(`${names.length - failed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
