/** Moves beside a guest that writes: the real data plane, and a front-end in this process. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/core/clock.js';
import { silentLogger } from '../../src/core/log.js';
import { Volume } from '../../src/volume/volume.js';
import { sparseFile } from '../fixtures/daemon.js';
import { FrontEnd, STATUS, TYPE } from '../fixtures/front-end.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

const MIB = 1024 * 1024;
const STUCK_MS = 10_000;

async function served(t: Test): Promise<{ volume: Volume; frontEnd: FrontEnd }> {
  const directory = tempDirectory(t);
  const socketPath = join(directory, 'blk.sock');
  const options = {
    mainPath: sparseFile(join(directory, 'main.img'), 4 * MIB),
    sparePaths: [sparseFile(join(directory, 'spare.img'), 8 * MIB)],
    create: true,
    readOnly: false,
    numQueues: 2,
    workers: 1,
    socketPath,
    allowFaultInjection: true,
    metadataScrubSeconds: 0,
  };
  const volume = await Volume.open(options, { logger: silentLogger, clock: systemClock });
  volume.listen();
  return { volume, frontEnd: await FrontEnd.attach({ socketPath, queues: 1 }) };
}

/** The result, or an error after ten seconds; a stuck data plane could not be stopped either. */
async function inTime<T>(t: Test, what: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      t.teardown(() => process.exit(1));
      reject(new Error('stuck'));
    }, STUCK_MS);
  });
  try {
    return await Promise.race([what, late]);
  } finally {
    clearTimeout(timer);
  }
}

t.test('a write that runs again does not keep away the lock that holds it', async (t) => {
  const { volume, frontEnd } = await served(t);
  const data = Buffer.alloc(512, 7);
  for (let i = 0; i < 40; i++) {
    const sector = i * 100;
    volume.addFaults([
      { device: 'main', kind: 'write-error', lba: sector, count: 1, times: 0, delayMs: 0 },
    ]);
    const write = () => frontEnd.request({ type: TYPE.OUT, sector, data });
    const writes = [write(), write(), write()];
    if (i % 2 === 1) await systemClock.sleepMs(i % 3);
    const move = volume.addRemaps([{ lba: sector, count: 4 }]);
    const answers = await inTime(t, Promise.all(writes));
    t.ok(answers.every(({ status }) => status === STATUS.OK));
    const { moved, skipped } = await inTime(t, move);
    t.equal(moved + skipped, 4);
    t.ok((await frontEnd.read(sector, 1)).equals(data));
  }
  t.equal(volume.status().remaps.sectors, 160);
  frontEnd.close();
  await volume.stop();
});

t.test('data survives moves there and back under load', async (t) => {
  const { volume, frontEnd } = await served(t);
  const load = frontEnd.run({
    random: true,
    readPercent: 50,
    blockBytes: 512,
    blockBytesMax: 16384,
    depth: 16,
    seconds: 1.5,
    verify: true,
    seed: 1,
  });
  let moved = 0;
  for (let i = 0; i < 12; i++) {
    const lba = i * 600;
    moved += (await volume.addRemaps([{ lba, count: 300 }])).moved;
    if (i % 2 === 1) await volume.removeRemaps([{ lba: lba + 50, count: 200 }]);
  }
  const result = await load;
  t.match(result, { errors: 0, mismatchedSectors: 0 });
  t.equal(volume.status().remaps.sectors, moved - 6 * 200);
  t.equal(moved, 3600);
  frontEnd.close();
  await volume.stop();
});
