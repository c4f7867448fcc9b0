import { test } from 'tap';
import { crc32c, crc32cWithout } from '../../src/ondisk/crc32c.js';
import { Prng } from '../fixtures/prng.js';

/** One bit at a time, straight from the definition. */
function slow(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}

test('the check values of RFC 3720, appendix B.4', async (t) => {
  t.equal(crc32c(Buffer.from('123456789')), 0xe3069283);
  t.equal(crc32c(Buffer.alloc(32)), 0x8a9136aa);
  t.equal(crc32c(Buffer.alloc(32, 0xff)), 0x62a8ab43);
  t.equal(crc32c(Buffer.from(Array.from({ length: 32 }, (_, i) => i))), 0x46dd794e);
  t.equal(crc32c(Buffer.alloc(0)), 0);
});

test('agrees with the definition at every length and alignment', async (t) => {
  const bytes = new Prng(1).bytes(100);
  for (let from = 0; from < 9; from++) {
    for (let to = from; to <= 100; to++) {
      const part = bytes.subarray(from, to);
      if (crc32c(part) !== slow(part)) t.fail(`from ${from} to ${to}`);
    }
  }
});

test('goes on where another part ended', async (t) => {
  const bytes = new Prng(2).bytes(1000);
  for (const cut of [0, 1, 7, 8, 9, 500, 999, 1000]) {
    t.equal(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut))), crc32c(bytes));
  }
});

test('takes the field that holds it as zero', async (t) => {
  const bytes = new Prng(3).bytes(512);
  const zeroed = Buffer.from(bytes).fill(0, 504, 508);
  t.equal(crc32cWithout(bytes, 504), crc32c(zeroed));
  t.not(crc32cWithout(bytes, 504), crc32c(bytes));
});
