/** Any four of the five copies overwritten while stopped: everything is there and healed. */
import { closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import t from 'tap';
import {
  Daemon,
  runRefused,
  serveArguments,
  sha256,
  type VolumeFiles,
  volumeFiles,
} from '../fixtures/daemon.js';
import { FrontEnd, SECTOR } from '../fixtures/front-end.js';
import { Prng } from '../fixtures/prng.js';
import { runProgram } from '../fixtures/program.js';

const prng = new Prng(60);
const ALL = [0, 1, 2, 3, 4];

/** Both slots of a copy, with the table pages that follow them. */
const ZONE_BYTES = 1 << 20;

function overwrite(files: VolumeFiles, offsets: readonly number[]): void {
  const fd = openSync(files.spare, 'r+');
  for (const offset of offsets) writeSync(fd, prng.bytes(ZONE_BYTES), 0, ZONE_BYTES, offset);
  closeSync(fd);
}

interface Inspection {
  readonly copies: readonly { readonly offset: number; readonly state: string }[];
}

async function inspect(files: VolumeFiles): Promise<Inspection> {
  const result = await runProgram('remapctl', ['--json', 'inspect', files.spare]);
  return JSON.parse(result.stdout) as Inspection;
}

t.test('each copy as the only one left; then none', async (t) => {
  const files = volumeFiles(t, { mainBytes: 64 << 20, spareBytes: 32 << 20 });
  const daemon = await Daemon.serve(t, files);
  const fe = await FrontEnd.attach({ socketPath: files.socket });
  t.teardown(() => fe.close());

  // More than the superblock holds, so that table pages are at stake as well.
  await daemon.remapAdd(Array.from({ length: 1500 }, (_, i) => ({ lba: 1000 + i * 3, count: 1 })));
  const content = new Map<number, Buffer>();
  for (let i = 0; i < 40; i++) {
    const lba = 1000 + prng.below(1500) * 3 - 1;
    const data = prng.bytes(3 * SECTOR);
    for (const [at] of content) if (Math.abs(at - lba) < 3) content.delete(at);
    content.set(lba, data);
    await fe.write(lba, data);
  }
  await daemon.inject('write-error', [{ lba: 10, count: 4 }]);
  const early = prng.bytes(8 * SECTOR);
  await fe.write(8, early);
  content.set(8, early);
  const remaps = await daemon.remaps();
  const { uuid, metadata } = await daemon.status();
  const offsets = metadata.copies.map((copy) => copy.offset);
  t.equal(offsets.length, 5);

  for (const survivor of ALL) {
    t.equal(await daemon.stop(), 0);
    const hash = sha256(files.spare);
    overwrite(
      files,
      offsets.filter((_, i) => i !== survivor),
    );
    t.not(sha256(files.spare), hash);
    await daemon.restart();
    await fe.reconnect();
    t.strictSame(await daemon.remaps(), remaps, `all remaps with copy ${survivor} alone`);
    for (const [lba, data] of content)
      t.ok((await fe.read(lba, data.length / SECTOR)).equals(data));
    const status = await daemon.status();
    t.equal(status.uuid, uuid);
    t.strictSame(
      status.metadata.copies.map((copy) => copy.state),
      ALL.map(() => 'good'),
      'healed at the start',
    );
    t.ok(status.metadata.repairs >= 4);
    t.equal(await daemon.stop(), 0);
    const inspected = await inspect(files);
    t.strictSame(
      inspected.copies.map((copy) => copy.state),
      ALL.map(() => 'good'),
      'remapctl inspect sees five good copies',
    );
    await daemon.restart();
    await fe.reconnect();
  }

  fe.close();
  await daemon.stop();
  overwrite(files, offsets);
  const hashes = [files.main, files.spare].map(sha256);
  const image = readFileSync(files.spare);
  for (const create of [[], ['--create']]) {
    const result = await runRefused([...serveArguments(files), ...create]);
    t.not(result.status, 0);
    t.match(result.stderr, /^vhost-user-remap: [^\n{]+\n$/, 'one sentence');
    t.match(result.stderr, /metadata|copies|volume|blank|data/);
    t.strictSame([files.main, files.spare].map(sha256), hashes, 'nothing written');
  }
  t.ok(readFileSync(files.spare).equals(image));
});

t.test('copies damaged while serving are mended by the timer', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files, '--metadata-scrub-seconds=1');
  const { metadata } = await daemon.status();
  const fd = openSync(files.spare, 'r+');
  // The superblocks of a few: what guests write elsewhere is not touched.
  for (const copy of [0, 2, 4]) {
    writeSync(fd, prng.bytes(48 << 10), 0, 48 << 10, metadata.copies[copy]?.offset ?? 0);
  }
  closeSync(fd);
  const deadline = performance.now() + 20_000;
  while ((await daemon.status()).metadata.repairs < 3) {
    if (performance.now() > deadline) throw new Error('not mended');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  t.ok(daemon.log.some((line) => line.msg === 'metadata copies were bad and are repaired'));
  t.ok((await inspect(files)).copies.every((copy) => copy.state === 'good'));
});
