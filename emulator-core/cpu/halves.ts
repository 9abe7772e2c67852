/** 64-bit numbers as pairs of signed 32-bit halves: small integers to JavaScript, where BigInts would be allocated. */

export function lowOf(value: bigint): number {
  return Number(BigInt.asIntN(32, value));
}

export function highOf(value: bigint): number {
  return Number(BigInt.asIntN(32, value >> 32n));
}

/** The 64-bit number in two halves. */
export function join(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}

/** High half of an address a little above high:low whose low half is `at`. */
export function carry(low: number, high: number, at: number): number {
  return at >>> 0 < low >>> 0 ? (high + 1) | 0 : high;
}
