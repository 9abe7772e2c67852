/**
 * Builder, engine 1: semantics -> interpreter handler. A handler is a WebAssembly function (uop, cpu) -> i32 that fetches its
 * operands from the micro-op, does its work and tail-calls the next micro-op's handler; it returns 0 to the run loop with
 * State.rip set. Memory goes through the soft TLB; what misses calls `slow`.
 */
import { State, TLB_BYTES, Uop, VCPU_TLB } from '../cpu/layout';
import { Cr4, Flag } from '../cpu/vcpu';
import { VECTOR_OPERATION_NAMES, type VectorOperationName } from '../cpu/vector/operations';
import { Helper, Import, Pseudo, Slow, type HandlerForm } from './abi';
import type { Bits, BranchKind, Builder } from './builder';
import { bulkIterations } from './bulkStrings';
import { emitBranchTo, emitEnter, emitNoteReturn } from './dispatch';
import { FlagsEmitter } from './flagsEmitter';
import { HandlerMemory } from './handlerMemory';
import type { ModifiedOperand } from './memoryEmitter';
import { SIZE_LOG, cpu, loadBits, state, storeRegister, truncate, uop } from './operands';
import { SemanticsBuilder, type OperandFields } from './semanticsBuilder';
import { VectorEmitter } from './vectorEmitter';
import { narrowDivision } from './wideDivision';
import {
  Fn,
  I32,
  I64,
  call,
  drop,
  get,
  i32,
  i32c,
  i64,
  i64c,
  ifElse,
  loop,
  ret,
  set,
  tailCall,
  tailCallIndirect,
  unreachable,
  type Expr,
  type Type,
} from './wasm';
import { v128 } from './wasmSimd';

/** What the arithmetic flags are kept as. */
const FLAG_SLOTS = [State.fc, State.fz, State.fs];
/** Where the operands of vector operations go. */
const VECTOR_INPUTS = [State.vectorA, State.vectorB, State.vectorC];

/** The fields of the micro-op that the handler was given. */
const FIELDS: OperandFields = {
  base: () => i64.load(i32.add(cpu, i32.load(uop, Uop.base)), 0),
  scaledIndex: () => i64.shl(i64.load(i32.add(cpu, i32.load16u(uop, Uop.index)), 0), i64.load8u(uop, Uop.scale)),
  displacement: () => i64.load(uop, Uop.displacement),
  immediate: () => i64.load(uop, Uop.immediate),
  segment: () => i32.load(uop, Uop.segment),
  addressShift: () => i64.load8u(uop, Uop.addressShift),
  next: () => {
    const next = i64.extendU(i32.add(i32.load(uop, Uop.ip), i32.load(uop, Uop.length)));
    return i64.add(state(State.ripBase), next);
  },
  controlRegister: () => i32.load(uop, Uop.r1),
  length: () => i64.load32u(uop, Uop.length),
};

export class InterpreterBuilder extends SemanticsBuilder {
  readonly fields = FIELDS;
  protected readonly flags: FlagsEmitter;
  protected readonly memory: HandlerMemory;
  protected readonly vectors: VectorEmitter;
  private ended = false;

  get usedMemory(): boolean {
    return this.memory.used;
  }
  /** The entry (i32) of the soft TLB in use for a linear address. */
  tlbEntry(linear: Expr): Expr {
    return this.memory.tlbEntry(linear);
  }

  constructor(
    form: HandlerForm,
    /** The segment check must know before the access whether it is for writing. */
    writes = false,
    private readonly pointers: readonly number[] = [],
  ) {
    super(new Fn(2), form);
    this.flags = new FlagsEmitter(this, {
      get: (slot) => state(State[slot]),
      set: (slot, value) => i64.store(cpu, value, State[slot])(this.f),
    });
    this.memory = new HandlerMemory(this, form, writes);
    this.vectors = new VectorEmitter(this, this.memory, form);
  }

  local(type: Type): number {
    return this.f.local(type);
  }

  registerAddress(i: number): { base: Expr; offset: number } {
    return { base: this.registerBase(i), offset: 0 };
  }
  private registerBase(i: number): Expr {
    const { slot } = this.form.operands[i];
    return i32.add(cpu, slot === 2 ? i32.load16u(uop, Uop.r2) : i32.load(uop, [Uop.r0, Uop.r1, 0, Uop.r3][slot]));
  }
  protected readRegister(i: number, bits: Bits): Expr {
    return loadBits(this.registerBase(i), bits);
  }
  protected writeRegister(i: number, bits: Bits, value: Expr): void {
    storeRegister(this.f, this.registerBase(i), bits, value);
  }

  gpr(register: number): Expr {
    return state(State.gpr + register * 8);
  }
  setGpr(register: number, value: Expr): void {
    i64.store(cpu, value, State.gpr + register * 8)(this.f);
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

  protected modified({ bounced }: ModifiedOperand, bits: Bits): void {
    ifElse(this.f, get(bounced!, I32), () => {
      const again = this.memory.againLocal();
      set(again, call(Import.slow, I32, uop, cpu, i32c(SIZE_LOG[bits] | Slow.commit)))(this.f);
    });
  }

  assistWhen(condition: Expr): void {
    ifElse(this.f, condition, () => tailCallIndirect(this.f, i32c(Pseudo.assist), uop, cpu));
  }
  charged(): Expr {
    return i32.add(i32.load(cpu, State.budget), i32.load(uop, Uop.left));
  }
  faultIf(condition: Expr, vector: number): void {
    ifElse(this.f, condition, () => {
      tailCall(this.f, Import.fault, uop, cpu, i32c(vector));
    });
  }
  protectionFaultIf(condition: Expr): void {
    const f = this.f;
    ifElse(f, condition, () => {
      call(Import.slow, I32, uop, cpu, i32c(Slow.limit)).emit(f);
      drop(f);
      ret(f, i32c(0));
    });
  }

  wideDivide(signed: boolean, high: Expr, low: Expr, divisor: Expr): { quotient: Expr; remainder: Expr } {
    const f = this.f;
    const [dividend, by] = [this.let(low), this.let(divisor)];
    const narrow = narrowDivision(signed, high, dividend, by);
    const [quotient, remainder] = [this.local(I64), this.local(I64)];
    ifElse(
      f,
      narrow.unfit,
      () => {
        i64.store(cpu, high, State.slowAddress)(f);
        i64.store(cpu, dividend, State.slowValue)(f);
        i64.store(cpu, by, State.divisor)(f);
        this.faultIf(call(Import.divide, I32, uop, cpu, i32c(signed ? 1 : 0)), 0);
        set(quotient, state(State.slowValue))(f);
        set(remainder, state(State.slowAddress))(f);
      },
      () => {
        set(quotient, narrow.quotient)(f);
        set(remainder, narrow.remainder)(f);
      },
    );
    return { quotient: get(quotient, I64), remainder: get(remainder, I64) };
  }

  vectorOperation(name: VectorOperationName, vectors: Expr[][], argument?: Expr): Expr[] {
    const { f } = this;
    vectors.forEach((parts, v) => parts.forEach((part, i) => v128.store(cpu, part, VECTOR_INPUTS[v] + 16 * i)(f)));
    const id = i32c(VECTOR_OPERATION_NAMES.indexOf(name));
    const request = argument ? i32.or(id, i32.shl(argument, i32c(16))) : id;
    // Also an operation that then raises #XM has made the x87 registers MMX registers.
    this.vectors.end();
    const target = name === 'float:fused' ? Helper.fused : Import.vector;
    ifElse(f, call(target, I32, uop, cpu, request), () => ret(f, i32c(0)));
    const count = Math.max(1, ...vectors.map((parts) => parts.length));
    return Array.from({ length: count }, (_, i) => v128.load(cpu, State.vectorResult + 16 * i));
  }

  private returnIfAgain(): void {
    if (this.memory.again === undefined) return;
    ifElse(this.f, get(this.memory.again, I32), () => {
      i32.store(cpu, uop, State.branchFrom)(this.f);
      ret(this.f, i32c(0));
    });
  }

  jump(target: Expr, kind: BranchKind = 'jump'): void {
    if (kind === 'call') emitNoteReturn(this.f);
    i64.store(cpu, truncate(target, this.operandBits), State.rip)(this.f);
    this.returnIfAgain();
    tailCall(this.f, kind === 'return' ? Helper.lookupReturn : Helper.lookup, uop, cpu);
    this.ended = true;
  }

  transfer(target: Expr): void {
    i64.store(cpu, target, State.rip)(this.f);
    tailCall(this.f, Helper.resume, i32c(0), cpu);
    this.ended = true;
  }

  cached(linear: Expr, bytes: number, access: 'present' | 'system'): { hits: Expr; host: Expr } {
    if (access === 'present') return this.memory.cached(linear, bytes, i32.load(cpu, State.tlb));
    // The processor's own accesses are a supervisor's, and AC does not suspend SMAP for them.
    const smap = i32.and(i32.load(cpu, State.cr4), i32c(Cr4.SMAP));
    const context = i32.add(i32.eqz(smap), i32c(1));
    const table = i32.add(i32.add(cpu, i32c(VCPU_TLB)), i32.shl(context, i32c(Math.log2(TLB_BYTES))));
    return this.memory.cached(linear, bytes, table);
  }

  branch(condition: Expr | undefined, kind: BranchKind = 'jump'): void {
    const f = this.f;
    if (kind === 'call') emitNoteReturn(f);
    const taken = (): void => {
      const t = f.local(I32);
      const target = truncate(i64.add(this.nextRip(), FIELDS.immediate()), this.operandBits);
      if (this.memory.again !== undefined) {
        ifElse(f, get(this.memory.again, I32), () => {
          i64.store(cpu, target, State.rip)(f);
          i32.store(cpu, uop, State.branchFrom)(f);
          ret(f, i32c(0));
        });
      }
      set(t, i32.load(uop, Uop.target))(f);
      // > 0: linked inside the page; < 0: leaves the page, through the jump cache; 0: not known yet.
      ifElse(f, i32.ltS(i32c(0), get(t, I32)), () => emitBranchTo(f, get(t, I32)));
      i64.store(cpu, target, State.rip)(f);
      ifElse(f, get(t, I32), () => tailCall(f, Helper.lookup, uop, cpu));
      i32.store(cpu, uop, State.linkFrom)(f);
      ret(f, i32c(0));
    };
    if (!condition) {
      taken();
      unreachable(f);
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
  finish(semantics: (b: Builder) => void, bulk?: 'copy' | 'fill'): Fn {
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
      const one = (): void => {
        semantics(this);
        this.addToCounter(1, i64c(-1));
      };
      if (bulk && this.form.memory !== 'segment')
        bulkIterations(this, this.memory, this.form.memory, bulk, this.bits(0), one);
      else one();
      ifElse(f, i64.eqz(count()), finished);
      if (this.form.repeat !== 'rep') {
        const stop = this.condition(this.form.repeat === 'repe' ? 'ne' : 'e');
        ifElse(f, stop, finished);
        before.forEach((value, i) => i64.store(cpu, value, FLAG_SLOTS[i])(f));
      }
      // Every further iteration is charged as an instruction, so that a long REP stops where any other code would. Between
      // iterations RF is set: what interrupts here pushes it, and the instruction goes on without an instruction breakpoint.
      const stay = (): void => {
        i32.store(cpu, i32.or(i32.load(cpu, State.flags), i32c(Flag.RF)), State.flags)(f);
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
    unreachable(f);
    return f;
  }
}
