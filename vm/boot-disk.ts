/**
 * A disk that a PC boots from, by BIOS or UEFI: GRUB in the first sectors and in an EFI system
 * partition, and a filesystem with GRUB's script, the guest's kernel and a file of random bytes.
 */
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import path from 'node:path';
import { inPart } from './parts.js';
import { guestKernel, inRoot, smallGuestInitrd } from './paths.js';

const SECTOR = 512;
const PARTITION_TABLE = 446;
const ESP = { start: 2048, type: 0xef };
const FILESYSTEM = { start: ESP.start + 8192, type: 0x83 };
const DATA_BYTES = 2 * 1024 * 1024;
/** What GRUB's save_env takes for its own. */
const ENVIRONMENT = '# GRUB Environment Block\n'.padEnd(1024, '#');

export interface BootDisk {
  /** Handed to the kernel by the script that GRUB read. */
  readonly token: string;
  /** Sectors the first stages of GRUB are read from. */
  readonly loaderSectors: number;
  readonly filesystemStart: number;
}

/** Fills the start of the file, which is there and has the size of the disk. */
export function makeBootDisk(file: string): BootDisk {
  const token = randomBytes(8).toString('hex');
  const end = statSync(file).size / SECTOR;
  const loader = readFileSync(inPart('boot-loaders', 'core.img'));
  const esp = readFileSync(inPart('boot-loaders', 'esp.img'));
  const disk = openSync(file, 'r+');
  try {
    writeSync(disk, bootSector(end), 0, SECTOR, 0);
    writeSync(disk, loader, 0, loader.length, SECTOR);
    writeSync(disk, esp, 0, esp.length, ESP.start * SECTOR);
  } finally {
    closeSync(disk);
  }
  const files = `${file}.files`;
  makeFiles(files, token);
  const offset = FILESYSTEM.start * SECTOR;
  const options = ['-q', '-F', '-t', 'ext2', '-b', '4096', '-d', files, '-E', `offset=${offset}`];
  const kibibytes = (end - FILESYSTEM.start) / 2;
  execFileSync('/usr/sbin/mke2fs', [...options, file, `${kibibytes}k`], { stdio: 'ignore' });
  rmSync(files, { recursive: true });
  const loaderSectors = 1 + Math.ceil(loader.length / SECTOR);
  return { token, loaderSectors, filesystemStart: FILESYSTEM.start };
}

/** First sectors of the blocks of 4 KiB that a file of the disk lies on. */
export function sectorsOfFile(disk: string, name: string): number[] {
  const device = `${disk}?offset=${FILESYSTEM.start * SECTOR}`;
  const answer = execFileSync('/usr/sbin/debugfs', ['-R', `blocks ${name}`, device], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return answer
    .trim()
    .split(/\s+/)
    .map((block) => FILESYSTEM.start + Number(block) * 8);
}

function bootSector(end: number): Buffer {
  const sector = readFileSync(inPart('boot-loaders', 'boot.img'));
  // GRUB leaves code for floppy disks where the partition table comes.
  sector.fill(0, PARTITION_TABLE, SECTOR - 2);
  const partition = (index: number, type: number, start: number, next: number): void => {
    const at = PARTITION_TABLE + index * 16;
    sector.writeUInt8(type, at + 4);
    sector.writeUInt32LE(start, at + 8);
    sector.writeUInt32LE(next - start, at + 12);
  };
  partition(0, ESP.type, ESP.start, FILESYSTEM.start);
  partition(1, FILESYSTEM.type, FILESYSTEM.start, end);
  return sector;
}

function makeFiles(dir: string, token: string): void {
  mkdirSync(dir);
  const put = (name: string, content: string | Buffer) =>
    writeFileSync(path.join(dir, name), content);
  copyFileSync(guestKernel, path.join(dir, 'vmlinuz'));
  copyFileSync(smallGuestInitrd, path.join(dir, 'initrd'));
  copyFileSync(inRoot('vm/guest/grub.sh'), path.join(dir, 'grub.cfg'));
  const data = randomBytes(DATA_BYTES);
  put('data', data);
  put('sums', `${createHash('sha256').update(data).digest('hex')}  data\n`);
  put('token', `token=${token}\n`);
  put('grubenv', ENVIRONMENT);
}
