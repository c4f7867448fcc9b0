import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
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
      open.push(await settled(vm.backEndPid));
    },
  },
  verify: async (vm) => {
    assert.equal(open.length, ROUNDS);
    for (const found of open) assert.ok(isFlat(found), `open after each round: ${said(open)}`);
    const { io } = await vm.remapctl.status();
    assert.equal(io.malformed, 0, 'every request was well formed');
  },
};

/** The back-end learns of it by the end of the connection, with every request answered. */
async function disconnected(vm: Vm): Promise<void> {
  const { io } = await vm.remapctl.statusWhen(({ client }) => !client.connected, 'QEMU has left');
  assert.equal(io.inFlight, 0, 'nothing is in flight');
}

const SETTLED_MS = 10_000;

const said = (list: typeof open): string =>
  list.map(({ fds, threads }) => `${fds} descriptors, ${threads} threads`).join('; ');

const isFlat = (found: (typeof open)[number]): boolean =>
  found.fds <= (open[0]?.fds ?? found.fds) && found.threads <= (open[0]?.threads ?? found.threads);

/** The control connection that a status leaves may still be closing: it is no part of a guest. */
async function settled(pid: number): Promise<(typeof open)[number]> {
  const deadline = performance.now() + SETTLED_MS;
  for (;;) {
    const found = resources(pid);
    if (isFlat(found) || performance.now() > deadline) return found;
    await sleep(10);
  }
}

/** The kernel's own workers of io_uring come and go, and are left out. */
function resources(pid: number): { fds: number; threads: number } {
  const threads = readdirSync(`/proc/${pid}/task`).map((task) => threadName(pid, task));
  return {
    fds: readdirSync(`/proc/${pid}/fd`).length,
    threads: threads.filter((name) => name !== '' && !name.startsWith('iou-')).length,
  };
}

/** Empty for one that is gone. */
function threadName(pid: number, task: string): string {
  try {
    return readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8');
  } catch {
    return '';
  }
}
