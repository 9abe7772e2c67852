/**
 * Zstandard frames without a dictionary. RFC 8878, sections 3.1.1 "Zstandard Frames" and 3.1.2 "Skippable Frames".
 * The whole output is at hand: it is its own window, of whatever size. Checksums are not computed: what is read out of a kernel
 * proves itself.
 */
import {
  BackwardBits,
  constantTable,
  expandHuffman,
  fseTable,
  readFseTable,
  readHuffmanTable,
  type FseTable,
  type HuffmanTable,
} from './entropy';
import { CompressionError } from './error';

const MAGIC = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50;
/** What a block gives at most, and its literals. */
const MAX_BLOCK = 1 << 17;
/** Sequences between two yields. */
const BURST = 4096;
/** Copies from this length on are worth a call. */
const LONG_COPY = 32;

const fail = (what: string): never => {
  throw new CompressionError('Zstandard', what);
};

/** The three kinds of codes in a sequence: where their values begin, their extra bits, and the tables for them. */
interface CodeKind {
  name: string;
  baseline: readonly number[];
  extra: readonly number[];
  maxLog: number;
  predefined: FseTable;
}

/** Values that begin with `first`, each one after as many as the extra bits of the code before it count. */
function codes(name: string, first: number, extra: readonly number[], maxLog: number, predefined: FseTable): CodeKind {
  let value = first;
  const baseline = extra.map((bits) => {
    const start = value;
    value += 2 ** bits;
    return start;
  });
  return { name, baseline, extra, maxLog, predefined };
}

const times = (count: number, value: number): number[] => new Array<number>(count).fill(value);

// 3.1.1.3.2.1.1, "Sequence Codes for Lengths and Offsets"; 3.1.1.3.2.2, "Default Distributions".
const LITERAL_LENGTHS = codes(
  'literal lengths',
  0,
  [...times(16, 0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  9,
  fseTable([4, 3, ...times(11, 2), 1, 1, 1, ...times(9, 2), 3, 2, ...times(5, 1), ...times(4, -1)], 6),
);
const MATCH_LENGTHS = codes(
  'match lengths',
  3,
  [...times(32, 0), 1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  9,
  fseTable([1, 4, 3, ...times(6, 2), ...times(37, 1), ...times(7, -1)], 6),
);
/** Offsets of 2^31 and more are beyond any output. */
const OFFSETS = codes(
  'offsets',
  1,
  Array.from({ length: 31 }, (_, code) => code),
  8,
  fseTable([...times(6, 1), 2, 2, 2, ...times(15, 1), ...times(5, -1)], 5),
);

/** Expands the frames at the beginning to exactly `size` bytes, as many as that takes. @throws CompressionError */
export function* expandZstd(data: Uint8Array, size: number): Generator<void, Uint8Array> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const out = new Uint8Array(size);
  let at = 0;
  let written = 0;
  do {
    if (at + 8 > data.length) fail(`expected ${size} bytes, the data gives ${written}`);
    const magic = view.getUint32(at, true);
    if ((magic & ~15) === SKIPPABLE) {
      at += 8 + view.getUint32(at + 4, true);
      yield;
      continue;
    }
    if (magic !== MAGIC) fail(`expected the magic number of a frame, 0xfd2fb528, at 0x${at.toString(16)}`);
    const frame = new Frame(data, at + 4, out, written);
    while (yield* frame.block()) yield;
    ({ at, written } = frame);
  } while (written < size);
  return out;
}

class Frame {
  private readonly start: number;
  private readonly checksum: boolean;
  private last = false;
  private huffman?: HuffmanTable;
  private readonly tables = new Map<CodeKind, FseTable>();
  private readonly repeated = [1, 4, 8];
  private readonly literalBuffer = new Uint8Array(MAX_BLOCK);

  /** @param at where the frame's header begins, behind the magic number; later, where the next block does */
  constructor(
    private readonly data: Uint8Array,
    public at: number,
    private readonly out: Uint8Array,
    public written: number,
  ) {
    this.start = written;
    const descriptor = this.byte();
    if (descriptor & 8) fail('a reserved bit of a frame header is set');
    const single = (descriptor & 0x20) !== 0;
    this.checksum = (descriptor & 4) !== 0;
    const dictionary = [0, 1, 2, 4][descriptor & 3];
    const sizeBytes = [single ? 1 : 0, 2, 4, 8][descriptor >> 6];
    if (!single) this.byte(); // the window
    for (let i = 0; i < dictionary; i++) if (this.byte() !== 0) fail('the data needs a dictionary');
    this.at += sizeBytes;
  }

  private byte(): number {
    return this.at < this.data.length ? this.data[this.at++] : fail('the data ends early');
  }

  /** Expands the next block; false: that was the last one and the frame is over. */
  *block(): Generator<void, boolean> {
    if (this.last) return false;
    const header = this.byte() | (this.byte() << 8) | (this.byte() << 16);
    this.last = (header & 1) !== 0;
    const type = (header >> 1) & 3;
    const size = header >> 3;
    if (size > MAX_BLOCK) fail(`a block of ${size} bytes, expected ${MAX_BLOCK} at most`);
    const end = this.at + (type === 1 ? 1 : size);
    if (end > this.data.length) fail(`a block of ${size} bytes at 0x${this.at.toString(16)} does not fit the data`);
    if (type === 2) yield* this.compressed(end);
    else if (type === 3) fail('a block of a reserved type');
    else {
      this.reserve(size, this.out.length);
      if (type === 0) this.out.set(this.data.subarray(this.at, end), this.written);
      else this.out.fill(this.data[this.at], this.written, this.written + size);
      this.written += size;
    }
    this.at = end;
    if (this.last && this.checksum) this.at += 4;
    return !this.last;
  }

  private reserve(count: number, limit: number): void {
    if (this.written + count > limit) fail('more data than expected');
  }

  private *compressed(end: number): Generator<void, void> {
    const literals = this.literals(end);
    const limit = Math.min(this.out.length, this.written + MAX_BLOCK);
    const used = yield* this.sequences(end, literals, limit);
    this.copyLiterals(literals, used, literals.length - used, limit);
  }

  private copyLiterals(literals: Uint8Array, from: number, count: number, limit: number): void {
    if (from + count > literals.length) fail('a sequence takes more literals than there are');
    this.reserve(count, limit);
    const { out, written } = this;
    if (count >= LONG_COPY) out.set(literals.subarray(from, from + count), written);
    else for (let i = 0; i < count; i++) out[written + i] = literals[from + i];
    this.written += count;
  }

  /** 3.1.1.3.1, "Literals Section". */
  private literals(end: number): Uint8Array {
    const { data } = this;
    const first = this.byte();
    const format = (first >> 2) & 3;
    const type = first & 3;
    if (type < 2) {
      // One size of 5, 12 or 20 bits.
      const extra = [0, 1, 0, 2][format];
      let size = first >> (extra ? 4 : 3);
      for (let i = 0; i < extra; i++) size |= this.byte() << (4 + 8 * i);
      const length = type === 0 ? size : 1;
      if (size > MAX_BLOCK || this.at + length > end) fail(`${size} literals do not fit their block`);
      const from = this.at;
      this.at += length;
      if (type === 0) return data.subarray(from, this.at);
      return this.literalBuffer.subarray(0, size).fill(data[from]);
    }
    // Two sizes of 10, 14 or 18 bits: of the literals and of their streams.
    const bits = [10, 10, 14, 18][format];
    let sizes = first >> 4;
    for (let i = 0, scale = 16; i < [2, 2, 3, 4][format]; i++, scale *= 256) sizes += this.byte() * scale;
    const size = sizes % 2 ** bits;
    const stop = this.at + Math.floor(sizes / 2 ** bits);
    if (size > MAX_BLOCK || stop > end) fail(`${size} literals do not fit their block`);
    if (type === 2) {
      const { table, end: after } = readHuffmanTable(data, this.at, stop);
      this.huffman = table;
      this.at = after;
    }
    const huffman = this.huffman ?? fail('literals without a Huffman table');
    const out = this.literalBuffer.subarray(0, size);
    if (format === 0) expandHuffman(huffman, data, [this.at, stop], out, [0, size]);
    else {
      // Four streams; a table has the lengths of three.
      let from = this.at + 6;
      if (from > stop) fail('the literals end early');
      const part = (size + 3) >> 2;
      for (let i = 0; i < 4; i++) {
        const length = data[this.at + 2 * i] | (data[this.at + 2 * i + 1] << 8);
        const to = i === 3 ? stop : from + length;
        if (to > stop || part * i > size) fail('a stream of literals does not fit its block');
        expandHuffman(huffman, data, [from, to], out, [part * i, Math.min(size, part * (i + 1))]);
        from = to;
      }
    }
    this.at = stop;
    return out;
  }

  /** 3.1.1.3.2, "Sequences Section": literals, then a copy of what was written before. Returns how many literals they took. */
  private *sequences(end: number, literals: Uint8Array, limit: number): Generator<void, number> {
    const first = this.byte();
    if (first === 0) return 0;
    let count = first;
    if (first === 255) count = 0x7f00 + this.byte() + (this.byte() << 8);
    else if (first > 127) count = ((first - 128) << 8) + this.byte();
    const modes = this.byte();
    if (modes & 3) fail('reserved bits of the sequences are set');
    const literalTable = this.table(LITERAL_LENGTHS, modes >> 6, end);
    const offsetTable = this.table(OFFSETS, (modes >> 4) & 3, end);
    const matchTable = this.table(MATCH_LENGTHS, (modes >> 2) & 3, end);
    const stream = new BackwardBits(this.data, this.at, end);
    let literalState = stream.read(literalTable.log);
    let offsetState = stream.read(offsetTable.log);
    let matchState = stream.read(matchTable.log);
    let used = 0;
    for (let left = count; left > 0; left--) {
      if (left % BURST === 0) yield;
      const offsetCode = offsetTable.symbols[offsetState];
      const matchCode = matchTable.symbols[matchState];
      const literalCode = literalTable.symbols[literalState];
      // Up to 30 bits, the upper ones first.
      const upper = Math.max(0, offsetCode - 16);
      const offset = 2 ** offsetCode + stream.read(upper) * 2 ** 16 + stream.read(offsetCode - upper);
      const match = MATCH_LENGTHS.baseline[matchCode] + stream.read(MATCH_LENGTHS.extra[matchCode]);
      const before = LITERAL_LENGTHS.baseline[literalCode] + stream.read(LITERAL_LENGTHS.extra[literalCode]);
      if (left > 1) {
        literalState = literalTable.base[literalState] + stream.read(literalTable.bits[literalState]);
        matchState = matchTable.base[matchState] + stream.read(matchTable.bits[matchState]);
        offsetState = offsetTable.base[offsetState] + stream.read(offsetTable.bits[offsetState]);
      }
      if (stream.left < 0) fail('the sequences end early');
      this.copyLiterals(literals, used, before, limit);
      used += before;
      this.copyMatch(this.distance(offset, before), match, limit);
    }
    if (stream.left !== 0) fail('the sequences do not come out even');
    return used;
  }

  /** The table of one kind of codes: predefined, of one symbol, described here, or the last one again. */
  private table(kind: CodeKind, mode: number, end: number): FseTable {
    const maxSymbol = kind.baseline.length - 1;
    const described = (): FseTable => {
      const { table, end: after } = readFseTable(this.data, this.at, end, { maxLog: kind.maxLog, maxSymbol });
      this.at = after;
      return table;
    };
    const constant = (): FseTable => {
      const symbol = this.byte();
      return symbol <= maxSymbol ? constantTable(symbol) : fail(`a code of ${symbol} for ${kind.name}`);
    };
    const again = () => this.tables.get(kind) ?? fail(`no table of ${kind.name} to use again`);
    const table = [() => kind.predefined, constant, described, again][mode]();
    this.tables.set(kind, table);
    return table;
  }

  /** 3.1.1.5, "Repeat Offsets": values of 1 to 3 stand for the last three distances. */
  private distance(value: number, literals: number): number {
    const { repeated } = this;
    const [first, second, third] = repeated;
    // Without literals the last one makes no sense: they move up, and the fourth is the last one less 1.
    const index = value > 3 ? 3 : value - 1 + (literals === 0 ? 1 : 0);
    if (index === 0) return first;
    const distance = value > 3 ? value - 3 : [first, second, third, first - 1][index];
    if (index > 1) repeated[2] = second;
    repeated[1] = first;
    repeated[0] = distance;
    return distance;
  }

  private copyMatch(distance: number, count: number, limit: number): void {
    const { out, written } = this;
    if (distance < 1 || distance > written - this.start) fail(`a distance of ${distance} leads before the data`);
    this.reserve(count, limit);
    if (distance >= count && count >= LONG_COPY)
      out.copyWithin(written, written - distance, written - distance + count);
    else for (let i = written; i < written + count; i++) out[i] = out[i - distance];
    this.written += count;
  }
}
