/**
 * Zstandard's entropy coding: streams of bits that are read from their end, FSE and Huffman tables.
 * RFC 8878, sections 4.1 "FSE" and 4.2 "Huffman Coding".
 */
import { CompressionError } from './error';

const fail = (what: string): never => {
  throw new CompressionError('Zstandard', what);
};

/** Position of the highest bit set of a number above 0. */
const highBit = (value: number): number => 31 - Math.clz32(value);

/** Bits of [start, end) from the last one down. The highest bit set of the last byte only marks where they begin. */
export class BackwardBits {
  /** Bits that are left; negative when more were read than there are, which gives zeros. */
  left: number;

  constructor(
    private readonly data: Uint8Array,
    private readonly start: number,
    end: number,
  ) {
    if (end <= start || data[end - 1] === 0) fail(`a bitstream at 0x${start.toString(16)} has no end mark`);
    this.left = (end - start - 1) * 8 + highBit(data[end - 1]);
  }

  /** The next `count` bits, 0 to 24, without taking them. */
  peek(count: number): number {
    const at = this.left - count;
    if (at >= 0) return this.load(at) & ((1 << count) - 1);
    return this.left <= 0 ? 0 : (this.load(0) & ((1 << this.left) - 1)) << -at;
  }

  /** Takes `count` bits, 0 to 24. */
  read(count: number): number {
    const value = this.peek(count);
    this.left -= count;
    return value;
  }

  private load(bit: number): number {
    const { data } = this;
    const at = this.start + (bit >>> 3);
    return (data[at] | (data[at + 1] << 8) | (data[at + 2] << 16) | (data[at + 3] << 24)) >>> (bit & 7);
  }
}

/** What a state of an FSE decoder stands for and where it goes: `base` plus the next `bits` bits. */
export interface FseTable {
  /** The logarithm of the number of states. */
  log: number;
  symbols: Uint8Array;
  bits: Uint8Array;
  base: Uint16Array;
}

/** A table of one state, which gives the same symbol for ever. */
export function constantTable(symbol: number): FseTable {
  return { log: 0, symbols: Uint8Array.of(symbol), bits: new Uint8Array(1), base: new Uint16Array(1) };
}

/** 4.1.1, "FSE Table Description", second half: states from the symbols' probabilities, -1 for "less than 1", which sum up to 2^log. */
export function fseTable(probabilities: readonly number[], log: number): FseTable {
  const size = 1 << log;
  const table = { log, symbols: new Uint8Array(size), bits: new Uint8Array(size), base: new Uint16Array(size) };
  const next = probabilities.map((probability) => Math.abs(probability));
  let high = size;
  probabilities.forEach((probability, symbol) => {
    if (probability === -1) table.symbols[--high] = symbol;
  });
  const step = (size >> 1) + (size >> 3) + 3;
  let at = 0;
  probabilities.forEach((probability, symbol) => {
    for (let i = 0; i < probability; i++) {
      table.symbols[at] = symbol;
      do at = (at + step) & (size - 1);
      while (at >= high);
    }
  });
  for (let state = 0; state < size; state++) {
    const number = next[table.symbols[state]]++;
    table.bits[state] = log - highBit(number);
    table.base[state] = (number << table.bits[state]) - size;
  }
  return table;
}

/** Reads a table's description, whose bits come from the first one up. Returns where it ends. */
export function readFseTable(
  data: Uint8Array,
  start: number,
  end: number,
  { maxLog, maxSymbol }: { maxLog: number; maxSymbol: number },
): { table: FseTable; end: number } {
  let bit = 0;
  const peek = (count: number): number => {
    const at = start + (bit >>> 3);
    return (((data[at] | (data[at + 1] << 8) | (data[at + 2] << 16)) >>> (bit & 7)) & ((1 << count) - 1)) >>> 0;
  };
  const log = peek(4) + 5;
  if (log > maxLog) fail(`an FSE table of 2^${log} states, expected at most 2^${maxLog}`);
  bit = 4;
  const probabilities: number[] = [];
  let left = 1 << log;
  while (left > 0) {
    if (start + (bit >>> 3) >= end) fail('an FSE table runs past its data');
    // A value of 0 to left + 1; the smaller ones take one bit less.
    const bits = highBit(left + 1) + 1;
    const short = (1 << bits) - 2 - left;
    const lower = (1 << (bits - 1)) - 1;
    let value = peek(bits);
    if ((value & lower) < short) {
      value &= lower;
      bit += bits - 1;
    } else {
      if (value > lower) value -= short;
      bit += bits;
    }
    probabilities.push(value - 1);
    left -= Math.abs(value - 1);
    if (value === 1) {
      // How many more symbols do not occur, in twos of bits.
      let repeat: number;
      do {
        repeat = peek(2);
        bit += 2;
        for (let i = 0; i < repeat; i++) probabilities.push(0);
      } while (repeat === 3 && probabilities.length <= maxSymbol);
    }
    if (probabilities.length > maxSymbol + 1) fail(`an FSE table of more than ${maxSymbol + 1} symbols`);
  }
  const after = start + ((bit + 7) >>> 3);
  if (left < 0 || after > end) fail('an FSE table whose probabilities do not sum up');
  return { table: fseTable(probabilities, log), end: after };
}

export interface HuffmanTable {
  /** Length of the longest code, 1 to 11. */
  log: number;
  /** By the next `log` bits: the symbol and the length of its code. */
  symbols: Uint8Array;
  bits: Uint8Array;
}

const MAX_CODE = 11;
const MAX_SYMBOLS = 256;

/** 4.2.1, "Huffman Tree Description". Returns where it ends. */
export function readHuffmanTable(data: Uint8Array, at: number, end: number): { table: HuffmanTable; end: number } {
  const header = at < end ? data[at++] : fail('the literals end early');
  let weights: number[];
  let after: number;
  if (header >= 128) {
    const count = header - 127;
    after = at + ((count + 1) >> 1);
    weights = Array.from({ length: count }, (_, i) => (data[at + (i >> 1)] >> (i & 1 ? 0 : 4)) & 15);
  } else {
    after = at + header;
    if (after > end) fail('a Huffman table runs past its block');
    weights = readWeights(data, at, after);
  }
  if (after > end) fail('a Huffman table runs past its block');
  return { table: huffmanTable(weights), end: after };
}

/** Weights compressed by FSE, two states that take turns. */
function readWeights(data: Uint8Array, start: number, end: number): number[] {
  const { table, end: bitsAt } = readFseTable(data, start, end, { maxLog: 6, maxSymbol: 255 });
  const stream = new BackwardBits(data, bitsAt, end);
  const weights: number[] = [];
  let state = stream.read(table.log);
  let other = stream.read(table.log);
  if (stream.left < 0) fail('the weights of a Huffman table end early');
  while (weights.length < MAX_SYMBOLS) {
    weights.push(table.symbols[state]);
    const bits = table.bits[state];
    if (bits > stream.left) {
      // The other state's symbol is the last one.
      weights.push(table.symbols[other]);
      return weights;
    }
    const next = table.base[state] + stream.read(bits);
    state = other;
    other = next;
  }
  return fail('a Huffman table of more than 255 weights');
}

/** The last symbol's weight is what the others leave of a power of two. */
function huffmanTable(weights: number[]): HuffmanTable {
  if (weights.length >= MAX_SYMBOLS) fail('a Huffman table of more than 255 weights');
  let sum = 0;
  for (const weight of weights) {
    if (weight > MAX_CODE) fail(`a Huffman weight of ${weight}, expected ${MAX_CODE} at most`);
    if (weight > 0) sum += 1 << (weight - 1);
  }
  if (sum === 0) fail('a Huffman table without weights');
  const log = highBit(sum) + 1;
  const rest = (1 << log) - sum;
  if (log > MAX_CODE || (rest & (rest - 1)) !== 0) fail('a Huffman table whose weights do not sum up');
  weights.push(highBit(rest) + 1);
  const table = { log, symbols: new Uint8Array(1 << log), bits: new Uint8Array(1 << log) };
  let at = 0;
  for (let weight = 1; weight <= log; weight++) {
    weights.forEach((each, symbol) => {
      if (each !== weight) return;
      const next = at + (1 << (weight - 1));
      table.symbols.fill(symbol, at, next);
      table.bits.fill(log + 1 - weight, at, next);
      at = next;
    });
  }
  return table;
}

/** Decodes one stream of [start, end), which must come out even, into [from, to) of `out`. */
export function expandHuffman(
  { log, symbols, bits }: HuffmanTable,
  data: Uint8Array,
  [start, end]: readonly [number, number],
  out: Uint8Array,
  [from, to]: readonly [number, number],
): void {
  const stream = new BackwardBits(data, start, end);
  for (let i = from; i < to; i++) {
    const code = stream.peek(log);
    out[i] = symbols[code];
    stream.left -= bits[code];
  }
  if (stream.left !== 0) fail(`a stream of literals at 0x${start.toString(16)} does not come out even`);
}
