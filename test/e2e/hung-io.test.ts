/** An I/O that does not return is told with its place and age, and nobody else waits for it. */
import t from 'tap';
import { Daemon, volumeFiles } from '../fixtures/daemon.js';
import { FrontEnd, SECTOR, STATUS, TYPE } from '../fixtures/front-end.js';

t.test('the alarm comes, names the place, and goes when the I/O returns', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files, '--hung-io-seconds=1');
  const fe = await FrontEnd.attach({ socketPath: files.socket });
  t.teardown(() => fe.close());
  await fe.write(0, Buffer.alloc(64 * SECTOR));
  await daemon.inject('slow', [{ lba: 4000, count: 8 }], { delayMs: 6000, times: 1 });
  const slow = fe.request({ type: TYPE.IN, sector: 4001, length: SECTOR });
  const isHung = ({ problems }: { problems: readonly { code: string }[] }) =>
    problems.some(({ code }) => code === 'IO_HUNG');
  const status = await daemon.statusWhen(isHung);
  const [problem] = status.problems;
  t.equal(problem?.code, 'IO_HUNG');
  t.match(problem?.message, new RegExp(`read of sector 4001 on ${files.main} .* [1-9]\\d* s`));
  t.equal(status.state, 'degraded');
  t.match(
    daemon.log.find((line) => String(line.msg).startsWith('IO_HUNG')),
    { device: files.main, lba: 4001, operation: 'read', requests: 1 },
  );
  t.equal((await fe.request({ type: TYPE.IN, sector: 0, length: SECTOR })).status, STATUS.OK);

  t.equal((await slow).status, STATUS.OK, 'it is only slow');
  t.match(await daemon.statusWhen((s) => !isHung(s)), { state: 'healthy', problems: [] });
  t.ok(daemon.log.some((line) => String(line.msg).includes('has returned')));
});

t.test('requests that come and go raise none', async (t) => {
  const files = volumeFiles(t);
  const daemon = await Daemon.serve(t, files, '--hung-io-seconds=1');
  const fe = await FrontEnd.attach({ socketPath: files.socket });
  t.teardown(() => fe.close());
  await daemon.inject('slow', [{ lba: 0, count: 8000 }], { delayMs: 100 });
  await fe.run({ depth: 8, seconds: 3, sectorCount: 8000 });
  t.notOk(daemon.log.some((line) => String(line.msg).startsWith('IO_HUNG')));
});
