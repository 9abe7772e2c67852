import { atOnce } from '../../introspection/slices';
import { sortedOrder } from '../radixSort';
import { Cursor, DwarfEndError } from './reader';

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

/** Bytes of a section that are read at first, and the unit in which they are. */
const WINDOW = 1 << 16;

/**
 * What `read` makes of a section's contents from `offset` on; only as much is taken from the file as it needs. `read` may be called more
 * than once. @throws DwarfError
 */
export function readFrom<T>(sections: DebugSections, section: string, offset: number, read: (cursor: Cursor) => T): T {
  const size = sections.size(section);
  if (!(offset >= 0 && offset <= size)) return read(new Cursor(new Uint8Array(0), offset - size, 0, section, size));
  const start = offset - (offset % WINDOW);
  for (let length = 2 * WINDOW; ; length *= 8) {
    const data = sections.range(section, start, Math.min(length, size - start));
    try {
      return read(new Cursor(data, offset - start, data.length, section, start));
    } catch (error) {
      if (!(error instanceof DwarfEndError) || length >= size - start) throw error;
    }
  }
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

const MAX_ADDRESS = 0xffff_ffff_ffff_ffffn;

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

  /** Makes searches quick: the first after add() waits for this. */
  *prepare(): Generator<void, BigUint64Array> {
    const { entries } = this;
    const keys = BigUint64Array.from(entries, ({ low }) => low);
    const order = yield* sortedOrder(keys, new Uint8Array(entries.length));
    yield;
    const lows = BigUint64Array.from(order, (i) => keys[i]!);
    this.entries = Array.from(order, (i) => entries[i]!);
    this.reach = new BigUint64Array(entries.length);
    let reach = 0n;
    this.entries.forEach(({ high }, i) => {
      if (high > reach) reach = high > MAX_ADDRESS ? MAX_ADDRESS : high;
      this.reach[i] = reach;
    });
    return (this.lows = lows);
  }

  /** The smallest range that holds `address`. Looks back over at most 1000 ranges that begin below it. */
  find(address: bigint): { low: bigint; high: bigint; value: T } | undefined {
    const lows = this.lows ?? atOnce(this.prepare());
    let best: { low: bigint; high: bigint; value: T } | undefined;
    const from = lastAtOrBelow(lows, address);
    for (let i = from; i >= 0 && i > from - 1000 && this.reach[i]! > address; i--) {
      const entry = this.entries[i]!;
      if (address < entry.high && (!best || entry.high - entry.low < best.high - best.low)) best = entry;
    }
    return best;
  }
}
