import { unlink } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { RemapError } from '../core/errors.js';
import { CONTROL_REQUEST_MAX_BYTES } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { errorAnswer } from '../protocol/error-answer.js';
import { type Request, requestSchema } from '../protocol/messages.js';
import type { VolumeControl } from '../protocol/volume-control.js';
import { dispatch } from './dispatch.js';
import { probeSocketPath, socketBusy } from './socket-path.js';

/** Time for answers under way when the server closes. */
const CLOSE_GRACE_MS = 2000;

/**
 * The admin socket: HTTP/1.1, one JSON request in `POST /rpc`, one JSON answer. 400 when the
 * request is wrong, 409 when the volume cannot do it now, 500 when something broke; the body is
 * then an `error/1`. The socket has mode 0600: whoever may open it may do everything.
 */
export class ControlServer {
  readonly path: string;
  private readonly server: Server;
  private readonly log: Logger;
  private volume: VolumeControl | undefined;

  /**
   * Listens at once, so that a conflict shows before anything else is opened; requests are refused
   * until `attach`. Throws SOCKET_BUSY or SOCKET_PATH.
   */
  static async listen(path: string, log: Logger): Promise<ControlServer> {
    if ((await probeSocketPath(path, '--control-socket')) === 'stale') await unlink(path);
    const control = new ControlServer(path, log);
    await control.bind();
    return control;
  }

  private constructor(path: string, log: Logger) {
    this.path = path;
    this.log = log;
    this.server = createServer((request, response) => void this.serve(request, response));
  }

  attach(volume: VolumeControl): void {
    this.volume = volume;
  }

  /** Stops accepting, lets answers under way finish, removes the socket. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.server.close(() => resolve()));
    const timer = setTimeout(() => this.server.closeAllConnections(), CLOSE_GRACE_MS);
    await closed;
    clearTimeout(timer);
  }

  private bind(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.server.once('error', (e: NodeJS.ErrnoException) => {
        const busy = e.code === 'EADDRINUSE';
        reject(
          busy
            ? socketBusy(this.path, '--control-socket')
            : new RemapError(
                'SOCKET_PATH',
                `--control-socket: cannot listen on ${this.path} (${e.code}); choose another path`,
                { cause: e },
              ),
        );
      });
      // The socket takes its mode from the umask, and is made before listen() returns.
      const before = process.umask(0o177);
      try {
        this.server.listen(this.path, () => resolve());
      } finally {
        process.umask(before);
      }
    });
  }

  private async serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      if (incoming.url !== '/rpc' || incoming.method !== 'POST') {
        throw new RemapError('USAGE', 'the control socket answers POST /rpc only');
      }
      const request = parseRequest(await readBody(incoming));
      if (this.volume === undefined) {
        throw new RemapError(
          'DAEMON_UNREACHABLE',
          'the back-end is still opening its devices; try again in a moment',
        );
      }
      send(response, 200, await dispatch(this.volume, request));
    } catch (e) {
      if (!(e instanceof RemapError)) this.log.error({ err: e }, 'control request failed');
      send(response, statusCode(e), errorAnswer(e));
    }
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  if (response.destroyed) return;
  response.writeHead(status, { 'Content-Type': 'application/json', Connection: 'close' });
  response.end(`${JSON.stringify(body)}\n`);
}

function statusCode(e: unknown): number {
  if (!(e instanceof RemapError)) return 500;
  switch (e.code) {
    case 'USAGE':
    case 'RANGE':
    case 'NOT_REMAPPED':
      return 400;
    case 'DEVICE_IO':
    case 'META_COMMIT':
    case 'NATIVE':
      return 500;
    default:
      return 409;
  }
}

async function readBody(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  // The connection must outlive a refusal, or nobody reads it.
  const body = incoming.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > CONTROL_REQUEST_MAX_BYTES) {
      throw new RemapError(
        'USAGE',
        `the request is longer than ${CONTROL_REQUEST_MAX_BYTES} bytes; send it in parts`,
        { context: { need: CONTROL_REQUEST_MAX_BYTES } },
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseRequest(body: string): Request {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    throw new RemapError('USAGE', 'the request is not JSON');
  }
  const parsed = requestSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where = issue?.path.length ? `${issue.path.join('.')}: ` : '';
  throw new RemapError('USAGE', `the request makes no sense: ${where}${issue?.message}`);
}
