/** The back-end process of one virtual machine. */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { daemonProgram } from './paths.js';
import { type Ending, Program } from './program.js';

export interface BackEndOptions {
  readonly socketPath: string;
  readonly mainPath: string;
  readonly sparePath: string;
  readonly controlPath: string;
  /** To where QEMU listens. */
  readonly connects: boolean;
  /** More options, as on a command line. */
  readonly more: readonly string[];
}

/** `qemu-storage-daemon` tells whether a failure is ours: it serves main alone, without remaps. */
export type BackEndKind = 'vhost-user-remap' | 'qemu-storage-daemon';

const READY_MS = 60_000;

export class BackEnd {
  readonly program: Program;

  private constructor(program: Program) {
    this.program = program;
  }

  /** Resolves once it accepts a front-end. */
  static async start(kind: BackEndKind, options: BackEndOptions): Promise<BackEnd> {
    if (kind === 'qemu-storage-daemon') return BackEnd.#startStorageDaemon(options);
    const program = new Program('back-end', process.execPath, [
      daemonProgram,
      `--${options.connects ? 'connect' : 'socket-path'}=${options.socketPath}`,
      `--blk-file=${options.mainPath}`,
      `--spare=${options.sparePath}`,
      ...(options.more.includes('--read-only') ? [] : ['--create']),
      `--control-socket=${options.controlPath}`,
      '--allow-fault-injection',
      ...options.more,
    ]);
    await program.waitForStderr((line) => logMessage(line) === 'ready', READY_MS);
    return new BackEnd(program);
  }

  static async #startStorageDaemon(options: BackEndOptions): Promise<BackEnd> {
    const address = `addr.type=unix,addr.path=${options.socketPath}`;
    const program = new Program('qemu-storage-daemon', 'qemu-storage-daemon', [
      ...['--blockdev', `driver=file,node-name=main,filename=${options.mainPath}`],
      '--export',
      `type=vhost-user-blk,id=disk,node-name=main,${address},writable=on,num-queues=16`,
    ]);
    while (!existsSync(options.socketPath) && !program.ending) await sleep(50);
    return new BackEnd(program);
  }

  async end(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<Ending> {
    return this.program.end(signal);
  }
}

/** The message of a JSON log line; undefined for anything else. */
function logMessage(line: string): string | undefined {
  try {
    return (JSON.parse(line) as { msg?: string }).msg;
  } catch {
    return undefined;
  }
}
