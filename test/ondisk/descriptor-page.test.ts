import fc from 'fast-check';
import { test } from 'tap';
import { generation, lba } from '../../src/core/units.js';
import { crc32cWithout } from '../../src/ondisk/crc32c.js';
import {
  type BlockDescriptor,
  DESCRIPTOR_AT,
  type DescriptorPage,
  decodeDescriptorPage,
  encodeDescriptorPage,
  FREE_BLOCK,
} from '../../src/ondisk/descriptor-page.js';
import { FormatError } from '../../src/ondisk/fields.js';
import { documentedOffsets } from '../fixtures/ondisk.js';

const page = (blocks: readonly BlockDescriptor[]): DescriptorPage => ({
  volumeUuid: '00112233-4455-6677-8899-aabbccddeeff',
  sequence: 0x0102030405,
  groupStart: lba(0x1112131415),
  logicalBlockSize: 4096,
  blocks: Array.from({ length: 248 }, (_, i) => blocks[i] ?? FREE_BLOCK),
});

test('every field stands where the document says', async (t) => {
  const used = {
    state: 'used',
    mainStart: lba(0x212223242526),
    generation: generation(7n),
  } as const;
  const retired = { state: 'retired', mainStart: lba(0), generation: generation(8n) } as const;
  const b = encodeDescriptorPage(page([FREE_BLOCK, used, retired]));
  t.equal(b.length, 4096);
  t.equal(b.toString('latin1', 0, 4), 'DMRG');
  t.equal(b.toString('hex', 8, 24), '00112233445566778899aabbccddeeff');
  t.equal(b.readBigUInt64LE(24), 0x0102030405n);
  t.equal(b.readBigUInt64LE(32), 0x1112131415n);
  t.equal(b.readUInt32LE(40), 4096);
  t.equal(b.toString('hex', 80, 96), '262524232221 01 00 0700000000000000'.replaceAll(' ', ''));
  t.equal(b.toString('hex', 96, 112), '000000000000 02 00 0800000000000000'.replaceAll(' ', ''));
  t.match(documentedOffsets('## Descriptor page'), {
    magic: DESCRIPTOR_AT.magic,
    crc: DESCRIPTOR_AT.crc,
    volumeUuid: DESCRIPTOR_AT.volumeUuid,
    sequence: DESCRIPTOR_AT.sequence,
    groupStart: DESCRIPTOR_AT.groupStart,
    logicalBlockSize: DESCRIPTOR_AT.logicalBlockSize,
    blocks: DESCRIPTOR_AT.blocks,
    reserved: DESCRIPTOR_AT.tail,
  });
});

test('property: what is encoded is decoded', async (t) => {
  const block = fc.record({
    state: fc.constantFrom('free' as const, 'used' as const, 'retired' as const),
    mainStart: fc.integer({ min: 0, max: 2 ** 48 - 1 }).map(lba),
    generation: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map(generation),
  });
  const property = fc.property(fc.array(block, { maxLength: 248, size: 'max' }), (blocks) => {
    const decoded = decodeDescriptorPage(encodeDescriptorPage(page(blocks)));
    return page(blocks).blocks.every((given, i) => {
      const found = decoded.blocks[i];
      return (
        found?.state === given.state &&
        found.mainStart === given.mainStart &&
        found.generation === given.generation
      );
    });
  });
  t.doesNotThrow(() => fc.assert(property, { numRuns: 50 }));
});

test('bytes that are no sound page are refused', async (t) => {
  const sound = encodeDescriptorPage(page([]));
  for (const at of [0, 9, 25, 44, 63, 70, 71, 4040]) {
    const b = Buffer.from(sound);
    b[at] = (b[at] as number) ^ 0x80;
    t.throws(() => decodeDescriptorPage(b), FormatError, `byte ${at}`);
    b.writeUInt32LE(crc32cWithout(b, 4), 4);
    // With the CRC right as well, only what has no other meaning is refused.
    if ([0, 44, 63, 70, 71, 4040].includes(at)) {
      t.throws(() => decodeDescriptorPage(b), FormatError, `byte ${at}, sealed`);
    }
  }
  t.throws(() => encodeDescriptorPage({ ...page([]), blocks: [] }), RangeError);
});
