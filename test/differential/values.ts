/** Random numbers from a seed, and values that lie where instructions change their behaviour. */

/** sfc32 by Chris Doty-Humphrey (PractRand): small, fast, 2^128 states. */
export class Random {
  private a = 0;
  private b = 0;
  private c: number;
  private d = 1;

  constructor(seed: number) {
    this.c = seed | 0;
    for (let i = 0; i < 12; i++) this.u32();
  }

  /** 0 .. 2^32 - 1. */
  u32(): number {
    const t = (((this.a + this.b) | 0) + this.d) | 0;
    this.d = (this.d + 1) | 0;
    this.a = this.b ^ (this.b >>> 9);
    this.b = (this.c + (this.c << 3)) | 0;
    this.c = ((this.c << 21) | (this.c >>> 11)) + t;
    return t >>> 0;
  }
  /** 0 .. n - 1, n at most 2^32. */
  below(n: number): number {
    return Math.floor((this.u32() / 0x100000000) * n);
  }
  chance(probability: number): boolean {
    return this.u32() < probability * 0x100000000;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
}

/** What the bits of an operand mean. */
export type ValueKind = 'int' | 'f16' | 'f32' | 'f64' | 'f80' | 'bcd' | 'selector';

/** Sizes at whose boundaries values are chosen. */
const WIDTHS = [8, 16, 32, 64];

/** Writes an integer of 64 bits: small, at a power of two, at a sign boundary, a repeated pattern, or random. */
function writeInteger(random: Random, words: Uint32Array, at: number): void {
  let low = random.u32();
  let high = random.u32();
  switch (random.below(8)) {
    case 0: // a small number, positive or negative
      low = random.below(5) - 2;
      high = low < 0 ? -1 : 0;
      break;
    case 1: {
      // around a power of two
      const n = random.below(64);
      low = n < 32 ? 1 << n : 0;
      high = n < 32 ? 0 : 1 << (n - 32);
      low = (low + random.below(3) - 1) | 0;
      if (low === -1 && n >= 32) high--;
      if (random.chance(0.3)) {
        low = ~low;
        high = ~high;
      }
      break;
    }
    case 2: {
      // the largest and smallest numbers of a size, in every element of that size
      const width = random.pick(WIDTHS);
      const kind = random.below(4);
      for (let half = 0; half < 2; half++) {
        let value = kind === 0 ? 0x7fffffff : kind === 1 ? 0x80000000 : kind === 2 ? -1 : 0;
        if (width === 8) value = [0x7f7f7f7f, 0x80808080, -1, 0x01010101][kind];
        else if (width === 16) value = [0x7fff7fff, 0x80008000, -1, 0x00010001][kind];
        else if (width === 64 && half === 0) value = [-1, 0, -1, 1][kind];
        if (half === 0) low = value;
        else high = value;
      }
      break;
    }
    case 3: // few bits
      low = low & random.u32() & random.u32();
      high = high & random.u32() & random.u32();
      break;
    case 4: // a count
      low = random.below(80);
      high = random.chance(0.5) ? 0 : high;
      break;
    case 5: // a number of 32 bits, extended either way
      high = random.chance(0.5) ? 0 : low >> 31;
      break;
    default:
  }
  words[at] = low;
  words[at + 1] = high;
}

/** Exponent field of a binary format: special, at the middle, or near `center` so that operands meet. */
function exponentField(random: Random, bits: number, center: number): number {
  const max = (1 << bits) - 1;
  switch (random.below(10)) {
    case 0:
      return 0;
    case 1:
      return max;
    case 2:
      return random.pick([1, 2, max - 1, max - 2]);
    case 3:
      return random.below(max + 1);
    default: {
      const field = center + random.below(9) - 4;
      return Math.min(max, Math.max(0, field));
    }
  }
}

/** Fraction field as high and low words of `bits` bits. */
function fraction(random: Random, bits: number, out: Uint32Array): void {
  let low = random.u32();
  let high = random.u32();
  switch (random.below(7)) {
    case 0:
      low = high = 0;
      break;
    case 1:
      low = high = 0xffffffff;
      break;
    case 2:
      low = random.below(4);
      high = 0;
      break;
    case 3: {
      // one bit, often the highest: quiet NaNs, halves
      const n = random.chance(0.5) ? bits - 1 : random.below(bits);
      low = n < 32 ? 1 << n : 0;
      high = n < 32 ? 0 : 1 << (n - 32);
      break;
    }
    case 4: // few bits at the top: short numbers, ties when rounded
      if (bits > 32) {
        low = 0;
        high &= ~((1 << (bits - 32 - random.below(Math.min(12, bits - 32)))) - 1);
      } else low &= ~((1 << (bits - random.below(Math.min(8, bits)))) - 1);
      break;
    default:
  }
  if (bits <= 32) {
    out[0] = bits === 32 ? low : low & ((1 << bits) - 1);
    out[1] = 0;
  } else {
    out[0] = low;
    out[1] = bits === 64 ? high : high & ((1 << (bits - 32)) - 1);
  }
}

/** Values made in advance, from which cases are put together. Refreshed per batch, so that cases depend on seed and batch alone. */
export class Values {
  private readonly pools = new Map<ValueKind, Uint32Array>();
  private readonly parts = new Uint32Array(2);
  /** Values in a pool. */
  private static readonly count = 2048;

  constructor(private readonly random: Random) {}

  /** 64-bit groups (f80: 128-bit). */
  private pool(kind: ValueKind): Uint32Array {
    let pool = this.pools.get(kind);
    if (!pool) {
      const words = kind === 'f80' || kind === 'bcd' ? 4 : 2;
      pool = new Uint32Array(Values.count * words);
      for (let i = 0; i < Values.count; i++) this.fill(kind, pool, i * words);
      this.pools.set(kind, pool);
    }
    return pool;
  }

  private fill(kind: ValueKind, words: Uint32Array, at: number): void {
    const { random, parts } = this;
    if (kind === 'int') writeInteger(random, words, at);
    else if (kind === 'f32') {
      for (let i = 0; i < 2; i++) {
        fraction(random, 23, parts);
        words[at + i] =
          (random.u32() & 0x80000000) | (exponentField(random, 8, random.chance(0.7) ? 127 : 150) << 23) | parts[0];
      }
    } else if (kind === 'f64') {
      fraction(random, 52, parts);
      const center = random.pick([1023, 1023, 1040, 1075, 1086]);
      words[at] = parts[0];
      words[at + 1] = (random.u32() & 0x80000000) | (exponentField(random, 11, center) << 20) | parts[1];
    } else if (kind === 'f16') {
      for (let i = 0; i < 2; i++) {
        let word = 0;
        for (let half = 0; half < 2; half++) {
          fraction(random, 10, parts);
          const value = (random.u32() & 0x8000) | (exponentField(random, 5, 15) << 10) | parts[0];
          word |= value << (16 * half);
        }
        words[at + i] = word;
      }
    } else if (kind === 'f80') this.fillExtended(words, at);
    else if (kind === 'bcd') {
      for (let i = 0; i < 3; i++) words[at + i] = random.chance(0.9) ? this.digits() : random.u32();
      words[at + 2] = (words[at + 2] & 0xff) | (random.chance(0.5) ? 0x8000 : random.u32() & 0xff00);
      words[at + 3] = 0;
    } else {
      words[at] = random.pick([
        0x23, 0x2b, 0x33, 0x23, 0x2b, 0x33, 0, 1, 2, 3, 0x08, 0x10, 0x1b, 0x28, 0x2a, 0x40, 0x50, 0x53, 0x67, 0x83,
        0x2f, 0xffff,
      ]);
      words[at + 1] = 0;
    }
  }

  private digits(): number {
    let value = 0;
    for (let i = 0; i < 8; i++) value = (value << 4) | this.random.below(10);
    return value;
  }

  /** Double extended: zero, denormal, pseudo-denormal, unnormal, pseudo-infinity, pseudo-NaN and everything well-formed. */
  private fillExtended(words: Uint32Array, at: number): void {
    const { random, parts } = this;
    fraction(random, 63, parts);
    const center = random.pick([
      16383,
      16383,
      16383 + 20,
      16383 + 62,
      16383 - 1022,
      16383 + 1023,
      16383 - 126,
      16383 + 127,
    ]);
    const exponent = exponentField(random, 15, center);
    // The integer bit is what the exponent says it should be, but for some.
    const integer = random.chance(0.06) ? random.below(2) : exponent ? 1 : 0;
    words[at] = parts[0];
    words[at + 1] = (parts[1] & 0x7fffffff) | (integer << 31);
    words[at + 2] = (random.u32() & 0x8000) | exponent;
    words[at + 3] = 0;
  }

  /** Writes one value of 8 bytes (f80, bcd: 16, of which 10 count) at a word index. */
  write(kind: ValueKind, words: Uint32Array, at: number): void {
    const pool = this.pool(kind);
    const size = pool.length / Values.count;
    let from = this.random.below(Values.count) * size;
    for (let i = 0; i < size; i++) words[at + i] = pool[from++];
  }

  /** Fills `bytes` (a multiple of 8) with values. */
  writeMany(kind: ValueKind, words: Uint32Array, at: number, bytes: number): void {
    const step = kind === 'f80' || kind === 'bcd' ? 4 : 2;
    for (let i = 0; i + step <= bytes / 4; i += step) this.write(kind, words, at + i);
    if (step === 4 && bytes % 16) this.write('int', words, at + (bytes >> 4) * 4);
  }
}
