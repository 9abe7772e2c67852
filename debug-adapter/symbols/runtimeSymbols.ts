import type { SymbolEntry, SymbolPosition } from './elf';
import type { FrameContext } from './location';
import type { UnwindResult } from './unwind';

/** Symbols that come from no file but from the guest itself. Addresses are those of the running machine. */
export interface RuntimeSymbols {
  /** For lists of modules: 'vmlinux (kallsyms)'. */
  readonly name: string;
  /** For people: how many symbols there are, where they are from. */
  readonly status: string;
  symbolAt(address: bigint): SymbolPosition | undefined;
  find(name: string): SymbolEntry | undefined;
  findAll(name: string): readonly SymbolEntry[];
  /** At most `max` names that begin with `prefix`, in alphabetical order. */
  complete(prefix: string, max: number): string[];
  /** The caller of a frame, where unwinding information says it. */
  unwind(address: bigint, context: FrameContext): Promise<UnwindResult | undefined>;
}
