/** The symbols of a running kernel by address and by name, from its kallsyms. */
import { lastAtOrBelow } from '../../symbols/dwarf/sections';
import type { SymbolEntry, SymbolKind, SymbolPosition } from '../../symbols/elf';
import type { FrameContext } from '../../symbols/location';
import type { RuntimeSymbols } from '../../symbols/runtimeSymbols';
import type { UnwindResult } from '../../symbols/unwind';
import { atOnce } from '../slices';
import type { Kallsyms } from './kallsyms';
import type { OrcTable } from './orc';

/** Lower addresses are offsets into a per-CPU area, and constants: no place in the kernel's image. */
const LOWEST_IMAGE = 0x40000000n;

/** What nm's letters mean: text (and weak text, indirect functions), else data. */
const FUNCTION = /[TtWwi]/;

export class KernelSymbols implements RuntimeSymbols {
  readonly name = 'vmlinux (kallsyms)';
  orc: OrcTable | undefined;
  /** Address at run time less address in the table: what KASLR added. */
  offset = 0n;
  private byName: Map<string, number | number[]> | undefined;

  constructor(
    private readonly table: Kallsyms,
    /** Where the table is from: 'image of the kernel', 'memory'. */
    readonly from: string,
  ) {}

  get status(): string {
    return `${this.table.count} symbols from ${this.from}, offset 0x${this.offset.toString(16)}`;
  }

  /** Makes the index by name; later on it is there without a wait. */
  *index(): Generator<void, void> {
    const byName = new Map<string, number | number[]>();
    const { names } = this.table;
    for (let i = 0; i < names.length; i++) {
      const known = byName.get(names[i]);
      if (known === undefined) byName.set(names[i], i);
      else if (typeof known === 'number') byName.set(names[i], [known, i]);
      else known.push(i);
      if (i % 2048 === 2047) yield;
    }
    this.byName = byName;
  }

  private runtime(linked: bigint): bigint {
    return linked < LOWEST_IMAGE ? linked : BigInt.asUintN(64, linked + this.offset);
  }

  private kind(i: number): SymbolKind {
    return FUNCTION.test(this.table.types[i]) ? 'function' : 'object';
  }

  private entry(i: number): SymbolEntry {
    const { names, addresses, types } = this.table;
    const size = this.end(i) - addresses[i];
    const global = types[i] !== types[i].toLowerCase();
    return { name: names[i], address: this.runtime(addresses[i]), size, kind: this.kind(i), global };
  }

  /** The next higher address in the table; of the last symbols, their own. */
  private end(i: number): bigint {
    const { addresses } = this.table;
    let next = i + 1;
    while (next < addresses.length && addresses[next] === addresses[i]) next++;
    return next < addresses.length ? addresses[next] : addresses[i];
  }

  symbolAt(address: bigint): SymbolPosition | undefined {
    const { addresses, names } = this.table;
    const linked = address - this.offset;
    if (linked < LOWEST_IMAGE || addresses.length === 0) return undefined;
    let i = lastAtOrBelow(addresses, linked);
    if (i < 0 || addresses[i] < LOWEST_IMAGE) return undefined;
    // The kernel sorts the better name of one address first.
    while (i > 0 && addresses[i - 1] === addresses[i]) i--;
    const offset = linked - addresses[i];
    const size = this.end(i) - addresses[i];
    if (offset > 0n && offset >= size) return undefined;
    return { name: names[i], address: address - offset, size, offset, kind: this.kind(i) };
  }

  private places(name: string): readonly number[] {
    if (!this.byName) atOnce(this.index());
    const found = this.byName!.get(name);
    return found === undefined ? [] : typeof found === 'number' ? [found] : found;
  }

  /** The symbol of that name: of several, a global one. */
  find(name: string): SymbolEntry | undefined {
    const entries = this.findAll(name);
    return entries.find(({ global }) => global) ?? entries[0];
  }

  findAll(name: string): SymbolEntry[] {
    return this.places(name).map((i) => this.entry(i));
  }

  complete(prefix: string, max: number): string[] {
    // The best so far, in order. A name has to come before the last to get in, which few do: no sorted copy of all is kept.
    const best: string[] = [];
    if (max <= 0) return best;
    for (const name of this.table.names) {
      if (!name.startsWith(prefix) || (best.length >= max && name >= best[max - 1])) continue;
      let at = best.length;
      while (at > 0 && best[at - 1] > name) at--;
      if (best[at - 1] === name) continue;
      best.splice(at, 0, name);
      if (best.length > max) best.pop();
    }
    return best;
  }

  async unwind(address: bigint, context: FrameContext): Promise<UnwindResult | undefined> {
    return this.orc?.unwind(address - this.offset, context);
  }
}
