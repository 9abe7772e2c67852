/**
 * The machine's I/O ports and memory-mapped I/O: who answers where. Port dispatch is one table lookup.
 */
import type { MmioHandler, PortHandler } from './device';

export interface PortOptions {
  /**
   * The widest access in bytes that the handler takes. Wider and misaligned ones are split, low address first, as an
   * 8-bit ISA device sees them. 1 unless told.
   */
  width?: 1 | 2 | 4;
  /** A byte written is kept (Bus.kept) and nothing more happens: whoever executes OUT may do that without asking. */
  keeps?: boolean;
}

/** Ports there are. What the bus says of them has a byte for each that tells whether a byte written is only kept, then those bytes. */
export const PORT_COUNT = 0x10000;
export const PORT_TABLE_BYTES = 2 * PORT_COUNT;

export interface MmioRange {
  base: number;
  length: number;
  handler: MmioHandler;
}

interface PortEntry {
  handler: PortHandler;
  width: number;
}

/** All ones of `size` bytes: what a read gives that nobody answers. */
export function allOnes(size: number): number {
  return size >= 4 ? 0xffffffff : 2 ** (8 * size) - 1;
}

const UNCLAIMED: PortEntry = { handler: { readPort: (_port, size) => allOnes(size), writePort: () => {} }, width: 1 };

const NOBODY: MmioHandler = { readMmio: (_gpa, size) => allOnes(size), writeMmio: () => {} };
const NO_RANGE: MmioRange = { base: 0, length: 0, handler: NOBODY };

export class Bus {
  /** Port -> index into `entries`; 0 is nobody. */
  private readonly table = new Uint16Array(PORT_COUNT);
  /** By port: non-zero where a byte written is kept, or nobody looks at it. */
  private readonly keeps: Uint8Array;
  /** What was written last to ports that keep it. */
  readonly kept: Uint8Array;
  private readonly entries: PortEntry[] = [UNCLAIMED];
  /** Sorted by base. */
  private readonly ranges: MmioRange[] = [];
  /** The range found last. */
  private recent = NO_RANGE;

  /** @param ports PORT_TABLE_BYTES for `keeps` and `kept`, zeros */
  constructor(ports: Uint8Array = new Uint8Array(PORT_TABLE_BYTES)) {
    this.keeps = ports.subarray(0, PORT_COUNT).fill(1);
    this.kept = ports.subarray(PORT_COUNT);
  }

  /** Gives ports `first` to `last` (inclusive) to a handler. Throws if out of 0..0xffff or if one of them is taken. */
  addPorts(first: number, last: number, handler: PortHandler, options: PortOptions = {}): void {
    if (!(first >= 0 && first <= last && last <= 0xffff)) {
      throw new RangeError(`ports ${first.toString(16)}h-${last.toString(16)}h: expected within 0-ffffh`);
    }
    if (!this.portsFree(first, last)) {
      throw new Error(`ports ${first.toString(16)}h-${last.toString(16)}h overlap ports that are taken`);
    }
    const width = options.width ?? 1;
    let index = this.entries.findIndex((entry) => entry.handler === handler && entry.width === width);
    if (index < 0) index = this.entries.push({ handler, width }) - 1;
    this.table.fill(index, first, last + 1);
    this.keeps.fill(options.keeps ? 1 : 0, first, last + 1);
  }

  /** Takes ports away from whoever has them. */
  removePorts(first: number, last: number): void {
    this.table.fill(0, first, last + 1);
    this.keeps.fill(1, first, last + 1);
  }

  /** Whether nobody has any of ports `first` to `last`. */
  portsFree(first: number, last: number): boolean {
    for (let port = first; port <= last; port++) if (this.table[port] !== 0) return false;
    return true;
  }

  /** Whether a byte written to a port does nothing that anybody else has to know of. */
  keepsBytes(port: number): boolean {
    return this.keeps[port] !== 0;
  }

  /** Who has a port. */
  portHandler(port: number): PortHandler {
    return this.entries[this.table[port & 0xffff]].handler;
  }

  /** IN: `size` is 1, 2 or 4 bytes; the result is unsigned. A port that nobody has reads all ones. */
  readPort(port: number, size: number): number {
    const entry = this.entries[this.table[port]];
    if (size <= entry.width && (port & (size - 1)) === 0) {
      return (entry.handler.readPort(port, size) & allOnes(size)) >>> 0;
    }
    const piece = port & (size - 1) ? 1 : entry.width;
    let value = 0;
    for (let i = 0; i < size; i += piece) value += this.readPort((port + i) & 0xffff, piece) * 2 ** (8 * i);
    return value;
  }

  /** OUT: `size` is 1, 2 or 4 bytes. A port that nobody has ignores it. */
  writePort(port: number, value: number, size: number): void {
    const entry = this.entries[this.table[port]];
    if (size <= entry.width && (port & (size - 1)) === 0) {
      entry.handler.writePort(port, (value & allOnes(size)) >>> 0, size);
      return;
    }
    const piece = port & (size - 1) ? 1 : entry.width;
    for (let i = 0; i < size; i += piece) this.writePort((port + i) & 0xffff, value >>> (8 * i), piece);
  }

  /** Gives guest-physical `base` to `base + length - 1` to a handler. Throws on an overlap or an empty range. */
  addMmio(base: number, length: number, handler: MmioHandler): void {
    if (!(length > 0)) throw new RangeError(`MMIO at ${base.toString(16)}h: expected a length above 0`);
    if (!this.mmioFree(base, length)) throw new Error(`MMIO at ${base.toString(16)}h overlaps a range that is taken`);
    this.ranges.push({ base, length, handler });
    this.ranges.sort((a, b) => a.base - b.base);
  }

  /** Takes away the range that starts at `base`. */
  removeMmio(base: number): void {
    const index = this.ranges.findIndex((range) => range.base === base);
    if (index >= 0) this.ranges.splice(index, 1);
    this.recent = NO_RANGE;
  }

  /** Whether nobody has any of these guest-physical addresses. */
  mmioFree(base: number, length: number): boolean {
    return this.ranges.every((range) => base + length <= range.base || range.base + range.length <= base);
  }

  /** The range that holds a guest-physical address. */
  findMmio(gpa: number): MmioRange | undefined {
    // Most accesses are to where the last one was.
    const { recent } = this;
    if (gpa >= recent.base && gpa < recent.base + recent.length) return recent;
    let low = 0;
    let high = this.ranges.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.ranges[middle].base <= gpa) low = middle + 1;
      else high = middle;
    }
    if (low === 0) return undefined;
    const range = this.ranges[low - 1];
    if (gpa >= range.base + range.length) return undefined;
    this.recent = range;
    return range;
  }

  /** Reads `size` 1, 2 or 4 bytes (8 is two reads of 4, low first). An address that nobody has reads all ones. */
  readMmio(gpa: number, size: number): number {
    const { handler } = this.findMmio(gpa) ?? NO_RANGE;
    return size === 4 ? handler.readMmio(gpa, size) >>> 0 : (handler.readMmio(gpa, size) & allOnes(size)) >>> 0;
  }

  /** Writes `size` 1, 2 or 4 bytes (8 is two writes of 4, low first). An address that nobody has ignores it. */
  writeMmio(gpa: number, value: number, size: number): void {
    this.findMmio(gpa)?.handler.writeMmio(gpa, (value & allOnes(size)) >>> 0, size);
  }

  /** Every range, by address. */
  mmioRanges(): readonly MmioRange[] {
    return this.ranges;
  }
}
