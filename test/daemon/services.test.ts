import t from 'tap';
import { generation } from '../../src/core/units.js';
import { planServices } from '../../src/daemon/services.js';
import type { FoundVolume } from '../../src/discovery/assemble.js';

const OPTIONS = { socketDir: '/run/x', common: ['--read-only'] };

function volume(name: string, change: Partial<FoundVolume> = {}): FoundVolume {
  const record = { uuid: '', sizeSectors: 1, kind: 'file' as const, identity: '', pathHint: '' };
  return {
    uuid: `uuid-${name}-${JSON.stringify(change).length}`,
    name,
    verdict: 'complete',
    confidence: 'strong',
    reasons: [],
    generation: generation(1n),
    config: { logicalBlockSize: 512, name, main: record, spares: [record] },
    main: { path: '/m', grade: 'strong', atRecordedPath: true },
    spares: [{ uuid: 's', path: '/s', generation: generation(1n), goodCopies: 5 }],
    ...change,
  };
}

t.test('what every process is told', async (t) => {
  const { services, unserved } = planServices([volume('vm')], OPTIONS);
  t.same(unserved, []);
  t.match(services, [
    {
      name: 'vm',
      socketPath: '/run/x/vm.sock',
      controlPath: '/run/x/vm.ctl',
      args: [
        '--blk-file=/m',
        '--spare=/s',
        '--socket-path=/run/x/vm.sock',
        '--control-socket=/run/x/vm.ctl',
        '--read-only',
      ],
    },
  ]);
});

t.test('a name that is no file name, or not alone, gives way to the UUID', async (t) => {
  const names = (...volumes: FoundVolume[]) =>
    planServices(volumes, OPTIONS).services.map(({ name }) => name);
  const [slash, dots, empty] = [volume('a/b'), volume('..'), volume('')];
  t.same(names(slash, dots, empty), [slash.uuid, dots.uuid, empty.uuid]);
  const twins = [volume('twin'), volume('twin', { uuid: 'other' })] as const;
  t.same(names(...twins), [twins[0].uuid, 'other']);
});

t.test('nothing is served that needs a word', async (t) => {
  const weak = { path: '/m', grade: 'weak' as const };
  const cases: [Partial<FoundVolume>, RegExp | undefined][] = [
    [{ verdict: 'degraded', reasons: ['4 of 5'] }, undefined],
    [
      { verdict: 'incomplete', reasons: ['the main is missing'] },
      /incomplete: the main is missing/,
    ],
    [{ verdict: 'conflicting', reasons: ['two of them'] }, /conflicting: two of them/],
    [{ main: { ...weak, atRecordedPath: true } }, undefined],
    [{ main: { ...weak, atRecordedPath: false } }, /nothing proves that \/m is its main/],
  ];
  for (const [change, why] of cases) {
    const { services, unserved } = planServices([volume('vm', change)], OPTIONS);
    t.equal(services.length, why === undefined ? 1 : 0);
    if (why !== undefined) t.match(unserved, [{ name: 'vm', why }]);
  }
});
