import assert from 'node:assert/strict';
import type { VmCase } from '../../case.js';
import type { Vm } from '../../vm.js';

const connected = (vm: Vm) =>
  vm.remapctl.statusWhen(({ client }) => client.connected, 'QEMU has come back');

async function restart(vm: Vm): Promise<void> {
  await vm.stopBackEnd();
  await vm.startBackEnd();
  await connected(vm);
}

export const vmCase: VmCase = {
  inSuite: [],
  title: 'the back-end is stopped and started while the device is stopped',
  mainMiB: 64,
  spareMiB: 16,
  // With -S nothing has run yet: QEMU 7.2 comes back without a handshake.
  qemuOptions: ['-S'],
  started: async (vm) => {
    const qmp = await vm.qmp;
    await connected(vm);
    await restart(vm);
    await qmp.run('cont');
  },
  steps: {
    'which-qemu': async (vm) => {
      const version = (await (await vm.qmp).run('query-version')) as { qemu: { major: number } };
      return String(version.qemu.major);
    },
    'expect-queues': async (vm, count) => {
      await vm.remapctl.statusWhen(
        ({ client }) => client.queues === Number(count),
        `${count} queues are started`,
      );
    },
    restart,
  },
  verify: async (vm) => {
    const { io } = await vm.remapctl.status();
    assert.equal(io.errors, 0, 'the guest saw no error');
    assert.equal(io.malformed, 0, 'every request was well formed');
  },
};
