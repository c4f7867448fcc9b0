import t from 'tap';
import { type Logger, silentLogger } from '../../src/core/log.js';
import { EventKind, Operation } from '../../src/native/abi.js';
import { DeviceErrors } from '../../src/volume/device-errors.js';

function make() {
  const lines: Record<string, unknown>[] = [];
  const time = { ms: 0 };
  const logger = {
    ...silentLogger,
    error: (fields: object, msg: string) => lines.push({ ...fields, msg }),
  } as unknown as Logger;
  const clock = {
    nowSeconds: () => 0,
    monotonicMs: () => time.ms,
    sleepMs: async () => {},
    after: () => () => {},
  };
  return { errors: new DeviceErrors(['/dev/main', '/dev/spare'], { logger, clock }), lines, time };
}

const event = (error: number, device = 0) => ({
  kind: EventKind.deviceError,
  queue: 0,
  token: 0n,
  lba: 8,
  count: 8,
  error,
  operation: Operation.write,
  flags: 0,
  device,
  text: '',
});

t.test('only a device that has gone is given up', async (t) => {
  const { errors } = make();
  t.equal(errors.note(event(28)), false);
  t.equal(errors.note(event(110)), false);
  t.equal(errors.failureOf(0), undefined);
  t.equal(errors.note(event(6, 1)), true);
  t.equal(errors.failureOf(0), undefined);
  t.equal(errors.failureOf(1), 'a write ended with ENXIO');
});

t.test('names device, errno and place, and what to do', async (t) => {
  const { errors, lines } = make();
  errors.note(event(28, 1));
  t.match(lines[0], {
    device: '/dev/spare',
    errno: 'ENOSPC',
    operation: 'write',
    lba: 8,
    count: 8,
  });
  t.match(lines[0]?.msg as string, /free some/);
});

t.test('a storm of errors is one line in five seconds, with their number', async (t) => {
  const { errors, lines, time } = make();
  for (let i = 0; i < 1000; i++) errors.note(event(28));
  t.equal(lines.length, 1);
  errors.note(event(122));
  t.equal(lines.length, 2, 'another kind has a line of its own');
  time.ms = 5000;
  errors.note(event(28));
  t.equal(lines.length, 3);
  t.equal(lines[2]?.more, 999);
});
