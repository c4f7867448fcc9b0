import t from 'tap';
import { qemuArguments } from '../../vm/qemu.js';

const options = {
  accelerator: 'tcg' as const,
  vcpus: 2,
  memoryMiB: 512,
  sharedMemory: true,
  script: '/a/guest.sh',
  console: '/a/console.log',
  socketPath: '/a/disk.sock',
};

t.test('the disk reconnects by itself and the memory is shared', (t) => {
  const line = qemuArguments(options).join(' ');
  t.match(line, /-machine q35,memory-backend=mem /);
  t.match(line, /memory-backend-memfd,id=mem,size=512M,share=on/);
  t.match(line, /socket,id=disk,path=\/a\/disk\.sock,reconnect=1/);
  t.match(line, /-smp 2 /);
  t.end();
});

t.test('without shared memory, and without a disk', (t) => {
  const { socketPath: _, ...diskless } = { ...options, sharedMemory: false };
  const line = qemuArguments(diskless).join(' ');
  t.notMatch(line, /share=on|memory-backend|vhost-user/);
  t.end();
});
