import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { runProgram } from '../fixtures/program.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

const daemon = (...args: string[]) => runProgram('vhost-user-remap', args);

t.test('--print-capabilities: exactly this, whatever else is there', async (t) => {
  for (const args of [
    ['--print-capabilities'],
    ['--rubbish', '--fd=x', 'stray', '--print-capabilities', '--socket-path'],
  ]) {
    t.strictSame(await daemon(...args), {
      status: 0,
      signal: null,
      stdout: '{"type":"block","features":["read-only","blk-file"]}\n',
      stderr: '',
    });
  }
});

t.test('--help and --version', async (t) => {
  t.match(await daemon('--help'), { status: 0, stdout: /^Usage: vhost-user-remap --/, stderr: '' });
  t.match(await daemon('--version'), {
    status: 0,
    stdout: /^vhost-user-remap \d+\.\d+\.\d+\n$/,
    stderr: '',
  });
});

t.test('bad usage: one plain sentence on stderr, status 2', async (t) => {
  t.strictSame(await daemon('--blk-file=m', '--socket-path=s', '--spar=x'), {
    status: 2,
    signal: null,
    stdout: '',
    stderr: 'vhost-user-remap: unknown option --spar; did you mean --spare?\n',
  });
});

t.test('a socket that cannot be: one plain sentence on stderr, status 1', async (t) => {
  const directory = tempDirectory(t);
  const long = join(directory, 'x'.repeat(100));
  const busy = join(directory, 'busy.sock');
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(busy, resolve));
  t.teardown(() => server.close());
  for (const [path, why] of [
    [long, /^vhost-user-remap: --socket-path is \d+ bytes long .* room for 107; .*\n$/],
    [busy, /^vhost-user-remap: --socket-path: another process listens on .*\n$/],
    [`${directory}/no/x.sock`, /^vhost-user-remap: --socket-path: the directory .* does not .*\n$/],
  ] as const) {
    const result = await daemon(`--socket-path=${path}`, '--blk-file=null:1M');
    t.match(result, { status: 1, signal: null, stdout: '', stderr: why });
  }
});
