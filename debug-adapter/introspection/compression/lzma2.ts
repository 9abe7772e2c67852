/**
 * LZMA2: chunks of LZMA data and of data as it is. The XZ File Format, 5.3.1 "LZMA2"; the LZMA algorithm as in the LZMA specification of
 * the LZMA SDK ("lzma-specification"). The whole output is at hand: it is its own dictionary.
 */
import { CompressionError } from './error';

const STATES = 12;
const MAX_POSITION_STATES = 16;
/** Symbols of a length coder: 8 low and 8 middle ones a position state, 256 high ones. */
const LENGTH_LOW = 2;
const LENGTH_MIDDLE = LENGTH_LOW + MAX_POSITION_STATES * 8;
const LENGTH_HIGH = LENGTH_MIDDLE + MAX_POSITION_STATES * 8;
const LENGTH_SIZE = LENGTH_HIGH + 256;
const MIN_MATCH = 2;
const DISTANCE_MODELS = 14;

/** Places of the adaptive bit models in one array. */
const IS_MATCH = 0;
const IS_REP = IS_MATCH + STATES * MAX_POSITION_STATES;
const IS_REP0 = IS_REP + STATES;
const IS_REP1 = IS_REP0 + STATES;
const IS_REP2 = IS_REP1 + STATES;
const IS_REP0_LONG = IS_REP2 + STATES;
const DISTANCE_SLOT = IS_REP0_LONG + STATES * MAX_POSITION_STATES;
const DISTANCE_SPECIAL = DISTANCE_SLOT + 4 * 64;
const DISTANCE_ALIGN = DISTANCE_SPECIAL + 128;
const MATCH_LENGTH = DISTANCE_ALIGN + 16;
const REP_LENGTH = MATCH_LENGTH + LENGTH_SIZE;
const LITERAL = REP_LENGTH + LENGTH_SIZE;
const LITERAL_SIZE = 0x300;
/** lc + lp is at most 4 in LZMA2. */
const MODELS = LITERAL + (LITERAL_SIZE << 4);

const HALF = 1 << 10;
const TOP = 1 << 24;
/** Bytes of output between two yields. */
const BURST = 1 << 16;

const fail = (what: string): never => {
  throw new CompressionError('XZ', what);
};

/**
 * Expands LZMA2 data at `start` into `out`, which its output fills exactly or begins.
 * Yields where it is after about 64 KiB; returns where the data and the output end.
 * @throws CompressionError
 */
export function* expandLzma2(
  data: Uint8Array,
  start: number,
  out: Uint8Array,
  outStart: number,
): Generator<void, { end: number; outEnd: number }> {
  const lzma = new Lzma(data, out);
  let at = start;
  let written = outStart;
  let needDictionary = true;
  let needProperties = true;
  const byte = (offset: number): number => (offset < data.length ? data[offset] : fail('the data ends early'));
  for (;;) {
    const control = byte(at);
    if (control === 0) return { end: at + 1, outEnd: written };
    if (control === 1 || control >= 0xe0) {
      needDictionary = false;
      lzma.dictionaryStart = written;
    } else if (needDictionary) fail('expected a chunk that resets the dictionary first');
    if (control < 0x80) {
      if (control > 2) fail(`an LZMA2 chunk of unknown kind 0x${control.toString(16)}`);
      const size = ((byte(at + 1) << 8) | byte(at + 2)) + 1;
      at += 3;
      if (at + size > data.length || written + size > out.length) fail('a chunk does not fit');
      out.set(data.subarray(at, at + size), written);
      at += size;
      written += size;
      continue;
    }
    const unpacked = (((control & 0x1f) << 16) | (byte(at + 1) << 8) | byte(at + 2)) + 1;
    const packed = ((byte(at + 3) << 8) | byte(at + 4)) + 1;
    at += 5;
    if (control >= 0xc0) {
      needProperties = false;
      lzma.setProperties(byte(at++));
    } else if (needProperties) fail('expected a chunk with properties first');
    else if (control >= 0xa0) lzma.resetState();
    if (at + packed > data.length || written + unpacked > out.length) fail('a chunk does not fit');
    lzma.begin(at, at + packed);
    const end = written + unpacked;
    while (written < end) {
      written = lzma.expand(written, Math.min(end, written + BURST), end);
      yield;
    }
    at += packed;
    if (!lzma.finished) fail(`a chunk does not end where it should, at 0x${at.toString(16)}`);
  }
}

class Lzma {
  dictionaryStart = 0;
  private readonly models = new Uint16Array(MODELS);
  private lc = 0;
  private literalMask = 0;
  private positionMask = 0;
  private state = 0;
  private rep0 = 0;
  private rep1 = 0;
  private rep2 = 0;
  private rep3 = 0;
  private range = 0;
  private code = 0;
  private at = 0;
  private end = 0;

  constructor(
    private readonly data: Uint8Array,
    private readonly out: Uint8Array,
  ) {}

  setProperties(byte: number): void {
    const lc = byte % 9;
    const lp = Math.floor(byte / 9) % 5;
    const pb = Math.floor(byte / 45);
    if (pb > 4 || lc + lp > 4) fail(`LZMA properties 0x${byte.toString(16)}, expected lc + lp and pb of 4 at most`);
    this.lc = lc;
    this.literalMask = (1 << lp) - 1;
    this.positionMask = (1 << pb) - 1;
    this.resetState();
  }

  resetState(): void {
    this.state = this.rep0 = this.rep1 = this.rep2 = this.rep3 = 0;
    this.models.fill(HALF);
  }

  /** Starts the range decoder on the data of a chunk. */
  begin(at: number, end: number): void {
    if (end - at < 5 || this.data[at] !== 0) fail('a chunk does not begin as LZMA data');
    const { data } = this;
    this.range = 0xffffffff;
    this.code = ((data[at + 1] << 24) | (data[at + 2] << 16) | (data[at + 3] << 8) | data[at + 4]) >>> 0;
    this.at = at + 5;
    this.end = end;
  }

  /** Whether the chunk's data has been used up, as it must be at its end. */
  get finished(): boolean {
    if (this.range < TOP) this.normalize();
    return this.at === this.end && this.code === 0;
  }

  private normalize(): void {
    if (this.at >= this.end) fail('a chunk ends early');
    this.range = (this.range << 8) >>> 0;
    this.code = ((this.code << 8) | this.data[this.at++]) >>> 0;
  }

  private bit(model: number): number {
    if (this.range < TOP) this.normalize();
    const { models } = this;
    const probability = models[model];
    const bound = (this.range >>> 11) * probability;
    if (this.code < bound) {
      this.range = bound;
      models[model] = probability + ((2048 - probability) >>> 5);
      return 0;
    }
    this.range -= bound;
    this.code -= bound;
    models[model] = probability - (probability >>> 5);
    return 1;
  }

  /** A number of `bits` bits, the highest first. */
  private tree(model: number, bits: number): number {
    let index = 1;
    for (let i = 0; i < bits; i++) index = (index << 1) | this.bit(model + index);
    return index - (1 << bits);
  }

  /** A number of `bits` bits, the lowest first. */
  private reversed(model: number, bits: number): number {
    let index = 1;
    let value = 0;
    for (let i = 0; i < bits; i++) {
      const bit = this.bit(model + index);
      index = (index << 1) | bit;
      value |= bit << i;
    }
    return value;
  }

  private direct(bits: number): number {
    let value = 0;
    for (let i = 0; i < bits; i++) {
      if (this.range < TOP) this.normalize();
      this.range >>>= 1;
      value <<= 1;
      if (this.code >= this.range) {
        this.code -= this.range;
        value |= 1;
      }
    }
    return value;
  }

  private length(model: number, positionState: number): number {
    if (!this.bit(model)) return MIN_MATCH + this.tree(model + LENGTH_LOW + positionState * 8, 3);
    if (!this.bit(model + 1)) return MIN_MATCH + 8 + this.tree(model + LENGTH_MIDDLE + positionState * 8, 3);
    return MIN_MATCH + 16 + this.tree(model + LENGTH_HIGH, 8);
  }

  private distance(length: number): number {
    const slot = this.tree(DISTANCE_SLOT + Math.min(length - MIN_MATCH, 3) * 64, 6);
    if (slot < 4) return slot;
    const bits = (slot >> 1) - 1;
    const base = (2 | (slot & 1)) << bits;
    if (slot < DISTANCE_MODELS) return base + this.reversed(DISTANCE_SPECIAL + base - slot, bits);
    return ((base >>> 0) + this.direct(bits - 4) * 16 + this.reversed(DISTANCE_ALIGN, 4)) >>> 0;
  }

  private literal(at: number): void {
    const { out } = this;
    const previous = at > this.dictionaryStart ? out[at - 1] : 0;
    const context = ((at - this.dictionaryStart) & this.literalMask) << this.lc;
    const model = LITERAL + LITERAL_SIZE * (context + (previous >> (8 - this.lc)));
    let symbol = 1;
    if (this.state >= 7) {
      // Behind a match: the byte that the match would have gone on with takes part.
      let match = out[at - this.rep0 - 1];
      do {
        const expected = (match >> 7) & 1;
        match <<= 1;
        const bit = this.bit(model + ((1 + expected) << 8) + symbol);
        symbol = (symbol << 1) | bit;
        if (bit !== expected) break;
      } while (symbol < 0x100);
    }
    while (symbol < 0x100) symbol = (symbol << 1) | this.bit(model + symbol);
    out[at] = symbol;
    this.state = this.state < 4 ? 0 : this.state < 10 ? this.state - 3 : this.state - 6;
  }

  /** Writes from `at` until `until` is reached, never beyond `limit`; returns the new end. */
  expand(at: number, until: number, limit: number): number {
    const { out } = this;
    while (at < until) {
      const positionState = (at - this.dictionaryStart) & this.positionMask;
      const { state } = this;
      if (!this.bit(IS_MATCH + state * MAX_POSITION_STATES + positionState)) {
        this.literal(at++);
        continue;
      }
      let length: number;
      if (!this.bit(IS_REP + state)) {
        this.rep3 = this.rep2;
        this.rep2 = this.rep1;
        this.rep1 = this.rep0;
        length = this.length(MATCH_LENGTH, positionState);
        this.rep0 = this.distance(length);
        this.state = state < 7 ? 7 : 10;
      } else {
        length = this.repeat(state, positionState);
      }
      if (this.rep0 >= at - this.dictionaryStart) fail('a distance leads before the data');
      if (at + length > limit) fail('a match is longer than its chunk');
      const from = at - this.rep0 - 1;
      for (let i = 0; i < length; i++) out[at + i] = out[from + i];
      at += length;
    }
    return at;
  }

  /** A match at one of the last four distances, which becomes the newest. Returns its length. */
  private repeat(state: number, positionState: number): number {
    if (!this.bit(IS_REP0 + state)) {
      if (!this.bit(IS_REP0_LONG + state * MAX_POSITION_STATES + positionState)) {
        this.state = state < 7 ? 9 : 11;
        return 1;
      }
    } else {
      let distance = this.rep1;
      if (this.bit(IS_REP1 + state)) {
        distance = this.rep2;
        if (this.bit(IS_REP2 + state)) {
          distance = this.rep3;
          this.rep3 = this.rep2;
        }
        this.rep2 = this.rep1;
      }
      this.rep1 = this.rep0;
      this.rep0 = distance;
    }
    this.state = state < 7 ? 8 : 11;
    return this.length(REP_LENGTH, positionState);
  }
}
