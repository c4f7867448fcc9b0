import t from 'tap';
import { STORM_RETRY_FIRST_MS, STORM_RETRY_LAST_MS } from '../../src/core/limits.js';
import { HalfOpen } from '../../src/volume/half-open.js';
import { turn } from '../fixtures/remapping.js';

function make(answers: boolean[]) {
  const waits: number[] = [];
  let run: (() => void) | undefined;
  let looks = 0;
  const clock = {
    after: (ms: number, due: () => void) => {
      waits.push(ms);
      run = due;
      return () => {
        run = undefined;
      };
    },
  };
  const halfOpen = new HalfOpen(clock, async () => {
    looks++;
    return answers.shift() ?? true;
  });
  const pass = async (): Promise<boolean> => {
    const due = run;
    run = undefined;
    due?.();
    await turn();
    return due !== undefined;
  };
  return { halfOpen, waits, pass, looks: () => looks };
}

t.test('looks after longer and longer waits, and no more once it works', async (t) => {
  const { halfOpen, waits, pass, looks } = make(Array(8).fill(false));
  halfOpen.start();
  halfOpen.start();
  while (await pass()) {}
  t.equal(looks(), 9);
  t.same(
    waits.slice(0, 3),
    [1, 2, 4].map((n) => n * STORM_RETRY_FIRST_MS),
  );
  t.equal(waits.at(-1), STORM_RETRY_LAST_MS);
  halfOpen.start();
  t.equal(waits.at(-1), STORM_RETRY_FIRST_MS, 'the next time begins anew');
});

t.test('stop ends it', async (t) => {
  const { halfOpen, pass, looks } = make([false, false]);
  halfOpen.start();
  await pass();
  await halfOpen.stop();
  t.notOk(await pass());
  t.equal(looks(), 1);
});
