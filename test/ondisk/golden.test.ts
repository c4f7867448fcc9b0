/** Images that earlier versions made: every later one opens them and finds what was there. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { inRoot } from '../../vm/paths.js';
import { entriesDigest, type GoldenImage, goldenImage, unpacked } from '../fixtures/golden.js';
import { openSim } from '../fixtures/metadata.js';

const DIRECTORY = inRoot('test/fixtures/golden');

t.test('every image that was ever made is opened', async (t) => {
  const files = readdirSync(DIRECTORY);
  t.ok(files.length > 0, `${files.length} images`);
  for (const file of files) {
    const image = JSON.parse(readFileSync(join(DIRECTORY, file), 'utf8')) as GoldenImage;
    const spares = unpacked(image);
    for (const repair of [false, true]) {
      const store = await openSim(spares, repair);
      t.match(
        { ...store, generation: Number(store.generation), volumeUuid: store.volumeUuid },
        { generation: image.generation, volumeUuid: image.volumeUuid, mayBeOld: false },
        file,
      );
      t.equal(store.entryCount, image.entries, file);
      t.equal(entriesDigest(store), image.entriesSha256, file);
      t.equal(store.tolerance(), 4, `${file}: nothing has to be repaired`);
    }
    const store = await openSim(spares);
    await store.commit({});
    t.equal(Number((await openSim(spares)).generation), image.generation + 1, 'and goes on');
  }
});

t.test('the image of this version is still what this version makes', async (t) => {
  const kept = JSON.parse(readFileSync(join(DIRECTORY, 'format-4.json'), 'utf8')) as GoldenImage;
  const made = await goldenImage();
  t.same(made.entriesSha256, kept.entriesSha256);
  t.same(
    made.spares.map((spare) => spare.sha256),
    kept.spares.map((spare) => spare.sha256),
    'bytes that change need a feature bit, and an image of their own',
  );
});
