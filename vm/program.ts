/** A program the harness runs: its output by lines, its end, and a way to end it by its id. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

type LineListener = (line: string) => void;

const LINES_KEPT = 2000;

export class Program {
  readonly name: string;
  readonly exited: Promise<Ending>;
  readonly stdout: string[] = [];
  readonly stderr: string[] = [];
  readonly #child: ChildProcess;
  readonly #listeners = { stdout: new Set<LineListener>(), stderr: new Set<LineListener>() };
  #ending: Ending | undefined;

  constructor(name: string, command: string, args: readonly string[], fds: readonly number[] = []) {
    this.name = name;
    this.#child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe', ...fds] });
    // Writing to a program that has just died is reported by its end.
    this.#child.stdin?.on('error', () => undefined);
    this.#read('stdout');
    this.#read('stderr');
    this.exited = new Promise((resolve, reject) => {
      this.#child.on('error', (cause) => reject(new Error(`cannot run ${command}`, { cause })));
      this.#child.on('close', (code, signal) => {
        this.#ending = { code, signal };
        resolve(this.#ending);
      });
    });
    // Whoever awaits `exited` hears of it; an unawaited one must not end the harness.
    this.exited.catch(() => undefined);
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get ending(): Ending | undefined {
    return this.#ending;
  }

  /** Calls back for the lines to come; returns the function that ends it. */
  onLine(stream: 'stdout' | 'stderr', listener: LineListener): () => void {
    this.#listeners[stream].add(listener);
    return () => this.#listeners[stream].delete(listener);
  }

  send(line: string): void {
    this.#child.stdin?.write(`${line}\n`);
  }

  /** Resolves once a line of stderr passes; rejects when the program ends or the time is over. */
  async waitForStderr(test: (line: string) => boolean, timeoutMs: number): Promise<void> {
    if (this.stderr.some(test)) return;
    let stop = (): void => undefined;
    const seen = new Promise<void>((resolve) => {
      stop = this.onLine('stderr', (line) => test(line) && resolve());
    });
    try {
      await Promise.race([
        seen,
        this.exited.then((ending) => {
          throw new Error(`${this.name} ended at once (${describeEnding(ending)})${this.tail()}`);
        }),
        rejectAfter(timeoutMs, `${this.name} was not ready in ${timeoutMs / 1000} s${this.tail()}`),
      ]);
    } finally {
      stop();
    }
  }

  /** Sends the signal and waits for the end; SIGKILL follows when that takes longer than 20 s. */
  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ending> {
    if (this.#ending) return this.#ending;
    this.#child.kill(signal);
    const force = setTimeout(() => this.#child.kill('SIGKILL'), 20_000);
    try {
      return await this.exited;
    } finally {
      clearTimeout(force);
    }
  }

  /** The last lines of stderr, for a message. */
  tail(lines = 8): string {
    return this.stderr
      .slice(-lines)
      .map((line) => `\n    ${this.name}: ${line}`)
      .join('');
  }

  #read(stream: 'stdout' | 'stderr'): void {
    const input = this.#child[stream];
    if (!input) return;
    createInterface({ input }).on('line', (line) => {
      const lines = this[stream];
      lines.push(line);
      if (lines.length > LINES_KEPT) lines.shift();
      for (const listener of [...this.#listeners[stream]]) listener(line);
    });
  }
}

export const describeEnding = ({ code, signal }: Ending): string =>
  signal ? `signal ${signal}` : `exit status ${code}`;

/** Rejects after a time; its timer keeps nothing alive. */
export const rejectAfter = (timeoutMs: number, message: string): Promise<never> =>
  new Promise((_, reject) => {
    setTimeout(() => reject(new Error(message)), timeoutMs).unref();
  });
