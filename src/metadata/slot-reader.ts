import type { BlockDevice } from '../device/block-device.js';
import { SUPERBLOCK_SIZE } from '../ondisk/layout.js';
import { type DecodedSuperblock, decodeSuperblock } from '../ondisk/superblock.js';

/** What stands in one superblock slot, wherever it should stand. */
export interface RawSlot {
  readonly bytes: Buffer;
  readonly decoded: DecodedSuperblock | { readonly kind: 'unreadable'; readonly error: unknown };
}

/**
 * Reads and checks superblock slots, each once: a start looks at them to find out where they are,
 * whose they are, and what they say. Good for as long as nobody writes to the devices.
 */
export class SlotReader {
  readonly #decode: (bytes: Buffer) => DecodedSuperblock;
  readonly #known = new Map<BlockDevice, Map<number, Promise<RawSlot>>>();

  constructor(decode = decodeSuperblock) {
    this.#decode = decode;
  }

  read(device: BlockDevice, offset: number): Promise<RawSlot> {
    const slots = this.#known.get(device) ?? new Map<number, Promise<RawSlot>>();
    this.#known.set(device, slots);
    const slot = slots.get(offset) ?? this.#read(device, offset);
    slots.set(offset, slot);
    return slot;
  }

  async #read(device: BlockDevice, offset: number): Promise<RawSlot> {
    const bytes = Buffer.alloc(SUPERBLOCK_SIZE);
    try {
      await device.read(bytes, offset);
    } catch (error) {
      return { bytes, decoded: { kind: 'unreadable', error } };
    }
    return { bytes, decoded: this.#decode(bytes) };
  }
}
