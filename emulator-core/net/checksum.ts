/** The Internet checksum: RFC 1071, "Computing the Internet Checksum". */

/** The one's complement sum of 16-bit words so far, and of `bytes`; an odd last byte is padded with zero. Not complemented. */
export function onesSum(bytes: Uint8Array, sum = 0): number {
  const even = bytes.length & ~1;
  for (let i = 0; i < even; i += 2) sum += (bytes[i] << 8) | bytes[i + 1];
  if (even < bytes.length) sum += bytes[even] << 8;
  return fold(sum);
}

/** What goes into a checksum field over a sum: 16 bits. */
export function checksum(bytes: Uint8Array, sum = 0): number {
  return ~onesSum(bytes, sum) & 0xffff;
}

/** Sum of the pseudo header that TCP and UDP prepend: RFC 9293, section 3.1, "Checksum". */
export function pseudoHeaderSum(source: number, destination: number, protocol: number, length: number): number {
  const words = [source >>> 16, source & 0xffff, destination >>> 16, destination & 0xffff, protocol, length];
  return fold(words.reduce((sum, word) => sum + word, 0));
}

function fold(sum: number): number {
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}
