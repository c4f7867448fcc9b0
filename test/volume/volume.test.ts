import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/core/clock.js';
import { silentLogger } from '../../src/core/log.js';
import { volumeStatusSchema } from '../../src/protocol/messages.js';
import type { VolumeOptions } from '../../src/volume/options.js';
import { Volume } from '../../src/volume/volume.js';
import { sha256, sparseFile } from '../fixtures/daemon.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

const MIB = 1024 * 1024;
const means = { logger: silentLogger, clock: systemClock };

interface Made {
  readonly directory: string;
  readonly options: VolumeOptions;
}

/** Options for a volume of two blank files, to be created at its first start. */
function make(t: Test, change: Partial<VolumeOptions> = {}): Made {
  const directory = tempDirectory(t);
  const options: VolumeOptions = {
    mainPath: sparseFile(join(directory, 'main.img'), 2 * MIB),
    sparePaths: [sparseFile(join(directory, 'spare.img'), 8 * MIB)],
    create: true,
    readOnly: false,
    numQueues: 4,
    workers: 1,
    socketPath: join(directory, 'blk.sock'),
    allowFaultInjection: true,
    metadataScrubSeconds: 0,
    ...change,
  };
  return { directory, options };
}

/** Runs `body` with the volume open, and stops it. */
async function withVolume<T>(options: VolumeOptions, body: (v: Volume) => Promise<T>): Promise<T> {
  const volume = await Volume.open(options, means);
  try {
    return await body(volume);
  } finally {
    await volume.stop();
  }
}

const writeError = (device: string, lba: number, count = 1) => ({
  device,
  kind: 'write-error' as const,
  lba,
  count,
  times: 0,
  delayMs: 0,
});

t.test('a new volume is healthy and empty, and says what it is', async (t) => {
  const { options } = make(t, { name: 'disk' });
  await withVolume(options, async (volume) => {
    const status = volume.status();
    t.same(volumeStatusSchema.parse(status), status);
    t.match(status, {
      name: 'disk',
      state: 'healthy',
      problems: [],
      mainPath: options.mainPath,
      sizeSectors: 4096,
      logicalBlockSize: 512,
      generation: 1,
      remaps: { extents: 0, sectors: 0 },
      spares: [{ path: options.sparePaths[0], state: 'healthy' }],
      health: { score: 100 },
      client: { connected: false, queues: 0, maxQueues: 4 },
      engine: { workers: 1 },
      faultInjection: { allowed: true, rules: 0 },
    });
    t.equal(status.metadata.copies.length, 5);
    t.ok(status.metadata.copies.every((copy) => copy.state === 'good' && copy.generation === 1));
    t.equal(status.metadata.tolerance, 4);
  });
});

t.test('listens at its socket, and leaves none behind', async (t) => {
  const { options } = make(t);
  await withVolume(options, async (volume) => {
    volume.listen();
    t.ok(existsSync(options.socketPath ?? ''));
    const twin = make(t, { socketPath: options.socketPath });
    const second = await Volume.open(twin.options, means);
    t.throws(() => second.listen(), { code: 'SOCKET_BUSY' });
    await second.stop();
  });
  t.notOk(existsSync(options.socketPath ?? ''));
});

t.test('moves blocks there and back, the data with them, over restarts', async (t) => {
  const { options } = make(t);
  const pattern = Buffer.alloc(2 * MIB);
  for (let i = 0; i < 4096; i++) pattern.fill(`sector ${i} `, i * 512, (i + 1) * 512);
  writeFileSync(options.mainPath, pattern);
  await withVolume(options, async (volume) => {
    const report = await volume.addRemaps([
      { lba: 10, count: 3 },
      { lba: 1000, count: 600 },
    ]);
    t.same(report, { requested: 603, moved: 603, skipped: 0, failed: 0, pending: 0 });
  });
  await withVolume({ ...options, create: false }, async (volume) => {
    const { remaps } = volume.listRemaps();
    t.equal(volume.status().remaps.sectors, 603);
    const spare = readFileSync(options.sparePaths[0] as string);
    for (const { lba, count, spareLba } of remaps) {
      const [there, here] = [spareLba * 512, lba * 512];
      const length = count * 512;
      t.ok(spare.subarray(there, there + length).equals(pattern.subarray(here, here + length)));
    }
    writeFileSync(options.mainPath, Buffer.alloc(2 * MIB));
    const back = await volume.removeRemaps([{ lba: 1000, count: 500 }]);
    t.same(back, { requested: 500, moved: 500, skipped: 0, failed: 0, pending: 0 });
    t.ok(
      readFileSync(options.mainPath)
        .subarray(1000 * 512, 1500 * 512)
        .equals(pattern.subarray(1000 * 512, 1500 * 512)),
    );
    t.equal(volume.status().remaps.sectors, 103);
  });
  await withVolume(options, async (volume) => {
    t.equal(volume.status().remaps.sectors, 103, '--create leaves it alone');
    const { totalSectors = 0, freeSectors = 0 } = volume.status().spares[0] ?? {};
    t.equal(totalSectors - freeSectors, 103);
  });
});

t.test('a move past bad blocks on both sides tells what it did', async (t) => {
  const { options } = make(t);
  await withVolume(options, async (volume) => {
    const first = await volume.addRemaps([{ lba: 0, count: 1 }]);
    t.equal(first.moved, 1);
    const spareLba = volume.listRemaps().remaps[0]?.spareLba ?? 0;
    volume.addFaults([
      writeError('spare', spareLba + 2),
      { ...writeError('main', 102), kind: 'read-error' },
      writeError('main', 0),
    ]);
    const report = await volume.addRemaps([{ lba: 100, count: 4 }]);
    t.same(report, { requested: 4, moved: 3, skipped: 0, failed: 0, pending: 1 });
    t.equal(volume.status().spares[0]?.retiredSectors, 1);
    t.same(
      volume.listRemaps().pending.map(({ lba, count }) => [lba, count]),
      [[102, 1]],
    );
    t.match(await volume.removeRemaps([{ lba: 0, count: 1 }]), { moved: 0, failed: 1 });
    t.equal(volume.status().state, 'degraded');
  });
});

t.test('grows with main, and the next start finds it so', async (t) => {
  const { options } = make(t);
  const size = (bytes: number): void => truncateSync(options.mainPath, bytes);
  await withVolume(options, async (volume) => {
    t.strictSame(await volume.resize(), { previousSectors: 4096, sizeSectors: 4096 });
    const { generation } = volume.status();
    size(4 * MIB);
    t.equal(volume.status().sizeSectors, 4096);
    await t.rejects(volume.addRemaps([{ lba: 8191, count: 1 }]), { code: 'RANGE' });
    const both = await Promise.all([volume.resize(), volume.resize()]);
    t.strictSame(both, [
      { previousSectors: 4096, sizeSectors: 8192 },
      { previousSectors: 8192, sizeSectors: 8192 },
    ]);
    t.match(volume.status(), { sizeSectors: 8192, generation: generation + 1 });
    t.match(await volume.addRemaps([{ lba: 8191, count: 1 }]), { moved: 1 });

    size(3 * MIB);
    await t.rejects(volume.resize(), {
      code: 'RANGE',
      message: /has 6144 sectors and the volume 8192, which cannot shrink; make main as long/,
    });
    t.match(volume.status(), { sizeSectors: 8192, generation: generation + 2 });
    size(4 * MIB);
  });
  await withVolume({ ...options, create: false }, async (volume) => {
    t.match(volume.status(), { state: 'healthy', sizeSectors: 8192, remaps: { sectors: 1 } });
  });
});

t.test('grows by whole blocks, writable and durably, or not at all', async (t) => {
  const { options } = make(t, { logicalBlockSize: 4096 });
  await withVolume(options, async (volume) => {
    truncateSync(options.mainPath, 2 * MIB + 512);
    await t.rejects(volume.resize(), { code: 'BLOCK_SIZE' });
    t.equal(volume.status().sizeSectors, 4096);
    truncateSync(options.mainPath, 2 * MIB);
  });
  await withVolume({ ...options, create: false, readOnly: true }, async (volume) => {
    truncateSync(options.mainPath, 4 * MIB);
    await t.rejects(volume.resize(), { code: 'READ_ONLY' });
    t.equal(volume.status().sizeSectors, 4096);
    truncateSync(options.mainPath, 2 * MIB);
  });
  await withVolume({ ...options, create: false }, async (volume) => {
    volume.addFaults([writeError('spare', 0, 16384)]);
    truncateSync(options.mainPath, 4 * MIB);
    await t.rejects(volume.resize(), { code: 'META_COMMIT' });
    t.equal(volume.status().sizeSectors, 4096);
  });
});

t.test('passes through without a spare', async (t) => {
  const { options } = make(t, { sparePaths: [], create: false });
  await withVolume(options, async (volume) => {
    const status = volume.status();
    t.same(volumeStatusSchema.parse(status), status);
    t.match(status, { uuid: null, state: 'healthy', generation: 0, spares: [] });
    await t.rejects(volume.addRemaps([{ lba: 0, count: 1 }]), { code: 'SPARE_EXHAUSTED' });
  });
  await withVolume({ ...options, mainPath: 'null:64M' }, async (volume) => {
    t.match(volume.status(), { mainPath: 'null:64M', sizeSectors: 131072 });
  });
});

t.test('read-only writes nothing, not even a repair', async (t) => {
  const { options } = make(t);
  const spare = options.sparePaths[0] as string;
  await withVolume(options, async (volume) => {
    await volume.addRemaps([{ lba: 7, count: 1 }]);
  });
  const bytes = readFileSync(spare);
  bytes.fill(0xee, 0, 48 * 1024);
  writeFileSync(spare, bytes);
  const before = sha256(spare);
  await withVolume({ ...options, create: false, readOnly: true }, async (volume) => {
    const { remaps, metadata, readOnly } = volume.status();
    t.match({ remaps, readOnly }, { remaps: { sectors: 1 }, readOnly: true });
    t.equal(metadata.tolerance, 3);
    await t.rejects(volume.addRemaps([{ lba: 0, count: 1 }]), { code: 'READ_ONLY' });
  });
  t.equal(sha256(spare), before);
  await withVolume({ ...options, create: false }, async (volume) => {
    t.equal(volume.status().metadata.tolerance, 4, 'now it is repaired');
  });
});

t.test('a bad start says why, changes nothing and holds nothing', async (t) => {
  const { options, directory } = make(t);
  const spare = options.sparePaths[0] as string;
  const refuses = async (code: string, message: RegExp, change: Partial<VolumeOptions>) => {
    const changed = { ...options, create: false, ...change };
    const paths = [options.mainPath, spare];
    const before = paths.map(sha256);
    await t.rejects(Volume.open(changed, means), { code, message });
    t.same(paths.map(sha256), before);
  };
  await refuses('META_ABSENT', /carries no metadata/, {});
  await refuses('SAME_DEVICE', /named twice/, { sparePaths: [options.mainPath] });
  await refuses('DEVICE_OPEN', /nothing at this path/, { mainPath: join(directory, 'none') });
  await withVolume(options, async () => {
    await refuses('DEVICE_BUSY', /held by another process/, {});
  });
  await refuses('BLOCK_SIZE', /has blocks of 512 bytes, not 4096/, { logicalBlockSize: 4096 });
  const other = sparseFile(join(directory, 'other.img'), 2 * MIB);
  await refuses('MAIN_CHANGED', /still at/, { mainPath: other });
  await refuses('SPARE_FOREIGN', /already/, { mainPath: other, create: true });
  truncateSync(options.mainPath, MIB);
  await refuses('MAIN_CHANGED', /it has 2048 sectors, not 4096/, {});
  truncateSync(options.mainPath, 2 * MIB);
  const small = sparseFile(join(directory, 'small.img'), 4 * MIB);
  await refuses('SPARE_TOO_SMALL', /needs at least 8388608/, { sparePaths: [small] });
  await withVolume({ ...options, create: false }, async (volume) => {
    t.equal(volume.status().state, 'healthy', 'and it starts all the same');
  });
});

t.test('two spares are one volume, in any order', async (t) => {
  const { options, directory } = make(t);
  const second = sparseFile(join(directory, 'second.img'), 8 * MIB);
  const [first = ''] = options.sparePaths;
  const both = { ...options, sparePaths: [first, second] };
  const uuid = await withVolume(both, async (volume) => {
    t.equal(volume.status().metadata.copies.length, 10);
    await volume.addRemaps([{ lba: 5, count: 1 }]);
    return volume.status().uuid;
  });
  await t.rejects(Volume.open({ ...both, create: false, sparePaths: [second] }, means), {
    code: 'USAGE',
    message: /name all of them/,
  });
  await withVolume({ ...both, create: false, sparePaths: [second, first] }, async (volume) => {
    const status = volume.status();
    t.equal(status.uuid, uuid);
    t.same(
      status.spares.map((spare) => spare.path),
      [first, second],
    );
    t.equal(status.remaps.sectors, 1);
  });
});

t.test('faults need leave, and name what is there', async (t) => {
  const { options } = make(t, { allowFaultInjection: false });
  await withVolume(options, async (volume) => {
    t.throws(() => volume.addFaults([writeError('main', 0)]), { code: 'FAULTS_OFF' });
    t.throws(() => volume.listFaults(), { code: 'FAULTS_OFF' });
  });
  await withVolume({ ...options, allowFaultInjection: true }, async (volume) => {
    const added = volume.addFaults([writeError('main', 4000, 96), writeError('spare', 0)]);
    t.same(volume.listFaults(), added);
    t.equal(volume.status().faultInjection.rules, 2);
    t.equal(volume.clearFaults({ device: 'spare' }), 1);
    t.throws(() => volume.addFaults([writeError('main', 4000, 97)]), { code: 'RANGE' });
  });
});

t.test('stops once, and twice is no harm', async (t) => {
  const { options } = make(t);
  const volume = await Volume.open(options, means);
  volume.listen();
  await Promise.all([volume.stop(), volume.stop()]);
  await volume.ended;
  t.match(volume.status(), { state: 'healthy', engine: { workers: 1 } });
});
