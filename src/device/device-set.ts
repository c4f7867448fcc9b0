/** The main device of a volume and its spares, opened together and held. */
import { RemapError } from '../core/errors.js';
import { type DeviceSystem, systemDevices } from './device-system.js';
import { FileDevice } from './file-device.js';

export interface DeviceSet {
  readonly main: FileDevice;
  readonly spares: readonly FileDevice[];
  /** Locks all or none. For devices opened without `exclusive`. Throws as `FileDevice.acquire`. */
  acquire(): void;
  release(): void;
  close(): Promise<void>;
}

export interface DeviceSetOptions {
  readonly mainPath: string;
  readonly sparePaths: readonly string[];
  readonly readOnly: boolean;
  /** By default true. */
  readonly exclusive?: boolean;
}

/** A main without storage, for measurements. */
export const isNullPath = (path: string): boolean => path.startsWith('null:');

/**
 * Opens all or none. Throws SAME_DEVICE when two paths lead to one device, DEVICE_OPEN,
 * DEVICE_BUSY, and USAGE for a null device with spares or as a spare.
 */
export async function openDevices(
  options: DeviceSetOptions,
  system: DeviceSystem = systemDevices,
): Promise<DeviceSet> {
  const { mainPath, sparePaths, readOnly, exclusive = true } = options;
  checkNull(mainPath, sparePaths);
  await checkDistinct(
    [mainPath, ...sparePaths].filter((path) => !isNullPath(path)),
    system,
  );
  const opened: FileDevice[] = [];
  const close = async (): Promise<void> => {
    for (const device of opened) await device.close();
  };
  try {
    for (const path of [mainPath, ...sparePaths]) {
      opened.push(FileDevice.open(path, { readOnly, exclusive }, system));
    }
  } catch (e) {
    await close();
    throw e;
  }
  const [main, ...spares] = opened as [FileDevice, ...FileDevice[]];
  const release = (): void => {
    for (const device of opened) device.release();
  };
  const acquire = (): void => {
    try {
      for (const device of opened) device.acquire();
    } catch (e) {
      release();
      throw e;
    }
  };
  return { main, spares, acquire, release, close };
}

function checkNull(mainPath: string, sparePaths: readonly string[]): void {
  if (sparePaths.some(isNullPath) || (isNullPath(mainPath) && sparePaths.length > 0)) {
    throw new RemapError(
      'USAGE',
      'A null device keeps no data, so it is no spare and has none; name a file or a block device.',
    );
  }
}

async function checkDistinct(paths: readonly string[], system: DeviceSystem): Promise<void> {
  const seen = new Map<string, string>();
  for (const path of paths) {
    // What cannot be looked up is told better by the open that follows.
    const key = await system.nodeKey(path).catch(() => path);
    const other = seen.get(key);
    if (other !== undefined) {
      const message =
        other === path
          ? `${path} is named twice; main and every spare must be devices of their own.`
          : `${path} and ${other} are the same device; main and every spare must be their own.`;
      throw new RemapError('SAME_DEVICE', message, { context: { device: path } });
    }
    seen.set(key, path);
  }
}
