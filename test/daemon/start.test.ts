import { createHash } from 'node:crypto';
import {
  existsSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { silentLogger } from '../../src/core/log.js';
import { openVolume } from '../../src/daemon/open-volume.js';
import { parseDaemonOptions } from '../../src/daemon/options.js';
import { serve } from '../../src/daemon/serve.js';
import { FileDevice } from '../../src/device/file-device.js';
import { call } from '../../src/protocol/client.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

const MIB = 1024 * 1024;

function setUp(t: Test) {
  const directory = tempDirectory(t);
  const at = (name: string): string => join(directory, name);
  const file = (name: string, bytes: number): string => {
    writeFileSync(at(name), '');
    truncateSync(at(name), bytes);
    return at(name);
  };
  return { directory, at, file };
}

/** Serves as the program does, until `work` has ended; the words are its options. */
async function serving(words: string[], work: () => Promise<void> = async () => {}) {
  const command = parseDaemonOptions(words);
  if (command.kind !== 'serve') throw new Error('not a serve command');
  let request: (signal: NodeJS.Signals) => void = () => {};
  const requested = new Promise<NodeJS.Signals>((resolve) => {
    request = resolve;
  });
  const shutdown = { isRequested: false, requested };
  let worked: Promise<void> = Promise.resolve();
  await serve(command.options, silentLogger, shutdown, async (options, log) => {
    const volume = await openVolume(options, log);
    // `listen` follows at once; the socket answers by then.
    worked = new Promise<void>((resolve) => setImmediate(resolve)).then(work);
    worked.then(
      () => request('SIGTERM'),
      () => request('SIGTERM'),
    );
    return volume;
  });
  await worked;
}

const digest = (path: string) => createHash('sha256').update(readFileSync(path)).digest('hex');

t.test('connects where the front-end listens, whenever that is', async (t) => {
  const { at, file } = setUp(t);
  const words = [`--connect=${at('v')}`, `--blk-file=${file('main.img', MIB)}`];
  await serving([...words, `--control-socket=${at('c')}`], async () => {
    const connected = async () => (await call(at('c'), { verb: 'status' })).volumes[0]?.client;
    t.match(await connected(), { connected: false });
    for (const _ of [1, 2]) {
      const server = createServer();
      const coming = new Promise<Socket>((resolve) => server.once('connection', resolve));
      server.listen(at('v'));
      const socket = await coming;
      while (!(await connected())?.connected) await setTimeout(5);
      socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    }
  });
  await t.rejects(serving([`--connect=${'x'.repeat(108)}`, '--blk-file=null:1M']), {
    code: 'SOCKET_PATH',
  });
});

t.test('a volume is made, served, found again', async (t) => {
  const { at, file } = setUp(t);
  const [main, spare] = [file('main', 16 * MIB), file('spare', 16 * MIB)];
  const words = [`--socket-path=${at('v')}`, `--control-socket=${at('c')}`, `--blk-file=${main}`];
  let uuid: string | null = null;
  await serving([...words, `--spare=${spare}`, '--create', '--name=vm1'], async () => {
    t.ok(existsSync(at('v')), 'the vhost socket is there');
    const { volumes } = await call(at('c'), { verb: 'status' });
    t.match(volumes, [
      {
        name: 'vm1',
        state: 'healthy',
        mainPath: main,
        sizeSectors: 32768,
        logicalBlockSize: 512,
        remaps: { extents: 0, sectors: 0 },
        spares: [{ path: spare, state: 'healthy' }],
        metadata: { copies: Array.from({ length: 5 }, () => ({ state: 'good' })), tolerance: 4 },
        client: { connected: false, queues: 0, maxQueues: 16 },
        faultInjection: { allowed: false },
      },
    ]);
    uuid = volumes[0]?.uuid ?? null;
    await call(at('c'), { verb: 'remap add', extents: [{ lba: 100, count: 8 }] });
    await t.rejects(call(at('c'), { verb: 'inject list' }), { code: 'FAULTS_OFF' });
  });
  t.notOk(existsSync(at('v')) || existsSync(at('c')), 'no socket is left');
  await serving([...words, `--spare=${spare}`, '--create'], async () => {
    const { volumes } = await call(at('c'), { verb: 'status' });
    t.match(volumes, [{ name: 'vm1', uuid, remaps: { sectors: 8 } }]);
  });
});

t.test('without a spare it passes through, read-only writes nothing', async (t) => {
  const { at, file } = setUp(t);
  const main = file('main', MIB);
  const words = [`--socket-path=${at('v')}`, `--control-socket=${at('c')}`];
  await serving([...words, `--blk-file=${main}`], async () => {
    const { volumes } = await call(at('c'), { verb: 'status' });
    t.match(volumes, [{ name: 'main', uuid: null, spares: [], generation: 0 }]);
  });
  await serving([...words, '--blk-file=null:1G'], async () => {
    const { volumes } = await call(at('c'), { verb: 'status' });
    t.match(volumes, [{ mainPath: 'null:1G', sizeSectors: 2 ** 21 }]);
  });
  const spare = file('spare', 8 * MIB);
  await serving([...words, `--blk-file=${main}`, `--spare=${spare}`, '--create']);
  const before = [digest(main), digest(spare)];
  await serving([...words, `--blk-file=${main}`, `--spare=${spare}`, '--read-only'], async () => {
    const extents = [{ lba: 0, count: 1 }];
    await t.rejects(call(at('c'), { verb: 'remap add', extents }), { code: 'READ_ONLY' });
  });
  t.strictSame([digest(main), digest(spare)], before);
});

t.test('a bad start: one sentence, nothing changed, nothing left behind', async (t) => {
  const { directory, at, file } = setUp(t);
  const [main, spare] = [file('main', 16 * MIB), file('spare', 8 * MIB)];
  const base = [`--socket-path=${at('v')}`, `--control-socket=${at('c')}`];
  const start = (...words: string[]) => serving([...base, ...words]);
  await start(`--blk-file=${main}`, `--spare=${spare}`, '--create');

  const blank = file('blank', 8 * MIB);
  const small = file('small', 8 * MIB - 4096);
  const used = file('used', 8 * MIB);
  writeFileSync(used, 'precious', { flag: 'r+' });
  const other = file('other', 16 * MIB);
  const grown = file('grown', 8 * MIB);
  const grownSpare = file('grown-spare', 8 * MIB);
  await start(`--blk-file=${grown}`, `--spare=${grownSpare}`, '--create');
  truncateSync(grown, 9 * MIB);
  const odd = file('odd', 16 * MIB + 512);
  const held = file('held', 8 * MIB);
  const holder = FileDevice.open(held, { readOnly: false, exclusive: true });
  t.teardown(() => holder.close());
  symlinkSync(main, at('link'));
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(at('busy'), resolve));
  t.teardown(() => server.close());

  const onMain = (...words: string[]) => [...base, `--blk-file=${main}`, ...words];
  const cases: [string, string[], RegExp][] = [
    ['SPARE_TOO_SMALL', onMain(`--spare=${small}`, '--create'), /has 8384512 .* least 8388608/],
    [
      'DEVICE_OPEN',
      [...base, `--blk-file=${at('none')}`, `--spare=${blank}`],
      /Cannot open .*none/,
    ],
    ['DEVICE_OPEN', onMain(`--spare=${at('none')}`, '--create'), /Cannot open .*none/],
    ['META_ABSENT', onMain(`--spare=${blank}`), /--create/],
    ['SPARE_NOT_BLANK', onMain(`--spare=${used}`, '--create'), /used holds /],
    ['SPARE_FOREIGN', [...base, `--blk-file=${other}`, `--spare=${spare}`, '--create'], /already/],
    [
      'MAIN_CHANGED',
      [...base, `--blk-file=${other}`, `--spare=${spare}`],
      /is not the main device/,
    ],
    ['MAIN_CHANGED', [...base, `--blk-file=${grown}`, `--spare=${grownSpare}`], /is not the main/],
    ['SAME_DEVICE', onMain(`--spare=${main}`, '--create'), /named twice/],
    ['SAME_DEVICE', onMain(`--spare=${at('link')}`, '--create'), /same device/],
    ['DEVICE_BUSY', onMain(`--spare=${held}`, '--create'), /held by another process/],
    ['DEVICE_BUSY', [...base, `--blk-file=${held}`], /held by another process/],
    [
      'BLOCK_SIZE',
      [...base, `--blk-file=${odd}`, `--spare=${blank}`, '--create', '--logical-block-size=4096'],
      /not a whole number/,
    ],
    ['BLOCK_SIZE', onMain(`--spare=${spare}`, '--logical-block-size=4096'), /blocks of 512 bytes/],
    [
      'SOCKET_BUSY',
      [`--socket-path=${at('busy')}`, `--blk-file=${main}`, `--spare=${blank}`, '--create'],
      /another process listens/,
    ],
    [
      'SOCKET_PATH',
      [
        `--socket-path=${at('x'.repeat(100))}`,
        `--blk-file=${main}`,
        `--spare=${blank}`,
        '--create',
      ],
      /room for 107/,
    ],
  ];
  const files = [main, spare, blank, small, used, other, grown, grownSpare, odd];
  const before = files.map(digest);
  const names = readdirSync(directory);
  for (const [code, words, message] of cases) {
    await t.rejects(serving(words), { code, message }, `${code} ${message}`);
  }
  t.strictSame(files.map(digest), before);
  t.strictSame(readdirSync(directory), names);
  await start(`--blk-file=${main}`, `--spare=${spare}`);
});
