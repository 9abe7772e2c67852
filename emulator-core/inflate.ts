/** Decompression of deflate streams: RFC 1951, "DEFLATE Compressed Data Format Specification". */

/** A malformed compressed stream. */
export class InflateError extends Error {
  override name = 'InflateError';
}

/** Lengths and distances: base value and extra bits of each code. RFC 1951, 3.2.5. */
const LENGTH_BASE = [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258]; // prettier-ignore
const LENGTH_EXTRA = [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];
const DISTANCE_BASE = Array.from({ length: 30 }, (_, i) => (i < 2 ? i + 1 : (2 + (i & 1)) * 2 ** ((i >> 1) - 1) + 1));
const DISTANCE_EXTRA = Array.from({ length: 30 }, (_, i) => (i < 2 ? 0 : (i >> 1) - 1));
/** Order of the code length code's lengths. RFC 1951, 3.2.7. */
const LENGTH_ORDER = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/** Canonical Huffman code: number of codes of each length, and the symbols in code order. */
interface Huffman {
  counts: Uint16Array;
  symbols: Uint16Array;
}

function makeHuffman(lengths: number[]): Huffman {
  const counts = new Uint16Array(16);
  for (const length of lengths) counts[length]!++;
  counts[0] = 0;
  const offsets = new Uint16Array(16);
  for (let i = 1; i < 15; i++) offsets[i + 1] = offsets[i]! + counts[i]!;
  const symbols = new Uint16Array(lengths.length);
  lengths.forEach((length, symbol) => {
    if (length > 0) symbols[offsets[length]!++] = symbol;
  });
  return { counts, symbols };
}

const FIXED_LITERALS = makeHuffman(
  Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8)),
);
const FIXED_DISTANCES = makeHuffman(new Array<number>(30).fill(5));

/** Expands a zlib stream (RFC 1950) to exactly `size` bytes. @throws InflateError */
export function inflateZlib(data: Uint8Array, size: number): Uint8Array {
  if (data.length < 2 || (data[0]! & 0x0f) !== 8) throw new InflateError('not a zlib stream');
  return inflateRaw(data.subarray(2), size);
}

/** Expands a deflate stream (RFC 1951) to exactly `size` bytes; what follows its final block does not matter. @throws InflateError */
export function inflateRaw(data: Uint8Array, size: number): Uint8Array {
  const out = new Uint8Array(size);
  let written = 0;
  let at = 0;
  let held = 0;
  let heldBits = 0;

  const bits = (count: number): number => {
    while (heldBits < count) {
      if (at >= data.length) throw new InflateError('the compressed data ends early');
      held |= data[at++]! << heldBits;
      heldBits += 8;
    }
    const value = held & ((1 << count) - 1);
    held >>>= count;
    heldBits -= count;
    return value;
  };
  const symbol = ({ counts, symbols }: Huffman): number => {
    let code = 0;
    let first = 0;
    let index = 0;
    for (let length = 1; length <= 15; length++) {
      code |= bits(1);
      const count = counts[length]!;
      if (code - count < first) return symbols[index + code - first]!;
      index += count;
      first = (first + count) << 1;
      code <<= 1;
    }
    throw new InflateError('an invalid Huffman code');
  };
  const room = (count: number): void => {
    if (written + count > size) throw new InflateError('more data than expected');
  };
  const compressed = (literals: Huffman, distances: Huffman): void => {
    for (;;) {
      const code = symbol(literals);
      if (code === 256) return;
      if (code < 256) {
        room(1);
        out[written++] = code;
        continue;
      }
      const lengthBase = LENGTH_BASE[code - 257];
      if (lengthBase === undefined) throw new InflateError('an invalid length code');
      const length = lengthBase + bits(LENGTH_EXTRA[code - 257]!);
      const distanceCode = symbol(distances);
      const distanceBase = DISTANCE_BASE[distanceCode];
      if (distanceBase === undefined) throw new InflateError('an invalid distance code');
      const distance = distanceBase + bits(DISTANCE_EXTRA[distanceCode]!);
      if (distance > written) throw new InflateError('a distance before the beginning');
      room(length);
      for (let i = 0; i < length; i++, written++) out[written] = out[written - distance]!;
    }
  };

  for (let final = 0; !final;) {
    final = bits(1);
    const type = bits(2);
    if (type === 0) {
      at -= heldBits >> 3;
      held = heldBits = 0;
      if (at + 4 > data.length) throw new InflateError('the compressed data ends early');
      const length = data[at]! | (data[at + 1]! << 8);
      at += 4;
      if (at + length > data.length) throw new InflateError('the compressed data ends early');
      room(length);
      out.set(data.subarray(at, at + length), written);
      at += length;
      written += length;
    } else if (type === 1) {
      compressed(FIXED_LITERALS, FIXED_DISTANCES);
    } else if (type === 2) {
      const literalCount = bits(5) + 257;
      const distanceCount = bits(5) + 1;
      const orderCount = bits(4) + 4;
      const order = new Array<number>(19).fill(0);
      for (let i = 0; i < orderCount; i++) order[LENGTH_ORDER[i]!] = bits(3);
      const lengthCode = makeHuffman(order);
      const lengths: number[] = [];
      while (lengths.length < literalCount + distanceCount) {
        const code = symbol(lengthCode);
        if (code < 16) {
          lengths.push(code);
          continue;
        }
        if (code === 16 && lengths.length === 0) throw new InflateError('a repeat of nothing');
        const value = code === 16 ? lengths[lengths.length - 1]! : 0;
        const count = code === 16 ? 3 + bits(2) : code === 17 ? 3 + bits(3) : 11 + bits(7);
        for (let i = 0; i < count; i++) lengths.push(value);
      }
      if (lengths.length > literalCount + distanceCount) throw new InflateError('too many code lengths');
      compressed(makeHuffman(lengths.slice(0, literalCount)), makeHuffman(lengths.slice(literalCount)));
    } else {
      throw new InflateError('an invalid block type');
    }
  }
  if (written !== size) throw new InflateError('less data than expected');
  return out;
}
