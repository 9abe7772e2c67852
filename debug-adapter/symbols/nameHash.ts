/** Names that stand in tables of NUL-terminated strings, looked up without a string for each. */

/** Bytes of a name that count: what differs only behind them has the same hash. */
const HASHED = 256;

/** FNV-1a, 32 bits, of a name: up to its NUL or the end of the data. */
export function hashName(bytes: Uint8Array, from = 0): number {
  let value = 0x811c9dc5;
  for (let i = from, end = Math.min(bytes.length, from + HASHED); i < end && bytes[i] !== 0; i++) {
    value = Math.imul(value ^ bytes[i]!, 0x01000193);
  }
  return value >>> 0;
}

/** Whether NUL-terminated `text` stands at an offset. */
export function isName(data: Uint8Array, offset: number, text: Uint8Array): boolean {
  if (data[offset + text.length] !== 0) return false;
  for (let i = 0; i < text.length; i++) if (data[offset + i] !== text[i]) return false;
  return true;
}
