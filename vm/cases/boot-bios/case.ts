import { bootCase } from '../../boot-case.js';
import type { VmCase } from '../../case.js';

export const vmCase: VmCase = {
  ...bootCase('seabios', false),
  inSuite: [],
  title: 'SeaBIOS boots from the disk: GRUB, its script, a kernel, and that kernel finds the same',
};
