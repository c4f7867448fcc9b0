import { systemClock } from '../core/clock.js';
import type { Logger } from '../core/log.js';
import { Volume } from '../volume/volume.js';
import type { DaemonOptions } from './options.js';

/** The volume that the command line asks for; it does not listen yet. */
export const openVolume = (options: DaemonOptions, logger: Logger): Promise<Volume> =>
  Volume.open(
    {
      mainPath: options['blk-file'],
      sparePaths: options.spare,
      create: options.create,
      readOnly: options['read-only'],
      sharedStorage: options['shared-storage'],
      numQueues: options['num-queues'],
      workers: options.workers,
      serial: options.serial,
      logicalBlockSize: options['logical-block-size'],
      socketPath: options['socket-path'],
      connectPath: options.connect,
      fd: options.fd,
      name: options.name,
      allowFaultInjection: options['allow-fault-injection'],
      metadataScrubSeconds: options['metadata-scrub-seconds'],
      policy: {
        stormAllowanceBlocks: options['storm-allowance'],
        hungIoSeconds: options['hung-io-seconds'],
      },
    },
    { logger, clock: systemClock },
  );
