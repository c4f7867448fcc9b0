/** The man pages know every option, verb and exit status of the programs, and no other option. */
import { readFileSync } from 'node:fs';
import t from 'tap';
import { GLOBAL_OPTIONS } from '../../src/cli/command.js';
import { COMMANDS } from '../../src/cli/commands/index.js';
import { OPTIONS } from '../../src/daemon/options.js';

const page = (name: string): string =>
  readFileSync(new URL(`../../../docs/man/${name}.1`, import.meta.url), 'utf8');

const optionsIn = (text: string): string[] =>
  [...new Set([...text.matchAll(/Fl -([a-z-]+)/g)].map((match) => match[1] as string))].sort();

/** Digits that head the items of the section EXIT STATUS. */
const statusesIn = (text: string): string[] => {
  const section = text.split('.Sh EXIT STATUS')[1]?.split('.Sh')[0] ?? '';
  return [...section.matchAll(/^\.It (\d)/gm)].map((match) => match[1] as string);
};

t.test('vhost-user-remap.1', async (t) => {
  const text = page('vhost-user-remap');
  t.strictSame(optionsIn(text), Object.keys(OPTIONS).sort());
  t.strictSame(statusesIn(text), ['0', '1', '2']);
});

t.test('remapctl.1', async (t) => {
  const text = page('remapctl');
  const options = COMMANDS.flatMap((command) => Object.keys(command.options));
  // Of the other program, where it is spoken of.
  const others = ['allow-fault-injection'];
  const known = new Set([...Object.keys(GLOBAL_OPTIONS), 'version', ...options, ...others]);
  t.strictSame(optionsIn(text), [...known].sort());
  t.strictSame(statusesIn(text), ['0', '1', '2', '3']);
  for (const { verb } of COMMANDS) {
    t.match(text, new RegExp(`^\\.It Cm ${verb}\\b`, 'm'), verb);
  }
});
