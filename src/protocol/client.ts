import { request as httpRequest } from 'node:http';
import type { z } from 'zod';
import { type ErrorCode, RemapError } from '../core/errors.js';
import { CONTROL_REQUEST_MAX_BYTES, SOCKET_PATH_MAX_BYTES } from '../core/limits.js';
import { answerSchemas, errorAnswerSchema, type Request } from './messages.js';

/** Silence after which a back-end counts as hung; moving blocks may rightly take longer. */
const ANSWER_TIMEOUT_MS = 30_000;

type AnswerOf<V extends Request['verb']> = z.infer<(typeof answerSchemas)[V]>;

/**
 * One request to the back-end that listens on `socketPath`. Throws DAEMON_UNREACHABLE when there
 * is none, and the back-end's own error when it refuses.
 */
export async function call<R extends Request>(
  socketPath: string,
  request: R,
): Promise<AnswerOf<R['verb']>> {
  const body = JSON.stringify(request);
  if (Buffer.byteLength(body) > CONTROL_REQUEST_MAX_BYTES) {
    throw new RemapError('USAGE', 'the list is too long for one request; send it in parts');
  }
  const moves = request.verb === 'remap add' || request.verb === 'remap remove';
  const { status, text } = await post(socketPath, body, moves ? 0 : ANSWER_TIMEOUT_MS);
  const json = parseJson(text, socketPath);
  if (status !== 200) throw remoteError(json, socketPath);
  const parsed = answerSchemas[request.verb].safeParse(json);
  if (!parsed.success) throw strangeAnswer(socketPath);
  return parsed.data as AnswerOf<R['verb']>;
}

function post(
  socketPath: string,
  body: string,
  timeoutMs: number,
): Promise<{ status: number; text: string }> {
  if (Buffer.byteLength(socketPath) > SOCKET_PATH_MAX_BYTES) {
    throw new RemapError(
      'SOCKET_PATH',
      '--control-socket is longer than the ' +
        `${SOCKET_PATH_MAX_BYTES} bytes a socket path may have; use a shorter path`,
    );
  }
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      {
        socketPath,
        path: '/rpc',
        method: 'POST',
        agent: false,
        headers: {
          'Content-Type': 'application/json',
          'Content-Length': Buffer.byteLength(body),
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', (e) => reject(unreachable(socketPath, e)));
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            text: Buffer.concat(chunks).toString('utf8'),
          }),
        );
      },
    );
    outgoing.setTimeout(timeoutMs, () => outgoing.destroy(new SilentError()));
    outgoing.on('error', (e) => reject(unreachable(socketPath, e)));
    outgoing.end(body);
  });
}

class SilentError extends Error {}

function unreachable(socketPath: string, e: NodeJS.ErrnoException): RemapError {
  const fail = (message: string) =>
    new RemapError('DAEMON_UNREACHABLE', message, {
      context: e.code === undefined ? {} : { errno: e.code },
      cause: e,
    });
  if (e instanceof SilentError) {
    return fail(
      `the back-end at ${socketPath} did not answer within ${ANSWER_TIMEOUT_MS / 1000} s; ` +
        'see its log, and restart it if it hangs',
    );
  }
  switch (e.code) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return fail(
        `no back-end listens on ${socketPath}; start vhost-user-remap with ` +
          `--control-socket=${socketPath}, or name the right socket`,
      );
    case 'EACCES':
    case 'EPERM':
      return fail(`you may not open ${socketPath}; run this as the user who started the back-end`);
    case 'ECONNRESET':
    case 'EPIPE':
      return fail(
        `the back-end at ${socketPath} went away before it answered; look at its log and ask again`,
      );
    default:
      return fail(`cannot talk to ${socketPath} (${e.code ?? e.message}); is it a control socket?`);
  }
}

const strangeAnswer = (socketPath: string): RemapError =>
  new RemapError(
    'DAEMON_UNREACHABLE',
    `what listens on ${socketPath} does not answer as vhost-user-remap of this version does; ` +
      'check the path, or use the remapctl of its version',
  );

function parseJson(text: string, socketPath: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw strangeAnswer(socketPath);
  }
}

function remoteError(json: unknown, socketPath: string): RemapError {
  const parsed = errorAnswerSchema.safeParse(json);
  if (!parsed.success) return strangeAnswer(socketPath);
  const { code, message, context } = parsed.data.error;
  // A code this version does not know is passed on as it is: it is only shown.
  return new RemapError(code as ErrorCode, message, { context });
}
