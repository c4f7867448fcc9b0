/**
 * `kill -9` under load, twenty times: the front-end reconnects with its inflight region as QEMU
 * does, answers come for all that was on its way, and every acknowledged write is there.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { Daemon, volumeFiles } from '../fixtures/daemon.js';
import { FrontEnd, SECTOR } from '../fixtures/front-end.js';
import { Prng } from '../fixtures/prng.js';

const KILLS = 20;
const RANGE = 32 * 1024;
const STALLED_MS = 15_000;

/** Rejects when requests have waited for longer than any honest back-end takes. */
const stalled = (fe: FrontEnd): Promise<never> =>
  new Promise((_, reject) => {
    const give = () => reject(new Error(`${fe.state().outstanding} requests are not answered`));
    setTimeout(give, STALLED_MS).unref();
  });

t.test('twenty kills at depth 32 on two queues, answers out of order', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files, '--num-queues=2');
  const fe = await FrontEnd.attach({ socketPath: files.socket, queues: 2 });
  t.teardown(() => fe.close());
  const prng = new Prng(30);
  const bad = new Set<number>();

  const unsettle = async (): Promise<void> => {
    const slow = Array.from({ length: 8 }, () => ({ lba: prng.below(RANGE - 64), count: 64 }));
    await daemon.inject('slow', slow, { delayMs: prng.between(1, 20) });
    // A slow metadata copy keeps commits under way when the kill comes.
    const [, copy] = (await daemon.status()).metadata.copies;
    const zone = { lba: (copy?.offset ?? 0) / SECTOR, count: 2048 };
    await daemon.inject('slow', [zone], { delayMs: 20, device: 'spare' });
    for (let i = 0; i < 20; i++) bad.add(prng.below(RANGE));
    await daemon.inject(
      'write-error',
      [...bad].map((lba) => ({ lba, count: 1 })),
    );
  };

  await fe.capacity();
  await unsettle();
  const load = fe.run({
    verify: true,
    readPercent: 30,
    blockBytes: 512,
    blockBytesMax: 65536,
    segmentBytes: 4096,
    depth: 32,
    queues: [0, 1],
    seconds: 600,
    sectorCount: RANGE,
    flushEvery: 64,
  });
  for (let kill = 0; kill < KILLS; kill++) {
    const before = fe.state().loadCompleted;
    const since = performance.now();
    while (fe.state().loadCompleted === before && performance.now() - since < STALLED_MS) {
      await sleep(5);
    }
    t.ok(fe.state().loadCompleted > before, `kill ${kill}: requests went on`);
    await sleep(prng.between(20, 150));
    const gone = fe.hangup();
    await daemon.kill();
    await gone;
    await daemon.restart();
    await unsettle();
    await fe.reconnect();
  }
  fe.finishLoads();
  const result = await Promise.race([load, stalled(fe)]);
  t.match(result, {
    errors: 0,
    firstErrors: [],
    mismatchedSectors: 0,
    firstMismatches: [],
    dropped: false,
  });
  t.match(await fe.verifyAll({ sectorCount: RANGE }), {
    errors: 0,
    firstErrors: [],
    mismatchedSectors: 0,
    firstMismatches: [],
  });
  t.strictSame(fe.state().violations, [], 'no request answered twice');
  t.equal(fe.state().outstanding, 0);

  // The map holds bad sectors and no other.
  const remapped = (await daemon.remaps()).flatMap(({ lba, count }) =>
    Array.from({ length: count }, (_, i) => lba + i),
  );
  t.ok(remapped.length > 0);
  t.strictSame(
    remapped.filter((lba) => !bad.has(lba)),
    [],
  );
  t.match(await daemon.status(), { state: 'healthy', io: { errors: 0 } });
  t.ok(fe.state().sectorsWritten * SECTOR > 1 << 20, 'and there was something to verify');
  fe.close();
  t.equal(await daemon.stop(), 0);
});
