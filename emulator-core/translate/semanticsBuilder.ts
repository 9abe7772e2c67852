/**
 * What both engines have in common of the builder: an instruction's operands, flags, memory, stack and strings in terms of a few
 * primitives that an engine provides (where registers and a micro-op's fields are, what happens where the fast path ends).
 */
import { SegmentIndex, State, TLB_BYTES, VCPU_TLB, segmentOffset } from '../cpu/layout';
import { Cr4, Flag } from '../cpu/vcpu';
import type { VectorOperationName } from '../cpu/vector/operations';
import { encodeIoQualification, ExitReason } from '../virt/vmx/exitReasons';
import type { HandlerForm } from './abi';
import type { Bits, BranchKind, Builder, Condition, FlagName } from './builder';
import { emitCpuid, emitPortByte } from './exitEmitter';
import type { FlagsEmitter } from './flagsEmitter';
import type { MemoryEmitter, ModifiedOperand } from './memoryEmitter';
import { SIZE_LOG, cpu, loadBits, signExtend, state, truncate } from './operands';
import type { VectorEmitter } from './vectorEmitter';
import { I32, get, i32, i32c, i64, i64c, ifElse, select, type Expr, type Fn } from './wasm';

/** What a micro-op says about its instruction: constants to a compiler, loads to a handler. */
export interface OperandFields {
  /** Values of the memory operand's registers, and what is added; i64. */
  base(): Expr;
  /** The index register's value, scaled. */
  scaledIndex(): Expr;
  displacement(): Expr;
  immediate(): Expr;
  /** State offset of the memory operand's Segment struct; i32. */
  segment(): Expr;
  /** 64 minus the address size in bits; i64. */
  addressShift(): Expr;
  /** rip of the next instruction before it is truncated. */
  next(): Expr;
  /** Number of a control register; i32. */
  controlRegister(): Expr;
  /** Bytes of the instruction; i64. */
  length(): Expr;
}

const NONE: readonly number[] = [];

export abstract class SemanticsBuilder implements Builder {
  readonly operandBits: Bits;
  readonly parts: 1 | 2;
  readonly usesMmx: boolean;
  readonly operandCount: number;
  protected abstract readonly flags: FlagsEmitter;
  protected abstract readonly memory: MemoryEmitter;
  protected abstract readonly vectors: VectorEmitter;
  abstract readonly fields: OperandFields;
  protected host?: ModifiedOperand;

  /** What the semantics turned out to use. */
  wroteMemory = false;
  usedStack = false;
  /** Pointers (rSI, rDI) of a string instruction that stores. */
  get storePointers(): readonly number[] {
    return this.storedString ? this.stringPointers : NONE;
  }
  private storedString = false;
  private stringPointers: readonly number[] = NONE;

  constructor(
    readonly f: Fn,
    protected readonly form: HandlerForm,
  ) {
    this.operandBits = form.operandBits;
    this.operandCount = form.operands.length;
    this.parts = form.operands.some((o) => o.vector === 'ymm' || o.bits === 256) ? 2 : 1;
    this.usesMmx = form.operands.some((o) => o.vector === 'mm');
  }

  // ---- primitives of the engine ----------------------------------------------------------------------------------

  /** A new local of the type; i32, i64 or v128. */
  abstract local(type: Expr['type']): number;
  /** All 64 bits of a general register. */
  abstract gpr(register: number): Expr;
  abstract setGpr(register: number, value: Expr): void;
  /** Low bits of a general register, zero-extended; writes as the architecture has them. */
  abstract reg(register: number, bits: Bits): Expr;
  abstract setReg(register: number, bits: Bits, value: Expr): void;
  abstract ah(): Expr;
  abstract setAh(value: Expr): void;
  /** Register operand `i`. */
  protected abstract readRegister(i: number, bits: Bits): Expr;
  protected abstract writeRegister(i: number, bits: Bits, value: Expr): void;
  /** Where register operand `i` is: an i32 address, and what to add. */
  abstract registerAddress(i: number): { base: Expr; offset: number };
  /** After a store to the modified operand. */
  protected abstract modified(operand: ModifiedOperand, bits: Bits): void;
  abstract assistWhen(condition: Expr): void;
  /** Instructions that State.icountEnd counts and that have not retired, this one included; i32. */
  abstract charged(): Expr;
  abstract faultIf(condition: Expr, vector: number): void;
  abstract protectionFaultIf(condition: Expr): void;
  abstract wideDivide(signed: boolean, high: Expr, low: Expr, divisor: Expr): { quotient: Expr; remainder: Expr };
  abstract vectorOperation(name: VectorOperationName, vectors: Expr[][], argument?: Expr): Expr[];
  abstract jump(target: Expr, kind?: BranchKind): void;
  abstract transfer(target: Expr): void;
  abstract cached(linear: Expr, bytes: number, access: 'present' | 'system'): { hits: Expr; host: Expr };
  abstract branch(condition: Expr | undefined, kind?: BranchKind): void;

  // ---- operands --------------------------------------------------------------------------------------------------

  bits(i: number): Bits {
    return this.form.operands[i].bits as Bits;
  }
  kind(i: number): 'r' | 'm' | 'i' {
    return this.form.operands[i].kind;
  }

  let(value: Expr): Expr {
    if (value.constant !== undefined) return value;
    const local = this.local(value.type);
    this.set(local, value);
    return get(local, value.type, value.bits);
  }
  protected set(local: number, value: Expr): void {
    value.emit(this.f);
    this.f.setLocal(local);
  }

  read(i: number): Expr {
    const { kind } = this.form.operands[i];
    const bits = this.bits(i);
    if (kind === 'r') return this.readRegister(i, bits);
    if (kind === 'i') return truncate(this.fields.immediate(), bits);
    return this.memory.load(this.memory.operandLinear(), bits, false);
  }
  readSigned(i: number): Expr {
    const { kind } = this.form.operands[i];
    const bits = this.bits(i);
    return signExtend(kind === 'i' ? this.fields.immediate() : this.read(i), bits);
  }
  modify(i: number): Expr {
    const { kind } = this.form.operands[i];
    const bits = this.bits(i);
    if (kind !== 'm') return this.let(this.read(i));
    this.wroteMemory = true;
    this.host = this.memory.hostForModify(this.memory.operandLinear(), bits);
    return this.let(loadBits(get(this.host.address, I32), bits));
  }
  write(i: number, value: Expr): void {
    const { kind } = this.form.operands[i];
    const bits = this.bits(i);
    if (kind === 'r') this.writeRegister(i, bits, value);
    else if (this.host) {
      this.memory.storeHost(get(this.host.address, I32), bits, value);
      this.modified(this.host, bits);
    } else {
      this.wroteMemory = true;
      this.vectors.beforeStore();
      this.memory.store(this.memory.operandLinear(), bits, value, false);
    }
  }

  modifyPair(i: number): { low: Expr; high: Expr; store(low: Expr, high: Expr): void } {
    const { kind, bits } = this.form.operands[i];
    if (kind !== 'm' || bits !== 128) throw new Error(`operand ${i} is no pair in memory`);
    this.wroteMemory = true;
    const { misses, host } = this.memory.alignedForModify(bits);
    this.assistWhen(misses);
    const address = this.let(host);
    return {
      low: this.let(i64.load(address, 0)),
      high: this.let(i64.load(address, 8)),
      store: (low, high) => {
        i64.store(address, low, 0)(this.f);
        i64.store(address, high, 8)(this.f);
      },
    };
  }

  effectiveAddress(): Expr {
    return this.memory.effectiveAddress();
  }
  addressMasked(value: Expr): Expr {
    return this.memory.addressMasked(value);
  }
  displaceOperand(bytes: Expr): void {
    this.memory.displaceOperand(bytes);
  }

  // ---- flags -----------------------------------------------------------------------------------------------------

  flagsAdd(bits: Bits, a: Expr, b: Expr, r: Expr): void {
    this.flags.add(bits, a, b, r);
  }
  flagsSub(bits: Bits, a: Expr, b: Expr, r: Expr, borrowIn = false): void {
    this.flags.sub(bits, a, b, r, borrowIn);
  }
  flagsLogic(bits: Bits, r: Expr): void {
    this.flags.logic(bits, r);
  }
  flagsInc(bits: Bits, a: Expr, r: Expr): void {
    this.flags.inc(bits, a, r);
  }
  flagsDec(bits: Bits, a: Expr, r: Expr): void {
    this.flags.dec(bits, a, r);
  }
  flagsResult(bits: Bits, r: Expr, cf: Expr, of: Expr): void {
    this.flags.result(bits, r, cf, of);
  }
  flagsCarry(cf: Expr, of: Expr): void {
    this.flags.carryAndOverflow(cf, of);
  }
  setCarry(cf: Expr): void {
    this.flags.setCarry(cf);
  }
  setZero(value: Expr): void {
    this.flags.setZero(value);
  }
  flag(name: FlagName): Expr {
    return this.flags.flag(name);
  }
  condition(cc: Condition): Expr {
    return this.flags.condition(cc);
  }
  lowFlags(): Expr {
    return this.flags.low();
  }
  setLowFlags(value: Expr): void {
    this.flags.setLow(value);
  }

  when(condition: Expr, then: () => void, otherwise?: () => void): void {
    ifElse(this.f, condition, then, otherwise);
  }

  systemFlags(): Expr {
    return i32.load(cpu, State.flags);
  }
  setSystemFlags(value: Expr): void {
    i32.store(cpu, value, State.flags)(this.f);
  }
  privilegeLevel(): Expr {
    return i32.load(cpu, State.cpl);
  }
  pauseExits(): Expr {
    return i32.load(cpu, State.pauseExits);
  }
  /** CR4.DE is set and DR7 has a breakpoint, which may be one on a port. */
  private portBreakpoints(): Expr {
    const enabled = i32.and(i32.load(cpu, State.dr + 7 * 8), i32c(0xff));
    return i32.and(i32.ne(enabled, i32c(0)), i32.shrU(i32.and(i32.load(cpu, State.cr4), i32c(Cr4.DE)), i32c(3)));
  }
  cpuid(): void {
    emitCpuid(this, ExitReason.cpuid);
  }
  outputByte(): void {
    this.assistWhen(this.portBreakpoints());
    const immediate = this.kind(0) === 'i';
    const number = immediate ? i64.and(this.fields.immediate(), i64c(0xff)) : this.reg(RDX, 16);
    const port = this.let(number);
    const facts = encodeIoQualification({ port: 0, size: 1, in: false, immediate });
    const qualification = i64.or(i64.shl(port, i64c(16)), i64c(facts));
    emitPortByte(this, ExitReason.ioInstruction, i32.wrap(port), qualification);
  }

  controlRegister(): Expr {
    return this.fields.controlRegister();
  }
  state32(slot: number): Expr {
    return i32.load(cpu, slot);
  }
  state64(slot: number): Expr {
    return state(slot);
  }
  setState32(slot: number, value: Expr): void {
    i32.store(cpu, value, slot)(this.f);
  }
  setState64(slot: number, value: Expr): void {
    i64.store(cpu, value, slot)(this.f);
  }
  stateAddress(slot: number): Expr {
    return i32.add(cpu, i32c(slot));
  }
  /** As Vcpu.selectTlb() and CodeFetch do it. */
  setPrivilegeLevel(level: Expr, flags: Expr): void {
    this.setState32(State.cpl, level);
    const user = this.let(i32.eq(level, i32c(3)));
    const suspended = i32.or(
      i32.eqz(i32.and(this.state32(State.cr4), i32c(Cr4.SMAP))),
      i32.ne(i32.and(flags, i32c(Flag.AC)), i32c(0)),
    );
    const context = select(user, i32c(0), i32.add(suspended, i32c(1)));
    const tables = i32.add(cpu, i32c(VCPU_TLB));
    this.setState32(State.tlb, i32.add(tables, i32.shl(context, i32c(Math.log2(TLB_BYTES)))));
    for (const tag of [State.codeTag, State.globalTag])
      this.setState32(tag, i32.or(i32.and(this.state32(tag), i32c(~1)), user));
  }

  // ---- vectors ---------------------------------------------------------------------------------------------------

  readVector(i: number, part = 0): Expr {
    return this.vectors.read(i, part);
  }
  writeVector(i: number, parts: Expr[]): void {
    this.vectors.write(i, parts);
  }
  vectorRegister(register: number, part = 0): Expr {
    return this.vectors.register(register, part);
  }
  setVectorRegister(register: number, parts: Expr[]): void {
    this.vectors.setRegister(register, parts);
  }
  mxcsr(): Expr {
    return i32.load(cpu, State.mxcsr);
  }

  // ---- stack -----------------------------------------------------------------------------------------------------

  private stackLinear(pointer: Expr, bits: Bits, write: boolean): Expr {
    this.usedStack = true;
    if (this.form.stack === 'flat64') return pointer;
    return this.memory.segmentLinear(pointer, i32c(segmentOffset(SegmentIndex.ss)), bits, write);
  }
  setStackPointer(value: Expr): void {
    this.usedStack = true;
    if (this.form.stack === 'flat64') this.setGpr(RSP, value);
    else {
      const mask = state(State.stackMask);
      const kept = i64.and(this.gpr(RSP), i64.xor(mask, i64c(-1)));
      this.setGpr(RSP, i64.or(kept, i64.and(value, mask)));
    }
  }
  stackPointer(): Expr {
    this.usedStack = true;
    const rsp = this.gpr(RSP);
    return this.form.stack === 'flat64' ? rsp : i64.and(rsp, state(State.stackMask));
  }
  push(bits: Bits, value: Expr, stored = bits): void {
    const v = this.let(value);
    let pointer = i64.sub(this.stackPointer(), i64c(bits / 8));
    if (this.form.stack !== 'flat64') pointer = i64.and(pointer, state(State.stackMask));
    pointer = this.let(pointer);
    this.memory.store(this.stackLinear(pointer, stored, true), stored, v, true);
    this.setStackPointer(pointer);
  }
  stackLoad(bits: Bits, pointer: Expr): Expr {
    const masked = this.form.stack === 'flat64' ? pointer : i64.and(pointer, state(State.stackMask));
    return this.memory.load(this.stackLinear(this.let(masked), bits, false), bits, true);
  }

  // ---- strings ---------------------------------------------------------------------------------------------------

  private stringLinear(register: 6 | 7, bits: Bits, write: boolean): Expr {
    this.memory.used = true;
    if (!this.stringPointers.includes(register)) this.stringPointers = [...this.stringPointers, register];
    const pointer = this.gpr(register);
    if (this.form.memory === 'flat64') return this.let(pointer);
    const offset = this.let(this.addressMasked(pointer));
    if (this.form.memory === 'flat32') return offset;
    const segment = register === 7 ? i32c(segmentOffset(SegmentIndex.es)) : this.fields.segment();
    return this.memory.segmentLinear(offset, segment, bits, write);
  }
  stringSource(bits: Bits): Expr {
    return this.memory.load(this.stringLinear(6, bits, false), bits, false);
  }
  stringDestination(bits: Bits): Expr {
    return this.memory.load(this.stringLinear(7, bits, false), bits, false);
  }
  storeString(bits: Bits, value: Expr): void {
    this.storedString = true;
    const v = this.let(value);
    this.memory.store(this.stringLinear(7, bits, true), bits, v, false);
  }
  advance(register: 6 | 7, bits: Bits): void {
    const step = i64.shl(state(State.direction), i64c(SIZE_LOG[bits]));
    this.addToCounter(register, step);
  }
  /** Adds to rSI, rDI or rCX in the address size. */
  protected addToCounter(register: number, step: Expr): void {
    const value = this.gpr(register);
    const sum = i64.add(value, step);
    if (this.form.memory === 'flat64') this.setGpr(register, sum);
    else {
      const shift = this.fields.addressShift();
      const masked = this.let(this.addressMasked(sum));
      // A 16-bit address size keeps the upper bits of the register, a 32-bit one clears them.
      const kept = i64.and(value, i64c(0xffff0000n));
      const merged = select(i64.eq(shift, i64c(48)), i64.or(kept, masked), masked);
      this.setGpr(register, merged);
    }
  }

  // ---- control ---------------------------------------------------------------------------------------------------

  in64BitMode(): Expr {
    return i64.eq(state(State.linearMask), i64c(-1));
  }
  nextRip(): Expr {
    return truncate(this.fields.next(), this.operandBits);
  }
}

const RDX = 2;
const RSP = 4;
