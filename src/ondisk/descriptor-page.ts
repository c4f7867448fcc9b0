/** What a group's blocks hold, written beside them: docs/on-disk-format.md, "Descriptor page". */
import { strict as assert } from 'node:assert';
import { type Generation, generation, type Lba, lba } from '../core/units.js';
import { crc32cWithout } from './crc32c.js';
import {
  FormatError,
  getU48,
  getU64,
  getUuid,
  putU48,
  putU64,
  putUuid,
  requireZero,
} from './fields.js';
import { DESCRIPTOR_PAGE_SIZE, GROUP_BLOCKS } from './layout.js';

const MAGIC = 'DMRG';
const BLOCK_SIZE = 16;
export const DESCRIPTOR_AT = {
  magic: 0,
  crc: 4,
  volumeUuid: 8,
  sequence: 24,
  groupStart: 32,
  logicalBlockSize: 40,
  reserved: 44,
  blocks: 64,
  tail: 4032,
} as const;
const BLOCK_AT = { mainStart: 0, state: 6, reserved: 7, generation: 8 } as const;
assert.equal(DESCRIPTOR_AT.blocks + GROUP_BLOCKS * BLOCK_SIZE, DESCRIPTOR_AT.tail);

export type BlockState = 'free' | 'used' | 'retired';
const STATES: readonly BlockState[] = ['free', 'used', 'retired'];

export interface BlockDescriptor {
  readonly state: BlockState;
  /** Sector of main; 0 unless used. */
  readonly mainStart: Lba;
  /** Of the commit this state belongs to; 0 when never used. */
  readonly generation: Generation;
}

export interface DescriptorPage {
  readonly volumeUuid: string;
  /** +1 a write of this group's descriptors; slot = sequence modulo 2. */
  readonly sequence: number;
  /** First sector of the group on the spare. */
  readonly groupStart: Lba;
  readonly logicalBlockSize: number;
  /** 248, one for each block. */
  readonly blocks: readonly BlockDescriptor[];
}

export const FREE_BLOCK: BlockDescriptor = {
  state: 'free',
  mainStart: lba(0),
  generation: generation(0n),
};

export function encodeDescriptorPage(page: DescriptorPage): Buffer {
  if (page.blocks.length !== GROUP_BLOCKS) {
    throw new RangeError(`a group has ${GROUP_BLOCKS} blocks, not ${page.blocks.length}`);
  }
  const bytes = Buffer.alloc(DESCRIPTOR_PAGE_SIZE);
  bytes.write(MAGIC, DESCRIPTOR_AT.magic, 'ascii');
  putUuid(bytes, DESCRIPTOR_AT.volumeUuid, page.volumeUuid);
  putU64(bytes, DESCRIPTOR_AT.sequence, page.sequence);
  putU64(bytes, DESCRIPTOR_AT.groupStart, page.groupStart);
  bytes.writeUInt32LE(page.logicalBlockSize, DESCRIPTOR_AT.logicalBlockSize);
  for (const [i, block] of page.blocks.entries()) {
    const at = DESCRIPTOR_AT.blocks + i * BLOCK_SIZE;
    putU48(bytes, at + BLOCK_AT.mainStart, block.mainStart);
    bytes.writeUInt8(STATES.indexOf(block.state), at + BLOCK_AT.state);
    bytes.writeBigUInt64LE(block.generation, at + BLOCK_AT.generation);
  }
  bytes.writeUInt32LE(crc32cWithout(bytes, DESCRIPTOR_AT.crc), DESCRIPTOR_AT.crc);
  return bytes;
}

const hasMagic = (bytes: Buffer): boolean =>
  bytes.toString('latin1', DESCRIPTOR_AT.magic, DESCRIPTOR_AT.crc) === MAGIC;

/** `bytes` were meant as a descriptor page of the group that starts at sector `groupStart`. */
export const wasDescriptorPage = (bytes: Buffer, groupStart: number): boolean =>
  hasMagic(bytes) || bytes.readBigUInt64LE(DESCRIPTOR_AT.groupStart) === BigInt(groupStart);

/** Throws FormatError when `bytes` are not a sound page. */
export function decodeDescriptorPage(bytes: Buffer): DescriptorPage {
  if (!hasMagic(bytes)) {
    throw new FormatError(`the magic is not ${MAGIC}`);
  }
  if (bytes.readUInt32LE(DESCRIPTOR_AT.crc) !== crc32cWithout(bytes, DESCRIPTOR_AT.crc)) {
    throw new FormatError('the CRC of the descriptors is wrong');
  }
  const { reserved, blocks, tail } = DESCRIPTOR_AT;
  requireZero(bytes, reserved, blocks, 'a reserved byte of the descriptors');
  requireZero(bytes, tail, DESCRIPTOR_PAGE_SIZE, 'a reserved byte of the descriptors');
  return {
    volumeUuid: getUuid(bytes, DESCRIPTOR_AT.volumeUuid),
    sequence: getU64(bytes, DESCRIPTOR_AT.sequence),
    groupStart: lba(getU64(bytes, DESCRIPTOR_AT.groupStart)),
    logicalBlockSize: bytes.readUInt32LE(DESCRIPTOR_AT.logicalBlockSize),
    blocks: Array.from({ length: GROUP_BLOCKS }, (_, i) =>
      decodeBlock(bytes, blocks + i * BLOCK_SIZE),
    ),
  };
}

function decodeBlock(bytes: Buffer, at: number): BlockDescriptor {
  const state = STATES[bytes.readUInt8(at + BLOCK_AT.state)];
  if (state === undefined || bytes.readUInt8(at + BLOCK_AT.reserved) !== 0) {
    throw new FormatError('a descriptor has an unknown state');
  }
  const mainStart = getU48(bytes, at + BLOCK_AT.mainStart);
  const number = bytes.readBigUInt64LE(at + BLOCK_AT.generation);
  // Most are like this, and a whole spare of them is held in memory by a rebuild.
  if (state === 'free' && mainStart === 0 && number === 0n) return FREE_BLOCK;
  return { state, mainStart: lba(mainStart), generation: generation(number) };
}
