/** Which volumes a supervisor serves, and how each process is to be started. Pure. */
import { join } from 'node:path';
import type { FoundVolume } from '../discovery/assemble.js';

/** One volume and the process that shall serve it. */
export interface ServiceSpec {
  readonly name: string;
  readonly uuid: string;
  readonly socketPath: string;
  readonly controlPath: string;
  /** Of main and the spares. */
  readonly paths: readonly string[];
  /** Of vhost-user-remap. */
  readonly args: readonly string[];
}

/** A volume that is left alone, and why, in one sentence. */
export interface Unserved {
  readonly uuid: string;
  readonly name: string;
  readonly why: string;
}

export interface ServicePlan {
  readonly services: readonly ServiceSpec[];
  readonly unserved: readonly Unserved[];
}

export interface ServiceOptions {
  readonly socketDir: string;
  /** Options that every process is given. */
  readonly common: readonly string[];
}

const FILE_NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/;

/** Nothing is served without a person's word whose main is a guess. */
export function planServices(
  volumes: readonly FoundVolume[],
  { socketDir, common }: ServiceOptions,
): ServicePlan {
  const services: ServiceSpec[] = [];
  const unserved: Unserved[] = [];
  for (const volume of volumes) {
    const { uuid, name, main, spares } = volume;
    const why = reasonAgainst(volume);
    if (why !== undefined || main.path === null) {
      unserved.push({ uuid, name, why: why ?? 'its main was not found' });
      continue;
    }
    const file = fileName(volume, volumes);
    const socketPath = join(socketDir, `${file}.sock`);
    const controlPath = join(socketDir, `${file}.ctl`);
    const sparePaths = spares.flatMap(({ path }) => (path === null ? [] : [path]));
    const paths = [main.path, ...sparePaths];
    const args = [
      `--blk-file=${main.path}`,
      ...sparePaths.map((path) => `--spare=${path}`),
      `--socket-path=${socketPath}`,
      `--control-socket=${controlPath}`,
      ...common,
    ];
    services.push({ name: file, uuid, socketPath, controlPath, paths, args });
  }
  return { services, unserved };
}

function reasonAgainst({ verdict, reasons, main }: FoundVolume): string | undefined {
  if (verdict === 'incomplete' || verdict === 'conflicting') return `${verdict}: ${reasons[0]}`;
  if (main.grade === 'strong' || main.atRecordedPath) return undefined;
  return `nothing proves that ${main.path} is its main; serve it with --blk-file if you know it is`;
}

/** The volume's name where it makes a file name of its own, else its UUID. */
function fileName({ name, uuid }: FoundVolume, volumes: readonly FoundVolume[]): string {
  const alone = volumes.filter((other) => other.name === name).length === 1;
  return alone && FILE_NAME.test(name) ? name : uuid;
}
