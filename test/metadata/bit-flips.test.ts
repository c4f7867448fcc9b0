/** Every bit of every copy, flipped: noticed, and healed. All 983,040: FLIPS=all. */
import t, { test } from 'tap';
import { SUPERBLOCK_SIZE } from '../../src/ondisk/layout.js';
import { decodeSuperblock } from '../../src/ondisk/superblock.js';
import { contentOf, openSim, remaps, simVolume } from '../fixtures/metadata.js';
import type { SimDevice } from '../fixtures/sim-device.js';

const BITS = SUPERBLOCK_SIZE * 8;
/** A prime, so that a sample meets every section and every bit of a byte. */
const STEP = process.env.FLIPS === 'all' ? 1 : 911;
/** Of those that are noticed, how many are healed as well: that takes a start each. */
const HEAL_EVERY = process.env.FLIPS === 'all' ? 4096 : 32;

t.setTimeout(3_600_000);

test('a flipped bit of any copy is noticed, and healed', async (t) => {
  const { spares, store } = await simVolume();
  const [spare] = spares as [SimDevice];
  const [layout] = store.layouts as [(typeof store.layouts)[0]];
  await store.commit({ add: remaps(layout, 0, 100) });
  const content = contentOf(store.entries()).join();
  let [flipped, healed] = [0, 0];
  for (let copy = 0; copy < 5; copy++) {
    const offset = layout.slotOffset(copy, store.generation);
    const bytes = spare.peek(offset, SUPERBLOCK_SIZE);
    for (let bit = STEP === 1 ? 0 : copy; bit < BITS; bit += STEP) {
      const at = bit >> 3;
      bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7));
      if (decodeSuperblock(bytes).kind !== 'damaged') t.fail(`copy ${copy}, bit ${bit}`);
      if (flipped++ % HEAL_EVERY === 0) {
        const sick = spare.clone();
        sick.damage(offset, bytes);
        const opened = await openSim([sick]);
        const right = opened.generation === 2n && contentOf(opened.entries()).join() === content;
        if (!right || opened.tolerance() !== 4 || !sick.equals(spare)) {
          t.fail(`copy ${copy}, bit ${bit} is not healed`);
        }
        healed++;
      }
      bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7));
    }
  }
  t.comment(`${flipped} flips noticed, ${healed} healed`);
  t.ok(flipped >= (5 * (BITS - 5)) / STEP);
});
