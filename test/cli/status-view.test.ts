import t from 'tap';
import { actions, renderVolume, shellWord } from '../../src/cli/status-view.js';
import { problemCodeSchema } from '../../src/protocol/messages.js';
import { MemoryVolume } from '../fixtures/memory-volume.js';

t.test('a healthy volume', async (t) => {
  t.equal(
    renderVolume(new MemoryVolume().status(), '/run/c.sock', false),
    `  volume: memory (01234567-89ab-4cde-8f01-23456789abcd)
   state: healthy
          Everything is served and every copy of the metadata is good.
    main: /disks/main.img, 8192 sectors (4 MiB), blocks of 512 bytes
  client: connected, 4 of 16 queues in use; io_uring, 2 workers
  remaps: 0 extents, 0 sectors (0 B)
 pending: 0 sectors (0 B)
  health: 100 of 100; sectors reallocated 0, recovered 0, of spares retired 0
          device errors: read 0, write 0; metadata copies repaired 0
      io: reads 10 (40 KiB), writes 20 (80 KiB), flushes 3, discards 0
          remapped reads 1, remapped writes 2, parked 2, in flight 0
  faults: injection allowed, 0 rules active

SPARE  PATH              STATE    SECTORS  FREE  RETIRED
    0  /disks/spare.img  healthy     5000  5000        0

metadata generation 7, may lose 4 of its copies
SPARE   OFFSET  STATE  GENERATION
    0        0  good            7
    0  1048576  good            7
    0  2097152  good            7
    0  3145728  good            7
    0  4194304  good            7

errors: none known
`,
  );
});

t.test('a degraded one says what is wrong, what to do, and ends with the errors', async (t) => {
  const status = new MemoryVolume().status();
  status.state = 'degraded';
  status.problems = [
    { code: 'PENDING_SECTORS', message: '8 sectors of the main device could not be read.' },
    { code: 'METADATA_DEGRADED', message: '1 of 5 copies is bad.' },
    { code: 'SPARE_FAILED', message: 'Spare 0 fails.' },
  ];
  status.pending = { extents: 1, sectors: 8 };
  status.io.errors = 1;
  status.spares[0] = { ...(status.spares[0] as (typeof status.spares)[0]), path: "/a b/it's" };
  const text = renderVolume(status, '/run/c.sock', false);
  t.match(text, '   state: degraded\n          8 sectors of the main device could not be read.\n');
  t.match(text, '          1 of 5 copies is bad.\n');
  t.equal(text.split('remapctl check').length, 2, 'one action for two problems');
  t.match(text, "  action: stop the back-end, then: remapctl check '/a b/it'\\''s' --repair\n");
  t.match(text, 'listed by: remapctl --control-socket=/run/c.sock remap list\n');
  t.ok(text.endsWith('errors: 8 sectors unreadable, 1 request answered with an I/O error\n'));
});

t.test('every problem has something to do about it', async (t) => {
  for (const code of problemCodeSchema.options) {
    const status = { ...new MemoryVolume().status(), problems: [{ code, message: 'm' }] };
    t.match(actions(status, 's'), [/[a-z]{4}/], code);
  }
});

t.test('a volume without a spare, and without a client', async (t) => {
  const status = new MemoryVolume().status();
  status.uuid = null;
  status.spares = [];
  status.client = { ...status.client, connected: false, queues: 0, maxQueues: 1 };
  status.readOnly = true;
  status.faultInjection.allowed = false;
  const text = renderVolume(status, 's', false);
  t.match(text, '  volume: memory\n');
  t.match(text, 'blocks of 512 bytes, read-only\n');
  t.match(text, '  client: none connected, 1 queue offered; io_uring, 2 workers\n');
  t.match(text, 'no spare: bad blocks are not remapped\n');
  t.notMatch(text, 'faults:');
});

t.test('a client that never flushes', async (t) => {
  const status = new MemoryVolume().status();
  status.client.writeThrough = true;
  const text = renderVolume(status, 's', false);
  t.match(text, '  client: connected, 4 of 16 queues in use, write-through; io_uring, 2 workers\n');
});

t.test('names from elsewhere cannot write to the screen; colours only where wanted', async (t) => {
  const status = { ...new MemoryVolume().status(), name: 'a\u001b[2Jb', mainPath: '/x\ny' };
  const text = renderVolume(status, 's', false);
  t.match(text, 'a\\x1b[2Jb');
  t.match(text, '/x\\x0ay');
  t.notMatch(text, '\u001b');
  t.ok(renderVolume(status, 's', true).includes('\u001b[32mhealthy\u001b[39m'));
});

t.test('shell words', async (t) => {
  t.equal(shellWord('/dev/disk-1_x'), '/dev/disk-1_x');
  t.equal(shellWord('a b'), "'a b'");
  t.equal(shellWord("it's"), `'it'\\''s'`);
});
