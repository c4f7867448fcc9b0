import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import type { VmCase } from '../../case.js';
import { rounds, roundsTimeoutMs } from '../../rounds.js';
import type { Vm } from '../../vm.js';

const ROUNDS = rounds(3);
/** What the back-end has open after each round. */
let open: { fds: number; threads: number }[] = [];

export const vmCase: VmCase = {
  title: 'the disk is plugged in and pulled out while the guest runs',
  mainMiB: 64,
  spareMiB: 16,
  diskless: true,
  timeoutMs: roundsTimeoutMs(ROUNDS),
  qemuOptions: ['-device', 'pcie-root-port,id=root1,chassis=1'],
  prepare: async () => {
    open = [];
  },
  steps: {
    rounds: async () => String(ROUNDS),
    plug: async (vm) => {
      const qmp = await vm.qmp;
      const addr = { type: 'unix', data: { path: vm.socketPath } };
      await qmp.run('chardev-add', {
        id: 'disk',
        backend: { type: 'socket', data: { addr, server: false, reconnect: 1 } },
      });
      await qmp.run('device_add', {
        driver: 'vhost-user-blk-pci',
        id: 'blk',
        chardev: 'disk',
        bus: 'root1',
      });
    },
    unplug: async (vm) => {
      const qmp = await vm.qmp;
      const gone = qmp.next('DEVICE_DELETED', ({ data }) => data?.device === 'blk');
      await qmp.run('device_del', { id: 'blk' });
      await gone;
      await qmp.run('chardev-remove', { id: 'disk' });
      await disconnected(vm);
      open.push(resources(vm.backEndPid));
    },
  },
  verify: async (vm) => {
    assert.equal(open.length, ROUNDS);
    const [first] = open;
    for (const found of open) assert.deepEqual(found, first, 'what the back-end has open is flat');
    const { io } = await vm.remapctl.status();
    assert.equal(io.malformed, 0, 'every request was well formed');
  },
};

/** The back-end learns of it by the end of the connection, with every request answered. */
async function disconnected(vm: Vm): Promise<void> {
  const { io } = await vm.remapctl.statusWhen(({ client }) => !client.connected, 'QEMU has left');
  assert.equal(io.inFlight, 0, 'nothing is in flight');
}

/** The control connection that a status leaves may still be closing: it is no part of a guest. */
function resources(pid: number): { fds: number; threads: number } {
  return {
    fds: readdirSync(`/proc/${pid}/fd`).length,
    threads: readdirSync(`/proc/${pid}/task`).length,
  };
}
