import { type ErrorContext, RemapError } from '../core/errors.js';
import {
  LOCK_LINGER_MS,
  LOCK_LINGER_RETRY_MS,
  LOCK_RETRY_MS,
  LOCK_WAIT_MS,
} from '../core/limits.js';
import { SECTOR_SIZE, type SectorCount, sectorCount } from '../core/units.js';
import type { NativeDevice } from '../native/binding.js';
import type { BlockDevice } from './block-device.js';
import { type DeviceSystem, systemDevices } from './device-system.js';
import { hasLivingHolder } from './holders.js';
import type { DeviceIdentity } from './identity.js';

export interface OpenDeviceOptions {
  readonly readOnly: boolean;
  /** Refuse what another process holds. Without it nothing may be changed before `acquire`. */
  readonly exclusive: boolean;
}

/** A main or a spare: a file, a block device, or `null:SIZE`, opened once and held. */
export class FileDevice implements BlockDevice {
  /** What the data plane is given. */
  readonly native: NativeDevice;
  /** Where it comes from. */
  readonly system: DeviceSystem;
  #sizeSectors: SectorCount;

  private constructor(device: NativeDevice, system: DeviceSystem) {
    this.native = device;
    this.system = system;
    this.#sizeSectors = sectorsOf(device.sizeBytes);
  }

  /**
   * Throws DEVICE_OPEN, or DEVICE_BUSY when somebody else holds it and goes on to. What a killed
   * process held is free only when the last of its I/O has ended: until then it could still write.
   */
  static open(
    path: string,
    options: OpenDeviceOptions,
    system: DeviceSystem = systemDevices,
  ): FileDevice {
    const begunMs = performance.now();
    for (;;) {
      try {
        return new FileDevice(system.openDevice(path, options), system);
      } catch (cause) {
        if (cause instanceof RemapError) throw cause;
        const error = openError(path, options, cause);
        const waitedMs = performance.now() - begunMs;
        if (error.code !== 'DEVICE_BUSY' || waitedMs > LOCK_LINGER_MS) throw error;
        if (waitedMs > LOCK_WAIT_MS && hasLivingHolder(path)) throw error;
        // Waiting is all there is to do, at start and nowhere else.
        const pauseMs = waitedMs > LOCK_WAIT_MS ? LOCK_LINGER_RETRY_MS : LOCK_RETRY_MS;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
      }
    }
  }

  /**
   * Locks a device that was opened without `exclusive`. Throws DEVICE_BUSY, at once, or DEVICE_OPEN
   * when the path leads to another device by now.
   */
  acquire(): void {
    try {
      this.native.acquire();
    } catch (cause) {
      throw openError(this.path, this, cause);
    }
  }

  release(): void {
    this.native.release();
  }

  get path(): string {
    return this.native.path;
  }

  /** Grows by `remeasure` and never shrinks. */
  get sizeSectors(): SectorCount {
    return this.#sizeSectors;
  }

  /** How large it is at this moment. Throws DEVICE_IO. */
  remeasure(): SectorCount {
    let now: SectorCount;
    try {
      now = sectorsOf(this.native.remeasure());
    } catch (cause) {
      throw ioError(this.path, 'size', undefined, 0, cause);
    }
    if (now > this.#sizeSectors) this.#sizeSectors = now;
    return now;
  }

  get logicalBlockSize(): number {
    return this.native.logicalBlockSize;
  }

  get readOnly(): boolean {
    return this.native.readOnly;
  }

  identify(): Promise<DeviceIdentity> {
    return this.system.identify(this.path, this.#sizeSectors);
  }

  get isBlockDevice(): boolean {
    return this.native.isBlockDevice;
  }

  get isNull(): boolean {
    return this.native.isNull;
  }

  async read(buffer: Buffer, offset: number): Promise<void> {
    await this.#io('read', offset, buffer.length, () => this.native.read(buffer, offset));
  }

  async write(buffer: Buffer, offset: number): Promise<void> {
    await this.#io('write', offset, buffer.length, () => this.native.write(buffer, offset));
  }

  async flush(): Promise<void> {
    await this.#io('flush', undefined, 0, () => this.native.flush());
  }

  async close(): Promise<void> {
    this.native.close();
  }

  async #io(
    operation: string,
    offset: number | undefined,
    length: number,
    run: () => Promise<void>,
  ): Promise<void> {
    try {
      await run();
    } catch (cause) {
      throw ioError(this.path, operation, offset, length, cause);
    }
  }
}

const sectorsOf = (bytes: number): SectorCount => sectorCount(Math.floor(bytes / SECTOR_SIZE));

const errnoOf = (cause: unknown): string => {
  const code = (cause as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : 'unknown error';
};

/** What to do about an open that failed, by errno. */
const OPEN_ADVICE: Readonly<Record<string, string>> = {
  ENOENT: 'there is nothing at this path; check it',
  ENOTDIR: 'a part of the path is not a directory; check it',
  EACCES: 'you may not open it; give this user read and write permission, or run as its owner',
  EPERM: 'you may not open it; give this user read and write permission, or run as its owner',
  EROFS: 'it takes no writes; use --read-only, or make it writable',
  EISDIR: 'it is a directory; name a file or a block device',
  ENOTBLK: 'it is neither a file nor a block device; name one of these',
  ENXIO: 'the device is not there any more; check its cable and its driver',
  ENODEV: 'the device is not there any more; check its cable and its driver',
  ESTALE: 'another device stands there since it was opened; bring it back, or restart',
  EMFILE: 'too many files are open; raise the limit (ulimit -n)',
  ENFILE: 'too many files are open on this machine',
};

function openError(
  path: string,
  options: Pick<OpenDeviceOptions, 'readOnly'>,
  cause: unknown,
): RemapError {
  const errno = errnoOf(cause);
  const step = (cause as { syscall?: string }).syscall;
  const context: ErrorContext = { device: path, operation: step ?? 'open', errno };
  if (step === 'lock' || errno === 'EBUSY') {
    return new RemapError(
      'DEVICE_BUSY',
      `${path} is held by another process; stop what uses it ` +
        `(a virtual machine, a mount, another ${options.readOnly ? 'writer' : 'back-end'}) ` +
        'and try again.',
      { context, cause },
    );
  }
  const advice =
    step === 'size'
      ? 'its size cannot be told; name a file, a block device or null:SIZE'
      : (OPEN_ADVICE[errno] ?? `the system says ${errno}; look into the kernel log`);
  return new RemapError('DEVICE_OPEN', `Cannot open ${path}: ${advice}.`, { context, cause });
}

/** What to do about an I/O that failed, by errno. */
const IO_ADVICE: Readonly<Record<string, string>> = {
  EIO: 'the medium is failing there; replace the device soon',
  ENOSPC: 'the file system below it is full; free some space',
  EDQUOT: 'the quota below it is used up; free some space',
  ENXIO: 'the device has gone or has become shorter; check its cable and its driver',
  ENODEV: 'the device has gone; check its cable and its driver',
  EROFS: 'it takes no writes; make it writable',
  EINVAL: 'the range does not fit the device; this is a fault of this program, please report it',
};

function ioError(
  path: string,
  operation: string,
  offset: number | undefined,
  length: number,
  cause: unknown,
): RemapError {
  const errno = errnoOf(cause);
  const where =
    offset === undefined
      ? {}
      : { lba: Math.floor(offset / SECTOR_SIZE), count: Math.ceil(length / SECTOR_SIZE) };
  const at = where.lba === undefined ? '' : ` at sector ${where.lba} (${where.count} sectors)`;
  const advice = IO_ADVICE[errno] ?? 'look into the kernel log';
  return new RemapError(
    'DEVICE_IO',
    `${path}: ${operation} failed${at} with ${errno}: ${advice}.`,
    { context: { device: path, operation, errno, ...where }, cause },
  );
}
