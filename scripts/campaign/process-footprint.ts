/** What a process holds: descriptors, threads, memory of its own. */
import { readdirSync, readFileSync } from 'node:fs';

export interface Footprint {
  readonly fds: number;
  /** Without those that the kernel keeps for io_uring and lets go by itself. */
  readonly threads: number;
  readonly anonKib: number;
}

export function footprint(pid: number): Footprint {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  return {
    fds: readdirSync(`/proc/${pid}/fd`).length,
    threads: threadNames(pid).filter((name) => !name.startsWith('iou-')).length,
    anonKib: field('RssAnon'),
  };
}

const threadNames = (pid: number): string[] =>
  readdirSync(`/proc/${pid}/task`).flatMap((id) => {
    try {
      return [readFileSync(`/proc/${pid}/task/${id}/comm`, 'utf8')];
    } catch {
      return []; // it has just ended
    }
  });

/** Least squares: by how much `values` grow from one to the next. */
export function slope(values: readonly number[]): number {
  const mean = (list: readonly number[]) => list.reduce((sum, v) => sum + v, 0) / list.length;
  const middle = (values.length - 1) / 2;
  const average = mean(values);
  let covariance = 0;
  let variance = 0;
  for (const [i, value] of values.entries()) {
    covariance += (i - middle) * (value - average);
    variance += (i - middle) ** 2;
  }
  return variance === 0 ? 0 : covariance / variance;
}
