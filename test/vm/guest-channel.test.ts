import t from 'tap';
import { answerLine, parseGuestLine } from '../../vm/guest-channel.js';

t.test('lines of the guest', (t) => {
  t.same(parseGuestLine('@@booted 6.1.0, 2 CPU\r'), { kind: 'booted', text: '6.1.0, 2 CPU' });
  t.same(parseGuestLine('@@step write files'), { kind: 'step', text: 'write files' });
  t.same(parseGuestLine('@@host kill'), { kind: 'host', name: 'kill', args: [] });
  t.same(parseGuestLine('@@host expect a  b'), { kind: 'host', name: 'expect', args: ['a', 'b'] });
  t.same(parseGuestLine('@@fail no disk'), { kind: 'fail', text: 'no disk' });
  t.same(parseGuestLine('@@exit 0'), { kind: 'exit', code: 0 });
  t.same(parseGuestLine('@@exit 137'), { kind: 'exit', code: 137 });
  t.same(parseGuestLine('fio: @@exit 0'), { kind: 'output', text: 'fio: @@exit 0' });
  t.same(parseGuestLine('@@unknown x'), { kind: 'output', text: '@@unknown x' });
  t.end();
});

t.test('an answer is one line', (t) => {
  t.equal(answerLine(true, ''), 'ok');
  t.equal(answerLine(false, 'not\nso  good'), 'fail not so good');
  t.end();
});
