/** What the cases that boot from the disk have in common. */
import assert from 'node:assert/strict';
import { type BootDisk, makeBootDisk } from './boot-disk.js';
import type { VmCase } from './case.js';
import type { Firmware } from './firmware.js';
import { negotiatedFeatures } from './virtio.js';
import type { Vm } from './vm.js';

export interface BootCase extends Omit<VmCase, 'title'> {
  readonly fill: (vm: Vm) => BootDisk;
}

/** `flushes`: what the firmware's driver agrees on; without, each write must be durable at once. */
export function bootCase(firmware: Firmware, flushes: boolean): BootCase {
  let disk: BootDisk | undefined;
  return {
    mainMiB: 64,
    spareMiB: 16,
    needs: ['boot-loaders'],
    firmware,
    fill: (vm) => {
      disk = makeBootDisk(vm.mainPath);
      return disk;
    },
    steps: {
      firmware: async (vm) => {
        const { io, client } = await vm.remapctl.status();
        assert.ok(io.reads > 0, 'the firmware has read');
        assert.ok(client.connected, 'QEMU is connected');
        assert.equal(client.writeThrough, !flushes, 'the back-end writes as was agreed');
        const features = await negotiatedFeatures(vm);
        assert.equal(features.includes('FLUSH'), flushes, `FLUSH in ${features}`);
      },
      token: async () => disk?.token,
    },
    verify: async (vm) => {
      const { io } = await vm.remapctl.status();
      assert.deepEqual([io.errors, io.malformed], [0, 0], 'every request was answered well');
    },
  };
}
