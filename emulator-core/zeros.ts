/** Bytes that are looked at before they are zeroed. */
const BLOCK = 4096;

/** Whether the words from `from` up to `to` are all zero: memory that nobody has to keep. */
export function isZero(words: Int32Array, from: number, to: number): boolean {
  let i = from;
  for (; i + 8 <= to; i += 8) {
    const four = words[i] | words[i + 1] | words[i + 2] | words[i + 3];
    if ((four | words[i + 4] | words[i + 5] | words[i + 6] | words[i + 7]) !== 0) return false;
  }
  for (; i < to; i++) if (words[i] !== 0) return false;
  return true;
}

/**
 * Makes the bytes from `from` up to `to` zero, as fill() does, but writes only where they are not: memory that was never written to takes
 * no room until it is.
 */
export function clear(bytes: Uint8Array, from = 0, to = bytes.length): void {
  const { buffer, byteOffset } = bytes;
  const first = from + (-(byteOffset + from) & 3);
  if (first >= to) {
    bytes.fill(0, from, to);
    return;
  }
  bytes.fill(0, from, first);
  const words = new Int32Array(buffer, byteOffset + first, (to - first) >>> 2);
  for (let at = 0; at < words.length; at += BLOCK / 4) {
    const end = Math.min(words.length, at + BLOCK / 4);
    if (!isZero(words, at, end)) words.fill(0, at, end);
  }
  bytes.fill(0, first + words.byteLength, to);
}
