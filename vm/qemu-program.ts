/** The QEMUs cases run under: the one of Debian 12, installed, and that of its backports. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { inRoot } from './paths.js';

export type QemuVersion = '7.2' | '10';

export const QEMU_VERSIONS: readonly QemuVersion[] = ['7.2', '10'];

const PROGRAMS: Readonly<Record<QemuVersion, string>> = {
  '7.2': 'qemu-system-x86_64',
  '10': inRoot('.cache/qemu-10/qemu-system-x86_64'),
};

export const qemuProgram = (version: QemuVersion): string => PROGRAMS[version];

/** Fetches it where it is not here; resolves with the reason where that fails. */
export async function missingQemu(version: QemuVersion): Promise<string | undefined> {
  if (version === '7.2') return undefined;
  try {
    await promisify(execFile)(inRoot('scripts/setup.sh'), [`qemu-${version}`]);
    return undefined;
  } catch (error) {
    const said = (error as { stderr?: string }).stderr?.trim().split('\n').at(-1);
    return `QEMU ${version} of bookworm-backports (${said || String(error)})`;
  }
}
