import { ElfSymbol } from '../../emulator-core/boot/elf';
import { lastAtOrBelow } from './dwarf/sections';

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

/** The symbols of an ELF file by address and by name. Addresses as linked. gABI, "Symbol Table". */
export class SymbolTable {
  private readonly symbols: SymbolEntry[];
  private readonly addresses: BigUint64Array;
  /** Highest end of all sized symbols up to this index: how far back a search has to look. */
  private readonly reach: BigUint64Array;
  private byName: Map<string, SymbolEntry> | undefined;
  private sortedNames: string[] | undefined;

  constructor(symbols: readonly ElfSymbol[]) {
    this.symbols = symbols.filter(isUseful).map(({ name, value, size, type, binding }) => ({
      name,
      address: value,
      size,
      kind: type === STT_FUNC || type === STT_GNU_IFUNC ? 'function' : type === STT_OBJECT ? 'object' : 'other',
      global: binding !== STB_LOCAL,
    }));
    this.symbols.sort((a, b) =>
      a.address < b.address ? -1 : a.address > b.address ? 1 : preference(a) - preference(b),
    );
    this.addresses = BigUint64Array.from(this.symbols, ({ address }) => address);
    this.reach = new BigUint64Array(this.symbols.length);
    let reach = 0n;
    this.symbols.forEach(({ address, size }, i) => {
      const end = address + size;
      if (end > reach) reach = end > 0xffffffffffffffffn ? 0xffffffffffffffffn : end;
      this.reach[i] = reach;
    });
  }

  get size(): number {
    return this.symbols.length;
  }

  /**
   * The symbol that contains an address: the nearest below whose size reaches it, else the nearest label below.
   * Of several at one address, functions win over objects, objects over labels, global ones over local ones.
   */
  symbolAt(address: bigint): SymbolPosition | undefined {
    const from = lastAtOrBelow(this.addresses, address);
    if (from < 0) return undefined;
    let unsized: SymbolEntry | undefined;
    for (let i = from; i >= 0 && i > from - 200; i--) {
      const symbol = this.symbols[i]!;
      if (symbol.size > 0n && address - symbol.address < symbol.size) {
        return position(symbol, address);
      }
      if (symbol.size === 0n) unsized ??= symbol;
      if (this.reach[i]! <= address) break;
    }
    return unsized && address - unsized.address < MAX_UNSIZED ? position(unsized, address) : undefined;
  }

  /** The symbol of that name; global ones win over local ones. */
  find(name: string): SymbolEntry | undefined {
    if (!this.byName) {
      this.byName = new Map();
      for (const symbol of this.symbols) {
        const known = this.byName.get(symbol.name);
        if (!known || (!known.global && symbol.global)) this.byName.set(symbol.name, symbol);
      }
    }
    return this.byName.get(name);
  }

  /** All symbols of that name, in address order. */
  findAll(name: string): SymbolEntry[] {
    return this.find(name) ? this.symbols.filter((symbol) => symbol.name === name) : [];
  }

  /** At most `max` names that begin with `prefix`, in alphabetical order. */
  complete(prefix: string, max: number): string[] {
    this.sortedNames ??= [...new Set(this.symbols.map(({ name }) => name))].sort();
    const names = this.sortedNames;
    let low = 0;
    let high = names.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (names[middle]! < prefix) low = middle + 1;
      else high = middle;
    }
    const result: string[] = [];
    while (low < names.length && result.length < max && names[low]!.startsWith(prefix)) result.push(names[low++]!);
    return result;
  }
}

function isUseful({ name, type, section }: ElfSymbol): boolean {
  if (name === '' || type === STT_SECTION || type === STT_FILE || type === STT_TLS) return false;
  if (section === SHN_UNDEF || section === SHN_COMMON) return false;
  // Constants of the assembler and names of source files are absolute; so are functions of some linker scripts.
  return section !== SHN_ABS || type === STT_FUNC || type === STT_OBJECT;
}

/** Larger is better: the search takes the last of those at one address. */
function preference({ kind, global, size }: SymbolEntry): number {
  const byKind = { function: 4, object: 2, other: 0 };
  return byKind[kind] + (global ? 1 : 0) + (size > 0n ? 8 : 0);
}

function position({ name, address, size, kind }: SymbolEntry, at: bigint): SymbolPosition {
  return { name, address, size, kind, offset: at - address };
}
