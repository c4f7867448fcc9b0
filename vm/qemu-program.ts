/** The QEMUs cases run under: the one of Debian 12, installed, and that of its backports. */
import { inPart, type Part } from './parts.js';

export type QemuVersion = '7.2' | '10';

export const QEMU_VERSIONS: readonly QemuVersion[] = ['7.2', '10'];

const PROGRAMS: Readonly<Record<QemuVersion, string>> = {
  '7.2': 'qemu-system-x86_64',
  '10': inPart('qemu-10', 'qemu-system-x86_64'),
};

export const qemuProgram = (version: QemuVersion): string => PROGRAMS[version];

export const partsOfQemu = (version: QemuVersion): readonly Part[] =>
  version === '10' ? ['qemu-10'] : [];
