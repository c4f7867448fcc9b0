import { constants } from 'node:fs';
import { access, lstat } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { RemapError } from '../core/errors.js';
import { SOCKET_PATH_MAX_BYTES } from '../core/limits.js';

/** Checks that need no look at the disk. `option` names the path in the sentence. */
export function checkSocketPathLength(path: string, option: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= SOCKET_PATH_MAX_BYTES) return;
  throw new RemapError(
    'SOCKET_PATH',
    `${option} is ${bytes} bytes long and a Unix socket's path has room for ` +
      `${SOCKET_PATH_MAX_BYTES}; choose a shorter path or start from a nearer directory`,
    { context: { have: bytes, need: SOCKET_PATH_MAX_BYTES } },
  );
}

/**
 * Whether a socket can be made at `path`: `free` when nothing is there, `stale` when a socket is
 * there that nobody answers. Changes nothing. Throws SOCKET_BUSY when somebody listens there and
 * SOCKET_PATH for everything else that stands in the way.
 */
export async function probeSocketPath(path: string, option: string): Promise<'free' | 'stale'> {
  checkSocketPathLength(path, option);
  await checkDirectory(dirname(path), option);
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return 'free';
  if (!found.isSocket()) {
    throw new RemapError(
      'SOCKET_PATH',
      `${option}: ${path} exists and is not a socket; choose another path or remove it yourself`,
    );
  }
  const code = await tryConnect(path);
  if (code === 'ECONNREFUSED') return 'stale';
  if (code === 'ENOENT') return 'free';
  if (code === 'EACCES' || code === 'EPERM') {
    throw new RemapError(
      'SOCKET_PATH',
      `${option}: ${path} is another user's socket; choose another path`,
    );
  }
  throw socketBusy(path, option);
}

export const socketBusy = (path: string, option: string): RemapError =>
  new RemapError(
    'SOCKET_BUSY',
    `${option}: another process listens on ${path}; stop it or choose another path`,
  );

async function checkDirectory(directory: string, option: string): Promise<void> {
  const code = await access(directory, constants.W_OK | constants.X_OK).then(
    () => undefined,
    (e: NodeJS.ErrnoException) => e.code ?? 'EIO',
  );
  if (code === undefined) return;
  const why =
    code === 'ENOENT'
      ? 'does not exist; make it first'
      : `may not be written to (${code}); choose another directory or change its owner`;
  throw new RemapError('SOCKET_PATH', `${option}: the directory ${directory} ${why}`);
}

/** undefined when somebody answered, else the name of the errno. */
function tryConnect(path: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(undefined);
    });
    socket.once('error', (e: NodeJS.ErrnoException) => resolve(e.code));
  });
}
