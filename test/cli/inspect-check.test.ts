import { createHash, randomBytes } from 'node:crypto';
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { run } from '../../src/cli/run.js';
import { generation } from '../../src/core/units.js';
import { FileDevice } from '../../src/device/file-device.js';
import { DescriptorStore } from '../../src/metadata/descriptors.js';
import { layoutOf } from '../../src/ondisk/layout.js';
import {
  type CreateAnswer,
  checkAnswerSchema,
  createAnswerSchema,
  inspectAnswerSchema,
} from '../../src/protocol/device-answers.js';
import { errorAnswerSchema } from '../../src/protocol/messages.js';
import { tempDirectory } from '../fixtures/temp-directory.js';
import { MemoryTerminal } from '../fixtures/terminal.js';

const MIB = 1024 * 1024;

const remapctl = async (...args: string[]) => {
  const terminal = new MemoryTerminal();
  const status = await run(args, {}, terminal);
  return { status, stdout: terminal.stdout, stderr: terminal.stderr };
};

/** A volume `vm` of one main and one spare, just made. */
async function setUp(t: Test) {
  const directory = tempDirectory(t);
  const [main, spare] = [join(directory, 'main'), join(directory, 'spare')] as const;
  for (const path of [main, spare]) {
    writeFileSync(path, '');
    truncateSync(path, 16 * MIB);
  }
  const made = await remapctl('create', main, `--spare=${spare}`, '--name=vm', '--json');
  return { directory, main, spare, made: createAnswerSchema.parse(JSON.parse(made.stdout)) };
}

/** Overwrites whole zones with what no zone ever holds. */
function ruin(spare: CreateAnswer['spares'][number] | undefined, copies: readonly number[]): void {
  if (spare === undefined) throw new Error('no spare');
  const fd = openSync(spare.path, 'r+');
  for (const copy of copies) {
    const zone = spare.zones[copy];
    if (zone !== undefined)
      writeSync(fd, randomBytes(zone.sizeBytes), 0, zone.sizeBytes, zone.offset);
  }
  closeSync(fd);
}

const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

const inspect = async (path: string) => {
  const { status, stdout, stderr } = await remapctl('inspect', path, '--json');
  return { status, stderr, answer: inspectAnswerSchema.parse(JSON.parse(stdout)) };
};

const check = async (...args: string[]) => {
  const { status, stdout, stderr } = await remapctl('check', ...args, '--json');
  return { status, stderr, answer: checkAnswerSchema.parse(JSON.parse(stdout)) };
};

t.test('a sound spare', async (t) => {
  const { spare, main, made } = await setUp(t);
  const before = digest(spare);
  t.match(await inspect(spare), {
    status: 0,
    stderr: '',
    answer: {
      schema: 'inspect/1',
      verdict: 'ok',
      generation: 1,
      tolerance: 4,
      volumeUuid: made.volume.uuid,
      copies: Array.from({ length: 5 }, () => ({ state: 'good' })),
      config: { name: 'vm', main: { pathHint: main, sizeSectors: 32768 } },
    },
  });
  t.match(await check(spare), {
    status: 0,
    stderr: '',
    answer: { schema: 'check/1', verdict: 'whole', name: 'vm', problems: [], moreProblems: 0 },
  });
  const text = await remapctl('inspect', spare);
  t.match(text.stdout, '   state: generation 1, 5 of 5 copies good\n');
  t.match(text.stdout, ' this is: spare 1 of 1 (');
  t.match(
    (await remapctl('check', spare)).stdout,
    'whole: vm at generation 1, 0 entries, every copy is good\n',
  );
  t.equal(digest(spare), before, 'none of this wrote');
});

t.test('any four copies gone: told, mended by --repair, and only by it', async (t) => {
  for (const kept of [0, 2, 4]) {
    const { spare, made } = await setUp(t);
    ruin(
      made.spares[0],
      [0, 1, 2, 3, 4].filter((copy) => copy !== kept),
    );
    const before = digest(spare);
    const seen = await inspect(spare);
    t.equal(seen.status, 3);
    t.equal(seen.answer.verdict, 'ok');
    t.strictSame(
      seen.answer.copies.map((copy) => copy.state),
      [0, 1, 2, 3, 4].map((copy) => (copy === kept ? 'good' : 'damaged')),
    );
    const found = await check(spare);
    t.match(found, { status: 3, answer: { verdict: 'degraded' } });
    t.match((await remapctl('check', spare)).stdout, `remapctl check ${spare} --repair\n`);
    t.equal(digest(spare), before, 'nothing written without --repair');
    const mended = await check(spare, '--repair');
    t.equal(mended.answer.problems.filter((problem) => problem.code === 'COPY_BAD').length, 4);
    t.ok(mended.answer.problems.every((p) => p.repaired || p.code === 'MAY_BE_OLD'));
    t.match(await inspect(spare), {
      status: 0,
      answer: { copies: Array.from({ length: 5 }, () => ({ state: 'good' })) },
    });
    t.match(await check(spare), { status: 0, answer: { verdict: 'whole' } });
  }
});

t.test('all five copies gone: refused, nothing written', async (t) => {
  const { spare, made } = await setUp(t);
  ruin(made.spares[0], [0, 1, 2, 3, 4]);
  const before = digest(spare);
  t.match(await inspect(spare), {
    status: 1,
    stderr: /no copy of it can be used/,
    answer: { verdict: 'lost' },
  });
  for (const args of [[spare], [spare, '--repair']]) {
    t.match(await check(...args), {
      status: 1,
      stderr: /^remapctl: [^\n]+\n$/,
      answer: { verdict: 'unusable', problems: [{ code: 'META_LOST', repaired: false }] },
    });
  }
  t.equal(digest(spare), before);
});

t.test('all five copies gone: told what can be rebuilt, and rebuilt', async (t) => {
  const { spare, main, made } = await setUp(t);
  const { zones } = made.spares[0] as CreateAnswer['spares'][number];
  const layout = layoutOf(16 * MIB, 512);
  const device = FileDevice.open(spare, { readOnly: false, exclusive: true });
  const volumeUuid = made.volume.uuid ?? '';
  const options = { volumeUuid, logicalBlockSize: 512, layouts: [layout] };
  const spareStart = layout.blockSector(0);
  const change = { spareIndex: 0, spareStart, count: 4, state: 'used', mainStart: 96 } as const;
  await new DescriptorStore([device], options).update([change], generation(2n));
  for (const { offset, sizeBytes } of zones) await device.write(Buffer.alloc(sizeBytes), offset);
  await device.close();
  const before = digest(spare);

  const plan = { done: false, volumeUuid, remapped: { extents: 1, sectors: 4 }, doubtfulGroups: 0 };
  t.match(await check(spare), { status: 1, answer: { verdict: 'unusable', rebuild: plan } });
  t.match(
    (await remapctl('check', spare)).stdout,
    /can be rebuilt .* 1 remapped extent \(4 sectors\).* --rebuild --main=MAIN\n/s,
  );
  t.match(await remapctl('create', main, `--spare=${spare}`), {
    status: 1,
    stderr: /holds remapped data of a volume whose metadata is lost/,
  });
  for (const [args, stderr] of [
    [['--rebuild'], /needs --main=PATH/],
    [['--rebuild', '--repair'], /do not go together/],
    [['--main=x'], /goes with --rebuild/],
    [['--volume=12'], /is a UUID/],
  ] as const) {
    t.match(await remapctl('check', spare, ...args), { status: 2, stderr });
  }
  t.equal(digest(spare), before, 'nothing written so far');

  const done = await check(spare, '--rebuild', `--main=${main}`);
  t.match(done, {
    status: 0,
    answer: { verdict: 'whole', volumeUuid, name: 'main', entries: 1, rebuild: { done: true } },
  });
  t.match(await inspect(spare), { status: 0, answer: { config: { main: { pathHint: main } } } });
  t.match(await remapctl('check', spare, '--rebuild', `--main=${main}`), {
    status: 2,
    stderr: /can be used as it is/,
  });
});

t.test('what is no spare', async (t) => {
  const { directory, main } = await setUp(t);
  t.match(await inspect(main), {
    status: 1,
    stderr: /carries no metadata/,
    answer: { verdict: 'absent', source: null, config: null, table: null },
  });
  const text = await remapctl('inspect', main);
  t.match(text, { status: 1, stdout: '', stderr: /^remapctl: .* carries no metadata: / });
  t.match(await check(main), { status: 1, answer: { problems: [{ code: 'META_ABSENT' }] } });
  for (const verb of ['inspect', 'check']) {
    t.match(await remapctl(verb), {
      status: 2,
      stderr: new RegExp(`it is: remapctl ${verb} SPARE`),
    });
    const none = await remapctl(verb, join(directory, 'none'), '--json');
    t.match(none, { status: 1, stderr: /Cannot open/ });
    t.match(errorAnswerSchema.parse(JSON.parse(none.stdout)), { error: { code: 'DEVICE_OPEN' } });
  }
});

t.test('a spare in use: inspect looks on, check --repair is refused', async (t) => {
  const { spare } = await setUp(t);
  const holder = FileDevice.open(spare, { readOnly: false, exclusive: true });
  t.teardown(() => holder.close());
  t.equal((await inspect(spare)).status, 0);
  t.match(await remapctl('check', spare, '--repair'), {
    status: 1,
    stderr: /is held by another process/,
  });
});
