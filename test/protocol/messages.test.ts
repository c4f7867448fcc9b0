import t from 'tap';
import {
  answerSchemas,
  errorAnswerSchema,
  requestSchema,
  statusAnswerSchema,
} from '../../src/protocol/messages.js';
import { keyPaths } from '../fixtures/key-paths.js';
import { MemoryVolume } from '../fixtures/memory-volume.js';

t.test('status/1 has these keys; a key is only ever added', async (t) => {
  t.strictSame(keyPaths(statusAnswerSchema), [
    'schema',
    'pid',
    ...[
      'name uuid state problems[].code problems[].message mainPath sizeSectors',
      'logicalBlockSize readOnly generation remaps.extents remaps.sectors',
      'pending.extents pending.sectors',
      'spares[].path spares[].uuid spares[].state spares[].totalSectors spares[].freeSectors',
      'spares[].retiredSectors',
      'metadata.copies[].spare metadata.copies[].offset metadata.copies[].state',
      'metadata.copies[].generation metadata.tolerance metadata.repairs',
      'health.score health.inputs.reallocatedSectors health.inputs.pendingSectors',
      'health.inputs.recoveredSectors health.inputs.readErrors health.inputs.writeErrors',
      'health.inputs.retiredSectors health.inputs.metadataRepairs',
      'io.reads io.writes io.flushes io.discards io.errors io.remappedReads io.remappedWrites',
      'io.readSectors io.writtenSectors io.parked io.unsupported io.malformed io.inFlight',
      'client.connected client.queues client.maxQueues client.requests client.writeThrough',
      'engine.name engine.workers',
      'breaker.state breaker.since breaker.allowanceBlocks breaker.leftBlocks',
      'faultInjection.allowed faultInjection.rules',
    ]
      .flatMap((line) => line.split(' '))
      .map((key) => `volumes[].${key}`),
  ]);
});

t.test('the other answers have these keys', async (t) => {
  const rows = (list: string, keys: string) => keys.split(' ').map((key) => `${list}[].${key}`);
  t.strictSame(keyPaths(answerSchemas['remap list']), [
    'schema',
    'action',
    ...rows('remaps', 'lba count spare spareLba cause evidence time'),
    ...rows('pending', 'lba count cause evidence time'),
    'requested',
    'moved',
    'skipped',
    'failed',
    'pending',
  ]);
  t.strictSame(keyPaths(answerSchemas['inject list']), [
    'schema',
    'action',
    ...rows('faults', 'id device kind lba count times delayMs errno percent hits'),
    'cleared',
  ]);
  t.strictSame(keyPaths(errorAnswerSchema), [
    'schema',
    'error.code',
    'error.message',
    'error.context',
  ]);
});

t.test('an answer may carry more than is known, never less', async (t) => {
  const answer = { schema: 'status/1', pid: 1, volumes: [new MemoryVolume().status()] };
  t.ok(statusAnswerSchema.safeParse({ ...answer, later: 1 }).success);
  t.notOk(statusAnswerSchema.safeParse({ schema: 'status/1' }).success);
  t.notOk(statusAnswerSchema.safeParse({ ...answer, schema: 'status/2' }).success);
});

const fault = { device: 'main', kind: 'slow', lba: 0, count: 1, times: 0, delayMs: 5 };

const REQUESTS: readonly [boolean, unknown][] = [
  [true, { verb: 'status' }],
  [false, { verb: 'status', more: 1 }],
  [false, { verb: 'halt' }],
  [false, {}],
  [false, []],
  [false, null],
  [true, { verb: 'resize' }],
  [false, { verb: 'resize', sizeSectors: 1 }],
  [true, { verb: 'remap list' }],
  [true, { verb: 'remap add', extents: [{ lba: 0, count: 1 }] }],
  [true, { verb: 'remap remove', extents: [{ lba: 2 ** 48 - 1, count: 2 ** 48 }] }],
  [false, { verb: 'remap add', extents: [] }],
  [false, { verb: 'remap add', extents: [{ lba: 0, count: 0 }] }],
  [false, { verb: 'remap add', extents: [{ lba: -1, count: 1 }] }],
  [false, { verb: 'remap add', extents: [{ lba: 0.5, count: 1 }] }],
  [false, { verb: 'remap add', extents: [{ lba: '0', count: 1 }] }],
  [false, { verb: 'remap add', extents: [{ lba: 2 ** 48, count: 1 }] }],
  [false, { verb: 'remap add', extents: [{ lba: 0, count: 1, spare: 0 }] }],
  [true, { verb: 'inject add', faults: [fault] }],
  [true, { verb: 'inject add', faults: [{ ...fault, device: 'spare7' }] }],
  [false, { verb: 'inject add', faults: [{ ...fault, device: 'spare8' }] }],
  [false, { verb: 'inject add', faults: [{ ...fault, kind: 'fire' }] }],
  [false, { verb: 'inject add', faults: [{ ...fault, delayMs: 600_001 }] }],
  [true, { verb: 'inject add', faults: [{ ...fault, errno: 'ENODEV', percent: 0.5 }] }],
  [false, { verb: 'inject add', faults: [{ ...fault, errno: 'EWHAT' }] }],
  [false, { verb: 'inject add', faults: [{ ...fault, percent: 0 }] }],
  [false, { verb: 'inject add', faults: [{ ...fault, times: -1 }] }],
  [false, { verb: 'inject add', faults: [] }],
  [true, { verb: 'inject list' }],
  [true, { verb: 'inject clear' }],
  [true, { verb: 'inject clear', device: 'spare', id: 1 }],
  [false, { verb: 'inject clear', id: 0 }],
];

t.test('a request is taken whole or refused', async (t) => {
  for (const [good, request] of REQUESTS) {
    t.equal(requestSchema.safeParse(request).success, good, JSON.stringify(request));
  }
});
