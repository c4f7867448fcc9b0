import { randomUUID } from 'node:crypto';
import { realpath } from 'node:fs/promises';
import { type NativeModule, native } from '../native/binding.js';
import { type DeviceIdentity, identify, nodeKey } from './identity.js';

/** Where devices come from, and who they are: this machine, or a simulated one. */
export interface DeviceSystem {
  readonly openDevice: NativeModule['openDevice'];
  /** As `identify` of identity.ts. */
  identify(path: string, sizeSectors: number): Promise<DeviceIdentity>;
  /** As `nodeKey` of identity.ts. */
  nodeKey(path: string): Promise<string>;
  /** Without links, or as it is when it leads nowhere. */
  fullPath(path: string): Promise<string>;
  newUuid(): string;
}

export const systemDevices: DeviceSystem = {
  openDevice: (path, options) => native().openDevice(path, options),
  identify,
  nodeKey,
  fullPath: (path) => realpath(path).catch(() => path),
  newUuid: randomUUID,
};
