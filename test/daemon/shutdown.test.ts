import { pino } from 'pino';
import t from 'tap';
import { Shutdown } from '../../src/daemon/shutdown.js';

t.test('the first signal asks, the second one ends', async (t) => {
  const exits = t.capture(process, 'exit', () => undefined as never);
  const lines: { msg: string; signal: string }[] = [];
  const log = pino({ base: null }, { write: (line: string) => lines.push(JSON.parse(line)) });
  const shutdown = new Shutdown(log);
  t.teardown(() => {
    for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.removeAllListeners(signal);
  });
  t.equal(shutdown.isRequested, false);
  process.emit('SIGINT');
  t.equal(shutdown.isRequested, true);
  t.equal(await shutdown.requested, 'SIGINT');
  t.strictSame(exits(), []);
  process.emit('SIGTERM');
  t.match(exits(), [{ args: [1] }]);
  t.match(lines, [
    { msg: 'stopping', signal: 'SIGINT' },
    { msg: 'second signal, leaving at once', signal: 'SIGTERM' },
  ]);
});
