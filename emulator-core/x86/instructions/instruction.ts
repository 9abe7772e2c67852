/**
 * The shape of the instruction table. A row describes one mnemonic: which iced-x86 Codes (encodings) it covers, and its meaning,
 * either as a semantics function over the builder or as the name of an assist (a rare, slow path in cpu/assists). A row with both
 * has its usual case in the semantics and its others (Builder.assistWhen) in the assist.
 * Operand kinds and sizes come from the Code's own name ('Add_rm32_imm8'), so they are not written again here.
 */
import type { Builder } from '../../translate/builder';

/**
 * When a result is undefined, if not always. The count is that of a shift or rotate, modulo 32 or 64; the size is the
 * destination's in bits.
 */
export type UndefinedWhen =
  'count is not 0' | 'count is over 1' | 'count is the size or more' | 'count is over the size';

/** Results that the manual leaves undefined. Whoever compares with another processor leaves them out. */
export interface UndefinedResult {
  /** Status flags, as in 'OF SF'. */
  flags?: string;
  /** The first operand. */
  destination?: true;
  when?: UndefinedWhen;
}

export interface Instruction {
  /** iced-x86 mnemonic: the part of its Code names before the first underscore. */
  mnemonic: string;
  /** Title in SDM Vol. 2, "Instruction Set Reference". */
  manual: string;
  /** Restricts the row to Codes whose operand part matches; absent: all of the mnemonic. */
  operands?: RegExp;
  semantics?: (b: Builder) => void;
  /** Name in the assist table. An assist ends its block when it changes the flow or the mode. */
  assist?: string;
  /** CPUID feature name; without it the instruction is #UD. */
  feature?: string;
  /** Implicit operand size in bits where no operand tells it (RET, PUSHF ...). */
  operandBits?: 16 | 32 | 64;
  /** REP prefixes the instruction takes: rep (MOVS, STOS, LODS, INS, OUTS) or repe (also tests ZF: CMPS, SCAS). */
  repeat?: 'rep' | 'repe';
  /** Of `repeat`: an iteration copies an element, or stores the accumulator, so that engines may do many at once. */
  bulk?: 'copy' | 'fill';
  /** Control does not reach the next instruction by itself (jumps, calls, returns, what may change the mode). */
  endsBlock?: boolean;
  /**
   * Which state it works on, for the rows over vector registers: #UD and #NM by CR0.EM and TS, CR4.OSFXSR and OSXSAVE, and XCR0.
   * SDM Vol. 2A, 2.4 "AVX and SSE Instruction Exception Classification"; Vol. 3A, 2.5 "Control Registers".
   */
  unit?: VectorUnit;
  /** Exception to the rule that legacy 128-bit memory operands must be aligned and VEX ones need not. */
  aligned?: boolean;
  /** Results may differ between processors by this many units in the last place, and so may C1 (x87 transcendentals). */
  ulps?: number;
  /** Relative error up to which processors may give different results. */
  tolerance?: number;
  /** What the manual leaves undefined. */
  undefinedResults?: readonly UndefinedResult[];
  /** What the row chooses where the manual leaves it open, or where implementations differ. */
  note?: string;
}

/** State that the operating system enables as a whole. */
export type VectorUnit = 'mmx' | 'sse' | 'avx';

export type Family = readonly Instruction[];

/** Rows for several mnemonics that differ by a parameter. */
export function rows<T>(list: readonly T[], row: (item: T) => Instruction): Instruction[] {
  return list.map(row);
}
