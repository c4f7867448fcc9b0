/** npm run campaign -- NAME|list [--count=N] [--seed=S]: long runs of what the tests do briefly. */
import { parseArgs } from 'node:util';
import { backEndKills } from './campaign/back-end-kills.js';
import { type Campaign, ScriptScope } from './campaign/campaign.js';
import { frontEndDeaths } from './campaign/front-end-deaths.js';
import { programRaces } from './campaign/program-races.js';

const CAMPAIGNS: Readonly<Record<string, Campaign>> = {
  'front-end-deaths': frontEndDeaths,
  'back-end-kills': backEndKills,
  'program-races': programRaces,
};

function refuse(sentence: string): never {
  console.error(sentence);
  process.exit(2);
}

function commandLine() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: { count: { type: 'string' }, seed: { type: 'string', default: '1' } },
    });
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

const number = (name: string, text: string): number =>
  /^\d{1,9}$/.test(text) ? Number(text) : refuse(`--${name} is a number`);

const { values, positionals } = commandLine();
const [name = 'list'] = positionals;
if (name === 'list') {
  for (const [key, { title, count }] of Object.entries(CAMPAIGNS)) {
    console.log(`${key.padEnd(18)} ${title} (${count} by default)`);
  }
  process.exit(0);
}
const campaign = CAMPAIGNS[name];
if (!campaign) refuse(`no campaign is named ${name}: \`npm run campaign -- list\` shows them.`);

const seed = number('seed', values.seed);
const count = values.count === undefined ? campaign.count : number('count', values.count);
const scope = new ScriptScope();
const begun = performance.now();
let failed = true;
try {
  const progress = (line: string): void => console.log(`  ${line}`);
  const { lines, problems } = await campaign.run(scope, { count, seed, progress });
  for (const line of lines) console.log(line);
  for (const problem of problems) console.log(`FAIL ${problem}`);
  failed = problems.length > 0;
} finally {
  await scope.end();
}
const seconds = ((performance.now() - begun) / 1000).toFixed(1);
console.log(`${failed ? 'FAIL' : 'ok  '} ${name} --count=${count} --seed=${seed}, ${seconds} s`);
process.exit(failed ? 1 : 0);
