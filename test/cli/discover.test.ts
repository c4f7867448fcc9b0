import { rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { run } from '../../src/cli/run.js';
import { discoverAnswerSchema } from '../../src/protocol/device-answers.js';
import { tempDirectory } from '../fixtures/temp-directory.js';
import { MemoryTerminal } from '../fixtures/terminal.js';

const MIB = 1024 * 1024;

const remapctl = async (...args: string[]) => {
  const terminal = new MemoryTerminal();
  const status = await run(args, {}, terminal);
  return { status, stdout: terminal.stdout, stderr: terminal.stderr };
};

t.test('discover tells what it found, how to serve it, and what is wrong', async (t) => {
  const directory = tempDirectory(t);
  const [main, spare] = [join(directory, 'main'), join(directory, 'spare')] as const;
  for (const path of [main, spare]) {
    writeFileSync(path, '');
    truncateSync(path, 16 * MIB);
  }
  await remapctl('create', main, `--spare=${spare}`, '--name=vm');

  const found = await remapctl('discover', directory);
  t.equal(found.status, 0);
  t.match(found.stdout, /volume: vm \(.*\n +state: complete: every device is there\n/);
  t.match(
    found.stdout,
    `serve: vhost-user-remap --blk-file=${main} --spare=${spare} --socket-path=SOCKET\n`,
  );
  t.match(found.stdout, /^1 volume on 2 devices\n$/m);

  rmSync(main);
  const lacking = await remapctl('discover', directory, '--json');
  t.equal(lacking.status, 3);
  const answer = discoverAnswerSchema.parse(JSON.parse(lacking.stdout));
  t.match(answer.volumes, [
    { verdict: 'incomplete', main: { path: null }, spares: [{ path: spare }] },
  ]);
  const words = await remapctl('discover', directory);
  t.match(words.stdout, /state: incomplete: it cannot be served\n +the main .* is missing\n/);
  t.notMatch(words.stdout, /serve:/);
});

t.test('nothing there is no error, a path that is not there is one', async (t) => {
  const directory = tempDirectory(t);
  t.match(await remapctl('discover', directory), { status: 0, stdout: '0 volumes on 0 devices\n' });
  const missing = await remapctl('discover', join(directory, 'x'));
  t.match(missing, { status: 1, stdout: '', stderr: /^remapctl: There is nothing at .*\n$/ });
});
