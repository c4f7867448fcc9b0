import { createHash } from 'node:crypto';
import { linkSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { run } from '../../src/cli/run.js';
import { FileDevice } from '../../src/device/file-device.js';
import { createAnswerSchema } from '../../src/protocol/device-answers.js';
import { errorAnswerSchema } from '../../src/protocol/messages.js';
import { tempDirectory } from '../fixtures/temp-directory.js';
import { MemoryTerminal } from '../fixtures/terminal.js';

const MIB = 1024 * 1024;

const remapctl = async (args: string[]) => {
  const terminal = new MemoryTerminal();
  const status = await run(args, {}, terminal);
  return { status, stdout: terminal.stdout, stderr: terminal.stderr };
};

function setUp(t: Test) {
  const directory = tempDirectory(t);
  const file = (name: string, bytes: number): string => {
    const path = join(directory, name);
    writeFileSync(path, '');
    truncateSync(path, bytes);
    return path;
  };
  return { directory, file, main: file('main', 16 * MIB), spare: file('spare', 16 * MIB) };
}

const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

t.test('plan, create, create again by force only', async (t) => {
  const { main, spare } = setUp(t);
  const blank = [digest(main), digest(spare)];
  const args = ['create', main, `--spare=${spare}`, '--name=vm1', '--json'];
  const planned = await remapctl([...args, '--dry-run']);
  t.equal(planned.status, 0, planned.stderr);
  const plan = createAnswerSchema.parse(JSON.parse(planned.stdout));
  t.match(plan, {
    schema: 'create/1',
    state: 'planned',
    volume: { name: 'vm1', uuid: null, mainPath: main, sizeSectors: 32768, logicalBlockSize: 512 },
    spares: [{ path: spare, sizeSectors: 32768, contents: null }],
  });
  t.equal(plan.spares[0]?.zones.length, 5);
  t.strictSame([digest(main), digest(spare)], blank, 'a plan writes nothing');

  const created = createAnswerSchema.parse(JSON.parse((await remapctl(args)).stdout));
  t.equal(created.state, 'created');
  t.strictSame(created.spares, plan.spares, 'done as planned');
  t.equal(digest(main), blank[0], 'main is as it was');
  const formatted = digest(spare);
  t.not(formatted, blank[1]);

  for (const more of [[], ['--dry-run']]) {
    const again = await remapctl([...args, ...more]);
    t.match(errorAnswerSchema.parse(JSON.parse(again.stdout)), {
      error: { code: 'SPARE_NOT_BLANK', message: `${spare} is formatted for ${main} already` },
    });
    t.equal(again.status, 1);
    t.equal(digest(spare), formatted, 'nothing written');
  }
  const anew = createAnswerSchema.parse(JSON.parse((await remapctl([...args, '--force'])).stdout));
  t.not(anew.volume.uuid, created.volume.uuid);
  t.match(anew.spares, [{ contents: /remapped data of the volume vm1/ }]);
});

t.test('for a person', async (t) => {
  const { main, spare } = setUp(t);
  const { status, stdout } = await remapctl(['create', main, '--spare', spare, '--dry-run']);
  t.equal(status, 0);
  t.equal(
    stdout.replaceAll(main, 'MAIN').replaceAll(spare, 'A_SPARE').replace(/ +/g, ' '),
    ` volume: main
 state: not written yet: this is what create would do without --dry-run
 main: MAIN, 32768 sectors (16 MiB), blocks of 512 bytes
 spare: A_SPARE, 16 MiB, 20832 sectors (10.2 MiB) to remap into

metadata, in bytes of the spare:
SPARE COPY FIRST LAST
A_SPARE 0 0 1048575
A_SPARE 1 3145728 4194303
A_SPARE 2 7340032 8388607
A_SPARE 3 11534336 12582911
A_SPARE 4 15728640 16777215
`,
  );
});

t.test('what is refused, with nothing changed', async (t) => {
  const { directory, main, spare, file } = setUp(t);
  const used = file('used', 8 * MIB);
  writeFileSync(used, 'precious', { flag: 'r+' });
  const other = file('other', 16 * MIB);
  const theirs = file('theirs', 8 * MIB);
  t.equal((await remapctl(['create', other, `--spare=${theirs}`])).status, 0);
  const small = file('small', 8 * MIB - 4096);
  const odd = file('odd', 16 * MIB + 512);
  const held = file('held', 8 * MIB);
  const holder = FileDevice.open(held, { readOnly: false, exclusive: true });
  t.teardown(() => holder.close());
  linkSync(main, join(directory, 'hard'));
  symlinkSync(main, join(directory, 'soft'));

  const cases: [string[], number, RegExp][] = [
    [[main], 2, /create needs --spare=SPARE/],
    [[`--spare=${spare}`], 2, /it is: remapctl create MAIN --spare=SPARE/],
    [[main, main, `--spare=${spare}`], 2, /does not know what to do with/],
    [[main, `--spare=${spare}`, '--logical-block-size=1024'], 2, /is 512 or 4096, not '1024'/],
    [[main, `--spare=${spare}`, `--name=${'n'.repeat(49)}`], 2, /at most 48 bytes/],
    [[join(directory, 'none'), `--spare=${spare}`], 1, /Cannot open .*none/],
    [[main, `--spare=${join(directory, 'none')}`], 1, /Cannot open .*none/],
    [[main, `--spare=${directory}`], 1, /./],
    [[main, `--spare=${small}`], 1, /has 8384512 bytes and a spare needs at least 8388608/],
    [[main, `--spare=${used}`], 1, /used holds .*--force/],
    [[main, `--spare=${theirs}`], 1, /is a spare of the volume other .* already/],
    [[main, `--spare=${main}`], 1, /is named twice/],
    [[main, `--spare=${join(directory, 'hard')}`], 1, /are the same device/],
    [[main, `--spare=${join(directory, 'soft')}`], 1, /are the same device/],
    [[main, `--spare=${spare}`, `--spare=${spare}`], 1, /is named twice/],
    [[odd, `--spare=${spare}`, '--logical-block-size=4096'], 1, /not a whole number of blocks/],
    [[main, `--spare=${held}`], 1, /held is held by another process/],
    [[held, `--spare=${spare}`], 1, /held is held by another process/],
  ];
  const files = [main, spare, used, theirs, small, odd];
  const before = files.map(digest);
  for (const [args, status, sentence] of cases) {
    const result = await remapctl(['create', ...args]);
    t.equal(result.status, status, args.join(' '));
    t.equal(result.stdout, '');
    t.match(result.stderr, sentence);
    t.match(result.stderr, /^remapctl: [^\n]+\n$/, 'one sentence');
  }
  t.strictSame(files.map(digest), before);
  t.equal((await remapctl(['create', main, `--spare=${used}`, '--force'])).status, 0);
});
