import { failingDiskCase } from '../../failing-disk.js';

export const vmCase = failingDiskCase("ext4 on md's mirror", 128);
