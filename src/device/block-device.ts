import type { SectorCount } from '../core/units.js';

/**
 * What the control plane needs of a device. The real one is `file-device.ts`; the simulated one
 * of the tests implements this same interface.
 *
 * Offsets and lengths are bytes and multiples of 512. Buffers need no alignment. Every error is a
 * RemapError `DEVICE_IO` with device, LBA and errno in its context.
 */
export interface BlockDevice {
  /** As the user named it. */
  readonly path: string;
  readonly sizeSectors: SectorCount;
  /** 512 or 4096: the smallest write the device takes. */
  readonly logicalBlockSize: number;
  readonly readOnly: boolean;
  /** Fills `buffer`, past any cache where the device allows it (O_DIRECT). */
  read(buffer: Buffer, offset: number): Promise<void>;
  /** Not durable before the next `flush` resolves. */
  write(buffer: Buffer, offset: number): Promise<void>;
  flush(): Promise<void>;
  close(): Promise<void>;
}
