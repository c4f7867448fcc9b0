import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { VolumeStatus } from '../../../src/protocol/messages.js';
import type { VmCase } from '../../case.js';
import { randomSectors, slowSectors } from '../../faults.js';
import { rounds, roundsTimeoutMs } from '../../rounds.js';

const STOPS = rounds(5);
/** fio works on the first 16 MiB. */
const AREA_SECTORS = 32768;

const queuesAre = (count: number) => (status: VolumeStatus) => status.client.queues === count;

let inFlightAtStops: number[] = [];

export const vmCase: VmCase = {
  inSuite: [],
  title: 'stop and cont of the machine under load; a stopped one has nothing in flight',
  mainMiB: 64,
  spareMiB: 16,
  vcpus: 2,
  timeoutMs: roundsTimeoutMs(STOPS),
  prepare: async (vm) => {
    inFlightAtStops = [];
    await slowSectors(vm, randomSectors(16, AREA_SECTORS - 256), 256, 30);
  },
  steps: {
    stops: async () => String(STOPS),
    'stop-and-cont': async (vm) => {
      const qmp = await vm.qmp;
      const running = await vm.remapctl.statusWhen(
        ({ io }) => io.inFlight > 0,
        'the guest does I/O',
      );
      inFlightAtStops.push(running.io.inFlight);
      await qmp.run('stop');
      const stopped = await vm.remapctl.statusWhen(queuesAre(0), 'no queue is started');
      assert.ok(stopped.client.connected, 'the front-end is there');
      assert.equal(stopped.io.inFlight, 0, 'nothing is in flight');
      await sleep(100);
      const later = await vm.remapctl.status();
      assert.deepEqual(later.io, stopped.io, 'a stopped machine does no I/O');
      await qmp.run('cont');
      await vm.remapctl.statusWhen(queuesAre(2), 'both queues are started again');
      await sleep(Math.random() * 300);
    },
  },
  verify: async (vm) => {
    const { io } = await vm.remapctl.status();
    assert.equal(io.errors, 0, 'the guest saw no error');
    return `${STOPS} stops, up to ${Math.max(...inFlightAtStops)} requests in flight`;
  },
};
