/** A hundred thousand remaps: added in one call, opened fast, committed in bounded writes. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { Daemon, volumeFiles } from '../fixtures/daemon.js';
import { FrontEnd, SECTOR } from '../fixtures/front-end.js';
import { Prng } from '../fixtures/prng.js';

const REMAPS = 100_000;
/** No two touch, so none can be joined with another. */
const STRIDE = 5;
/** Of all processes in `daemon`, as the kernel counts what goes to the block layer. */
const WRITE_LIMIT_BYTES = 1 << 20;

const writtenBytes = (pid: number): number =>
  Number(/^write_bytes: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1] ?? 'NaN');

t.test('100,000 extents', async (t) => {
  const files = volumeFiles(t, { mainBytes: 512 << 20, spareBytes: 128 << 20 });
  const prng = new Prng(50);
  const daemon = await Daemon.serve(t, files);
  const startEmptyMs = daemon.startMs;
  const fe = await FrontEnd.attach({ socketPath: files.socket });
  t.teardown(() => fe.close());
  const samples = Array.from({ length: 200 }, () => prng.below(REMAPS) * STRIDE);
  const content = new Map(samples.map((lba) => [lba, prng.bytes(3 * SECTOR)]));
  for (const [lba, data] of content) await fe.write(lba, data);

  const lines = Array.from({ length: REMAPS }, (_, i) => `${i * STRIDE} 1\n`);
  const list = join(files.directory, 'list.txt');
  writeFileSync(list, lines.join(''));
  const begun = performance.now();
  const added = await daemon.remapctl('remap', 'add', `--from=${list}`);
  t.comment(`${REMAPS} remaps added in ${Math.round(performance.now() - begun)} ms`);
  t.match(added, { status: 0, stderr: '', json: { action: 'add', moved: REMAPS, failed: 0 } });
  t.match(await daemon.status(), { remaps: { extents: REMAPS, sectors: REMAPS } });

  // One more, by a write error, and what it costs.
  const before = writtenBytes(daemon.pid);
  const { generation } = await daemon.status();
  const lba = REMAPS * STRIDE + 1000;
  await daemon.inject('write-error', [{ lba, count: 1 }]);
  const data = prng.bytes(SECTOR);
  await fe.write(lba, data);
  const cost = writtenBytes(daemon.pid) - before;
  const commits = (await daemon.status()).generation - generation;
  t.comment(`${cost} bytes written in ${commits} commits for one more remap`);
  t.ok(commits >= 1);
  t.ok(cost <= commits * WRITE_LIMIT_BYTES, 'a commit writes a bounded number of bytes');

  await daemon.kill();
  await daemon.restart();
  t.comment(`start with no remap ${startEmptyMs} ms, with ${REMAPS}: ${daemon.startMs} ms`);
  t.ok(daemon.startMs < 3 * startEmptyMs, 'and opens in a small multiple of the time');
  await fe.reconnect();
  t.match(await daemon.status(), { remaps: { extents: REMAPS + 1 }, state: 'healthy' });
  for (const [at, expected] of content) t.ok((await fe.read(at, 3)).equals(expected));
  t.ok((await fe.read(lba, 1)).equals(data));
  fe.close();
  t.equal(await daemon.stop(), 0);
});
