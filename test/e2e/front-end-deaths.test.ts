/** Front-ends that die at any point: `npm run campaign -- front-end-deaths` in short. */
import t from 'tap';
import { frontEndDeaths } from '../../scripts/campaign/front-end-deaths.js';

t.test('a hundred and twenty front-ends die and the back-end does not notice', async (t) => {
  const { lines, problems } = await frontEndDeaths.run(t, {
    count: 120,
    seed: 7,
    progress: () => undefined,
  });
  for (const line of lines) t.comment(line);
  t.strictSame(problems, []);
});
