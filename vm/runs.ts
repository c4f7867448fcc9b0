/** Which cases run under which QEMU. */
import type { VmCase } from './case.js';
import { QEMU_VERSIONS, type QemuVersion } from './qemu-program.js';

export interface Run {
  readonly name: string;
  readonly vmCase: VmCase;
  readonly qemu: QemuVersion;
}

/** What --qemu may be. */
export const QEMU_CHOICES: Readonly<Record<string, readonly QemuVersion[]>> = {
  '7.2': ['7.2'],
  '10': ['10'],
  all: QEMU_VERSIONS,
};

/**
 * `all` is every case under these QEMUs; `suite` is what `npm test` runs, each case under the ones
 * it asks for; names are those cases. A case that cannot run under a QEMU is left out.
 */
export function chooseRuns(
  cases: Readonly<Record<string, VmCase>>,
  words: readonly string[],
  qemus: readonly QemuVersion[],
): Run[] {
  const all = words.includes('all');
  const suite = words.includes('suite');
  return Object.entries(cases).flatMap(([name, vmCase]) => {
    const chosen = all || words.includes(name) ? qemus : suite ? (vmCase.inSuite ?? ['7.2']) : [];
    return chosen
      .filter((qemu) => (vmCase.qemus ?? QEMU_VERSIONS).includes(qemu))
      .map((qemu) => ({ name, vmCase, qemu }));
  });
}
