import t from 'tap';
import {
  checkAnswerSchema,
  createAnswerSchema,
  discoverAnswerSchema,
  inspectAnswerSchema,
} from '../../src/protocol/device-answers.js';
import { keyPaths } from '../fixtures/key-paths.js';

const words = (prefix: string, keys: string) => keys.split(' ').map((key) => `${prefix}${key}`);

t.test('create/1 has these keys; a key is only ever added', async (t) => {
  t.strictSame(keyPaths(createAnswerSchema), [
    ...words('', 'schema state'),
    ...words('volume.', 'name uuid mainPath sizeSectors logicalBlockSize'),
    ...words('spares[].', 'path sizeSectors totalSectors contents'),
    ...words('spares[].zones[].', 'offset sizeBytes'),
    'ample',
  ]);
});

t.test('inspect/1 has these keys', async (t) => {
  const device = 'uuid sizeSectors kind identity pathHint';
  t.strictSame(keyPaths(inspectAnswerSchema), [
    ...words('', 'schema path sizeSectors'),
    ...words('layout.', 'logicalBlockSize zoneSize zoneOffsets pageCapacity groups dataSectors'),
    ...words('', 'verdict generation tolerance mayBeOld describedGeneration'),
    ...words('copies[].', 'offset state'),
    ...words('copies[].slots[].', 'offset kind damage[].section damage[].reason inPlace'),
    ...words('copies[].slots[].', 'volumeUuid spareUuid generation digest committedSeconds'),
    ...words('source.', 'copy slot sound'),
    ...words('', 'volumeUuid spareUuid'),
    ...words('config.', 'logicalBlockSize name'),
    ...words('config.main.', device),
    ...words('config.spares[].', device),
    ...words('health.', 'reallocatedTotal recoveredTotal readErrorsTotal writeErrorsTotal'),
    ...words('health.', 'spareRetiredTotal metadataRepairsTotal scanCursor'),
    ...words('health.', 'scanStartedSeconds scanFinishedSeconds'),
    ...words('table.', 'remapped.extents remapped.sectors pending.extents pending.sectors'),
    ...words('table.', 'retired.extents retired.sectors inlineEntries'),
    ...words('table.pages[].', 'location generation zones'),
  ]);
});

t.test('check/1 has these keys', async (t) => {
  t.strictSame(keyPaths(checkAnswerSchema), [
    ...words('', 'schema verdict volumeUuid name generation entries'),
    ...words('problems[].', 'code message'),
    ...words('problems[].where.', 'device copy lba count'),
    ...words('', 'problems[].repaired moreProblems'),
    ...words('rebuild.', 'done volumeUuid logicalBlockSize generation'),
    ...words('rebuild.', 'remapped.extents remapped.sectors retired.extents retired.sectors'),
    ...words('rebuild.', 'supersededSectors ambiguousSectors doubtfulGroups'),
  ]);
});

t.test('discover/1 has these keys', async (t) => {
  t.strictSame(keyPaths(discoverAnswerSchema), [
    ...words('', 'schema looked'),
    ...words('volumes[].', 'uuid name verdict confidence reasons generation sizeSectors'),
    ...words('volumes[].', 'logicalBlockSize main.path'),
    ...words('volumes[].spares[].', 'uuid path generation goodCopies'),
    ...words('oddities[].', 'path state why'),
  ]);
});
