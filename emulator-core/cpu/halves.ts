/** 64-bit numbers as pairs of signed 32-bit halves: small integers to JavaScript, where BigInts would be allocated. */

/** Signed halves of a 64-bit number. */
export interface Halves {
  low: number;
  high: number;
}

/** The same 64 bits twice: passing through them allocates at most the result. Little-endian, as WebAssembly's memory is. */
const halves = new Int32Array(2);
const whole = new BigUint64Array(halves.buffer);

export function lowOf(value: bigint): number {
  whole[0] = value;
  return halves[0];
}

export function highOf(value: bigint): number {
  whole[0] = value;
  return halves[1];
}

/** The 64-bit number in two halves. */
export function join(low: number, high: number): bigint {
  halves[0] = low;
  halves[1] = high;
  return whole[0];
}

/** High half of an address a little above high:low whose low half is `at`. */
export function carry(low: number, high: number, at: number): number {
  return at >>> 0 < low >>> 0 ? (high + 1) | 0 : high;
}
