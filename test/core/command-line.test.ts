import t from 'tap';
import { findWords, nearest, parseCommandLine, parseNumber } from '../../src/core/command-line.js';

const TABLE = {
  path: { type: 'string' },
  spare: { type: 'string', multiple: true },
  force: { type: 'boolean', short: 'f' },
} as const;

t.test('values by = or as the next word, words anywhere', async (t) => {
  t.strictSame(parseCommandLine(['a', '--path=p', '--force', 'b'], TABLE), {
    values: { path: 'p', force: true },
    positionals: ['a', 'b'],
  });
  t.strictSame(parseCommandLine(['--path', 'p', '--spare=1', '--spare', '2', '-f'], TABLE), {
    values: { path: 'p', spare: ['1', '2'], force: true },
    positionals: [],
  });
  t.strictSame(parseCommandLine(['--path', '-', '--', '--force'], TABLE), {
    values: { path: '-' },
    positionals: ['--force'],
  });
  t.strictSame(parseCommandLine(['--path=--force', '--force', '--force'], TABLE), {
    values: { path: '--force', force: true },
    positionals: [],
  });
});

t.test('what is wrong, in a sentence', async (t) => {
  for (const [args, message] of [
    [['--pth=x'], 'unknown option --pth; did you mean --path?'],
    [['--__proto__'], 'unknown option --__proto__; see --help'],
    [['-q'], 'unknown option -q; see --help'],
    [['-5'], 'a number on the command line is negative; sectors count from 0'],
    [['--path'], '--path needs a value: --path=VALUE'],
    [['--path', '--force'], '--path needs a value: --path=VALUE'],
    [['--spare='], '--spare needs a value: --spare=VALUE'],
    [['--force=1'], '--force takes no value; write --force alone'],
    [['--path=a', '--path=a'], '--path is given twice; give it once'],
  ] as const) {
    t.throws(() => parseCommandLine(args, TABLE), { code: 'USAGE', message }, args.join(' '));
  }
});

t.test('words are told from the values of options', async (t) => {
  t.strictSame(findWords(['--path', 'p', 'status', '--unknown', 'x', '--spare=s'], TABLE), [
    { index: 2, value: 'status' },
    { index: 4, value: 'x' },
  ]);
});

t.test('the nearest word, or none', async (t) => {
  const known = ['blk-file', 'spare', 'socket-path'];
  t.equal(nearest('blkfile', known), 'blk-file');
  t.equal(nearest('spares', known), 'spare');
  t.equal(nearest('socketpath', known), 'socket-path');
  t.equal(nearest('zzzz', known), undefined);
  t.equal(nearest('x', []), undefined);
});

t.test('numbers', async (t) => {
  t.equal(parseNumber('0', 'N'), 0);
  t.equal(parseNumber('0x1F', 'N'), 31);
  t.equal(parseNumber('0012', 'N'), 12);
  t.equal(parseNumber('9007199254740991', 'N'), Number.MAX_SAFE_INTEGER);
  for (const bad of ['', ' 1', '-1', '+1', '1.0', '1e3', '0x', 'x1', '1k', '١', 'NaN']) {
    t.throws(() => parseNumber(bad, 'N'), {
      code: 'USAGE',
      message: `N must be a whole number, decimal or 0x hexadecimal, not '${bad}'`,
    });
  }
  t.throws(() => parseNumber('9007199254740993', 'N'), { message: /^N must be at most 9007/ });
  t.throws(() => parseNumber('1', 'N', { min: 2 }), { message: 'N must be at least 2, not 1' });
  t.throws(() => parseNumber('3', 'N', { max: 2 }), { message: 'N must be at most 2, not 3' });
});
