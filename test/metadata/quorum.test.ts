import { test } from 'tap';
import { generation } from '../../src/core/units.js';
import {
  type CopyObservation,
  type CopyState,
  decide,
  repairOrder,
  type SlotObservation,
  type Verdict,
} from '../../src/metadata/quorum.js';

/*
 * One letter is one copy. The newest commit is generation 10; an image of generation g has digest
 * "d<g>".
 *   n new                       o old: 9 is its newest         O older: 8
 *   t torn: 10 cut short        r rotten                       f foreign, generation 20
 *   m misplaced, 10             x unreadable                   b blank
 *   N 10, of another history    p 9, of another history        1 generation 1, fresh
 *   h 10, other slot unreadable y 9, other slot unreadable
 */
const OURS = 'ours';
const slot = (n: number, options: Partial<Extract<SlotObservation, { kind: 'valid' }>> = {}) => ({
  kind: 'valid' as const,
  volumeUuid: OURS,
  spareUuid: 'spare',
  generation: generation(BigInt(n)),
  digest: `d${n}`,
  inPlace: true,
  ...options,
});
const damaged: SlotObservation = { kind: 'damaged' };
const blank: SlotObservation = { kind: 'blank' };
const unreadable: SlotObservation = { kind: 'unreadable' };
const foreign = { volumeUuid: 'other', spareUuid: 'its spare' };

const COPIES: Record<string, CopyObservation> = {
  n: [slot(10), slot(9)],
  o: [slot(8), slot(9)],
  O: [slot(8), slot(7)],
  t: [damaged, slot(9)],
  r: [damaged, damaged],
  f: [slot(20, foreign), slot(19, foreign)],
  m: [slot(10, { inPlace: false }), slot(9, { inPlace: false })],
  x: [unreadable, unreadable],
  N: [slot(10, { digest: 'another' }), slot(9)],
  p: [slot(8), slot(9, { digest: 'another' })],
  h: [slot(10), unreadable],
  y: [unreadable, slot(9)],
  b: [blank, blank],
  1: [blank, slot(1)],
};
const LETTERS: Record<CopyState, string> = {
  good: 'g',
  stale: 's',
  torn: 't',
  damaged: 'd',
  misplaced: 'm',
  foreign: 'f',
  unreadable: 'u',
  blank: 'b',
};

const spare = (letters: string, spareUuid = 'spare'): CopyObservation[] =>
  [...letters].map((letter) => {
    const [even, odd] = COPIES[letter] as CopyObservation;
    const own = (s: SlotObservation) =>
      s.kind === 'valid' && s.volumeUuid === OURS ? { ...s, spareUuid } : s;
    return [own(even), own(odd)];
  });

const summary = (verdict: Verdict): string => {
  if (verdict.state !== 'ok') return verdict.state;
  const states = verdict.copies.map((copies) => copies.map((c) => LETTERS[c.state]).join(''));
  const old = verdict.mayBeOld ? ' may be old' : '';
  return `${verdict.generation} ${states.join(' ')} ${verdict.tolerance}${old}`;
};

const TABLE: [copies: string, verdict: string, why: string][] = [
  ['nnnnn', '10 ggggg 4', 'all is well'],
  ['11111', '1 ggggg 4', 'just created'],
  ['bbbbb', 'absent', 'never a spare'],
  ['rrrrr', 'lost', ''],
  ['xxxxx', 'lost', 'unreadable is not blank'],
  ['bbbbr', 'lost', ''],
  ['mmmmm', 'lost', 'nothing stands where it should'],
  ['nrrrr', '10 gdddd 0 may be old', 'any four may be lost'],
  ['rrrrn', '10 ddddg 0 may be old', ''],
  ['1bbbb', '1 gbbbb 0 may be old', ''],
  ['nnrrr', '10 ggddd 1', 'two cannot both miss an acknowledged commit'],
  ['norrr', '10 gsddd 0', ''],
  ['nnnno', '10 ggggs 3', 'one copy did not take the commit'],
  ['onnnn', '10 sgggg 3', ''],
  ['noooo', '10 gssss 0', 'a commit that never counted is taken all the same'],
  ['ttttt', '9 ggggg 4', 'a power cut in the middle of a commit'],
  ['nnttt', '10 ggttt 1', 'a little later'],
  ['ooooo', '9 ggggg 4', ''],
  ['oOOOO', '9 gssss 0', ''],
  ['OOOOO', '8 ggggg 4', ''],
  ['orrrr', '9 gdddd 0 may be old', 'four newer ones may have been lost'],
  ['oxxxx', '9 guuuu 0 may be old', ''],
  ['yyyyx', '9 ggggu 3 may be old', 'what cannot be read may hold anything'],
  ['yyoox', '9 ggggu 3', ''],
  ['hhhhh', '10 ggggg 4 may be old', ''],
  ['nnnnx', '10 ggggu 3', ''],
  ['nnnnf', '10 ggggf 3', 'a misdirected write of another volume'],
  ['nnnnm', '10 ggggm 3', ''],
  ['nfrrr', 'fork', 'as many copies say they are of this volume as of another'],
  ['nffff', '20 fgggg 3', 'the spare is the other volume’s'],
  ['nnnnN', 'fork', 'two histories'],
  ['nNrrr', 'fork', ''],
  ['opnnn', '10 ssggg 2', 'what is not the newest does not matter'],
  ['oprrr', 'fork', ''],
  ['NNNNo', '10 ggggs 3', 'one history, whichever'],
];

test('what is decided, case by case', async (t) => {
  for (const [copies, verdict, why] of TABLE) {
    t.equal(summary(decide([spare(copies)])), verdict, `${copies} ${why}`);
  }
});

test('two digests for a generation that is not the newest are no fork', async (t) => {
  const older = spare('nnnnn');
  older[0] = [slot(10), slot(9, { digest: 'another' })];
  older[1] = [slot(8), slot(9, { digest: 'another' })];
  t.equal(summary(decide([older])), '10 gsggg 3');
});

test('all states of five copies', async (t) => {
  const letters = [...'noOtrfmx'];
  const all = letters.flatMap((a) =>
    letters.flatMap((b) =>
      letters.flatMap((c) => letters.flatMap((d) => letters.map((e) => a + b + c + d + e))),
    ),
  );
  t.equal(all.length, 8 ** 5);
  const wrong = all.filter((copies) => summary(decide([spare(copies)])) !== expected(copies));
  t.strictSame(wrong, []);

  // What it is all for: 10 was acknowledged on at least four copies, or it was not.
  const regressed = all.filter((copies) => {
    const verdict = decide([spare(copies)]);
    if (verdict.state !== 'ok' || verdict.volumeUuid !== OURS) return false;
    const neverHad10 = count(copies, 'oOt');
    return verdict.generation < 10n && neverHad10 <= 1 && !verdict.mayBeOld;
  });
  t.strictSame(regressed, [], 'never older than an acknowledged one without saying so');
});

const count = (copies: string, letters: string): number =>
  [...copies].filter((letter) => letters.includes(letter)).length;

/** The rules once more, by counting letters. */
function expected(copies: string): string {
  const ours = count(copies, 'noOt');
  const theirs = count(copies, 'f');
  if (ours + theirs === 0) return 'lost';
  if (ours === theirs) return 'fork';
  if (theirs > ours) {
    const states = [...copies].map((l) => ({ f: 'g', x: 'u', r: 'd' })[l] ?? 'f').join('');
    return `20 ${states} ${theirs - 1}${theirs < 2 ? ' may be old' : ''}`;
  }
  const newest = count(copies, 'n') > 0 ? 10 : count(copies, 'ot') > 0 ? 9 : 8;
  const states = [...copies].map((letter) => {
    if ('rfmx'.includes(letter)) return { r: 'd', f: 'f', m: 'm', x: 'u' }[letter];
    const own = { n: 10, o: 9, t: 9, O: 8 }[letter];
    if (own === newest) return 'g';
    return letter === 't' ? 't' : 's';
  });
  const good = states.filter((state) => state === 'g').length;
  return `${newest} ${states.join('')} ${good - 1}${ours < 2 ? ' may be old' : ''}`;
}

test('several spares', async (t) => {
  const two = (a: string, b: string): string => summary(decide([spare(a, 'A'), spare(b, 'B')]));
  t.equal(two('nnnnn', 'nnnnn'), '10 ggggg ggggg 4');
  t.equal(two('nnnnn', 'ooooo'), '10 ggggg sssss 0', 'the commit reached one spare only');
  t.equal(two('nnnnn', 'nnrrr'), '10 ggggg ggddd 1', 'the worst spare counts');
  t.equal(two('nrrrr', 'nnnnn'), '10 gdddd ggggg 0', 'one spare that can be read is enough');
  t.equal(two('nrrrr', 'orrrr'), '10 gdddd sdddd 0 may be old');
  t.equal(two('nnnnn', 'NNNNN'), 'fork');
  t.same(decide([spare('nnnnn', 'A'), spare('fffff')]), { state: 'foreign', spareIndex: 1 });
  t.same(decide([spare('nnnnn', 'A'), spare('rrrrr')]), { state: 'lost', spareIndex: 1 });
  t.same(decide([spare('nnnnn', 'A'), spare('bbbbb')]), { state: 'absent', spareIndex: 1 });
});

test('a copy of another spare of the same volume is misplaced', async (t) => {
  const copies = spare('nnnnn', 'A');
  copies[3] = spare('n', 'B')[0] as CopyObservation;
  t.equal(summary(decide([copies])), '10 gggmg 3');
});

test('repairs: everything that is not good, what may not take the write last', async (t) => {
  const verdict = decide([spare('xnrot', 'A'), spare('nnnnm', 'B')]);
  if (verdict.state !== 'ok') throw new Error(verdict.state);
  t.strictSame(repairOrder(verdict), [
    { spareIndex: 0, copyIndex: 2 },
    { spareIndex: 0, copyIndex: 3 },
    { spareIndex: 0, copyIndex: 4 },
    { spareIndex: 1, copyIndex: 4 },
    { spareIndex: 0, copyIndex: 0 },
  ]);
});
