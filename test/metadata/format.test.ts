import {
  copyFileSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { systemClock } from '../../src/core/clock.js';
import { openDevices } from '../../src/device/device-set.js';
import { recordedOn, requireMain } from '../../src/metadata/binding.js';
import { chooseBlockSize, createVolume, nameOf } from '../../src/metadata/format.js';
import { MetadataStore } from '../../src/metadata/store.js';
import { sha256, sparseFile } from '../fixtures/daemon.js';
import { tempDirectory } from '../fixtures/temp-directory.js';

const MIB = 1024 * 1024;
const options = { force: false, dryRun: false, clock: systemClock };

function files(t: Test): { directory: string; main: string; spare: string } {
  const directory = tempDirectory(t);
  return {
    directory,
    main: sparseFile(join(directory, 'main.img'), 2 * MIB),
    spare: sparseFile(join(directory, 'spare.img'), 8 * MIB),
  };
}

/** Rejected with `code`, and not a byte of any file is another. */
async function refuses(
  t: Test,
  made: { main: string; spare: string },
  code: string,
  message: RegExp,
  more = {},
): Promise<void> {
  const before = [sha256(made.main), sha256(made.spare)];
  await t.rejects(createVolume(made.main, [made.spare], { ...options, ...more }), {
    code,
    message,
  });
  t.same([sha256(made.main), sha256(made.spare)], before, 'nothing was written');
}

t.test('formats a blank spare, once', async (t) => {
  const { main, spare } = files(t);
  const report = await createVolume(main, [spare], { ...options, name: 'disk' });
  t.match(report, {
    state: 'created',
    name: 'disk',
    logicalBlockSize: 512,
    mainSectors: 4096,
    spares: [{ path: spare, sizeSectors: 16384, contents: null }],
    ample: true,
  });
  const after = sha256(spare);
  const again = await createVolume(main, [spare], options);
  t.match(again, { state: 'existing', name: 'disk', volumeUuid: report.volumeUuid });
  t.equal(sha256(spare), after, 'an existing volume is left alone');
  t.equal(sha256(main), sha256(sparseFile(`${main}.new`, 2 * MIB)), 'main is never written');
});

t.test('a dry run says what would be, and writes nothing', async (t) => {
  const { main, spare } = files(t);
  const before = sha256(spare);
  const report = await createVolume(main, [spare], { ...options, dryRun: true });
  t.match(report, { state: 'planned', volumeUuid: null, name: 'main.img' });
  t.equal(sha256(spare), before);
});

t.test('refuses a spare that is too small, with what it has and needs', async (t) => {
  const made = files(t);
  truncateSync(made.spare, 4 * MIB);
  await refuses(t, made, 'SPARE_TOO_SMALL', /has 4194304 bytes and a spare needs at least 8388608/);
});

t.test('refuses a spare that is not blank, unless forced', async (t) => {
  const made = files(t);
  const bytes = Buffer.alloc(8 * MIB);
  bytes.writeUInt16LE(0xef53, 1024 + 56);
  bytes.write('x', 5 * MIB);
  writeFileSync(made.spare, bytes);
  await refuses(t, made, 'SPARE_NOT_BLANK', /spare\.img holds .*--force/);
  const report = await createVolume(made.main, [made.spare], { ...options, force: true });
  t.equal(report.state, 'created');
  t.type(report.spares[0]?.contents, 'string', 'says what was there');
});

t.test('refuses a spare of another volume', async (t) => {
  const made = files(t);
  await createVolume(made.main, [made.spare], { ...options, name: 'first' });
  const other = sparseFile(join(made.directory, 'other.img'), 2 * MIB);
  const words = /a spare of the volume first \(.*main\.img\) already/;
  await refuses(t, { ...made, main: other }, 'SPARE_FOREIGN', words);
  const larger = sparseFile(join(made.directory, 'larger.img'), 3 * MIB);
  await refuses(t, { ...made, main: larger }, 'SPARE_FOREIGN', words);
  const second = sparseFile(join(made.directory, 'second.img'), 8 * MIB);
  await t.rejects(createVolume(made.main, [made.spare, second], options), {
    code: 'SPARE_FOREIGN',
    message: /holds the remapped data of the volume first/,
  });
});

t.test('refuses block sizes that do not fit', async (t) => {
  const made = files(t);
  truncateSync(made.main, 2 * MIB + 512);
  await refuses(t, made, 'BLOCK_SIZE', /not a whole number of blocks of 4096/, {
    logicalBlockSize: 4096,
  });
  truncateSync(made.main, 2 * MIB);
  await createVolume(made.main, [made.spare], options);
  await refuses(t, made, 'BLOCK_SIZE', /has blocks of 512 bytes, not 4096/, {
    logicalBlockSize: 4096,
  });
  const device = (path: string, logicalBlockSize: number) => ({ path, logicalBlockSize });
  const mixed = [device('a', 512), device('b', 4096)];
  t.equal(chooseBlockSize(mixed, undefined), 4096);
  t.equal(chooseBlockSize(mixed, 4096), 4096);
  t.equal(chooseBlockSize([device('a', 512)], 4096), 4096);
  t.throws(() => chooseBlockSize(mixed, 512), {
    code: 'BLOCK_SIZE',
    message: /^b has blocks of 4096 bytes/,
  });
  t.throws(() => chooseBlockSize([device('a', 8192)], undefined), { code: 'BLOCK_SIZE' });
});

t.test('refuses main as its own spare, and what is missing', async (t) => {
  const made = files(t);
  await t.rejects(createVolume(made.main, [made.main], options), { code: 'SAME_DEVICE' });
  await t.rejects(createVolume(`${made.main}x`, [made.spare], options), { code: 'DEVICE_OPEN' });
});

t.test('knows its main again: moved is the same, replaced is not', async (t) => {
  const { directory, main, spare } = files(t);
  await createVolume(main, [spare], options);
  const grade = async (mainPath: string): Promise<string> => {
    const devices = await openDevices({ mainPath, sparePaths: [spare], readOnly: true });
    try {
      const recorded = await recordedOn(devices.spares);
      if (recorded === undefined) return 'not recorded';
      return (await requireMain(recorded.config, devices.main)).grade;
    } finally {
      await devices.close();
    }
  };
  t.equal(await grade(main), 'strong');
  const moved = join(directory, 'moved.img');
  renameSync(main, moved);
  t.equal(await grade(moved), 'strong', 'the inode went along');
  const copy = join(directory, 'copy.img');
  copyFileSync(moved, copy);
  rmSync(moved);
  t.equal(await grade(copy), 'weak', 'restored from a copy');
  sparseFile(join(directory, 'larger.img'), 3 * MIB);
  await t.rejects(grade(join(directory, 'larger.img')), {
    code: 'MAIN_CHANGED',
    message: /it has 6144 sectors, not 4096/,
  });
});

t.test('another file is not main while main is still where it was', async (t) => {
  const { directory, main, spare } = files(t);
  await createVolume(main, [spare], options);
  const other = sparseFile(join(directory, 'other.img'), 2 * MIB);
  const devices = await openDevices({ mainPath: other, sparePaths: [spare], readOnly: true });
  t.teardown(() => devices.close());
  const recorded = await recordedOn(devices.spares);
  if (recorded === undefined) throw new Error('not recorded');
  await t.rejects(requireMain(recorded.config, devices.main), {
    code: 'MAIN_CHANGED',
    message: /the recorded one is still at .*main\.img/,
  });
});

t.test('writes what the store can open', async (t) => {
  const { main, spare } = files(t);
  const report = await createVolume(main, [spare], options);
  const devices = await openDevices({ mainPath: main, sparePaths: [spare], readOnly: false });
  t.teardown(() => devices.close());
  const store = await MetadataStore.open(devices.spares, { repair: true, clock: systemClock });
  t.equal(store.volumeUuid, report.volumeUuid);
  t.match(store.config.main, { kind: 'file', sizeSectors: 4096, pathHint: main });
  t.match(store.config.spares[0], { kind: 'file', sizeSectors: 16384, pathHint: spare });
  t.ok(readFileSync(spare).includes('DMR4'));
});

t.test('names a volume after its main', async (t) => {
  t.equal(nameOf('/a/b/main.img'), 'main.img');
  t.equal(nameOf('null:1G'), 'null:1G');
  t.equal(nameOf('/dev/disk/by-id/ata-X/'), 'ata-X');
  t.equal(Buffer.byteLength(nameOf(`/x/${'ü'.repeat(40)}a`)), 48);
  t.equal(nameOf(`/x/a${'ü'.repeat(40)}`), `a${'ü'.repeat(23)}`);
});
