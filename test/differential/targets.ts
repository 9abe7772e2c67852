/** Places that memory operands are aimed at: aligned and not, across pages, at the end of what is mapped, beyond it. */
import { CODE, CODE_BYTES, DATA, DATA_BYTES, READ_ONLY } from './protocol';
import type { Random } from './values';

const PAGE = 4096;
const END = DATA + DATA_BYTES;

export interface Target {
  address: number;
  /** Made non-canonical by the bits above. */
  nonCanonical: boolean;
}

const result: Target = { address: 0, nonCanonical: false };

/** A place for an operand of `bytes`. The object is used again by the next call. */
export function pickTarget(random: Random, bytes: number): Target {
  const n = random.below(100);
  result.nonCanonical = false;
  let address: number;
  if (n < 45) address = (DATA + random.below(DATA_BYTES - bytes)) & -alignment(bytes);
  else if (n < 72) address = DATA + random.below(Math.max(1, DATA_BYTES - bytes));
  else if (n < 80) address = DATA + PAGE - 1 - random.below(Math.max(1, bytes - 1));
  else if (n < 85) address = END - bytes - (random.chance(0.5) ? 0 : random.below(16));
  else if (n < 90) address = END - random.below(bytes + 1);
  else if (n < 92) address = DATA - 1 - random.below(bytes + 2);
  else if (n < 95) address = READ_ONLY + random.below(PAGE - bytes);
  else if (n < 97) address = CODE + CODE_BYTES - bytes - random.below(64);
  else if (n < 98) address = 0x1000000 + random.below(0x70000000);
  else {
    address = DATA + random.below(DATA_BYTES);
    result.nonCanonical = true;
  }
  result.address = address;
  return result;
}

/** The power of two at or below the size, at most 64. */
function alignment(bytes: number): number {
  return Math.min(64, 1 << (31 - Math.clz32(bytes)));
}
