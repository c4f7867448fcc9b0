import { type DeviceSystem, systemDevices } from '../device/device-system.js';
import { type NativeModule, native } from '../native/binding.js';

/** What a volume runs on: the devices and the data plane of this machine, or simulated ones. */
export interface VolumeSystem extends DeviceSystem {
  readonly createBackend: NativeModule['createBackend'];
}

export const realSystem: VolumeSystem = {
  ...systemDevices,
  createBackend: (options) => native().createBackend(options),
};
