import { failingDiskCase } from '../../failing-disk.js';

export const vmCase = failingDiskCase('btrfs', 256);
