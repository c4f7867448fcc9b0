/** Who gets a disk that several want: `npm run campaign -- program-races` in short. */
import t from 'tap';
import { programRaces } from '../../scripts/campaign/program-races.js';

t.test('one of two back-ends gets it, and late programs are refused', async (t) => {
  const options = { count: 1, seed: 1, progress: () => undefined };
  const { lines, problems } = await programRaces.run(t, options);
  for (const line of lines) t.comment(line);
  t.strictSame(problems, []);
});
