/**
 * kallsyms: the table of symbols that a kernel carries in its read-only data. It is found by its own structure, in a kernel's file or in
 * memory, for 32 and 64 bits and every layout since Linux 4: format as written by the kernel's scripts/kallsyms.c, function write_src.
 *
 * The parts are, each aligned to a pointer:
 *  - addresses: 64- or 32-bit each; or offsets of 32 bits and then a relative base; or 32-bit offsets from the entry's own place (7.0)
 *  - number of symbols; names (length and token numbers); markers (where every 256th name is)
 *  - token table: 256 strings; token index: where each begins
 * Addresses come before the number (until 6.3) or behind the token index. Tables that only serve a search by name stand between.
 */

/** Not found, or malformed. The message says what was expected. */
export class KallsymsError extends Error {
  override name = 'KallsymsError';
}

export interface Kallsyms {
  count: number;
  /** Ascending, unsigned. */
  addresses: BigUint64Array;
  names: string[];
  /** A letter for each, as nm prints: T t text, D d B b R r data, W w V v weak, A absolute. */
  types: string;
  /** Where the lowest address is kept that the kernel's own relocation changes, in bytes from the start of the data; absent: no place is. */
  base?: { at: number; value: bigint };
}

export interface KallsymsOptions {
  /** Pointers of 8 bytes, or 4. */
  wide: boolean;
  /** Address of the data's first byte, a multiple of a pointer. */
  address: bigint;
}

const TOKENS = 256;
const MARKED = 256;
/** Bounds of what is believed: more symbols than any kernel has, and the longest distance between two parts. */
const MAX_SYMBOLS = 1 << 21;
const MAX_TOKEN_TABLE = 1 << 15;
const MAX_BETWEEN = MAX_SYMBOLS * 4;
/** Bytes that 256 names take. */
const MIN_GROUP = 2 * MARKED;
const MAX_GROUP = 520 * MARKED;
const BURST = 1 << 16;
/** Steps of the search: a whole kernel takes a few million, memory made to look like tables everywhere could take for ever. */
const MAX_STEPS = 1 << 27;

class Budget {
  private left = MAX_STEPS;

  spend(steps: number): void {
    if ((this.left -= steps) < 0)
      throw new KallsymsError('kallsyms: gave up, too much here looks like the beginning of a table but is none');
  }
}

interface Tokens {
  start: number;
  /** Behind the token index. */
  end: number;
  strings: string[];
}

interface Names {
  count: number;
  /** Of the number of symbols. */
  start: number;
  names: number;
}

/** Finds and decodes the table in `data`. @throws KallsymsError */
export function* findKallsyms(data: Uint8Array, options: KallsymsOptions): Generator<void, Kallsyms> {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const budget = new Budget();
  let problem = 'expected a token table with the strings "0" to "9" and its index';
  for (let at = 0; (at = yield* findDigits(data, at)) >= 0; at++) {
    const tokens = readTokens(data, view, at, budget);
    if (!tokens) continue;
    const names = yield* findNames(data, view, tokens, options.wide, budget);
    if (!names) {
      problem = 'found a token table, but before it no names with their number and markers';
      continue;
    }
    const found = yield* readAddresses(view, names, tokens, options);
    if (!found) {
      problem = `found the names of ${names.count} symbols, but no ascending addresses before or behind them`;
      continue;
    }
    const decoded = yield* decodeNames(data, names, tokens.strings);
    return { count: names.count, ...found, ...decoded };
  }
  throw new KallsymsError(`kallsyms: ${problem} in ${data.length} bytes`);
}

/** The token of each digit is the digit: where "0\0" "1\0" ... "9\0" stands; -1 when nowhere from `from` on. */
function* findDigits(data: Uint8Array, from: number): Generator<void, number> {
  for (let i = from; i + 20 <= data.length; i++) {
    if ((i & (BURST * 4 - 1)) === 0) yield;
    if (data[i] !== 0x30 || data[i + 2] !== 0x31 || data[i + 4] !== 0x32) continue;
    let digit = 0;
    while (digit < 10 && data[i + 2 * digit] === 0x30 + digit && data[i + 2 * digit + 1] === 0) digit++;
    if (digit === 10) return i;
  }
  return -1;
}

/** The table around the digits at `digits`: its index, which follows it, must agree with every string. */
function readTokens(data: Uint8Array, view: DataView, digits: number, budget: Budget): Tokens | undefined {
  const last = Math.min(data.length - 2 * TOKENS, digits + MAX_TOKEN_TABLE);
  for (let index = (digits + 20 + 3) & ~3; index <= last; index += 4) {
    budget.spend(1);
    if (view.getUint16(index, true) !== 0) continue;
    const start = digits - view.getUint16(index + 2 * 0x30, true);
    if (start < 0 || start === digits) continue;
    const strings = tokensOf(data, view, start, index);
    if (strings) return { start, end: index + 2 * TOKENS, strings };
  }
  return undefined;
}

function tokensOf(data: Uint8Array, view: DataView, start: number, index: number): string[] | undefined {
  const strings: string[] = [];
  let at = start;
  for (let i = 0; i < TOKENS; i++) {
    if (view.getUint16(index + 2 * i, true) !== at - start) return undefined;
    let text = '';
    while (at < index && data[at] !== 0) text += String.fromCharCode(data[at++]);
    if (at++ >= index) return undefined;
    strings.push(text);
  }
  return index - at < 8 ? strings : undefined;
}

/** Before the token table: markers, before these the names, before these their number. */
function* findNames(
  data: Uint8Array,
  view: DataView,
  tokens: Tokens,
  wide: boolean,
  budget: Budget,
): Generator<void, Names | undefined> {
  const align = wide ? 8 : 4;
  const top = tokens.start - (tokens.start % align);
  for (let markers = top; markers >= 0 && markers > top - MAX_BETWEEN; markers -= align) {
    if (((top - markers) & (BURST - 1)) === 0) yield;
    budget.spend(1);
    if (markers + align > tokens.start || view.getUint32(markers, true) !== 0) continue;
    // Until 4.20 a marker was as wide as a pointer.
    for (const width of wide ? [4, 8] : [4]) {
      const run = ascendingRun(view, markers, tokens.start, width);
      const found = run.length > 1 ? yield* namesBefore(data, view, markers, run, align, budget) : undefined;
      if (found) return found;
    }
  }
  return undefined;
}

/** The values at `at` for as long as they can be markers. */
function ascendingRun(view: DataView, at: number, end: number, width: number): number[] {
  const run = [0];
  let previous = 0;
  for (let i = at + width; i + width <= end && run.length * MARKED <= MAX_SYMBOLS; i += width) {
    if (width === 8 && view.getUint32(i + 4, true) !== 0) break;
    const value = view.getUint32(i, true);
    if (value - previous < MIN_GROUP || value - previous > MAX_GROUP) break;
    run.push((previous = value));
  }
  return run;
}

/** Names that end at `markers` and agree with them. What follows the markers may look like more of them. */
function* namesBefore(
  data: Uint8Array,
  view: DataView,
  markers: number,
  run: number[],
  align: number,
  budget: Budget,
): Generator<void, Names | undefined> {
  const least = Math.max(1, run.length - 16);
  const first = Math.max(align, markers - run[run.length - 1] - MAX_GROUP);
  const from = markers - run[least - 1];
  budget.spend(Math.max(0, from - first) / align + run.length);
  for (let names = from - (from % align); names >= first; names -= align) {
    if (names % BURST === 0) yield;
    const count = view.getUint32(names - align, true);
    const groups = Math.ceil(count / MARKED);
    if (groups < least || groups > run.length) continue;
    if (yield* agree(data, names, count, markers, run, align, budget)) return { count, start: names - align, names };
  }
  return undefined;
}

/** Length of the name at `at` in tokens, and the bytes that say so: from 6.1 on two where the first has its highest bit set. */
function nameLength(data: Uint8Array, at: number): [length: number, bytes: number] {
  const low = data[at];
  return low & 0x80 ? [(low & 0x7f) | (data[at + 1] << 7), 2] : [low, 1];
}

function* agree(
  data: Uint8Array,
  names: number,
  count: number,
  end: number,
  markers: number[],
  align: number,
  budget: Budget,
): Generator<void, boolean> {
  let at = names;
  for (let i = 0; i < count; i++) {
    if (i % MARKED === 0) {
      budget.spend(MARKED);
      if (at - names !== markers[i / MARKED]) return false;
    }
    if (i % 4096 === 4095) yield;
    if (at >= end) return false;
    const [length, bytes] = nameLength(data, at);
    if (length === 0) return false;
    at += bytes + length;
  }
  return at <= end && end - at < align;
}

interface Addresses {
  addresses: BigUint64Array;
  base?: { at: number; value: bigint };
}

/** Every layout in turn: the first whose addresses ascend is the one. */
function* readAddresses(
  view: DataView,
  { count, start }: Names,
  tokens: Tokens,
  { wide, address }: KallsymsOptions,
): Generator<void, Addresses | undefined> {
  const pointer = wide ? 8 : 4;
  const up = (at: number): number => at + ((pointer - (at % pointer)) % pointer);
  const inside = (at: number, length: number): boolean => at >= 0 && at + length <= view.byteLength;
  const read = (at: number): bigint => (wide ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true)));
  const believable = (value: bigint): boolean => (wide ? value >> 47n === 0x1ffffn : value >= 0x40000000n);

  const behind = up(tokens.end);
  const offsetsBefore = start - pointer - up(4 * count);
  for (const [offsets, base] of [
    [behind, behind + up(4 * count)],
    [offsetsBefore, start - pointer],
  ]) {
    if (!inside(offsets, 4 * count) || !inside(base, pointer) || !believable(read(base))) continue;
    const value = read(base);
    // With per-CPU symbols at their own offsets, all others are negative: base - 1 - offset.
    const split = view.getInt32(offsets + 4 * (count - 1), true) < 0;
    const addresses = yield* ascending(count, (i) => {
      const offset = view.getInt32(offsets + 4 * i, true);
      if (!split) return value + BigInt(offset >>> 0);
      return offset >= 0 ? BigInt(offset) : value - 1n - BigInt(offset);
    });
    if (addresses) return { addresses, base: { at: base, value } };
  }
  for (const at of [behind, start - up(pointer * count)]) {
    if (!inside(at, pointer * count) || !believable(read(at + pointer * (count - 1)))) continue;
    const addresses = yield* ascending(count, (i) => read(at + pointer * i));
    const first = addresses?.findIndex(believable) ?? -1;
    if (addresses && first >= 0) return { addresses, base: { at: at + pointer * first, value: addresses[first] } };
  }
  if (inside(behind, 4 * count)) {
    const addresses = yield* ascending(count, (i) => {
      const at = behind + 4 * i;
      return BigInt.asUintN(8 * pointer, address + BigInt(at + view.getInt32(at, true)));
    });
    if (addresses && believable(addresses[count - 1])) return { addresses };
  }
  return undefined;
}

function* ascending(count: number, addressOf: (i: number) => bigint): Generator<void, BigUint64Array | undefined> {
  const addresses = new BigUint64Array(count);
  let previous = 0n;
  for (let i = 0; i < count; i++) {
    const address = addressOf(i);
    if (address < previous || address >> 64n !== 0n) return undefined;
    addresses[i] = previous = address;
    if (i % 2048 === 2047) yield;
  }
  return previous === addresses[0] && count > 1 ? undefined : addresses;
}

function* decodeNames(
  data: Uint8Array,
  { count, names }: Names,
  tokens: string[],
): Generator<void, { names: string[]; types: string }> {
  const decoded: string[] = [];
  let types = '';
  let at = names;
  for (let i = 0; i < count; i++) {
    const [length, bytes] = nameLength(data, at);
    at += bytes;
    let text = '';
    for (const end = at + length; at < end; at++) text += tokens[data[at]];
    types += text[0] ?? '?';
    decoded.push(text.slice(1));
    if (i % 2048 === 2047) yield;
  }
  return { names: decoded, types };
}
