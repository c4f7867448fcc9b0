/** A file as a block device of the host, for what differs from a file: discards and flushes. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** The device's path; the caller detaches it. */
export const attachLoop = (file: string): string =>
  execFileSync('losetup', ['--find', '--show', file], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
  }).trim();

export const detachLoop = (device: string): void => {
  execFileSync('losetup', ['--detach', device], { stdio: 'ignore' });
};

/** Why none can be had here; undefined where one can. */
export function missingLoop(): string | undefined {
  const dir = mkdtempSync(path.join(tmpdir(), 'remap-loop-'));
  try {
    const file = path.join(dir, 'probe.img');
    writeFileSync(file, '');
    truncateSync(file, 1024 * 1024);
    detachLoop(attachLoop(file));
    return undefined;
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim();
    return `loop devices (${said || String(error)})`;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** Flushes the device has been through; Documentation/block/stat.rst. */
export function flushesOf(device: string): number {
  const fields = readFileSync(`/sys/block/${path.basename(device)}/stat`, 'utf8').trim();
  return Number(fields.split(/\s+/)[15]);
}
