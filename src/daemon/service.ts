import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { sentence } from '../core/errors.js';
import {
  SERVICE_LOOK_MS,
  SERVICE_RESTART_FIRST_MS,
  SERVICE_RESTART_MAX_MS,
  SERVICE_STEADY_MS,
} from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { call } from '../protocol/client.js';
import type { ServiceSpec } from './services.js';

/** Set for a process whose log is read among others'. */
export const SUPERVISED = 'VHOST_USER_REMAP_SUPERVISED';

const PROGRAM = fileURLToPath(new URL('main.js', import.meta.url));

/**
 * The process of one volume: started, started again with back-off when it ends by itself, and
 * taken over when an earlier supervisor left it running. A process is left alone that was told to
 * stop by somebody else: it exits with 0.
 */
export class Service {
  readonly spec: ServiceSpec;
  readonly #log: Logger;
  readonly #stopped = new AbortController();
  #child: ChildProcess | undefined;
  #running: Promise<void> | undefined;

  constructor(spec: ServiceSpec, log: Logger) {
    this.spec = spec;
    this.#log = log.child({ volume: spec.name });
  }

  /** Resolves when it answers on its control socket, or has failed for the first time. */
  async start(): Promise<void> {
    let failed = false;
    const firstEnd = new Promise<void>((resolve) => {
      this.#running = this.#run(() => {
        failed = true;
        resolve();
      });
    });
    while (!failed && !this.#stopping && (await this.#pid()) === undefined) {
      await Promise.race([this.#sleep(SERVICE_LOOK_MS), firstEnd]);
    }
  }

  /** Drains and ends the process. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    if (this.#child !== undefined) this.#child.kill('SIGTERM');
    else {
      const pid = await this.#pid();
      // It has answered a moment ago, so the number is still its own.
      if (pid !== undefined) process.kill(pid, 'SIGTERM');
      while ((await this.#pid()) !== undefined) await sleep(SERVICE_LOOK_MS);
    }
    await this.#running;
  }

  get #stopping(): boolean {
    return this.#stopped.signal.aborted;
  }

  async #run(ended: () => void): Promise<void> {
    let delayMs = SERVICE_RESTART_FIRST_MS;
    while (!this.#stopping) {
      const since = performance.now();
      const how = (await this.#pid()) === undefined ? await this.#serve() : await this.#watch();
      ended();
      if (this.#stopping) return;
      if (how === 'exit 0') {
        this.#log.warn('told to stop by somebody else; it stays stopped');
        return;
      }
      if (performance.now() - since >= SERVICE_STEADY_MS) delayMs = SERVICE_RESTART_FIRST_MS;
      this.#log.error({ how, delayMs }, 'the process of a volume ended; it is started again');
      await this.#sleep(delayMs);
      delayMs = Math.min(2 * delayMs, SERVICE_RESTART_MAX_MS);
    }
  }

  /** Runs the process to its end. A group of its own, so that it outlives this one. */
  async #serve(): Promise<string> {
    const child = spawn(process.execPath, [...process.execArgv, PROGRAM, ...this.spec.args], {
      stdio: ['ignore', 'ignore', 'inherit'],
      detached: true,
      env: { ...process.env, [SUPERVISED]: '1' },
    });
    this.#child = child;
    this.#log.info({ pid: child.pid }, 'started');
    try {
      const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
      return signal ?? `exit ${code}`;
    } catch (e) {
      return sentence(e);
    } finally {
      this.#child = undefined;
    }
  }

  /** Looks after a process that an earlier supervisor has started, to its end. */
  async #watch(): Promise<string> {
    this.#log.info('runs already, taken over');
    while (!this.#stopping && (await this.#pid()) !== undefined) await this.#sleep(SERVICE_LOOK_MS);
    return 'no answer';
  }

  /** Of the process that serves this volume on its control socket; undefined when there is none. */
  async #pid(): Promise<number | undefined> {
    try {
      const { pid, volumes } = await call(this.spec.controlPath, { verb: 'status' });
      return volumes[0]?.uuid === this.spec.uuid ? pid : undefined;
    } catch {
      return undefined;
    }
  }

  /** Until then, or until it is stopped. */
  async #sleep(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#stopped.signal }).catch(() => {});
  }
}
