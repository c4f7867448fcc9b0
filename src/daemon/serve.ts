import { fstatSync } from 'node:fs';
import { ControlServer } from '../control/server.js';
import { checkSocketPathLength, probeSocketPath } from '../control/socket-path.js';
import { usageError } from '../core/command-line.js';
import type { Logger } from '../core/log.js';
import type { VolumeControl } from '../protocol/volume-control.js';
import type { DaemonOptions } from './options.js';
import { SUPERVISED } from './service.js';
import type { Shutdown } from './shutdown.js';

/** What the program needs of a volume besides its administration. */
export interface ServedVolume extends VolumeControl {
  /** Starts to accept a front-end. */
  listen(): void;
  /** Resolves when the front-end of a connected --fd socket has left. */
  readonly ended: Promise<void>;
  /** Drains, makes everything durable, closes devices and socket. */
  stop(): Promise<void>;
}

export type OpenVolume = (options: DaemonOptions, log: Logger) => Promise<ServedVolume>;

/**
 * Serves one volume until a signal comes or its only front-end leaves. What can be refused without
 * opening a device is refused first; on any error whatever was opened is closed again.
 */
export async function serve(
  options: DaemonOptions,
  log: Logger,
  shutdown: Pick<Shutdown, 'requested' | 'isRequested'>,
  openVolume: OpenVolume,
): Promise<void> {
  await checkSocket(options);
  const controlPath = options['control-socket'];
  const control =
    controlPath === undefined ? undefined : await ControlServer.listen(controlPath, log);
  try {
    const volume = await openVolume(options, log);
    try {
      control?.attach(volume);
      if (!shutdown.isRequested) {
        volume.listen();
        announce(options, volume, log);
        const reason = await Promise.race([shutdown.requested, volume.ended]);
        if (reason === undefined) log.info('the only front-end left, stopping');
      }
    } finally {
      await volume.stop();
    }
    log.info('stopped');
  } finally {
    await control?.close();
  }
}

function announce(options: DaemonOptions, volume: ServedVolume, log: Logger): void {
  const { uuid, sizeSectors, state, engine } = volume.status();
  log.info(
    {
      socket: options['socket-path'] ?? options.connect ?? `fd ${options.fd}`,
      control: options['control-socket'],
      volume: uuid,
      sectors: sizeSectors,
      state,
      engine: engine.name,
      workers: engine.workers,
    },
    // The supervisor says "ready" when all are.
    process.env[SUPERVISED] === undefined ? 'ready' : 'serving',
  );
}

async function checkSocket(options: DaemonOptions): Promise<void> {
  const path = options['socket-path'];
  if (path !== undefined) {
    await probeSocketPath(path, '--socket-path');
    return;
  }
  if (options.connect !== undefined) {
    checkSocketPathLength(options.connect, '--connect');
    return;
  }
  const fd = options.fd ?? -1;
  if (isSocket(fd)) return;
  throw usageError(`--fd=${fd} is not an open socket; pass one to this process, or --socket-path`);
}

function isSocket(fd: number): boolean {
  try {
    return fstatSync(fd).isSocket();
  } catch {
    return false;
  }
}
