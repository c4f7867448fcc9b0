/** Serves every volume that is found, a process each, for as long as it runs. */
import { mkdir, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { RemapError, sentence } from '../core/errors.js';
import { DISCOVERY_LOOK_MS, SERVICES_STARTING_MAX } from '../core/limits.js';
import type { Logger } from '../core/log.js';
import { candidates } from '../discovery/candidates.js';
import { discover } from '../discovery/discover.js';
import { Service } from './service.js';
import { planServices, type ServiceSpec, type Unserved } from './services.js';
import type { Shutdown } from './shutdown.js';

export interface SuperviseOptions {
  readonly discover: readonly string[];
  readonly socketDir: string;
  /** Options that every process is given. */
  readonly common: readonly string[];
}

/**
 * Until a signal comes. A volume that is served stays served, whatever becomes of its files: its
 * own process knows better.
 */
export async function supervise(
  options: SuperviseOptions,
  log: Logger,
  shutdown: Pick<Shutdown, 'requested' | 'isRequested'>,
): Promise<void> {
  await makeSocketDir(options.socketDir);
  const supervisor = new Supervisor(options, log);
  try {
    await supervisor.look();
    if (!shutdown.isRequested) {
      supervisor.announce();
      await supervisor.lookUntil(shutdown.requested);
    }
  } finally {
    await supervisor.stop();
  }
  log.info('stopped');
}

class Supervisor {
  readonly #options: SuperviseOptions;
  readonly #log: Logger;
  /** By the volume's UUID. */
  readonly #services = new Map<string, Service>();
  /** What was said of each volume that is left alone. */
  readonly #complaints = new Map<string, string>();
  /** Something new was still being written at the last look. */
  #unsettled = false;
  /** Of every candidate that no process serves, as it was at the last look. */
  #seen: ReadonlyMap<string, string> | undefined;

  constructor(options: SuperviseOptions, log: Logger) {
    this.#options = options;
    this.#log = log;
  }

  announce(): void {
    const volumes = [...this.#services.values()].map(({ spec }) => ({
      name: spec.name,
      uuid: spec.uuid,
      socket: spec.socketPath,
      control: spec.controlPath,
    }));
    this.#log.info({ volumes, unserved: this.#complaints.size }, 'ready');
  }

  /**
   * Looks at all devices if any changed, and starts what is new. Files that appear may still be
   * written: they are taken when nothing of them has changed since the look before.
   */
  async look(): Promise<void> {
    const before = this.#seen;
    const seen = await prints(this.#options.discover, this.#servedPaths());
    this.#seen = seen;
    const settled = (path: string): boolean =>
      before === undefined || before.get(path) === seen.get(path);
    if (before !== undefined && !this.#unsettled && sameEntries(before, seen)) return;
    const { volumes, oddities } = await discover(this.#options.discover);
    const plan = planServices(volumes, this.#options);
    for (const { path, why } of oddities) this.#complain(path, { name: path, why });
    for (const one of plan.unserved) {
      if (!this.#services.has(one.uuid)) this.#complain(one.uuid, one);
    }
    const fresh = plan.services.filter(({ uuid }) => !this.#services.has(uuid));
    const ready = fresh.filter(({ paths }) => paths.every(settled));
    this.#unsettled = ready.length < fresh.length;
    await this.#startAll(ready);
  }

  /** Looks every now and then. Watching would wake up for every write of a guest. */
  async lookUntil(end: Promise<unknown>): Promise<void> {
    const over = new AbortController();
    void end.then(() => over.abort());
    for (;;) {
      await sleep(DISCOVERY_LOOK_MS, undefined, { signal: over.signal }).catch(() => {});
      if (over.signal.aborted) return;
      await this.look().catch((err) => {
        this.#log.error({ err }, `looking for volumes failed: ${sentence(err)}`);
      });
    }
  }

  #servedPaths(): Set<string> {
    return new Set([...this.#services.values()].flatMap(({ spec }) => spec.paths));
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#services.values()].map((service) => service.stop()));
  }

  async #startAll(specs: readonly ServiceSpec[]): Promise<void> {
    const waiting = [...specs];
    const worker = async (): Promise<void> => {
      for (let spec = waiting.shift(); spec !== undefined; spec = waiting.shift()) {
        const service = new Service(spec, this.#log);
        this.#services.set(spec.uuid, service);
        this.#complaints.delete(spec.uuid);
        await service.start();
      }
    };
    await Promise.all(Array.from({ length: SERVICES_STARTING_MAX }, worker));
  }

  /** Once for each reason. */
  #complain(key: string, { name, why }: Pick<Unserved, 'name' | 'why'>): void {
    if (this.#complaints.get(key) === why) return;
    this.#complaints.set(key, why);
    this.#log.warn({ name }, `not served: ${why}`);
  }
}

/** Something that changes when the file or device at a path does, for all but `served`. */
async function prints(
  paths: readonly string[],
  served: ReadonlySet<string>,
): Promise<Map<string, string>> {
  const found = (await candidates(paths)).filter((path) => !served.has(path));
  const entries = found.map(async (path): Promise<[string, string]> => {
    const info = await stat(path).catch(() => undefined);
    const { dev, ino, rdev, size, mtimeMs } = info ?? {};
    return [path, [dev, ino, rdev, size, mtimeMs].join(' ')];
  });
  return new Map(await Promise.all(entries));
}

const sameEntries = (a: ReadonlyMap<string, string>, b: ReadonlyMap<string, string>): boolean =>
  a.size === b.size && [...a].every(([key, value]) => b.get(key) === value);

async function makeSocketDir(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true, mode: 0o750 });
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? 'unknown error';
    throw new RemapError(
      'SOCKET_PATH',
      `--socket-dir=${path} cannot be made (${code}); name a directory this user may write to.`,
      { cause },
    );
  }
}
