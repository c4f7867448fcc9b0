import { bootCase } from '../../boot-case.js';
import type { VmCase } from '../../case.js';

export const vmCase: VmCase = {
  ...bootCase('ovmf', true),
  inSuite: [],
  title:
    'UEFI firmware boots from the disk: GRUB, its script, a kernel, and that kernel finds the same',
};
