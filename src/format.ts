/** How numbers look in the views. No vscode here: tested without an editor. */

/** `0x`-prefixed hex, at least `digits` digits. */
export function hex(value: bigint, digits = 1): string {
  return '0x' + value.toString(16).padStart(digits, '0');
}

/** 4096n -> '4K', 2097152n -> '2M'. Bytes that are not a whole number of K print as they are. */
export function byteSize(bytes: bigint): string {
  const units = ['', 'K', 'M', 'G', 'T', 'P'];
  let unit = 0;
  while (bytes >= 1024n && bytes % 1024n === 0n && unit < units.length - 1) {
    bytes /= 1024n;
    unit++;
  }
  return `${bytes}${units[unit]}`;
}

/**
 * An inclusive address range, short enough for a side bar: the end repeats only the digits that differ.
 * (0x200000, 0x3fffff) -> '0x00200000–3fffff'; 0xffffffff80000000 and 2 MiB -> '0xffffffff80000000–1fffff'.
 */
export function addressRange(first: bigint, last: bigint): string {
  const digits = Math.max(8, last.toString(16).length);
  const from = first.toString(16).padStart(digits, '0');
  const to = last.toString(16).padStart(digits, '0');
  let same = 0;
  while (same < digits - 1 && from[same] === to[same]) same++;
  return `0x${from}–${to.slice(same)}`;
}

/** 1234567 -> '1,234,567', whatever the locale. */
export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** Share of a total in percent: one decimal below 10, '<0.1%' rather than zero. */
export function share(part: number, total: number): string {
  if (total <= 0 || part === 0) return '0%';
  const percent = (part / total) * 100;
  if (percent > 0 && percent < 0.1) return '<0.1%';
  return percent < 10 ? `${percent.toFixed(1)}%` : `${Math.round(percent)}%`;
}

/**
 * Reads an address typed by a person: hex with or without `0x`, underscores and backquotes as in `ffff8000`00001000`
 * allowed, canonical 64-bit range. Undefined when it is none.
 */
export function parseAddress(text: string): bigint | undefined {
  const digits = text.trim().replace(/^0x/i, '').replace(/h$/i, '').replace(/[_`']/g, '');
  return /^[0-9a-f]{1,16}$/i.test(digits) ? BigInt('0x' + digits) : undefined;
}
