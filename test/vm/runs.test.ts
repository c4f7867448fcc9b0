import t from 'tap';
import type { VmCase } from '../../vm/case.js';
import { chooseRuns, QEMU_CHOICES } from '../../vm/runs.js';

const plain: VmCase = { title: 'plain', mainMiB: 1, spareMiB: 1 };
const cases: Record<string, VmCase> = {
  plain,
  both: { ...plain, inSuite: ['7.2', '10'] },
  campaign: { ...plain, inSuite: [] },
  'only-10': { ...plain, qemus: ['10'], inSuite: ['10'] },
};

const named = (words: string[], choice = '7.2'): string[] =>
  chooseRuns(cases, words, QEMU_CHOICES[choice] ?? []).map(({ name, qemu }) => `${name} ${qemu}`);

t.test('the suite runs each case under the QEMUs it asks for, and no campaign', (t) => {
  t.same(named(['suite']), ['plain 7.2', 'both 7.2', 'both 10', 'only-10 10']);
  t.end();
});

t.test('all runs every case under the chosen QEMUs it can run under', (t) => {
  t.same(named(['all']), ['plain 7.2', 'both 7.2', 'campaign 7.2']);
  t.same(named(['all'], '10'), ['plain 10', 'both 10', 'campaign 10', 'only-10 10']);
  t.same(named(['all'], 'all').length, 7);
  t.end();
});

t.test('named cases run in the order of the list', (t) => {
  t.same(named(['campaign', 'plain']), ['plain 7.2', 'campaign 7.2']);
  t.same(named(['only-10']), []);
  t.end();
});
