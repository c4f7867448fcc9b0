/** remapctl as a person or a program runs it: a process, an exit status, and JSON on stdout. */
import { execFile } from 'node:child_process';
import type { StatusAnswer, VolumeStatus } from '../src/protocol/messages.js';
import { remapctlProgram } from './paths.js';

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

  async status(): Promise<VolumeStatus> {
    const answer = JSON.parse(await this.run('status', '--json')) as StatusAnswer;
    const [volume] = answer.volumes;
    if (!volume) throw new Error('remapctl status shows no volume');
    return volume;
  }
}
