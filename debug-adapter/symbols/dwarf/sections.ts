/** A bounded list of notes about input that could not be understood; each text once. */
export class Warnings {
  private readonly texts = new Set<string>();

  constructor(private readonly limit = 100) {}

  add(text: string): void {
    if (this.texts.size < this.limit) this.texts.add(text);
    else if (this.texts.size === this.limit) this.texts.add('more problems of this kind are not listed');
  }

  get list(): string[] {
    return [...this.texts];
  }
}

/** What the debug-information reader needs of an object file. */
export interface DebugSections {
  is64: boolean;
  /** Contents of a section, empty when there is none. Kept once read. */
  data(name: string): Uint8Array;
  /** Length of a section's contents in bytes, 0 when there is none. */
  size(name: string): number;
  /** A part of a section, which must lie in it: large sections are not read as a whole. Kept only for a while. */
  range(name: string, offset: number, length: number): Uint8Array;
  /** Address of a section as linked, 0 when unknown. */
  address(name: string): bigint;
  /** Whether code may lie at address 0; if not, what claims to has been discarded by the linker. */
  codeAtZero: boolean;
  warnings: Warnings;
}

/** Half-open range [low, high) of addresses as linked. */
export type AddressRange = [low: bigint, high: bigint];

/** Index of the last element of `sorted` (ascending) that is <= value, -1 when none is. */
export function lastAtOrBelow<T extends bigint | number>(
  sorted: ArrayLike<T>,
  value: T,
  length = sorted.length,
): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Finds which of many ranges, possibly nested or overlapping, holds an address. */
export class RangeMap<T> {
  private lows: BigUint64Array | undefined;
  /** Highest end of all ranges up to this index: how far back a search has to look. */
  private reach: BigUint64Array = new BigUint64Array(0);
  private entries: { low: bigint; high: bigint; value: T }[] = [];

  add(low: bigint, high: bigint, value: T): void {
    if (high <= low) return;
    this.entries.push({ low, high, value });
    this.lows = undefined;
  }

  get size(): number {
    return this.entries.length;
  }

  private sort(): BigUint64Array {
    this.entries.sort((a, b) => (a.low < b.low ? -1 : a.low > b.low ? 1 : 0));
    const lows = new BigUint64Array(this.entries.length);
    this.reach = new BigUint64Array(this.entries.length);
    let reach = 0n;
    this.entries.forEach(({ low, high }, i) => {
      lows[i] = low;
      if (high > reach) reach = high;
      this.reach[i] = reach;
    });
    return (this.lows = lows);
  }

  /** The smallest range that holds `address`. Looks back over at most 1000 ranges that begin below it. */
  find(address: bigint): { low: bigint; high: bigint; value: T } | undefined {
    const lows = this.lows ?? this.sort();
    let best: { low: bigint; high: bigint; value: T } | undefined;
    const from = lastAtOrBelow(lows, address);
    for (let i = from; i >= 0 && i > from - 1000 && this.reach[i]! > address; i--) {
      const entry = this.entries[i]!;
      if (address < entry.high && (!best || entry.high - entry.low < best.high - best.low)) best = entry;
    }
    return best;
  }
}
