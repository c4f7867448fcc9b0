import { isDeepStrictEqual as same } from 'node:util';
import fc from 'fast-check';
import t from 'tap';
import { formatBadblocks, parseBadblocks } from '../../../src/cli/exchange/badblocks.js';
import { formatCsv, parseCsv } from '../../../src/cli/exchange/csv.js';
import { badRuns, type MapRow } from '../../../src/cli/exchange/map.js';
import { formatMapfile, parseMapfile } from '../../../src/cli/exchange/mapfile.js';
import { type Run, unionOf } from '../../../src/remap/edit-runs.js';

const run = fc.record({ start: fc.nat(100_000), count: fc.integer({ min: 1, max: 500 }) });
const runs = fc.array(run, { maxLength: 40 }).map(unionOf);

const row: fc.Arbitrary<MapRow> = fc
  .record({
    kind: fc.constantFrom('remapped' as const, 'pending' as const, 'retired' as const),
    lba: fc.nat(2 ** 40),
    count: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
    spare: fc.nat(7),
    spareLba: fc.nat(2 ** 40),
    cause: fc.constantFrom('write-error' as const, 'read-error' as const, 'prediction' as const),
    evidence: fc.nat(255),
    seconds: fc.integer({ min: 1_577_836_800, max: 5_000_000_000 }),
  })
  .map(({ seconds, ...rest }) => ({
    ...rest,
    spare: rest.kind === 'pending' ? null : rest.spare,
    spareLba: rest.kind === 'remapped' ? rest.spareLba : null,
    time: new Date(seconds * 1000).toISOString(),
  }));

t.test('csv: what was written is read', async () => {
  fc.assert(fc.property(fc.array(row), (rows) => same(parseCsv(formatCsv(rows)), rows)));
});

t.test('badblocks: what was written is read, for any block size', async () => {
  fc.assert(
    fc.property(runs, fc.constantFrom(512, 1024, 4096), (bad, size) => {
      const read = unionOf(parseBadblocks(formatBadblocks(bad, size), size));
      const step = size / 512;
      const whole = bad.map(({ start, count }) => {
        const first = start - (start % step);
        return { start: first, count: Math.ceil((start + count) / step) * step - first };
      });
      return same(read, unionOf(whole));
    }),
  );
});

t.test('mapfile: what was written is read, and covers the disk once', async () => {
  fc.assert(
    fc.property(runs, (bad) => {
      const text = formatMapfile(bad, 200_000, 'x');
      const sizes = [...text.matchAll(/^(0x\w+) {2}(0x\w+) {2}[+-]$/gm)];
      let at = 0;
      for (const [, position, size] of sizes) {
        if (Number(position) !== at) return false;
        at += Number(size);
      }
      return at === 200_000 * 512 && same(parseMapfile(text), bad);
    }),
  );
});

t.test('views', async (t) => {
  const base = { count: 1, spare: null, spareLba: null, evidence: 1, time: '' } as const;
  const rows: MapRow[] = [
    { ...base, kind: 'remapped', lba: 10, cause: 'write-error' },
    { ...base, kind: 'remapped', lba: 20, cause: 'administrator' },
    { ...base, kind: 'pending', lba: 30, cause: 'read-error' },
    { ...base, kind: 'retired', lba: 40, cause: 'write-error' },
  ];
  const starts = (list: Run[]) => list.map(({ start }) => start);
  t.same(starts(badRuns(rows, 'guest')), [30]);
  t.same(starts(badRuns(rows, 'media')), [10, 30]);
});

t.test('mapfiles of ddrescue: only what it tried to the end is bad', async (t) => {
  const text = [
    '# Mapfile. Created by GNU ddrescue version 1.27',
    '0x00000000     ?               1',
    '0x00000000  0x00010000  +',
    '0x00010000  0x00000200  -',
    '0x00010200  0x00000200  /',
    '0x00010400  0x00000200  *',
    '0x00010600  0x00000001  -',
  ].join('\n');
  t.same(parseMapfile(text), [
    { start: 128, count: 1 },
    { start: 131, count: 1 },
  ]);
});

t.test('what cannot be understood is named by its line', async (t) => {
  const cases: [() => unknown, RegExp][] = [
    [() => parseBadblocks('1\n2\nx3\n', 1024), /^line 3: 'x3' is no block number/],
    [() => parseBadblocks('99999999999999999999\n', 1024), /^line 1: /],
    [() => parseBadblocks('-1\n', 1024), /^line 1: /],
    [() => parseMapfile(''), /^line 1: this is no mapfile/],
    [() => parseMapfile('# x\nhello\n'), /^line 2: this is no mapfile/],
    [() => parseMapfile('0x0 + 1\n0x0 0x200\n'), /^line 2: '0x0 0x200' is no position/],
    [() => parseMapfile('0x0 + 1\n0x0 0x200 !\n'), /^line 2: /],
    [() => parseCsv('kind;lba\n'), /^line 1: /],
    [() => parseCsv(`${formatCsv([]).trim()}\npending,1\n`), /^line 2: 2 fields, not 8/],
    [
      () => parseCsv(`${formatCsv([]).trim()}\npending,x,1,,,read-error,1,2026-01-01T00:00:00Z\n`),
      /^line 2: /,
    ],
  ];
  for (const [parse, message] of cases) t.throws(parse, { code: 'USAGE', message });
});
