/** QEMU's control socket: commands with their answers, and the events between them. */
import { createConnection, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { rejectAfter } from './program.js';

export interface QmpEvent {
  readonly event: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

interface Answer {
  readonly id?: number;
  readonly return?: unknown;
  readonly error?: { readonly class: string; readonly desc: string };
}

interface Asked {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly command: string;
}

const ANSWER_MS = 60_000;
const CONNECT_MS = 10_000;

export class Qmp {
  readonly #socket: Socket;
  readonly #asked = new Map<number, Asked>();
  readonly #listeners = new Set<(event: QmpEvent) => void>();
  #lastId = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => undefined);
    socket.on('close', () => {
      for (const { command, reject } of this.#asked.values()) {
        reject(new Error(`QEMU closed its control socket before it answered ${command}`));
      }
      this.#asked.clear();
    });
    createInterface({ input: socket }).on('line', (line) => this.#take(line));
  }

  /** QEMU makes the socket a moment after it starts. */
  static async connect(path: string): Promise<Qmp> {
    const deadline = performance.now() + CONNECT_MS;
    for (;;) {
      try {
        const qmp = new Qmp(await connected(path));
        await qmp.run('qmp_capabilities');
        return qmp;
      } catch (error) {
        if (performance.now() > deadline) throw error;
        await sleep(50);
      }
    }
  }

  /** Resolves with what QEMU returns; rejects with what it says went wrong. */
  async run(command: string, args: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#asked.set(id, { resolve, reject, command });
    });
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    return Promise.race([
      answer,
      rejectAfter(ANSWER_MS, `QEMU did not answer ${command} in ${ANSWER_MS / 1000} s`),
    ]);
  }

  /** The next event of this name: call it before the command that brings it about. */
  async next(name: string, test: (event: QmpEvent) => boolean = () => true): Promise<QmpEvent> {
    let listener: (event: QmpEvent) => void = () => undefined;
    const seen = new Promise<QmpEvent>((resolve) => {
      listener = (event) => event.event === name && test(event) && resolve(event);
      this.#listeners.add(listener);
    });
    try {
      return await Promise.race([
        seen,
        rejectAfter(ANSWER_MS, `QEMU did not report ${name} in ${ANSWER_MS / 1000} s`),
      ]);
    } finally {
      this.#listeners.delete(listener);
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(line: string): void {
    const message = JSON.parse(line) as Answer & Partial<QmpEvent>;
    if (message.event !== undefined) {
      const { event, data } = message;
      for (const listener of [...this.#listeners]) listener({ event, ...(data && { data }) });
    }
    const asked = this.#asked.get(message.id ?? 0);
    if (!asked) return;
    this.#asked.delete(message.id ?? 0);
    if (message.error) asked.reject(new Error(`QEMU on ${asked.command}: ${message.error.desc}`));
    else asked.resolve(message.return);
  }
}

const connected = (path: string): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const socket = createConnection(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
