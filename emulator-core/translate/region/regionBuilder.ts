/**
 * Builder, engine 2: semantics -> a part of a compiled region. Operands are constants, registers and flags the region's locals. Where
 * the fast path ends (a TLB miss, an exception, an operation outside) the interpreter does the whole instruction, of which nothing has
 * happened then.
 */
import { State, Uop, UopFlag } from '../../cpu/layout';
import type { VectorOperationName } from '../../cpu/vector/operations';
import type { HandlerForm } from '../abi';
import type { Bits, BranchKind } from '../builder';
import { cpu, truncate } from '../operands';
import { SemanticsBuilder } from '../semanticsBuilder';
import { VectorEmitter } from '../vectorEmitter';
import { I32, I64, get, i32, i32c, i64, i64c, ifElse, type Expr, type Type } from '../wasm';
import { v128 } from '../wasmSimd';
import { narrowDivision } from '../wideDivision';
import { operandKey } from './checkedPages';
import type { RegionFlags } from './regionFlags';
import { RegionMemory, type InstructionPart } from './regionMemory';
import { RegionOperands, isGpr } from './regionOperands';
import type { UopMemory } from './regionPlan';
import type { RegionState } from './regionState';

/** The instruction cannot be part of a region: the interpreter does it each time. */
export class NotForCompiling extends Error {}

/** The instruction may exit first and be left to the interpreter then: it has to be emitted without exits of its own (UopFlag.device). */
export class NotWithExits extends Error {}

/** Where a branch goes, to be emitted where control has come to that. */
export interface BranchEdges {
  taken(): void;
  next(): void;
  /** Places (`ip`, from the page) that an indirect branch may go to inside of the region. */
  readonly returns: readonly { ip: number; go(rip: Expr): void }[];
}

export class RegionBuilder extends SemanticsBuilder implements InstructionPart {
  readonly fields: RegionOperands;
  protected readonly memory: RegionMemory;
  private vectorEmitter?: VectorEmitter;
  /** The semantics have branched: control does not go on. */
  ended = false;
  /** What it is when it leaves the region by a branch. */
  private branchKind: BranchKind = 'jump';
  /** Depth of blocks where the instruction began. */
  private readonly depth: number;

  /**
   * @param handler the interpreter's
   * @param edges asked for when the instruction branches
   */
  constructor(
    private readonly s: RegionState,
    private readonly from: UopMemory,
    readonly uop: number,
    private readonly handler: number,
    form: HandlerForm,
    writes: boolean,
    protected readonly flags: RegionFlags,
    private readonly edges: (b: RegionBuilder) => BranchEdges,
  ) {
    super(s.f, form);
    this.depth = s.f.depth;
    if (this.usesMmx) throw new NotForCompiling();
    this.fields = new RegionOperands(s, from, uop);
    const device = (this.fields.byte(Uop.flags) & UopFlag.device) !== 0;
    this.memory = new RegionMemory(this, form, writes, s, operandKey(from, uop), device);
  }

  protected get vectors(): VectorEmitter {
    return (this.vectorEmitter ??= new VectorEmitter(this, this.memory, this.form));
  }

  get always(): boolean {
    return this.s.f.depth === this.depth;
  }

  interpret(): void {
    if (this.memory.exited) {
      this.from.u8[this.uop + Uop.flags] &= ~UopFlag.device;
      throw new NotWithExits();
    }
    if (this.always) throw new NotForCompiling();
    this.s.interpret(this.uop, this.handler);
  }

  local(type: Type): number {
    return this.s.temporary(type);
  }
  override let(value: Expr): Expr {
    return this.s.let(value);
  }
  gpr(register: number): Expr {
    return this.s.gpr(register);
  }
  setGpr(register: number, value: Expr): void {
    this.s.setGpr(register, value);
  }
  reg(register: number, bits: Bits): Expr {
    return truncate(this.gpr(register), bits);
  }
  setReg(register: number, bits: Bits, value: Expr): void {
    if (bits === 64) this.setGpr(register, value);
    else if (bits === 32) this.setGpr(register, truncate(value, 32));
    else this.merge(register, bits, 0, value);
  }
  /** Writes 8 or 16 bits at `shift`, the others are kept. */
  private merge(register: number, bits: 8 | 16, shift: number, value: Expr): void {
    const mask = ((1n << BigInt(bits)) - 1n) << BigInt(shift);
    const placed = shift ? i64.shl(truncate(value, bits), i64c(shift)) : truncate(value, bits);
    this.setGpr(register, i64.or(i64.and(this.gpr(register), i64c(~mask)), placed));
  }
  ah(): Expr {
    return i64.and(i64.shrU(this.gpr(0), i64c(8)), i64c(0xff));
  }
  setAh(value: Expr): void {
    this.merge(0, 8, 8, value);
  }

  /** State offset of register operand `i`. */
  private slot(i: number): number {
    return this.fields.slot(this.form.operands[i].slot);
  }
  registerAddress(i: number): { base: Expr; offset: number } {
    return { base: cpu, offset: this.slot(i) };
  }
  protected readRegister(i: number, bits: Bits): Expr {
    const offset = this.slot(i);
    if (!isGpr(offset)) {
      return { 8: i64.load8u, 16: i64.load16u, 32: i64.load32u, 64: i64.load }[bits](cpu, offset);
    }
    const register = (offset - State.gpr) >> 3;
    // AH, CH, DH and BH are one byte further.
    return offset & 7 ? truncate(i64.shrU(this.gpr(register), i64c(8)), bits) : this.reg(register, bits);
  }
  protected writeRegister(i: number, bits: Bits, value: Expr): void {
    const offset = this.slot(i);
    if (!isGpr(offset)) throw new NotForCompiling();
    const register = (offset - State.gpr) >> 3;
    if (offset & 7) this.merge(register, 8, 8, value);
    else this.setReg(register, bits, value);
  }

  protected modified(): void {}

  /** Each arm begins with what is known before; behind both, flags stand as each arm tells when it ran, and registers have the bits of either. */
  override when(condition: Expr, then: () => void, otherwise?: () => void): void {
    const { s } = this;
    const before = s.known;
    let changed = false;
    const arm = (statements?: () => void): void => {
      s.known = before;
      statements?.();
      s.tellFlags();
      changed ||= s.flags !== before.flags;
    };
    let first = before;
    ifElse(
      s.f,
      condition,
      () => {
        arm(then);
        first = s.known;
      },
      () => arm(otherwise),
    );
    s.mergeRegisters(first);
    s.flags = changed ? { kind: 'dynamic' } : before.flags;
  }

  assistWhen(condition: Expr): void {
    this.faultIf(condition);
  }
  charged(): Expr {
    return i32.add(get(this.s.budget, I32), i32c(this.fields.field(Uop.left)));
  }
  faultIf(condition: Expr): void {
    ifElse(this.s.f, condition, () => this.interpret());
  }
  protectionFaultIf(condition: Expr): void {
    this.faultIf(condition);
  }

  /** Only what one division of 64 bits does. */
  wideDivide(signed: boolean, high: Expr, low: Expr, divisor: Expr): { quotient: Expr; remainder: Expr } {
    const { unfit, quotient, remainder } = narrowDivision(signed, high, this.let(low), this.let(divisor));
    this.faultIf(unfit);
    return { quotient: this.let(quotient), remainder: this.let(remainder) };
  }

  vectorOperation(_name: VectorOperationName, vectors: Expr[][]): Expr[] {
    this.interpret();
    const count = Math.max(1, ...vectors.map((parts) => parts.length));
    return Array.from({ length: count }, () => v128.zero);
  }

  jump(target: Expr, kind: BranchKind = 'jump'): void {
    const { s } = this;
    this.branchKind = kind;
    const { returns } = this.edges(this);
    const to = returns.length ? this.let(truncate(target, this.operandBits)) : truncate(target, this.operandBits);
    const before = s.known;
    for (const { ip, go } of returns) {
      const place = truncate(i64.add(get(s.ripBase, I64), i64c(ip)), this.operandBits);
      ifElse(s.f, i64.eq(to, place), () => go(to));
      s.known = before;
    }
    this.lookup(to);
    this.ended = true;
  }

  transfer(): void {
    throw new NotForCompiling();
  }
  /** The soft TLB in use is one all through a region. */
  override setPrivilegeLevel(): void {
    throw new NotForCompiling();
  }
  cached(): { hits: Expr; host: Expr } {
    throw new NotForCompiling();
  }

  branch(condition: Expr | undefined, kind: BranchKind = 'jump'): void {
    const { s } = this;
    this.branchKind = kind;
    const edges = this.edges(this);
    if (condition) {
      const before = s.known;
      ifElse(s.f, condition, () => edges.taken());
      s.known = before;
      edges.next();
    } else edges.taken();
    this.ended = true;
  }

  /** Leaves to an rip, by the branch. */
  lookup(rip: Expr): void {
    this.s.lookup(this.uop, rip, this.branchKind);
  }

  /** rip that the direct branch goes to, for edges that leave by it. */
  branchTarget(): Expr {
    return truncate(i64.add(this.nextRip(), this.fields.immediate()), this.operandBits);
  }
}
