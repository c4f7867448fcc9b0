/** `kill -9` under load, twenty times: `npm run campaign -- back-end-kills` in short. */
import t from 'tap';
import { killBackEnd, noKills } from '../../scripts/campaign/back-end-kills.js';

t.test('twenty kills at depth 64 on two queues, answers out of order', async (t) => {
  const counts = noKills();
  t.strictSame(await killBackEnd(t, { kills: 20, seed: 30, counts }), []);
  t.match(counts, { kills: 20, errors: 0, mismatches: 0 });
  for (const what of ['overtaken', 'writeErrors', 'slowed', 'parkedAtKill', 'remapped'] as const) {
    t.ok(counts[what] > 0, `${counts[what]} ${what}`);
  }
  t.ok(counts.verified > 2048, 'and there was something to verify');
});
