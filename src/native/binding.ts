/**
 * The typed face of the addon, and the only place that loads it. Native trusts its arguments:
 * everything is checked on this side before a call.
 *
 * A failed native call throws (or rejects with) an Error whose `code` is the errno's name
 * ("ENOENT") and whose `syscall` is the step that failed ("open", "lock", "read", ...).
 */
import { createRequire } from 'node:module';
import { RemapError } from '../core/errors.js';
import { checkAbi } from './abi.js';

export type FaultKind = 'read-error' | 'write-error' | 'slow';

export interface FaultRule {
  readonly id: number;
  readonly kind: FaultKind;
  /** First sector of the device, and how many. */
  readonly lba: number;
  readonly count: number;
  /** I/Os left to hit; 0 for ever. */
  readonly times: number;
  readonly delayMs: number;
  /** Positive; what an I/O fails with. */
  readonly errno: number;
  /** Of a million I/Os that meet the rule, how many it hits. */
  readonly perMillion: number;
  readonly hits: number;
}

export interface NativeDevice {
  readonly path: string;
  readonly sizeBytes: number;
  readonly logicalBlockSize: number;
  readonly isBlockDevice: boolean;
  readonly isNull: boolean;
  /** O_DIRECT is in use. */
  readonly direct: boolean;
  readonly readOnly: boolean;
  /** Offsets and lengths are multiples of 512; runs on the thread pool. */
  read(buffer: Uint8Array, offset: number): Promise<void>;
  write(buffer: Uint8Array, offset: number): Promise<void>;
  flush(): Promise<void>;
  /** Bytes it has now. What I/O may reach grows with it; `sizeBytes` stays that of the opening. */
  remeasure(): number;
  /** For one opened without `exclusive`: the lock it left out, until `release`. Throws as open. */
  acquire(): void;
  release(): void;
  /** Releases the lock and the descriptor once no back-end uses the device any more. */
  close(): void;
  /** Returns the rule's id, or 0 when the table is full. */
  addFault(rule: Omit<FaultRule, 'id' | 'hits'>): number;
  listFaults(): FaultRule[];
  /** Removes one rule, or all without an id; returns how many went. */
  clearFaults(id?: number): number;
}

export interface NativeBackendOptions {
  /** Exactly one of the three: where we listen, where the front-end listens, or a socket. */
  readonly socketPath?: string;
  readonly connectPath?: string;
  readonly fd?: number;
  /** Main first, then the spares in the order of their index. */
  readonly devices: readonly NativeDevice[];
  readonly capacitySectors: number;
  readonly logicalBlockSize: number;
  readonly numQueues: number;
  /** Threads that serve queues; 0 lets native choose. */
  readonly workers: number;
  readonly readOnly: boolean;
  /** Rings run only on a claim that was granted. */
  readonly sharedStorage: boolean;
  /** At most 20 bytes of ASCII. */
  readonly serial: string;
  /** Called on the main thread when events wait; `drain` them. */
  readonly onEvents: () => void;
}

export interface NativeBackend {
  /**
   * Binds or adopts the socket, or begins to connect; throws EADDRINUSE when somebody listens
   * there.
   */
  listen(): void;
  /** Stops taking requests, drains, publishes, closes the connection; ends with event kStopped. */
  stop(): void;
  /** CommandRecords, 64 bytes each. */
  submit(records: Uint8Array): void;
  /** IndexRecords, 32 bytes each, applied in order; throws ERANGE and changes nothing if bad. */
  publish(records: Uint8Array): void;
  /** Sectors the volume has from now on; throws ERANGE when main or the index has no room. */
  setCapacity(sectors: number): void;
  /** Answers event kClaim. Rings start when it is granted; a denial may be followed by a grant. */
  answerClaim(claim: bigint, granted: boolean): void;
  /** Fills `into` with EventRecords of 128 bytes; returns how many. */
  drain(into: Uint8Array): number;
  /** numQueues QueueCounters of 256 bytes, live. */
  readonly counters: ArrayBuffer;
  readonly engine: string;
  readonly workers: number;
  indexExtents(): number;
  indexBytes(): number;
  /** Some device has failed a flush. */
  readonly flushFailed: boolean;
  /** The front-end will ask for no flush, so that each write must be durable by itself. */
  readonly writeThrough: boolean;
  /** Joins all threads; after kStopped only. */
  destroy(): void;
}

export interface NativeModule {
  readonly abi: Readonly<Record<string, number>>;
  /** Never blocks for long; throws. `exclusive` as in native/device.h. */
  openDevice(path: string, options: { readOnly: boolean; exclusive: boolean }): NativeDevice;
  createBackend(options: NativeBackendOptions): NativeBackend;
}

let loaded: NativeModule | undefined;

/** Loads the addon on first use and compares its record layout with ours. Throws NATIVE. */
export function native(): NativeModule {
  loaded ??= load();
  return loaded;
}

function load(): NativeModule {
  let addon: NativeModule;
  try {
    addon = createRequire(import.meta.url)('../../../native/build/remap.node') as NativeModule;
  } catch (cause) {
    const why = cause instanceof Error ? cause.message.split('\n')[0] : String(cause);
    const message = `The addon could not be loaded (${why}); run "npm run build".`;
    throw new RemapError('NATIVE', message, { cause });
  }
  checkAbi(addon.abi);
  return addon;
}
