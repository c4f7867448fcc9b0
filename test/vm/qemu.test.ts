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

t.test('firmware boots from the disk, and nothing else does', (t) => {
  const seabios = qemuArguments({ ...options, firmware: 'seabios' }).join(' ');
  t.match(seabios, /vhost-user-blk-pci,chardev=disk,bootindex=0/);
  t.notMatch(seabios, /-kernel|-initrd|-append|-bios/);
  const ovmf = qemuArguments({ ...options, firmware: 'ovmf' }).join(' ');
  t.match(ovmf, /-bios \S+\/OVMF\.fd/);
  t.match(ovmf, /bootindex=0,disable-legacy=on/);
  t.match(ovmf, /-serial file:\/a\/console\.log -serial stdio/);
  t.notMatch(ovmf, /-kernel/);
  const uBoot = qemuArguments({ ...options, firmware: 'u-boot', script: undefined }).join(' ');
  t.match(uBoot, /-machine pc,memory-backend=mem /);
  t.match(uBoot, /-serial stdio -serial file:\/a\/console\.log/);
  t.notMatch(uBoot, /-kernel|opt\/case/);
  t.end();
});
