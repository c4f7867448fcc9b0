/**
 * npm run mutants [-- NAME ...] [--list]: puts one bug after the other into a copy of the sources
 * and runs the tests that must notice. Prints a table; ends with 1 when a bug got through.
 */
import { parseArgs } from 'node:util';
import { MUTANTS } from '../test/fixtures/mutants/list.js';
import type { Mutant } from '../test/fixtures/mutants/mutant.js';
import { Copy } from './mutants/copy.js';

const { values, positionals } = parseArgs({
  options: { list: { type: 'boolean', default: false } },
  allowPositionals: true,
});

function chosen(): readonly Mutant[] {
  const unknown = positionals.filter((name) => !MUTANTS.some((mutant) => mutant.name === name));
  if (unknown.length > 0) {
    process.stderr.write(`There is no mutant ${unknown.join(', ')}; see --list.\n`);
    process.exit(2);
  }
  return positionals.length === 0
    ? MUTANTS
    : MUTANTS.filter(({ name }) => positionals.includes(name));
}

/** The first test that fails with the bug in place; undefined when none does. */
async function catcher(copy: Copy, mutant: Mutant): Promise<string | undefined> {
  await copy.mutate(mutant);
  try {
    for (const test of mutant.tests) if (!(await copy.passes(test))) return test;
    return undefined;
  } finally {
    await copy.restore(mutant);
  }
}

async function main(): Promise<void> {
  const mutants = chosen();
  if (values.list) {
    for (const { name, file } of mutants) process.stdout.write(`${name}  ${file}\n`);
    return;
  }
  const copy = await Copy.make();
  // A test that fails anyway would catch anything.
  for (const test of new Set(mutants.flatMap(({ tests }) => tests))) {
    if (await copy.passes(test)) continue;
    process.stderr.write(`${test} fails without any bug; mend that first.\n`);
    process.exit(1);
  }
  process.stdout.write('| bug | in | caught by |\n|---|---|---|\n');
  let caught = 0;
  for (const mutant of mutants) {
    const by = await catcher(copy, mutant);
    if (by !== undefined) caught++;
    process.stdout.write(`| ${mutant.name} | ${mutant.file} | ${by ?? 'NOTHING'} |\n`);
  }
  process.stdout.write(`${caught} of ${mutants.length} caught\n`);
  process.exitCode = caught === mutants.length ? 0 : 1;
}

await main();
