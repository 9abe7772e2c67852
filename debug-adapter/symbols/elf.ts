import { ElfError, ElfFile, RawSymbols } from '../../emulator-core/boot/elf';
import { atOnce } from '../introspection/slices';
import { lastAtOrBelow } from './dwarf/sections';
import { hashName } from './nameHash';
import { sortedOrder } from './radixSort';
import { SharedWork } from './sharedWork';

export type SymbolKind = 'function' | 'object' | 'other';

export interface SymbolEntry {
  name: string;
  address: bigint;
  /** In bytes; 0 when the file does not say. */
  size: bigint;
  kind: SymbolKind;
  global: boolean;
}

/** An address in terms of the symbol before it. */
export interface SymbolPosition {
  name: string;
  address: bigint;
  size: bigint;
  offset: bigint;
  kind: SymbolKind;
}

const STT_OBJECT = 1;
const STT_FUNC = 2;
const STT_SECTION = 3;
const STT_FILE = 4;
const STT_TLS = 6;
const STT_GNU_IFUNC = 10;
const STB_LOCAL = 0;
const SHN_UNDEF = 0;
const SHN_ABS = 0xfff1;
const SHN_COMMON = 0xfff2;

/** A symbol without size is taken to reach to the next one, but no further than this. */
const MAX_UNSIZED = 1n << 20n;
/** Longest name that is told apart from others, in bytes. */
const MAX_NAME = 4096;
/** Symbols handled between two pauses. */
const STEP = 8192;
const MAX_ADDRESS = 0xffffffffffffffffn;

const KINDS: readonly SymbolKind[] = ['other', 'object', 'function'];
const GLOBAL = 1;
const SIZED = 8;

const utf8 = new TextDecoder();

/** What is kept of each symbol, by address: columns, since a kernel has more than 100 000 of them. */
interface Columns {
  strings: Uint8Array;
  addresses: BigUint64Array;
  sizes: BigUint64Array;
  /** Highest end of all sized symbols up to this index: how far back a search has to look. */
  reach: BigUint64Array;
  /** Offsets in `strings`. */
  names: Uint32Array;
  /** GLOBAL, index in KINDS from bit 1 on, SIZED. Larger ones are preferred of those at one address. */
  ranks: Uint8Array;
}

/** Symbols by name: lists in address order of those whose names have the same hash. */
interface NameTable {
  first: Uint32Array;
  /** Index + 1 of the next symbol of the list, 0 at its end. */
  next: Uint32Array;
}

/** The symbols of an ELF file by address and by name. Addresses as linked. gABI, "Symbol Table". */
export class SymbolTable {
  private columns = emptyColumns();
  private names = emptyNames();
  private readonly reading = new SharedWork(() => this.read());

  /**
   * The table of a file is read on first use, or by `prepare`.
   * @param problem what is wrong with the table: it is empty then
   */
  constructor(
    private readonly elf: ElfFile | undefined,
    private readonly problem: (text: string) => void,
  ) {}

  /** Reads the table, and sorts it by address and name. */
  prepare(): Generator<void, void> {
    return this.reading.run();
  }

  private *read(): Generator<void, void> {
    try {
      this.columns = yield* this.readColumns();
      this.names = yield* this.hashNames(this.columns);
    } catch (error) {
      this.columns = emptyColumns();
      this.names = emptyNames();
      this.problem(error instanceof Error ? error.message : String(error));
    }
  }

  private get all(): Columns {
    if (!this.reading.done) atOnce(this.prepare());
    return this.columns;
  }

  private *readColumns(): Generator<void, Columns> {
    const raw = this.elf?.rawSymbols();
    if (!raw || raw.count === 0) return emptyColumns();
    const strings = this.elf!.sectionData(raw.strings)!;
    // First those that are kept, in file order; then all columns in the order of addresses.
    const kept = new Uint32Array(raw.count);
    const addresses = new BigUint64Array(raw.count);
    const ranks = new Uint8Array(raw.count);
    let count = 0;
    let outside = 0;
    for (let i = 1; i < raw.count; i++) {
      if (i % STEP === 0) yield;
      const symbol = decode(raw, i);
      if (symbol.name >= strings.length) outside += symbol.name > 0 ? 1 : 0;
      else if (strings[symbol.name] !== 0 && isUseful(symbol.type, symbol.section)) {
        kept[count] = i;
        addresses[count] = symbol.address;
        ranks[count++] = rankOf(symbol);
      }
    }
    if (outside > 0) {
      this.problem(`${raw.what}: the names of ${outside} symbols lie outside their string table`);
    }
    const order = yield* sortedOrder(addresses.subarray(0, count), ranks.subarray(0, count));
    const result: Columns = {
      strings,
      addresses: new BigUint64Array(count),
      sizes: new BigUint64Array(count),
      reach: new BigUint64Array(count),
      names: new Uint32Array(count),
      ranks: new Uint8Array(count),
    };
    let reach = 0n;
    for (let i = 0; i < count; i++) {
      if (i % STEP === 0) yield;
      const from = order[i]!;
      const { name, size, address } = decode(raw, kept[from]!);
      result.addresses[i] = address;
      result.sizes[i] = size;
      result.names[i] = name;
      result.ranks[i] = ranks[from]!;
      const end = address + size;
      if (end > reach) reach = end > MAX_ADDRESS ? MAX_ADDRESS : end;
      result.reach[i] = reach;
    }
    return result;
  }

  private *hashNames({ strings, names }: Columns): Generator<void, NameTable> {
    const { length } = names;
    const first = new Uint32Array(1 << Math.ceil(Math.log2(length * 2 + 2)));
    const next = new Uint32Array(length);
    // Names share tails; far more than a few times the table's size means a file built to make its reader work.
    let budget = strings.length * 32 + (1 << 20);
    for (let i = length - 1; i >= 0; i--) {
      if (i % STEP === 0) yield;
      const end = endOf(strings, names[i]!);
      budget -= end - names[i]!;
      if (budget < 0) throw new ElfError('the names of symbols overlap too much to be those of a real file');
      const slot = hashName(strings, names[i]) & (first.length - 1);
      next[i] = first[slot]!;
      first[slot] = i + 1;
    }
    return { first, next };
  }

  get size(): number {
    return this.all.addresses.length;
  }

  private nameAt(index: number): string {
    const { strings, names } = this.all;
    return utf8.decode(strings.subarray(names[index], endOf(strings, names[index]!)));
  }

  private entry(index: number): SymbolEntry {
    const { addresses, sizes, ranks } = this.all;
    return {
      name: this.nameAt(index),
      address: addresses[index]!,
      size: sizes[index]!,
      kind: KINDS[(ranks[index]! >> 1) & 3]!,
      global: (ranks[index]! & GLOBAL) !== 0,
    };
  }

  /**
   * The symbol that contains an address: the nearest below whose size reaches it, else the nearest label below.
   * Of several at one address, functions win over objects, objects over labels, global ones over local ones.
   */
  symbolAt(address: bigint): SymbolPosition | undefined {
    const { addresses, sizes, reach } = this.all;
    const from = lastAtOrBelow(addresses, address);
    if (from < 0) return undefined;
    let unsized = -1;
    for (let i = from; i >= 0 && i > from - 200; i--) {
      const size = sizes[i]!;
      if (size > 0n && address - addresses[i]! < size) return this.position(i, address);
      if (size === 0n && unsized < 0) unsized = i;
      if (reach[i]! <= address) break;
    }
    return unsized >= 0 && address - addresses[unsized]! < MAX_UNSIZED ? this.position(unsized, address) : undefined;
  }

  private position(index: number, at: bigint): SymbolPosition {
    const { name, address, size, kind } = this.entry(index);
    return { name, address, size, kind, offset: at - address };
  }

  /** Indexes of the symbols of a name, in address order. */
  private *indexesOf(name: string): Generator<number> {
    const { strings, names } = this.all;
    const { first, next } = this.names;
    const wanted = new TextEncoder().encode(name).subarray(0, MAX_NAME);
    if (wanted.length === 0) return;
    for (let i = first[hashName(wanted) & (first.length - 1)]!; i > 0; i = next[i - 1]!) {
      if (compare(strings, names[i - 1]!, wanted) === 0) yield i - 1;
    }
  }

  /** The symbol of that name; global ones win over local ones. */
  find(name: string): SymbolEntry | undefined {
    let found = -1;
    for (const index of this.indexesOf(name)) {
      if (found < 0) found = index;
      if ((this.all.ranks[index]! & GLOBAL) === 0) continue;
      found = index;
      break;
    }
    return found < 0 ? undefined : this.entry(found);
  }

  /** All symbols of that name, in address order. */
  findAll(name: string): SymbolEntry[] {
    return [...this.indexesOf(name)].map((index) => this.entry(index));
  }

  /** At most `max` names that begin with `prefix`, in alphabetical order. */
  complete(prefix: string, max: number): string[] {
    const { strings, names } = this.all;
    const wanted = new TextEncoder().encode(prefix);
    // The best so far, in order. A name has to beat the last to get in, which few do.
    const best: { at: number; bytes: Uint8Array }[] = [];
    if (max <= 0) return [];
    for (const at of names) {
      if (!startsWith(strings, at, wanted)) continue;
      if (best.length >= max && compare(strings, at, best[max - 1]!.bytes) >= 0) continue;
      let low = 0;
      let high = best.length;
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (compare(strings, at, best[middle]!.bytes) > 0) low = middle + 1;
        else high = middle;
      }
      if (low < best.length && compare(strings, at, best[low]!.bytes) === 0) continue;
      best.splice(low, 0, { at, bytes: strings.subarray(at, endOf(strings, at)) });
      if (best.length > max) best.pop();
    }
    return best.map(({ bytes }) => utf8.decode(bytes));
  }
}

interface Decoded {
  /** Offset in the string table. */
  name: number;
  type: number;
  binding: number;
  section: number;
  address: bigint;
  size: bigint;
}

function decode({ view, wide, entrySize }: RawSymbols, index: number): Decoded {
  const at = index * entrySize;
  const info = view.getUint8(at + (wide ? 4 : 12));
  return {
    name: view.getUint32(at, true),
    type: info & 0xf,
    binding: info >> 4,
    section: view.getUint16(at + (wide ? 6 : 14), true),
    address: wide ? view.getBigUint64(at + 8, true) : BigInt(view.getUint32(at + 4, true)),
    size: wide ? view.getBigUint64(at + 16, true) : BigInt(view.getUint32(at + 8, true)),
  };
}

function emptyColumns(): Columns {
  const none = new BigUint64Array(0);
  const strings = new Uint8Array(0);
  return { strings, addresses: none, sizes: none, reach: none, names: new Uint32Array(0), ranks: strings };
}

function emptyNames(): NameTable {
  return { first: new Uint32Array(1), next: new Uint32Array(0) };
}

function isUseful(type: number, section: number): boolean {
  if (type === STT_SECTION || type === STT_FILE || type === STT_TLS) return false;
  if (section === SHN_UNDEF || section === SHN_COMMON) return false;
  // Constants of the assembler and names of source files are absolute; so are functions of some linker scripts.
  return section !== SHN_ABS || type === STT_FUNC || type === STT_OBJECT;
}

/** Larger is better: the search takes the last of those at one address. */
function rankOf({ type, binding, size }: Decoded): number {
  const kind: SymbolKind =
    type === STT_FUNC || type === STT_GNU_IFUNC ? 'function' : type === STT_OBJECT ? 'object' : 'other';
  return (size > 0n ? SIZED : 0) | (KINDS.indexOf(kind) << 1) | (binding === STB_LOCAL ? 0 : GLOBAL);
}

/** Where the name at an offset ends: at its NUL, the table's end or MAX_NAME. */
function endOf(strings: Uint8Array, at: number): number {
  const limit = Math.min(strings.length, at + MAX_NAME);
  let end = at;
  while (end < limit && strings[end] !== 0) end++;
  return end;
}

function startsWith(strings: Uint8Array, at: number, prefix: Uint8Array): boolean {
  for (let i = 0; i < prefix.length; i++) if (strings[at + i] !== prefix[i]) return false;
  return true;
}

/** Order of the name at an offset and another name, byte by byte. */
function compare(strings: Uint8Array, at: number, other: Uint8Array): number {
  for (let i = 0; i < MAX_NAME; i++) {
    const left = strings[at + i] ?? 0;
    const right = other[i] ?? 0;
    if (left !== right || left === 0) return left - right;
  }
  return 0;
}
