import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { run } from '../../src/cli/run.js';
import { systemClock } from '../../src/core/clock.js';
import { FileDevice } from '../../src/device/file-device.js';
import { MetadataStore } from '../../src/metadata/store.js';
import { tableEntry } from '../../src/ondisk/entry.js';
import { exportAnswerSchema, importAnswerSchema } from '../../src/protocol/device-answers.js';
import { tempDirectory } from '../fixtures/temp-directory.js';
import { MemoryTerminal } from '../fixtures/terminal.js';

const MIB = 1024 * 1024;

const remapctl = async (...args: string[]) => {
  const terminal = new MemoryTerminal();
  const status = await run(args, {}, terminal);
  return { status, stdout: terminal.stdout, stderr: terminal.stderr };
};

/** A volume of 32,768 sectors with one block remapped at 100 and one pending at 200. */
async function setUp(t: Test, entries = true) {
  const directory = tempDirectory(t);
  const [main, spare] = [join(directory, 'main'), join(directory, 'spare')] as const;
  for (const path of [main, spare]) {
    writeFileSync(path, '');
    truncateSync(path, 16 * MIB);
  }
  await remapctl('create', main, `--spare=${spare}`, '--name=vm');
  if (entries) {
    const device = FileDevice.open(spare, { readOnly: false, exclusive: true });
    const store = await MetadataStore.open([device], { repair: true, clock: systemClock });
    const [spareStart] = [store.layouts[0]?.groupAt(0).firstBlock ?? 0];
    const common = { count: 1, timeSeconds: 1_790_000_000 };
    const cause = 'write-error';
    await store.commit({
      add: [
        tableEntry({ ...common, kind: 'remapped', start: 100, spareIndex: 0, spareStart, cause }),
        tableEntry({ ...common, kind: 'pending', start: 200, cause: 'read-error' }),
      ],
    });
    await device.close();
  }
  return { directory, spare };
}

const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

t.test('export in every format, and nothing is written', async (t) => {
  const { spare, directory } = await setUp(t);
  const before = digest(spare);
  const json = await remapctl('export', spare);
  const map = exportAnswerSchema.parse(JSON.parse(json.stdout));
  t.match(map, { name: 'vm', sizeSectors: 32768, rows: [{ lba: 100 }, { lba: 200 }] });
  t.same((await remapctl('export', spare, '--json')).stdout, json.stdout);
  const csv = await remapctl('export', spare, '--format=csv');
  t.match(csv.stdout, /^kind,lba,.*\r\nremapped,100,1,0,\d+,write-error,1,.*\r\npending,200,1,,,/);
  const blocks = (...more: string[]) =>
    remapctl('export', spare, '--format=badblocks', '--block-size=1024', ...more);
  t.equal((await blocks()).stdout, '100\n');
  t.equal((await blocks('--view=media')).stdout, '50\n100\n');
  const mapfile = join(directory, 'map');
  t.match(await remapctl('export', spare, '--format=ddrescue', `--output=${mapfile}`), {
    status: 0,
    stdout: '',
  });
  const again = await remapctl('export', spare, '--format=csv', `--output=${mapfile}`);
  t.match(again, { status: 1, stderr: /it is there already/ });
  t.equal(digest(spare), before);
  const ddrescuelog = spawnSync('ddrescuelog', ['--show-status', mapfile], { encoding: 'utf8' });
  if (ddrescuelog.error !== undefined) t.comment('SKIP ddrescuelog (package gddrescue)');
  else {
    t.equal(ddrescuelog.status, 0, ddrescuelog.stderr);
    t.match(ddrescuelog.stdout, /bad-sector: +512 B/);
  }
});

t.test('import makes sectors pending, once', async (t) => {
  const { spare, directory } = await setUp(t);
  const list = join(directory, 'list');
  writeFileSync(list, '50\n100\n300\n301\n');
  const args = ['import', spare, '--format=badblocks', '--block-size=1024', `--from=${list}`];
  const before = digest(spare);
  const planned = await remapctl(...args, '--dry-run', '--json');
  const expected = { requested: 8, added: 6, known: 2 };
  t.match(importAnswerSchema.parse(JSON.parse(planned.stdout)), { state: 'planned', ...expected });
  t.equal(digest(spare), before, 'a dry run writes nothing');
  const done = await remapctl(...args, '--json');
  t.match(importAnswerSchema.parse(JSON.parse(done.stdout)), { state: 'imported', ...expected });
  t.match(await remapctl(...args), {
    status: 0,
    stdout: '0 sectors pending now; 8 sectors pending or remapped before\n',
  });
  const map = exportAnswerSchema.parse(JSON.parse((await remapctl('export', spare)).stdout));
  const pending = map.rows.filter(({ kind }) => kind === 'pending');
  t.same(
    pending.map(({ lba, count }) => [lba, count]),
    [
      [101, 1],
      [200, 1],
      [201, 1],
      [600, 4],
    ],
  );
});

t.test('an exported map goes back onto its volume, and no other', async (t) => {
  const { spare, directory } = await setUp(t);
  const file = join(directory, 'map.json');
  await remapctl('export', spare, `--output=${file}`);
  t.match(await remapctl('import', spare, `--from=${file}`), {
    status: 0,
    stdout: '0 sectors pending now; 1 sector pending or remapped before\n',
  });
  const other = await setUp(t, false);
  const before = digest(other.spare);
  t.match(await remapctl('import', other.spare, `--from=${file}`), {
    status: 1,
    stderr: /1 sector from 100 are on a spare, and here they are not/,
  });
  t.equal(digest(other.spare), before);
});

t.test('bad input changes nothing', async (t) => {
  const { spare, directory } = await setUp(t);
  const list = join(directory, 'list');
  const before = digest(spare);
  const cases: [string, string[], number, RegExp][] = [
    ['', ['--format=badblocks'], 2, /tell which with --block-size=N/],
    ['x\n', ['--format=badblocks', '--block-size=1024'], 2, /line 1: 'x' is no block number/],
    ['1\n', ['--format=badblocks', '--block-size=1000'], 2, /a multiple of 512, not 1000/],
    ['32768\n', ['--format=badblocks', '--block-size=512'], 1, /the volume ends at sector 32768/],
    ['{}', [], 2, /this is not what export writes/],
    ['{', [], 2, /this is no JSON/],
    ['', ['--format=ddrescu'], 2, /did you mean ddrescue\?/],
    ['', ['--format=xyz'], 2, /one of json, csv, badblocks, ddrescue/],
  ];
  for (const [text, args, status, message] of cases) {
    writeFileSync(list, text);
    const result = await remapctl('import', spare, `--from=${list}`, ...args);
    t.match(result, { status, stdout: '', stderr: message });
    t.equal(result.stderr.trimEnd().split('\n').length, 1);
  }
  t.match(await remapctl('import', spare), { status: 2, stderr: /needs --from=FILE/ });
  t.match(await remapctl('export', spare, '--view=media'), { status: 2, stderr: /--view goes/ });
  t.match(await remapctl('export', spare, '--json', '--format=csv'), { status: 2 });
  t.equal(digest(spare), before);
});
