/** Real images in a directory, and what is said of them. */
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/core/clock.js';
import { discover } from '../../src/discovery/discover.js';
import { createVolume } from '../../src/metadata/format.js';
import { layoutOf } from '../../src/ondisk/layout.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

const MIB = 1024 * 1024;
const SPARE_BYTES = 9 * MIB;

function image(path: string, bytes: number): string {
  writeFileSync(path, '');
  truncateSync(path, bytes);
  return path;
}

/** `name.main` and spares `name.spare0`, ... in `directory`; each main has a size of its own. */
async function make(directory: string, name: string, mainMib = 1, spares = 1): Promise<void> {
  const at = (suffix: string) => join(directory, `${name}.${suffix}`);
  const main = image(at('main'), mainMib * MIB);
  const paths = Array.from({ length: spares }, (_, i) => image(at(`spare${i}`), SPARE_BYTES));
  await createVolume(main, paths, { name, force: false, dryRun: false, clock: systemClock });
}

function damage(path: string, copies: number): void {
  const bytes = readFileSync(path);
  const { zoneOffsets } = layoutOf(SPARE_BYTES, 512);
  for (const offset of zoneOffsets.slice(0, copies))
    bytes.fill(0x77, offset + 24576 + 600, offset + 49000);
  writeFileSync(path, bytes);
}

const hashes = (directory: string): string[] =>
  readdirSync(directory).map((name) => {
    return `${name} ${createHash('sha256')
      .update(readFileSync(join(directory, name)))
      .digest('hex')}`;
  });

async function one(directory: string) {
  const { volumes, oddities } = await discover([directory]);
  return { volume: volumes[0], count: volumes.length, oddities };
}

t.test('a volume with all its devices', async (t) => {
  const directory = tempDirectory(t);
  await make(directory, 'a', 1, 2);
  const { volume, count, oddities } = await one(directory);
  t.match(volume, {
    name: 'a',
    verdict: 'complete',
    confidence: 'strong',
    main: { path: join(directory, 'a.main') },
    spares: [{ path: join(directory, 'a.spare0') }, { path: join(directory, 'a.spare1') }],
  });
  t.same([count, oddities.length], [1, 0]);
});

t.test('copies damaged, the first ones too', async (t) => {
  for (const copies of [1, 2, 3, 4]) {
    const directory = tempDirectory(t);
    await make(directory, 'a');
    damage(join(directory, 'a.spare0'), copies);
    const { volume } = await one(directory);
    t.match(volume, { verdict: 'degraded', spares: [{ goodCopies: 5 - copies }] }, `${copies}`);
  }
});

t.test('all copies damaged: no volume, and not silent', async (t) => {
  const directory = tempDirectory(t);
  await make(directory, 'a');
  damage(join(directory, 'a.spare0'), 5);
  const { count, oddities } = await one(directory);
  t.equal(count, 0);
  t.match(oddities, [{ path: join(directory, 'a.spare0'), state: 'lost' }]);
});

t.test('a spare that has grown', async (t) => {
  const directory = tempDirectory(t);
  await make(directory, 'a');
  truncateSync(join(directory, 'a.spare0'), 2 * SPARE_BYTES);
  t.match((await one(directory)).volume, { verdict: 'complete' });
});

t.test('a spare cut short', async (t) => {
  const directory = tempDirectory(t);
  await make(directory, 'a');
  truncateSync(join(directory, 'a.spare0'), SPARE_BYTES - MIB);
  const { volume } = await one(directory);
  t.not(volume?.verdict, 'complete');
});

t.test('a clone of a spare: which is it?', async (t) => {
  const directory = tempDirectory(t);
  await make(directory, 'a');
  copyFileSync(join(directory, 'a.spare0'), join(directory, 'z.copy'));
  const { volume } = await one(directory);
  t.match(volume, { verdict: 'conflicting', spares: [{ path: null }] });
  t.match(volume?.reasons[0], /a\.spare0.*z\.copy all say/);
});

t.test('two spares changed apart', async (t) => {
  const directory = tempDirectory(t);
  await make(directory, 'a', 1, 2);
  // The same volume once more, as if somebody had gone on with one spare alone.
  const other = tempDirectory(t);
  await make(other, 'b', 1, 2);
  copyFileSync(join(other, 'b.spare1'), join(directory, 'b.spare1'));
  const { volumes } = await discover([directory]);
  t.same(
    volumes.map(({ name, verdict }) => [name, verdict]),
    [
      ['a', 'complete'],
      ['b', 'conflicting'],
    ],
  );
});

t.test('a main that is not there, and one that was moved', async (t) => {
  const directory = tempDirectory(t);
  await make(directory, 'a');
  const main = join(directory, 'a.main');
  renameSync(main, join(directory, 'renamed'));
  t.match((await one(directory)).volume, {
    verdict: 'complete',
    confidence: 'strong',
    main: { path: join(directory, 'renamed') },
  });
  rmSync(join(directory, 'renamed'));
  const { volume } = await one(directory);
  t.match(volume, { verdict: 'incomplete', main: { path: null } });
  t.match(volume?.reasons[0], /main .*2048 sectors.*missing/);
});

t.test('a copy of main alone is a weak match; two of them none', async (t) => {
  const directory = tempDirectory(t);
  await make(directory, 'a');
  copyFileSync(join(directory, 'a.main'), join(directory, 'restored'));
  const elsewhere = join(tempDirectory(t), 'restored2');
  copyFileSync(join(directory, 'a.main'), elsewhere);
  rmSync(join(directory, 'a.main'));
  t.match((await one(directory)).volume, {
    verdict: 'complete',
    confidence: 'weak',
    main: { path: join(directory, 'restored') },
  });
  renameSync(elsewhere, join(directory, 'restored2'));
  t.match((await one(directory)).volume, { verdict: 'conflicting', main: { path: null } });
});

t.test('a main of another size stands where it stood', async (t) => {
  const directory = tempDirectory(t);
  await make(directory, 'a');
  truncateSync(join(directory, 'a.main'), 3 * MIB);
  const { volume } = await one(directory);
  t.match(volume, { verdict: 'conflicting', main: { path: null } });
  t.match(volume?.reasons[0], /6144 sectors, not 2048/);
});

t.test('two volumes on one main', async (t) => {
  const directory = tempDirectory(t);
  await make(directory, 'a');
  const spare = image(join(directory, 'late.spare'), SPARE_BYTES);
  const options = { name: 'late', force: false, dryRun: false, clock: systemClock };
  await createVolume(join(directory, 'a.main'), [spare], options);
  const { volumes } = await discover([directory]);
  t.same(
    volumes.map(({ verdict }) => verdict),
    ['conflicting', 'conflicting'],
  );
});

t.test('swapped spares find their own mains; strangers are left out', async (t) => {
  const directory = tempDirectory(t);
  await make(directory, 'a', 1);
  await make(directory, 'b', 2);
  const [a, b] = [join(directory, 'a.spare0'), join(directory, 'b.spare0')];
  renameSync(a, `${a}.x`);
  renameSync(b, a);
  renameSync(`${a}.x`, b);
  writeFileSync(join(directory, 'photo'), Buffer.alloc(10 * MIB, 'x'));
  image(join(directory, 'empty'), 0);
  mkdirSync(join(directory, 'deeper'));
  symlinkSync('nowhere', join(directory, 'dangling'));
  const { volumes, oddities, looked } = await discover([directory]);
  t.match(volumes, [
    { name: 'a', verdict: 'complete', main: { path: join(directory, 'a.main') } },
    { name: 'b', verdict: 'complete', main: { path: join(directory, 'b.main') } },
  ]);
  t.match(volumes[0]?.spares, [{ path: b }]);
  t.same(oddities, []);
  t.equal(looked, 6);
});

t.test('a path that is not there', async (t) => {
  await t.rejects(discover(['/nowhere/at/all']), { code: 'DEVICE_OPEN' });
});

t.test('many images: every verdict right, nothing written', async (t) => {
  const directory = tempDirectory(t);
  const expected: Record<string, string> = {};
  for (let i = 0; i < 16; i++) {
    const name = `v${i}`;
    await make(directory, name, 1 + i);
    expected[name] = 'complete';
    if (i % 4 === 1) {
      damage(join(directory, `${name}.spare0`), 1 + (i % 3));
      expected[name] = 'degraded';
    } else if (i % 4 === 2) {
      rmSync(join(directory, `${name}.main`));
      expected[name] = 'incomplete';
    } else if (i % 4 === 3) {
      copyFileSync(join(directory, `${name}.spare0`), join(directory, `${name}.clone`));
      expected[name] = 'conflicting';
    }
  }
  const before = hashes(directory);
  const { volumes } = await discover([directory]);
  t.same(Object.fromEntries(volumes.map(({ name, verdict }) => [name, verdict])), expected);
  t.same(hashes(directory), before);
});

function fakeBlockDevices(t: Test): { sys: string; dev: string } {
  const sys = tempDirectory(t);
  const dev = tempDirectory(t);
  for (const [name, size] of [
    ['sda', 2048],
    ['sdb', 0],
    ['ram0', 2048],
  ] as const) {
    mkdirSync(join(sys, name));
    writeFileSync(join(sys, name, 'size'), `${size}\n`);
    image(join(dev, name), 1);
  }
  symlinkSync('sda', join(dev, 'link'));
  return { sys, dev };
}

t.test('block devices of the machine: those with a size, each once', async (t) => {
  const { candidates } = await import('../../src/discovery/candidates.js');
  const roots = fakeBlockDevices(t);
  t.same(await candidates([], roots), [join(roots.dev, 'sda')]);
  const both = [join(roots.dev, 'link'), join(roots.dev, 'sda')];
  t.same(await candidates(both, roots), [join(roots.dev, 'link')]);
});
