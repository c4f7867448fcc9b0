/** npm run tidy: the project's own rules, on every file that git knows or would add. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { inRoot, root } from '../vm/paths.js';
import type { SourceFile } from './tidy/file.js';
import { checkAll } from './tidy/rules.js';

/** Bytes, not text. */
const FUZZ_INPUTS = 'test/fuzz/corpus/';

function projectFiles(): SourceFile[] {
  const names = execFileSync('git', ['ls-files', '-co', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  });
  return names
    .split('\n')
    .filter((name) => name !== '' && existsSync(inRoot(name)) && !name.startsWith(FUZZ_INPUTS))
    .map((name) => ({ path: name, text: readFileSync(inRoot(name), 'utf8') }));
}

const results = checkAll(projectFiles());
const broken = results.filter(({ findings }) => findings.length > 0);
for (const { rule, findings } of broken) {
  for (const { path, line, message } of findings) {
    console.log(`${path}${line > 0 ? `:${line}` : ''}: ${message} (${rule})`);
  }
}
console.log(`${results.length - broken.length} passed, ${broken.length} failed`);
process.exit(broken.length === 0 ? 0 : 1);
