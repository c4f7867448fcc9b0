import t from 'tap';
import {
  doctestCounts,
  plainCounts,
  skipped,
  tapCounts,
  tapFailures,
} from '../../scripts/ci/counts.js';

t.test('counts', (t) => {
  t.same(tapCounts('# { total: 7, pass: 4, fail: 2, skip: 1 }\n'), { passed: 4, failed: 2 });
  const nested = '    # { total: 9, pass: 9 }\n# { total: 1, pass: 1 }\n';
  t.same(tapCounts(nested), { passed: 1, failed: 0 }, 'the outermost');
  t.equal(tapCounts('TAP version 14\n'), undefined);
  t.same(doctestCounts('[doctest] test cases:  5 |  3 passed | 2 failed | 0 skipped\n'), {
    passed: 3,
    failed: 2,
  });
  t.equal(doctestCounts(''), undefined);
  t.same(plainCounts('ok boot\n7 passed, 1 failed\n'), { passed: 7, failed: 1 });
  t.equal(plainCounts('it says 7 passed, 1 failed'), undefined);
  t.end();
});

t.test('what failed is shown without what passed', (t) => {
  const output = [
    '    ok 1 - fine',
    '    not ok 2 - wrong',
    '      ---',
    '      -2',
    '      ...',
    '    ok 3 - fine again',
  ].join('\n');
  t.equal(tapFailures(output), '    not ok 2 - wrong\n      ---\n      -2');
  t.equal(tapFailures('ok 1'), '');
  t.end();
});

t.test('what was skipped is named once', (t) => {
  t.same(skipped('SKIP loop devices\nok 3 - x # SKIP fio\nok 4 - y # SKIP fio\nSKIPPED\n'), [
    'loop devices',
    'fio',
  ]);
  t.end();
});
