/** Makes kallsyms tables as the kernel's scripts/kallsyms.c lays them out, version by version. */

export interface TestSymbol {
  type: string;
  name: string;
  address: bigint;
  /** An offset in the per-CPU area, with x86's absolute per-CPU symbols. */
  perCpu?: boolean;
}

export interface Layout {
  wide: boolean;
  /** How addresses are kept: pointers; offsets from a base; the same with per-CPU symbols apart; offsets from the entry's own place. */
  addresses: 'pointers' | 'base' | 'per-cpu base' | 'own place';
  /** Addresses stand behind the token index (6.4). */
  behind: boolean;
  /** Until 4.20 the number of symbols and the markers are as wide as pointers. */
  wideMarkers: boolean;
  /** kallsyms_seqs_of_names: none until 6.1; behind the markers in 6.2 and 6.3; at the end from 6.4 on. */
  sequences: 'none' | 'behind markers' | 'end';
}

/** The layouts by the first kernel that has them. */
export const LAYOUTS: Record<string, Layout> = {
  '4.4, 64 bits': { wide: true, addresses: 'pointers', behind: false, wideMarkers: true, sequences: 'none' },
  '4.4, 32 bits': { wide: false, addresses: 'pointers', behind: false, wideMarkers: true, sequences: 'none' },
  '4.9, 64 bits': { wide: true, addresses: 'per-cpu base', behind: false, wideMarkers: true, sequences: 'none' },
  '5.10, 64 bits': { wide: true, addresses: 'per-cpu base', behind: false, wideMarkers: false, sequences: 'none' },
  '5.10, 64 bits, one processor': {
    wide: true,
    addresses: 'base',
    behind: false,
    wideMarkers: false,
    sequences: 'none',
  },
  '6.1, 32 bits': { wide: false, addresses: 'base', behind: false, wideMarkers: false, sequences: 'none' },
  '6.2, 64 bits': {
    wide: true,
    addresses: 'per-cpu base',
    behind: false,
    wideMarkers: false,
    sequences: 'behind markers',
  },
  '6.4, 64 bits': { wide: true, addresses: 'per-cpu base', behind: true, wideMarkers: false, sequences: 'end' },
  '6.4, 64 bits, pointers': { wide: true, addresses: 'pointers', behind: true, wideMarkers: false, sequences: 'end' },
  '6.12, 32 bits': { wide: false, addresses: 'base', behind: true, wideMarkers: false, sequences: 'end' },
  '7.0, 64 bits': { wide: true, addresses: 'own place', behind: true, wideMarkers: false, sequences: 'end' },
};

/** Pairs that the compression replaces, in slots of characters that no name has. */
const PAIRS = ['sy', 's_', '_f', 'un', 'ct', 'io', 'n_', '__', 'Tf', 'tv'];

class Bytes {
  readonly list: number[] = [];
  constructor(private readonly wide: boolean) {}
  get at(): number {
    return this.list.length;
  }
  label(): number {
    while (this.list.length % (this.wide ? 8 : 4)) this.list.push(0);
    return this.list.length;
  }
  value(value: bigint, size: number): void {
    for (let i = 0; i < size; i++) this.list.push(Number((BigInt.asUintN(64, value) >> BigInt(8 * i)) & 0xffn));
  }
  pointer(value: bigint): void {
    this.value(value, this.wide ? 8 : 4);
  }
}

export interface BuiltTable {
  data: Uint8Array;
  /** Address of the first byte. */
  address: bigint;
  /** Where kallsyms_relative_base is, or the first pointer into the image. */
  baseAt: number | undefined;
}

/** `around`: bytes of other data before and behind. */
export function buildKallsyms(symbols: readonly TestSymbol[], layout: Layout, around = 4096): BuiltTable {
  const { wide } = layout;
  const address = wide ? 0xffffffff82000000n : 0xc1800000n;
  const out = new Bytes(wide);
  const noise = (count: number): void => {
    for (let i = 0; i < count; i++) out.list.push((Math.imul(i + out.at, 0x9e3779b1) >>> 24) & 0xff);
  };
  noise(around);

  let baseAt: number | undefined;
  const base = symbols.find(({ perCpu }) => !perCpu)!.address;
  const addresses = (): void => {
    const start = out.label();
    symbols.forEach((symbol, i) => {
      if (layout.addresses === 'pointers') {
        if (!symbol.perCpu) baseAt ??= out.at;
        out.pointer(symbol.address);
      } else if (layout.addresses === 'own place') out.value(symbol.address - address - BigInt(start + 4 * i), 4);
      else if (layout.addresses === 'base') out.value(symbol.address - base, 4);
      else out.value(symbol.perCpu ? symbol.address : base - symbol.address - 1n, 4);
    });
    if (layout.addresses === 'base' || layout.addresses === 'per-cpu base') {
      baseAt = out.label();
      out.pointer(base);
    }
  };
  const sequences = (): void => {
    out.label();
    const order = symbols.map((_, i) => i).sort((a, b) => (symbols[a].name < symbols[b].name ? -1 : 1));
    for (const i of order) out.list.push(i >> 16, (i >> 8) & 0xff, i & 0xff);
  };

  // Characters in use stand for themselves; the pairs go where none is.
  const tokens = new Array<string>(256).fill('');
  for (const { type, name } of symbols) for (const c of type + name) tokens[c.charCodeAt(0)] = c;
  const free = tokens.map((text, i) => (text === '' ? i : -1)).filter((i) => i >= 0);
  const slots = new Map(PAIRS.map((pair, i) => [pair, free[free.length - 1 - i]]));
  for (const [pair, slot] of slots) tokens[slot] = pair;
  const compress = (text: string): number[] => {
    const codes: number[] = [];
    for (let i = 0; i < text.length;) {
      const slot = slots.get(text.slice(i, i + 2));
      codes.push(slot ?? text.charCodeAt(i));
      i += slot === undefined ? 1 : 2;
    }
    return codes;
  };

  if (!layout.behind) addresses();
  out.label();
  if (layout.wideMarkers) out.pointer(BigInt(symbols.length));
  else out.value(BigInt(symbols.length), 4);
  const names = out.label();
  const markers: number[] = [];
  symbols.forEach(({ type, name }, i) => {
    if (i % 256 === 0) markers.push(out.at - names);
    const codes = compress(type + name);
    if (codes.length <= 0x7f) out.list.push(codes.length);
    else out.list.push((codes.length & 0x7f) | 0x80, codes.length >> 7);
    out.list.push(...codes);
  });
  out.label();
  for (const marker of markers) {
    if (layout.wideMarkers) out.pointer(BigInt(marker));
    else out.value(BigInt(marker), 4);
  }
  if (layout.sequences === 'behind markers') sequences();
  out.label();
  const index: number[] = [];
  const table = out.at;
  for (const token of tokens) {
    index.push(out.at - table);
    for (const c of token) out.list.push(c.charCodeAt(0));
    out.list.push(0);
  }
  out.label();
  for (const offset of index) out.value(BigInt(offset), 2);
  if (layout.behind) addresses();
  if (layout.sequences === 'end') sequences();
  out.label();
  noise(around);
  return { data: Uint8Array.from(out.list), address, baseAt };
}

/** `count` symbols in the order of their addresses: some per-CPU ones, functions, data, two names of one address. */
export function testSymbols(count: number, { wide, addresses }: Layout): TestSymbol[] {
  const text = wide ? 0xffffffff81000000n : 0xc1000000n;
  const symbols: TestSymbol[] = [];
  if (addresses === 'per-cpu base') {
    symbols.push({ type: 'A', name: 'fixed_percpu_data', address: 0n, perCpu: true });
    symbols.push({ type: 'A', name: 'current_task', address: 0x1fb80n, perCpu: true });
  }
  symbols.push({ type: 'T', name: '_text', address: text });
  symbols.push({ type: 'T', name: 'startup', address: text });
  for (let i = symbols.length; i < count - 1; i++) {
    const type = i % 3 === 0 ? 'd' : i % 3 === 1 ? 'T' : 't';
    // Names of some length: every tenth is longer than 127 tokens.
    const name = i % 10 === 0 ? `long_${'x'.repeat(150)}_${i}` : `sys_function_${i}`;
    symbols.push({ type, name, address: text + BigInt(16 * i) });
  }
  symbols.push({ type: 'B', name: '_end', address: text + BigInt(16 * count) });
  return symbols;
}
