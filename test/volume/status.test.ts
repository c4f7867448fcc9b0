import t from 'tap';
import { generation } from '../../src/core/units.js';
import { COUNTER_NAMES } from '../../src/native/abi.js';
import type { Counters } from '../../src/native/backend.js';
import { tableEntry } from '../../src/ondisk/entry.js';
import { NO_HEALTH } from '../../src/ondisk/health.js';
import { remapAnswerSchema, volumeStatusSchema } from '../../src/protocol/messages.js';
import { RemapTable } from '../../src/remap/remap-table.js';
import { listRows } from '../../src/volume/rows.js';
import { type StatusInputs, statusOf } from '../../src/volume/status.js';

const counters = Object.fromEntries(COUNTER_NAMES.map((name, i) => [name, i])) as Counters;

const inputs: StatusInputs = {
  name: 'disk',
  uuid: 'b315b511-6ca6-47a6-b09d-c222a6781b69',
  facts: {
    held: true,
    ringsWait: undefined,
    mainPath: '/dev/main',
    mainFailure: undefined,
    flushFailed: false,
    metadataFailure: undefined,
    metadataMayBeOld: false,
    goodCopies: 5,
    allCopies: 5,
    spares: [
      {
        path: '/dev/spare',
        totals: { totalSectors: 1000, freeSectors: 750, retiredSectors: 0, usable: true },
      },
    ],
    exhausted: false,
    pendingSectors: 2,
    storm: undefined,
    hung: undefined,
  },
  sizeSectors: 8192,
  logicalBlockSize: 512,
  readOnly: false,
  generation: 7n,
  totals: {
    extents: 3,
    sectors: 250,
    pendingExtents: 1,
    pendingSectors: 2,
    retiredSectors: 0,
  },
  spareUuids: ['8d145387-2e67-4e39-b724-d1b058dff589'],
  copies: [{ spareIndex: 0, offset: 1048576, state: 'torn', generation: generation(6n) }],
  tolerance: 3,
  health: { ...NO_HEALTH, reallocatedTotal: 260, writeErrorsTotal: 255, metadataRepairsTotal: 2 },
  counters,
  client: { connected: true, queues: 4, maxQueues: 4, requests: [5, 6, 7, 8], writeThrough: true },
  engine: { name: 'io_uring', workers: 1 },
  breaker: { state: 'closed', since: null, allowanceBlocks: 64, leftBlocks: 60 },
  faultInjection: { allowed: false, rules: 0 },
};

t.test('is what the protocol says, every field filled', async (t) => {
  const status = statusOf(inputs);
  t.same(volumeStatusSchema.parse(status), status);
  t.match(status, {
    state: 'degraded',
    generation: 7,
    remaps: { extents: 3, sectors: 250 },
    pending: { extents: 1, sectors: 2 },
    spares: [{ path: '/dev/spare', state: 'healthy', totalSectors: 1000, freeSectors: 750 }],
    metadata: {
      copies: [{ spare: 0, offset: 1048576, state: 'torn', generation: 6 }],
      tolerance: 3,
      repairs: 2,
    },
    health: {
      score: 75,
      inputs: { reallocatedSectors: 260, writeErrors: 255, pendingSectors: 2, readErrors: 0 },
    },
    client: { connected: true, queues: 4 },
  });
  t.equal(status.io.reads, counters.reads);
  t.equal(status.io.errors, counters.errors);
  t.equal(status.io.remappedWrites, counters.remappedWrites);
  t.equal(status.io.inFlight, counters.inFlight);
});

t.test('a volume without a spare has a status too', async (t) => {
  const facts = { ...inputs.facts, spares: [], goodCopies: 0, allCopies: 0, pendingSectors: 0 };
  const bare = { ...inputs, uuid: null, facts, generation: 0n, copies: [], tolerance: 0 };
  const status = statusOf({ ...bare, spareUuids: [], health: NO_HEALTH });
  t.same(volumeStatusSchema.parse(status), status);
  t.equal(status.state, 'healthy');
  t.equal(status.health.score, 0, 'requests have failed');
});

t.test('lists remaps and pending extents in order', async (t) => {
  const table = new RemapTable();
  const made = { cause: 'write-error', timeSeconds: 1_700_000_000 } as const;
  table.load([
    tableEntry({ ...made, kind: 'remapped', start: 50, count: 2, spareIndex: 1, spareStart: 2070 }),
    tableEntry({ ...made, kind: 'remapped', start: 8, count: 1, spareStart: 2064, evidence: 3 }),
    tableEntry({ ...made, kind: 'pending', start: 5, count: 1, timeSeconds: 1_800_000_000 }),
  ]);
  const rows = listRows(table);
  const answer = { schema: 'remap/1', action: 'list', ...rows } as const;
  t.same(remapAnswerSchema.parse(answer), answer);
  t.same(rows.remaps, [
    {
      lba: 8,
      count: 1,
      cause: 'write-error',
      evidence: 3,
      time: '2023-11-14T22:13:20.000Z',
      spare: 0,
      spareLba: 2064,
    },
    {
      lba: 50,
      count: 2,
      cause: 'write-error',
      evidence: 1,
      time: '2023-11-14T22:13:20.000Z',
      spare: 1,
      spareLba: 2070,
    },
  ]);
  t.equal(rows.pending[0]?.time, '2027-01-15T08:00:00.000Z');
});
