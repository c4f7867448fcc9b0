/**
 * npm run sanitize -- address|thread|undefined [-- OPTIONS OF DOCTEST]: the native tests under one
 * of gcc's sanitizers. A report fails the run.
 */
import { spawnSync } from 'node:child_process';
import { inRoot, root } from '../vm/paths.js';

const SANITIZERS: Readonly<Record<string, NodeJS.ProcessEnv>> = {
  address: {},
  // What it cannot see is named in the file, each with its reason.
  thread: { TSAN_OPTIONS: `suppressions=${inRoot('test/native/tsan.supp')}` },
  undefined: { UBSAN_OPTIONS: 'print_stacktrace=1' },
};

const [name = '', ...options] = process.argv.slice(2);
const environment = SANITIZERS[name];
if (environment === undefined) {
  console.error(`sanitize: name a sanitizer: ${Object.keys(SANITIZERS).join(', ')}.`);
  process.exit(2);
}

function run(command: string, args: readonly string[]): void {
  const env = { ...process.env, ...environment };
  const { status } = spawnSync(command, args, { cwd: root, stdio: 'inherit', env });
  if (status !== 0) process.exit(1);
}

run('make', [
  '--silent',
  '--no-print-directory',
  '-j2',
  '-C',
  'native',
  `SANITIZE=${name}`,
  'unit',
]);
run(inRoot('native/build', name, 'unit_tests'), options);
