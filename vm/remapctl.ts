/** remapctl as a person or a program runs it: a process, an exit status, and JSON on stdout. */
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { call } from '../src/protocol/client.js';
import type { FaultRequest, VolumeStatus } from '../src/protocol/messages.js';
import { remapctlProgram } from './paths.js';

const BECOMES_SO_MS = 120_000;

export class Remapctl {
  readonly #controlSocket: string;

  constructor(controlSocket: string) {
    this.#controlSocket = controlSocket;
  }

  /** Runs a verb and returns what it prints; rejects on any exit status but 0 (done) and 3. */
  run(...args: string[]): Promise<string> {
    const command = [remapctlProgram, `--control-socket=${this.#controlSocket}`, ...args];
    return new Promise((resolve, reject) => {
      execFile(
        process.execPath,
        command,
        { maxBuffer: 64 * 1024 * 1024 },
        (error, stdout, stderr) => {
          if (!error || error.code === 3) return resolve(stdout);
          const said = stderr.trim() || error.message;
          reject(new Error(`remapctl ${args.join(' ')} ended with ${error.code}: ${said}`));
        },
      );
    });
  }

  /** Asked over the socket itself: cases look often, and a program takes long to start. */
  async status(): Promise<VolumeStatus> {
    const [volume] = (await call(this.#controlSocket, { verb: 'status' })).volumes;
    if (!volume) throw new Error('the back-end shows no volume');
    return volume;
  }

  /** The status once it is so: what QEMU was told reaches the back-end a moment later. */
  async statusWhen(test: (status: VolumeStatus) => boolean, what: string): Promise<VolumeStatus> {
    const deadline = performance.now() + BECOMES_SO_MS;
    for (;;) {
      const status = await this.status();
      if (test(status)) return status;
      if (performance.now() > deadline) {
        throw new Error(`not in ${BECOMES_SO_MS / 1000} s: ${what}`);
      }
      await sleep(10);
    }
  }

  async inject(faults: readonly FaultRequest[]): Promise<void> {
    await call(this.#controlSocket, { verb: 'inject add', faults: [...faults] });
  }
}
