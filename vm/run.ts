/** npm run vm -- CASE...|all|list [--verbose] [--back-end=qemu-storage-daemon] */
import { parseArgs } from 'node:util';
import type { BackEndKind } from './back-end.js';
import { cases } from './cases/index.js';
import type { GuestEvent } from './guest-channel.js';
import { runCase } from './harness.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { verbose: { type: 'boolean', short: 'v' }, 'back-end': { type: 'string' } },
});

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
  if (!vmCase) {
    console.error(`no case is named ${name}: \`npm run vm -- list\` shows them.`);
    process.exit(2);
  }
  if (values.verbose) console.log(name);
  const result = await runCase(name, vmCase, {
    ...(values['back-end'] !== undefined && { backEnd: values['back-end'] as BackEndKind }),
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
