/** Whether the words from `from` up to `to` are all zero: memory that nobody has to keep. */
export function isZero(words: Int32Array, from: number, to: number): boolean {
  for (let i = from; i < to; i++) if (words[i] !== 0) return false;
  return true;
}
