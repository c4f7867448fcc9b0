import { failingDiskCase } from '../../failing-disk.js';

export const vmCase = failingDiskCase('ext4', 192);
