import { HUNG_IO_SECONDS, STORM_ALLOWANCE_BLOCKS } from '../core/limits.js';

/** What is done about errors, where there is a choice. */
export interface VolumePolicy {
  /** Blocks of main that are believed bad on their own word. */
  readonly stormAllowanceBlocks: number;
  /** An I/O that has not returned for so long raises an alarm; 0 for none. */
  readonly hungIoSeconds: number;
}

export const DEFAULT_POLICY: VolumePolicy = {
  stormAllowanceBlocks: STORM_ALLOWANCE_BLOCKS,
  hungIoSeconds: HUNG_IO_SECONDS,
};

/** What a volume is opened with; the program's options, checked and typed. */
export interface VolumeOptions {
  /** A file, a block device, or `null:SIZE` without spares. */
  readonly mainPath: string;
  /** Up to 8, in any order. */
  readonly sparePaths: readonly string[];
  /** Format blank spares for this main first. */
  readonly create: boolean;
  readonly readOnly: boolean;
  /** Hold the devices only while rings run: another back-end has the same volume. */
  readonly sharedStorage?: boolean | undefined;
  readonly numQueues: number;
  /** Threads that serve queues; 0 for as many as fit. */
  readonly workers: number;
  /** Up to 20 bytes of ASCII; made of the volume's UUID by default. */
  readonly serial?: string | undefined;
  /** 512 or 4096; by default as recorded, or what the devices need. */
  readonly logicalBlockSize?: number | undefined;
  /** One of the three: where we listen, where the front-end listens, or a socket. */
  readonly socketPath?: string | undefined;
  readonly connectPath?: string | undefined;
  readonly fd?: number | undefined;
  /** By default as recorded, or the file name of main. */
  readonly name?: string | undefined;
  readonly allowFaultInjection: boolean;
  /** Between two scrubs of the metadata; 0 for none. */
  readonly metadataScrubSeconds: number;
  /** What is not said is as in `DEFAULT_POLICY`. */
  readonly policy?: Partial<VolumePolicy>;
}
