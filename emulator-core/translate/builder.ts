/**
 * What an instruction's semantics function is written against. Two engines implement it: the interpreter (operands come from
 * a pre-decoded micro-op) and the compiler (operands are constants, registers WebAssembly locals).
 *
 * All integer values are i64 expressions, zero-extended from their operand's size unless said otherwise; writes truncate.
 * An expression is emitted each time it is used: give it a name with `let` when it is used twice or must be read before a write.
 *
 * Precise faults: everything that may fault (memory reads, `modify`, `write` to memory, `push`, `fault`) must come before the
 * first register or flag change. A memory operand that is read and written is read with `modify`, which checks for writing first.
 */
import type { VectorOperationName } from '../cpu/vector/operations';
import type { Expr } from './wasm';

export type Bits = 8 | 16 | 32 | 64;
/** Sizes of vector memory operands. */
export type Width = Bits | 128 | 256;
/** Register files beside the general registers: 64, 128 and 256 bits. */
export type VectorFile = 'mm' | 'xmm' | 'ymm';

/** Condition codes in encoding order. SDM Vol. 2, Appendix B, "Encoding of Conditional Test (tttn) Field". */
export const CONDITIONS = [
  'o',
  'no',
  'b',
  'ae',
  'e',
  'ne',
  'be',
  'a',
  's',
  'ns',
  'p',
  'np',
  'l',
  'ge',
  'le',
  'g',
] as const;
export type Condition = (typeof CONDITIONS)[number];

/** General registers by encoding. */
export const Gpr = { rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5, rsi: 6, rdi: 7 } as const;

/** What a near branch is to the return cache: calls note where they return to, returns look there first. */
export type BranchKind = 'jump' | 'call' | 'return';

export type FlagName = 'cf' | 'pf' | 'af' | 'zf' | 'sf' | 'of';

export interface Builder {
  /** Size of operand `i` in bits. */
  bits(i: number): Bits;
  /** Operand kinds: register, memory, immediate. */
  kind(i: number): 'r' | 'm' | 'i';
  /** Size of near branch targets and implicit stack operands in bits. */
  readonly operandBits: Bits;
  /** Address size in bits (loop counters, string pointers). */
  addressMasked(value: Expr): Expr;

  /** Number of explicit operands, immediates included. */
  readonly operandCount: number;

  let(value: Expr): Expr;
  read(i: number): Expr;
  /** Sign-extended to 64 bits. */
  readSigned(i: number): Expr;
  /** Reads an operand that this instruction will also write. */
  modify(i: number): Expr;
  write(i: number, value: Expr): void;
  /**
   * Both halves (i64) of a 128-bit memory operand that this instruction will also write, by `store`. The assist does the instruction
   * where the operand is not aligned, or not simply there to be written.
   */
  modifyPair(i: number): { low: Expr; high: Expr; store(low: Expr, high: Expr): void };

  /**
   * Vectors are worked on in parts of 128 bits (v128 expressions): 2 when an operand has 256 bits, else 1. An MM register
   * or a memory operand below 128 bits is the low end of a part whose rest is zero.
   */
  readonly parts: 1 | 2;
  /** An operand is an MM register. */
  readonly usesMmx: boolean;
  /** Part of a vector register or memory operand. The first read of a memory operand checks and may fault: `let` it before writes. */
  readVector(i: number, part?: number): Expr;
  /**
   * Writes a vector operand. Registers: all given parts; above them, VEX encodings clear the register and legacy ones keep it.
   * Memory: as many low bytes as the operand has.
   */
  writeVector(i: number, parts: Expr[]): void;
  /** An implicit XMM or YMM register (XMM0 of PBLENDVB). Written as writeVector does. */
  vectorRegister(register: number, part?: number): Expr;
  setVectorRegister(register: number, parts: Expr[]): void;
  /**
   * Does a vector operation outside of the handler (cpu/vector/operations): stores up to three vectors of 1 or 2 parts, calls it
   * with `argument` (i32, 0 .. 65535) and gives the parts of its result. When it raises an exception, nothing was changed and the
   * instruction ends here.
   */
  vectorOperation(name: VectorOperationName, vectors: Expr[][], argument?: Expr): Expr[];
  /** MXCSR, i32. */
  mxcsr(): Expr;
  /** Raises #GP(0) when the i32 condition holds. */
  protectionFaultIf(condition: Expr): void;

  /** Effective address of a memory operand, without segment base (LEA). */
  effectiveAddress(): Expr;

  /** An implicit general register. 32-bit writes zero-extend. */
  reg(register: number, bits: Bits): Expr;
  setReg(register: number, bits: Bits, value: Expr): void;
  /** High byte AH. */
  ah(): Expr;
  setAh(value: Expr): void;

  /** Memory at a bit-string offset from operand 0 (BT family with register offset): adds bytes to the effective address. */
  displaceOperand(bytes: Expr): void;

  /** Result flags of an addition (with or without carry-in): CF OF AF from the carries, ZF SF PF from r. */
  flagsAdd(bits: Bits, a: Expr, b: Expr, r: Expr): void;
  /** @param borrowIn r may be less by a borrow besides b */
  flagsSub(bits: Bits, a: Expr, b: Expr, r: Expr, borrowIn?: boolean): void;
  /** CF = OF = AF = 0, the rest from r. */
  flagsLogic(bits: Bits, r: Expr): void;
  /** As an addition or subtraction of 1, CF kept. */
  flagsInc(bits: Bits, a: Expr, r: Expr): void;
  flagsDec(bits: Bits, a: Expr, r: Expr): void;
  /** ZF SF PF from r; CF and OF as given (0 or 1, i64); AF = 0. */
  flagsResult(bits: Bits, r: Expr, cf: Expr, of: Expr): void;
  /** CF and OF (0 or 1, i64), the rest kept. */
  flagsCarry(cf: Expr, of: Expr): void;
  /** CF alone. */
  setCarry(cf: Expr): void;
  /** ZF alone, from a value that is zero when ZF is to be set; SF and PF kept. */
  setZero(value: Expr): void;
  /** 0 or 1 as i64. */
  flag(name: FlagName): Expr;
  condition(cc: Condition): Expr;
  /** SF:ZF:0:AF:0:PF:1:CF, as LAHF wants it. */
  lowFlags(): Expr;
  setLowFlags(value: Expr): void;

  /** Statements under an i32 condition. Both arms may read and write; `let` values made inside are not for outside. */
  when(condition: Expr, then: () => void, otherwise?: () => void): void;

  /**
   * The row's assist does the whole instruction when the i32 condition holds: what is rare or wide. Comes before anything changes.
   */
  assistWhen(condition: Expr): void;
  /** RFLAGS but for the arithmetic flags, and the privilege level; i32. */
  systemFlags(): Expr;
  setSystemFlags(value: Expr): void;
  privilegeLevel(): Expr;
  /** i32: PAUSE leaves the guest. */
  pauseExits(): Expr;
  /** i32: number of the control register that the instruction reads. */
  controlRegister(): Expr;

  /** A slot of cpu/layout's State that no other method is for: not general registers or arithmetic flags. */
  state32(slot: number): Expr;
  state64(slot: number): Expr;
  setState32(slot: number, value: Expr): void;
  setState64(slot: number, value: Expr): void;
  /** Its address; i32. */
  stateAddress(slot: number): Expr;
  /**
   * Where `bytes` at a linear address are in the machine's memory (i32), if the soft TLB knows them to be readable: `hits`, i32.
   * 'present': to an access by the code that runs; 'system': to the processor's own.
   */
  cached(linear: Expr, bytes: number, access: 'present' | 'system'): { hits: Expr; host: Expr };
  /**
   * The privilege level (i32) and RFLAGS (i32) become these, without a change between modes: what depends on both follows.
   * Not for level 3 with alignment checks, before or after.
   */
  setPrivilegeLevel(level: Expr, flags: Expr): void;
  /** Jumps as a return from an interrupt does: RFLAGS.RF is cleared once the instruction there runs. Ends the instruction. */
  transfer(target: Expr): void;
  /** CPUID where the answer is known and nobody wants to see the exit, else the assist. */
  cpuid(): void;
  /** OUT of AL to the port of operand 0, after privilege has been checked, where that does nothing but keep it; else the assist. */
  outputByte(): void;

  /** Raises an exception without error code when the i32 condition holds: #DE 0, #BR 5, #UD 6 ... */
  faultIf(condition: Expr, vector: number): void;

  /**
   * Checks writability and stores; changes rsp only after.
   * @param stored bits that are written; the rest of the slot stays as it is. Default: all
   */
  push(bits: Bits, value: Expr, stored?: Bits): void;
  /** The stack pointer, in the width of the stack. */
  stackPointer(): Expr;
  /** Loads through the stack segment at `pointer`. */
  stackLoad(bits: Bits, pointer: Expr): Expr;
  /** Changes rsp, esp or sp by the stack's width. */
  setStackPointer(value: Expr): void;

  /** (high:low) / divisor with #DE on zero and overflow; all 64 bits wide. */
  wideDivide(signed: boolean, high: Expr, low: Expr, divisor: Expr): { quotient: Expr; remainder: Expr };

  /** String operands: [seg:rSI] and [es:rDI], with their advance by DF. */
  stringSource(bits: Bits): Expr;
  stringDestination(bits: Bits): Expr;
  storeString(bits: Bits, value: Expr): void;
  advance(register: 6 | 7, bits: Bits): void;

  /** i32: 64-bit code, not compatibility or legacy mode. */
  in64BitMode(): Expr;

  /** rip of the next instruction. */
  nextRip(): Expr;
  /** Near jump to an absolute address (truncated to the operand size). A call has pushed nextRip(). Ends the instruction. */
  jump(target: Expr, kind?: BranchKind): void;
  /**
   * Jump by the immediate relative to the next instruction when the condition (i32) holds, else go on. A call has no condition, and has
   * pushed nextRip(). Ends the instruction.
   */
  branch(condition: Expr | undefined, kind?: BranchKind): void;
}
