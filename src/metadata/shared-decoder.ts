import { type DecodedSuperblock, decodeSuperblock } from '../ondisk/superblock.js';

/** `decodeSuperblock`, or one that knows what it has seen before. */
export type Decoder = (bytes: Buffer) => DecodedSuperblock;

/** Ten slots on each of eight spares, and as many again. */
const IMAGES_MAX = 160;

/**
 * A decoder that checks the same bytes once: a start reads every copy several times, to find out
 * where they are, whose they are and what they say. Whoever gets a reading must not change it.
 */
export function sharedDecoder(): Decoder {
  const known: { readonly bytes: Buffer; readonly decoded: DecodedSuperblock }[] = [];
  return (bytes) => {
    const seen = known.findIndex((one) => one.bytes.equals(bytes));
    if (seen > 0) known.unshift(...known.splice(seen, 1));
    if (seen >= 0) return (known[0] as (typeof known)[0]).decoded;
    const decoded = decodeSuperblock(bytes);
    known.unshift({ bytes: Buffer.from(bytes), decoded });
    if (known.length > IMAGES_MAX) known.pop();
    return decoded;
  };
}
