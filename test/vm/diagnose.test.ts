import t from 'tap';
import { diagnose } from '../../vm/diagnose.js';

t.test('what QEMU and back-ends say becomes a sentence that helps', (t) => {
  t.match(
    diagnose('{"level":50,"msg":"guest memory not shared: use memory-backend-memfd,share=on"}'),
    { kind: 'memory-not-shared', sentence: /-object memory-backend-memfd.*share=on/ },
  );
  t.match(
    diagnose(
      'qemu-system-x86_64: -device vhost-user-blk-pci,chardev=disk: Reconnecting after error: ' +
        'The maximum number of queues supported by the backend is 1',
    ),
    { kind: 'too-few-queues', sentence: /offers 1 queue.*--num-queues.*num-queues=1/ },
  );
  t.equal(diagnose('{"level":30,"msg":"ready"}'), undefined);
  t.equal(diagnose('qemu-system-x86_64: Failed to set msg fds.'), undefined);
  t.end();
});
