/** Little-endian numbers of up to 32 bits in byte arrays. */

/** `size` bytes at `offset`, as an unsigned number; what lies behind the end is 0. */
export function readLittleEndian(bytes: ArrayLike<number>, offset: number, size: number): number {
  let value = 0;
  for (let i = 0; i < size; i++) value += (bytes[offset + i] ?? 0) * 2 ** (8 * i);
  return value;
}

/** The lowest `size` bytes of a number. */
export function littleEndianBytes(value: number, size = 4): number[] {
  return Array.from({ length: size }, (_, i) => (value >>> (8 * i)) & 0xff);
}
