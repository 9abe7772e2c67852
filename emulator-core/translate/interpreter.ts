/**
 * Builder, engine 1: semantics -> interpreter handler. A handler is a WebAssembly function (uop, cpu) -> i32 that fetches its
 * operands from the micro-op, does its work and tail-calls the next micro-op's handler; it returns 0 to the run loop with
 * State.rip set. Memory goes through the soft TLB; what misses calls `slow`.
 */
import { SegmentIndex, State, Uop, segmentOffset } from '../cpu/layout';
import type { VectorOperationName } from '../cpu/vector/operations';
import { Helper, Import, Slow, type HandlerForm } from './abi';
import type { Bits, Builder, Condition, FlagName } from './builder';
import { emitEnter } from './dispatch';
import { FlagsEmitter } from './flagsEmitter';
import { MemoryEmitter, type ModifiedOperand } from './memoryEmitter';
import { SIZE_LOG, cpu, loadBits, signExtend, state, storeBits, storeRegister, truncate, uop } from './operands';
import { VectorEmitter } from './vectorEmitter';
import {
  Fn,
  I32,
  call,
  get,
  i32,
  i32c,
  i64,
  i64c,
  ifElse,
  loop,
  ret,
  select,
  set,
  tailCall,
  tailCallIndirect,
  type Expr,
} from './wasm';

/** RFLAGS.RF */
const RESUME_FLAG = 1 << 16;
/** What the arithmetic flags are kept as. */
const FLAG_SLOTS = [State.fc, State.fz, State.fs];

export class InterpreterBuilder implements Builder {
  readonly f = new Fn(2);
  readonly operandBits: Bits;
  readonly parts: 1 | 2;
  readonly usesMmx: boolean;
  readonly operandCount: number;
  private readonly flags = new FlagsEmitter(this);
  private readonly memory: MemoryEmitter;
  private readonly vectors: VectorEmitter;
  private ended = false;
  private host?: ModifiedOperand;

  /** What the semantics turned out to use, found by a first run over them. */
  wroteMemory = false;
  usedStack = false;
  /** Pointers (rSI, rDI) of a string instruction that stores. */
  get storePointers(): readonly number[] {
    return this.storedString ? [...this.stringPointers] : [];
  }
  private storedString = false;
  private readonly stringPointers = new Set<number>();
  get usedMemory(): boolean {
    return this.memory.used;
  }

  constructor(
    private readonly form: HandlerForm,
    /** The segment check must know before the access whether it is for writing. */
    writes = false,
    private readonly pointers: readonly number[] = [],
  ) {
    this.operandBits = form.operandBits;
    this.operandCount = form.operands.length;
    this.parts = form.operands.some((o) => o.vector === 'ymm' || o.bits === 256) ? 2 : 1;
    this.usesMmx = form.operands.some((o) => o.vector === 'mm');
    this.memory = new MemoryEmitter(this, form, writes);
    this.vectors = new VectorEmitter(this, this.memory, form);
  }

  bits(i: number): Bits {
    return this.form.operands[i].bits as Bits;
  }
  kind(i: number): 'r' | 'm' | 'i' {
    return this.form.operands[i].kind;
  }

  let(value: Expr): Expr {
    if (value.constant !== undefined) return value;
    const local = this.f.local(value.type);
    set(local, value)(this.f);
    return get(local, value.type);
  }

  registerAddress(i: number): Expr {
    const { slot } = this.form.operands[i];
    return i32.add(cpu, slot === 2 ? i32.load16u(uop, Uop.r2) : i32.load(uop, [Uop.r0, Uop.r1, 0, Uop.r3][slot]));
  }

  read(i: number): Expr {
    const { kind } = this.form.operands[i];
    const bits = this.bits(i);
    if (kind === 'r') return loadBits(this.registerAddress(i), bits);
    if (kind === 'i') return truncate(i64.load(uop, Uop.immediate), bits);
    return this.memory.load(this.memory.operandLinear(), bits, false);
  }
  readSigned(i: number): Expr {
    const { kind } = this.form.operands[i];
    const bits = this.bits(i);
    return signExtend(kind === 'i' ? i64.load(uop, Uop.immediate) : this.read(i), bits);
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
    if (kind === 'r') storeRegister(this.f, this.registerAddress(i), bits, value);
    else if (this.host) {
      const { address, bounced } = this.host;
      storeBits(this.f, get(address, I32), bits, value);
      ifElse(this.f, get(bounced, I32), () => {
        set(this.memory.againLocal(), call(Import.slow, I32, uop, cpu, i32c(SIZE_LOG[bits] | Slow.commit)))(this.f);
      });
    } else {
      this.wroteMemory = true;
      this.vectors.beforeStore();
      this.memory.store(this.memory.operandLinear(), bits, value, false);
    }
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

  reg(register: number, bits: Bits): Expr {
    const op = { 8: i64.load8u, 16: i64.load16u, 32: i64.load32u, 64: i64.load }[bits];
    return op(cpu, State.gpr + register * 8);
  }
  setReg(register: number, bits: Bits, value: Expr): void {
    const offset = State.gpr + register * 8;
    if (bits === 32) i64.store(cpu, i64.and(value, i64c(0xffffffffn)), offset)(this.f);
    else ({ 8: i64.store8, 16: i64.store16, 64: i64.store })[bits](cpu, value, offset)(this.f);
  }
  ah(): Expr {
    return i64.load8u(cpu, State.gpr + 1);
  }
  setAh(value: Expr): void {
    i64.store8(cpu, value, State.gpr + 1)(this.f);
  }

  flagsAdd(bits: Bits, a: Expr, b: Expr, r: Expr): void {
    this.flags.add(bits, a, b, r);
  }
  flagsSub(bits: Bits, a: Expr, b: Expr, r: Expr): void {
    this.flags.sub(bits, a, b, r);
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
    this.flags.carry(cf, of);
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

  faultIf(condition: Expr, vector: number): void {
    ifElse(this.f, condition, () => {
      tailCall(this.f, Import.fault, uop, cpu, i32c(vector));
    });
  }

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
  vectorOperation(name: VectorOperationName, vectors: Expr[][], argument?: Expr): Expr[] {
    return this.vectors.operation(name, vectors, argument);
  }
  mxcsr(): Expr {
    return i32.load(cpu, State.mxcsr);
  }
  protectionFaultIf(condition: Expr): void {
    const f = this.f;
    ifElse(f, condition, () => {
      call(Import.slow, I32, uop, cpu, i32c(Slow.limit)).emit(f);
      f.code.push(0x1a); // drop
      ret(f, i32c(0));
    });
  }

  private stackLinear(pointer: Expr, bits: Bits, write: boolean): Expr {
    this.usedStack = true;
    if (this.form.stack === 'flat64') return pointer;
    return this.memory.segmentLinear(pointer, i32c(segmentOffset(SegmentIndex.ss)), bits, write);
  }
  setStackPointer(value: Expr): void {
    this.usedStack = true;
    const offset = State.gpr + 4 * 8;
    if (this.form.stack === 'flat64') i64.store(cpu, value, offset)(this.f);
    else {
      const mask = state(State.stackMask);
      const kept = i64.and(state(offset), i64.xor(mask, i64c(-1)));
      i64.store(cpu, i64.or(kept, i64.and(value, mask)), offset)(this.f);
    }
  }
  stackPointer(): Expr {
    this.usedStack = true;
    const rsp = state(State.gpr + 4 * 8);
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

  wideDivide(signed: boolean, high: Expr, low: Expr, divisor: Expr): { quotient: Expr; remainder: Expr } {
    const f = this.f;
    i64.store(cpu, high, State.slowAddress)(f);
    i64.store(cpu, low, State.slowValue)(f);
    i64.store(cpu, divisor, State.divisor)(f);
    this.faultIf(call(Import.divide, I32, uop, cpu, i32c(signed ? 1 : 0)), 0);
    return { quotient: state(State.slowValue), remainder: state(State.slowAddress) };
  }

  private stringLinear(register: 6 | 7, bits: Bits, write: boolean): Expr {
    this.memory.used = true;
    this.stringPointers.add(register);
    const pointer = state(State.gpr + register * 8);
    if (this.form.memory === 'flat64') return this.let(pointer);
    const offset = this.let(this.addressMasked(pointer));
    const segment = register === 7 ? i32c(segmentOffset(SegmentIndex.es)) : i32.load(uop, Uop.segment);
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
  private addToCounter(register: number, step: Expr): void {
    const offset = State.gpr + register * 8;
    const value = state(offset);
    const sum = i64.add(value, step);
    if (this.form.memory === 'flat64') i64.store(cpu, sum, offset)(this.f);
    else {
      const shift = i64.load8u(uop, Uop.addressShift);
      const masked = this.let(this.addressMasked(sum));
      // A 16-bit address size keeps the upper bits of the register, a 32-bit one clears them.
      const kept = i64.and(value, i64c(0xffff0000n));
      const merged = select(i64.eq(shift, i64c(48)), i64.or(kept, masked), masked);
      i64.store(cpu, merged, offset)(this.f);
    }
  }

  in64BitMode(): Expr {
    return i64.eq(state(State.linearMask), i64c(-1));
  }
  nextRip(): Expr {
    const next = i64.extendU(i32.add(i32.load(uop, Uop.ip), i32.load(uop, Uop.length)));
    return truncate(i64.add(state(State.ripBase), next), this.operandBits);
  }

  private returnIfAgain(): void {
    if (this.memory.again === undefined) return;
    ifElse(this.f, get(this.memory.again, I32), () => {
      i32.store(cpu, uop, State.branchFrom)(this.f);
      ret(this.f, i32c(0));
    });
  }

  jump(target: Expr): void {
    i64.store(cpu, truncate(target, this.operandBits), State.rip)(this.f);
    this.returnIfAgain();
    tailCall(this.f, Helper.lookup, uop, cpu);
    this.ended = true;
  }

  branch(condition: Expr | undefined): void {
    const f = this.f;
    const taken = (): void => {
      const t = f.local(I32);
      const target = truncate(i64.add(this.nextRip(), i64.load(uop, Uop.immediate)), this.operandBits);
      if (this.memory.again !== undefined) {
        ifElse(f, get(this.memory.again, I32), () => {
          i64.store(cpu, target, State.rip)(f);
          i32.store(cpu, uop, State.branchFrom)(f);
          ret(f, i32c(0));
        });
      }
      set(t, i32.load(uop, Uop.target))(f);
      // > 0: linked inside the page; < 0: leaves the page, through the jump cache; 0: not known yet.
      ifElse(f, i32.ltS(i32c(0), get(t, I32)), () => emitEnter(f, get(t, I32)));
      i64.store(cpu, target, State.rip)(f);
      ifElse(f, get(t, I32), () => tailCall(f, Helper.lookup, uop, cpu));
      i32.store(cpu, uop, State.linkFrom)(f);
      ret(f, i32c(0));
    };
    if (!condition) {
      taken();
      f.code.push(0x00); // unreachable
    } else {
      ifElse(f, condition, taken);
      if (this.memory.again !== undefined) {
        ifElse(f, get(this.memory.again, I32), () => tailCall(f, Helper.exitNext, uop, cpu));
      }
      emitEnter(f, this.let(i32.add(uop, i32c(Uop.bytes))));
    }
    this.ended = true;
  }

  /**
   * With an address size of 32 bits, REP clears the upper half of rCX before anything else, and MOVS and STOS those of their
   * pointers, although the count may be zero: seen on Intel processors.
   */
  private extendPointers(): void {
    const f = this.f;
    ifElse(f, i64.eq(i64.load8u(uop, Uop.addressShift), i64c(32)), () => {
      for (const register of [1, ...this.pointers]) i32.store(cpu, i32c(0), State.gpr + register * 8 + 4)(f);
    });
  }

  /** Falls through to the next micro-op of the block. */
  private next(): void {
    const f = this.f;
    if (this.memory.again !== undefined) {
      ifElse(f, get(this.memory.again, I32), () => tailCall(f, Helper.exitNext, uop, cpu));
    }
    const next = i32.add(uop, i32c(Uop.bytes));
    tailCallIndirect(f, i32.load(uop, Uop.bytes + Uop.handler), next, cpu);
  }

  /** After a REP instruction the next micro-op begins a block of its own. */
  private nextBlock(): void {
    const f = this.f;
    if (this.memory.again !== undefined) {
      ifElse(f, get(this.memory.again, I32), () => tailCall(f, Helper.exitNext, uop, cpu));
    }
    emitEnter(f, this.let(i32.add(uop, i32c(Uop.bytes))));
  }

  /** Wraps one iteration's semantics into the form's REP loop and finishes the handler. */
  finish(semantics: (b: Builder) => void): Fn {
    const f = this.f;
    if (!this.form.repeat) {
      this.vectors.begin();
      semantics(this);
      this.vectors.end();
      if (!this.ended) this.next();
      return f;
    }
    const count = (): Expr =>
      this.form.memory === 'flat64' ? state(State.gpr + 8) : this.addressMasked(state(State.gpr + 8));
    const finished = (): void => this.nextBlock();
    if (this.form.memory !== 'flat64') this.extendPointers();
    ifElse(f, i64.eqz(count()), finished);
    // Between iterations of CMPS and SCAS the flags are those from before the instruction: that is what a fault, a trap or an
    // interrupt finds. SDM Vol. 2, "REP/REPE/REPZ/REPNE/REPNZ".
    const before = this.form.repeat === 'rep' ? [] : FLAG_SLOTS.map((slot) => this.let(state(slot)));
    loop(f, (again) => {
      semantics(this);
      this.addToCounter(1, i64c(-1));
      ifElse(f, i64.eqz(count()), finished);
      if (this.form.repeat !== 'rep') {
        const stop = this.condition(this.form.repeat === 'repe' ? 'ne' : 'e');
        ifElse(f, stop, finished);
        before.forEach((value, i) => i64.store(cpu, value, FLAG_SLOTS[i])(f));
      }
      // Every further iteration is charged as an instruction, so that a long REP stops where any other code would. Between
      // iterations RF is set: what interrupts here pushes it, and the instruction goes on without an instruction breakpoint.
      const stay = (): void => {
        i32.store(cpu, i32.or(i32.load(cpu, State.flags), i32c(RESUME_FLAG)), State.flags)(f);
        i64.store(cpu, i64.add(state(State.ripBase), i64.load32u(uop, Uop.ip)), State.rip)(f);
        ret(f, i32c(0));
      };
      if (this.memory.again !== undefined) ifElse(f, get(this.memory.again, I32), stay);
      const left = f.local(I32);
      set(left, i32.sub(i32.load(cpu, State.budget), i32c(1)))(f);
      ifElse(f, i32.ltS(get(left, I32), i32c(0)), stay);
      i32.store(cpu, get(left, I32), State.budget)(f);
      again();
    });
    f.code.push(0x00); // unreachable
    return f;
  }
}
