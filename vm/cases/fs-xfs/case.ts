import { failingDiskCase } from '../../failing-disk.js';

export const vmCase = failingDiskCase('xfs', 320);
