import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import { inRoot } from '../../vm/paths.js';
import { MUTANTS } from '../fixtures/mutants/list.js';
import { mutated } from '../fixtures/mutants/mutant.js';

t.test('every mutant can still be made, and its tests are there', async (t) => {
  for (const { name, file, find, replace, tests } of MUTANTS) {
    const source = readFileSync(inRoot(file), 'utf8');
    t.doesNotThrow(() => mutated({ source, find, replace }), name);
    const missing = tests.filter(
      (test) => !test.startsWith('unit ') && !existsSync(inRoot(`dist/test/${test}.test.js`)),
    );
    t.same(missing, [], `tests of ${name}`);
  }
});

t.test('names are unique, and there are thirty at least', async (t) => {
  t.equal(new Set(MUTANTS.map(({ name }) => name)).size, MUTANTS.length);
  t.ok(MUTANTS.length >= 30);
});

t.test('a mutant whose place is gone, or there twice, is refused', async (t) => {
  t.throws(() => mutated({ source: 'abc', find: 'x', replace: '' }), /0 times/);
  t.throws(() => mutated({ source: 'xx', find: 'x', replace: '' }), /2 times/);
  t.equal(mutated({ source: 'abc', find: 'b', replace: '$&' }), 'a$&c');
});
