import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The project's folder, seen from dist/vm. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

export const inRoot = (...parts: string[]): string => path.join(root, ...parts);

export const daemonProgram = inRoot('dist/src/daemon/main.js');
export const remapctlProgram = inRoot('dist/src/cli/main.js');
export const guestKernel = inRoot('.cache/guest/vmlinuz');
export const guestInitrd = inRoot('.cache/guest/initrd');
/** Without the programs that cases use. */
export const smallGuestInitrd = inRoot('.cache/guest/initrd-small');
