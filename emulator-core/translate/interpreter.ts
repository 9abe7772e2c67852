/**
 * Builder, engine 1: semantics -> interpreter handler. A handler is a WebAssembly function (uop, cpu) -> i32 that fetches its
 * operands from the micro-op, does its work and tail-calls the next micro-op's handler; it returns 0 to the run loop with
 * State.rip set. Memory goes through the soft TLB; what misses calls `slow`.
 */
import { Jump, Segment, SegmentIndex, State, Tlb, Uop, VCPU_JUMPS, segmentOffset } from '../cpu/layout';
import type { VectorOperationName } from '../cpu/vector/operations';
import { Helper, Import, Slow, SlowResult, type HandlerForm } from './abi';
import type { Bits, Builder, Condition, FlagName, Width } from './builder';
import { VectorEmitter } from './vectorEmitter';
import {
  Fn,
  I32,
  I64,
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

const uop = get(0, I32);
const cpu = get(1, I32);
const TOP = -0x8000000000000000n;
/** RFLAGS.RF */
const RESUME_FLAG = 1 << 16;
const SIZE_LOG: Record<Width, number> = { 8: 0, 16: 1, 32: 2, 64: 3, 128: 4, 256: 5 };

export function maskOf(bits: Bits): bigint {
  return (1n << BigInt(bits)) - 1n;
}

export function truncate(value: Expr, bits: Bits): Expr {
  return bits === 64 ? value : i64.and(value, i64c(maskOf(bits)));
}

export function signExtend(value: Expr, bits: Bits): Expr {
  return bits === 64
    ? value
    : bits === 32
      ? i64.extend32(value)
      : bits === 16
        ? i64.extend16(value)
        : i64.extend8(value);
}

const state = (offset: number): Expr => i64.load(cpu, offset);

/** Zero-extended load of `bits` at an i32 address. */
function loadBits(address: Expr, bits: Bits): Expr {
  const op = { 8: i64.load8u, 16: i64.load16u, 32: i64.load32u, 64: i64.load }[bits];
  return op(address, 0);
}

function storeBits(f: Fn, address: Expr, bits: Bits, value: Expr): void {
  const op = { 8: i64.store8, 16: i64.store16, 32: i64.store32, 64: i64.store }[bits];
  op(address, value, 0)(f);
}

/** Register write semantics: 8 and 16 bits merge, 32 bits zero-extend. */
function storeRegister(f: Fn, address: Expr, bits: Bits, value: Expr): void {
  if (bits === 32) i64.store(address, i64.and(value, i64c(0xffffffffn)), 0)(f);
  else storeBits(f, address, bits, value);
}

/** Charges the block that starts at micro-op `t` and goes there, or returns when the budget does not cover it. */
export function emitEnter(f: Fn, t: Expr): void {
  const budget = f.local(I32);
  set(budget, i32.sub(i32.load(cpu, State.budget), i32.load(t, Uop.left)))(f);
  ifElse(f, i32.ltS(get(budget, I32), i32c(0)), () => {
    i64.store(cpu, i64.add(state(State.ripBase), i64.load32u(t, Uop.ip)), State.rip)(f);
    ret(f, i32c(0));
  });
  i32.store(cpu, get(budget, I32), State.budget)(f);
  tailCallIndirect(f, i32.load(t, Uop.handler), t, cpu);
}

/**
 * lookup(branch, cpu): goes to State.rip through the jump cache, or returns to the run loop. `branch`: the micro-op that branches
 * there, which the run loop undoes when the target cannot be fetched; 0 when none does.
 */
export function lookupHelper(): Fn {
  const f = new Fn(2);
  const branch = get(0, I32);
  const me = get(1, I32);
  const rip = f.local(I64);
  const entry = f.local(I32);
  const t = f.local(I32);
  const budget = f.local(I32);
  set(rip, i64.load(me, State.rip))(f);
  const index = i32.and(i32.wrap(get(rip, I64)), i32c(Jump.entries - 1));
  set(entry, i32.add(i32.add(me, i32.shl(index, i32c(4))), i32c(VCPU_JUMPS)))(f);
  const e = get(entry, I32);
  const miss = i32.or(
    i64.ne(i64.load(e, Jump.rip), get(rip, I64)),
    i32.ne(i32.load(e, Jump.tag), i32.load(me, State.codeTag)),
  );
  ifElse(f, miss, () => {
    i32.store(me, branch, State.branchFrom)(f);
    ret(f, i32c(0));
  });
  set(t, i32.load(e, Jump.uop))(f);
  set(budget, i32.sub(i32.load(me, State.budget), i32.load(get(t, I32), Uop.left)))(f);
  ifElse(f, i32.ltS(get(budget, I32), i32c(0)), () => ret(f, i32c(0)));
  i32.store(me, get(budget, I32), State.budget)(f);
  i64.store(me, i64.sub(get(rip, I64), i64.load32u(get(t, I32), Uop.ip)), State.ripBase)(f);
  tailCallIndirect(f, i32.load(get(t, I32), Uop.handler), get(t, I32), me);
  return f;
}

/** exitNext(uop, cpu): the instruction is done, but control returns to the run loop: refunds the rest of the block. */
export function exitNextHelper(): Fn {
  const f = new Fn(2);
  const next = i64.extendU(i32.add(i32.load(uop, Uop.ip), i32.load(uop, Uop.length)));
  i64.store(cpu, i64.add(state(State.ripBase), next), State.rip)(f);
  const rest = i32.sub(i32.load(uop, Uop.left), i32c(1));
  i32.store(cpu, i32.add(i32.load(cpu, State.budget), rest), State.budget)(f);
  i32c(0).emit(f);
  return f;
}

/** run(uop, cpu): enters a micro-op whose block has been charged. */
export function runHelper(): Fn {
  const f = new Fn(2);
  tailCallIndirect(f, i32.load(uop, Uop.handler), uop, cpu);
  return f;
}

export class InterpreterBuilder implements Builder {
  readonly f = new Fn(2);
  readonly operandBits: Bits;
  readonly parts: 1 | 2;
  readonly usesMmx: boolean;
  readonly operandCount: number;
  private readonly vectors: VectorEmitter;
  private ended = false;
  /** Locals of the memory operand once its address is known. */
  private linear?: Expr;
  private host?: { address: number; bounced: number; bits: Bits };
  private displacement?: Expr;
  /** Local that is non-zero when control must return to the run loop after this instruction. */
  private again?: number;

  /** What the semantics turned out to use, found by a first run over them. */
  wroteMemory = false;
  usedMemory = false;
  usedStack = false;

  constructor(
    private readonly form: HandlerForm,
    /** The segment check must know before the access whether it is for writing. */
    private readonly writes = false,
  ) {
    this.operandBits = form.operandBits;
    this.operandCount = form.operands.length;
    this.parts = form.operands.some((o) => o.vector === 'ymm' || o.bits === 256) ? 2 : 1;
    this.usesMmx = form.operands.some((o) => o.vector === 'mm');
    this.vectors = new VectorEmitter(this, form);
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
    return this.loadMemory(this.operandLinear(), bits, false);
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
    this.host = this.hostForModify(this.operandLinear(), bits);
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
        set(this.againLocal(), call(Import.slow, I32, uop, cpu, i32c(SIZE_LOG[bits] | Slow.commit)))(this.f);
      });
    } else {
      this.wroteMemory = true;
      this.storeMemory(this.operandLinear(), bits, value, false);
    }
  }

  effectiveAddress(): Expr {
    this.usedMemory = true;
    const base = i64.load(i32.add(cpu, i32.load(uop, Uop.base)), 0);
    const index = i64.load(i32.add(cpu, i32.load(uop, Uop.index)), 0);
    const scaled = i64.shl(index, i64.load8u(uop, Uop.scale));
    let sum = i64.add(i64.add(base, scaled), i64.load(uop, Uop.displacement));
    if (this.displacement) sum = i64.add(sum, this.displacement);
    if (this.form.memory === 'flat64') return sum;
    if (this.form.memory === 'flat32') return i64.and(sum, i64c(0xffffffffn));
    return this.addressMasked(sum);
  }
  addressMasked(value: Expr): Expr {
    return i64.and(value, i64.shrU(i64c(-1), i64.load8u(uop, Uop.addressShift)));
  }
  displaceOperand(bytes: Expr): void {
    this.displacement = this.let(bytes);
  }

  operandLinear(): Expr {
    this.usedMemory = true;
    if (this.linear) return this.linear;
    const offset = this.effectiveAddress();
    const form = this.form.operands.find((o) => o.kind === 'm');
    this.linear =
      this.form.memory === 'segment'
        ? this.segmentLinear(this.let(offset), i32.load(uop, Uop.segment), form?.bits ?? this.operandBits, this.writes)
        : this.let(offset);
    return this.linear;
  }

  /** segment base + offset after the limit and type check; `segment` is the state offset of the Segment struct. */
  private segmentLinear(offset: Expr, segment: Expr, bits: Width, write: boolean): Expr {
    const f = this.f;
    const struct = this.let(i32.add(cpu, segment));
    const last = this.let(i64.add(offset, i64c(bits / 8 - 1)));
    const high = i64.load(struct, write ? Segment.hiWrite : Segment.hiRead);
    const bad = i32.or(
      i32.or(i64.ltU(offset, i64.load(struct, write ? Segment.loWrite : Segment.loRead)), i64.gtU(last, high)),
      i64.ltU(last, offset),
    );
    ifElse(f, bad, () => {
      const stack = i32.eq(segment, i32c(segmentOffset(SegmentIndex.ss)));
      const kind = i32.or(i32c(Slow.limit), i32.shl(stack, i32c(5)));
      call(Import.slow, I32, uop, cpu, kind).emit(f);
      f.code.push(0x1a); // drop
      ret(f, i32c(0));
    });
    return this.let(i64.and(i64.add(offset, i64.load(struct, Segment.base)), state(State.linearMask)));
  }

  private againLocal(): number {
    this.again ??= this.f.local(I32);
    return this.again;
  }

  /** TLB entry address (i32) for a linear address. */
  tlbEntry(linear: Expr): Expr {
    const page = i32.and(i32.wrap(i64.shrU(linear, i64c(12))), i32c(Tlb.entries - 1));
    return this.let(i32.add(i32.load(cpu, State.tlb), i32.shl(page, i32c(5))));
  }

  /** True (i32) when the access does not hit: other page, or it crosses a page end. */
  tlbMiss(entry: Expr, linear: Expr, bits: Width, tag: number): Expr {
    const end = bits === 8 ? linear : i64.add(linear, i64c(bits / 8 - 1));
    return i64.ne(i64.load(entry, tag), i64.and(end, i64c(-4096)));
  }

  slowCall(linear: Expr, kind: number): Expr {
    i64.store(cpu, linear, State.slowAddress)(this.f);
    return call(Import.slow, I32, uop, cpu, i32c(kind));
  }

  slowStatus(status: Expr): void {
    const f = this.f;
    const local = this.againLocal();
    set(local, status)(f);
    ifElse(f, i32.eq(get(local, I32), i32c(SlowResult.abort)), () => ret(f, i32c(0)));
  }

  loadMemory(linear: Expr, bits: Bits, stack: boolean): Expr {
    const f = this.f;
    const result = f.local(I64);
    const entry = this.tlbEntry(linear);
    const kind = SIZE_LOG[bits] | Slow.read | (stack ? Slow.stack : 0);
    ifElse(
      f,
      this.tlbMiss(entry, linear, bits, Tlb.tagRead),
      () => {
        this.slowStatus(this.slowCall(linear, kind));
        set(result, state(State.slowValue))(f);
      },
      () => set(result, loadBits(i32.add(i32.wrap(linear), i32.load(entry, Tlb.addend)), bits))(f),
    );
    return get(result, I64);
  }

  storeMemory(linear: Expr, bits: Bits, value: Expr, stack: boolean): void {
    const f = this.f;
    const v = this.let(value);
    const entry = this.tlbEntry(linear);
    const kind = SIZE_LOG[bits] | Slow.write | (stack ? Slow.stack : 0);
    ifElse(
      f,
      this.tlbMiss(entry, linear, bits, Tlb.tagWrite),
      () => {
        i64.store(cpu, v, State.slowValue)(f);
        this.slowStatus(this.slowCall(linear, kind));
      },
      () => storeBits(f, i32.add(i32.wrap(linear), i32.load(entry, Tlb.addend)), bits, v),
    );
  }

  private hostForModify(linear: Expr, bits: Bits): { address: number; bounced: number; bits: Bits } {
    const f = this.f;
    const address = f.local(I32);
    const bounced = f.local(I32);
    const entry = this.tlbEntry(linear);
    // A loop may run this more than once (REP never modifies, but keep locals clean).
    set(bounced, i32c(0))(f);
    ifElse(
      f,
      this.tlbMiss(entry, linear, bits, Tlb.tagWrite),
      () => {
        set(bounced, this.slowCall(linear, SIZE_LOG[bits] | Slow.modify))(f);
        ifElse(f, i32.eq(get(bounced, I32), i32c(SlowResult.abort)), () => ret(f, i32c(0)));
        set(address, i32.wrap(state(State.slowValue)))(f);
      },
      () => set(address, i32.add(i32.wrap(linear), i32.load(entry, Tlb.addend)))(f),
    );
    return { address, bounced, bits };
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

  private setResult(bits: Bits, r: Expr): void {
    const value = this.let(signExtend(r, bits));
    i64.store(cpu, value, State.fz)(this.f);
    i64.store(cpu, value, State.fs)(this.f);
  }
  private setCarries(value: Expr): void {
    i64.store(cpu, value, State.fc)(this.f);
  }
  /** Carries out of each bit, moved so that the operand's top bit is bit 63; AF stays at bit 3. */
  private placeCarries(bits: Bits, carries: Expr): Expr {
    if (bits === 64) return carries;
    const c = this.let(carries);
    return i64.or(i64.shl(c, i64c(64 - bits)), i64.and(c, i64c(8)));
  }
  private static addCarries(a: Expr, b: Expr, r: Expr): Expr {
    return i64.or(i64.and(a, b), i64.and(i64.or(a, b), i64.xor(r, i64c(-1))));
  }
  private static subBorrows(a: Expr, b: Expr, r: Expr): Expr {
    const notA = i64.xor(a, i64c(-1));
    return i64.or(i64.and(notA, b), i64.and(i64.or(notA, b), r));
  }
  flagsAdd(bits: Bits, a: Expr, b: Expr, r: Expr): void {
    this.setCarries(this.placeCarries(bits, InterpreterBuilder.addCarries(a, b, r)));
    this.setResult(bits, r);
  }
  flagsSub(bits: Bits, a: Expr, b: Expr, r: Expr): void {
    this.setCarries(this.placeCarries(bits, InterpreterBuilder.subBorrows(a, b, r)));
    this.setResult(bits, r);
  }
  flagsLogic(bits: Bits, r: Expr): void {
    this.setCarries(i64c(0));
    this.setResult(bits, r);
  }
  /** New carries with CF replaced by the old one, OF kept as bit 63 ^ bit 62. */
  private keepCarry(carries: Expr): Expr {
    const c = this.let(carries);
    const x = this.let(i64.and(i64.xor(c, state(State.fc)), i64c(TOP)));
    return i64.xor(c, i64.or(x, i64.shrU(x, i64c(1))));
  }
  flagsInc(bits: Bits, a: Expr, r: Expr): void {
    this.setCarries(this.keepCarry(this.placeCarries(bits, InterpreterBuilder.addCarries(a, i64c(1), r))));
    this.setResult(bits, r);
  }
  flagsDec(bits: Bits, a: Expr, r: Expr): void {
    this.setCarries(this.keepCarry(this.placeCarries(bits, InterpreterBuilder.subBorrows(a, i64c(1), r))));
    this.setResult(bits, r);
  }
  private carryPair(cf: Expr, of: Expr): Expr {
    const c = this.let(cf);
    return i64.or(i64.shl(c, i64c(63)), i64.shl(i64.xor(c, of), i64c(62)));
  }
  flagsResult(bits: Bits, r: Expr, cf: Expr, of: Expr): void {
    this.setCarries(this.carryPair(cf, of));
    this.setResult(bits, r);
  }
  flagsCarry(cf: Expr, of: Expr): void {
    this.setCarries(i64.or(this.carryPair(cf, of), i64.and(state(State.fc), i64c(8))));
  }
  setCarry(cf: Expr): void {
    const of = this.flag('of');
    this.flagsCarry(cf, this.let(of));
  }
  setZero(value: Expr): void {
    i64.store(cpu, value, State.fz)(this.f);
  }
  flag(name: FlagName): Expr {
    const fc = state(State.fc);
    switch (name) {
      case 'cf':
        return i64.shrU(fc, i64c(63));
      case 'of':
        return i64.shrU(i64.xor(fc, i64.shl(fc, i64c(1))), i64c(63));
      case 'af':
        return i64.and(i64.shrU(fc, i64c(3)), i64c(1));
      case 'zf':
        return i64.extendU(i64.eqz(state(State.fz)));
      case 'sf':
        return i64.shrU(state(State.fs), i64c(63));
      case 'pf':
        return i64.xor(i64.and(i64.popcnt(i64.load8u(cpu, State.fs)), i64c(1)), i64c(1));
    }
  }
  condition(cc: Condition): Expr {
    const fc = state(State.fc);
    const zero = i64.eqz(state(State.fz));
    const negative = (v: Expr): Expr => i64.ltS(v, i64c(0));
    const overflow = i64.xor(fc, i64.shl(fc, i64c(1)));
    const less = negative(i64.xor(state(State.fs), overflow));
    switch (cc) {
      case 'o':
        return negative(overflow);
      case 'no':
        return i32.eqz(negative(overflow));
      case 'b':
        return negative(fc);
      case 'ae':
        return i32.eqz(negative(fc));
      case 'e':
        return zero;
      case 'ne':
        return i64.ne(state(State.fz), i64c(0));
      case 'be':
        return i32.or(negative(fc), zero);
      case 'a':
        return i32.eqz(i32.or(negative(fc), zero));
      case 's':
        return negative(state(State.fs));
      case 'ns':
        return i32.eqz(negative(state(State.fs)));
      case 'p':
        return i32.wrap(this.flag('pf'));
      case 'np':
        return i32.eqz(i32.wrap(this.flag('pf')));
      case 'l':
        return less;
      case 'ge':
        return i32.eqz(less);
      case 'le':
        return i32.or(less, zero);
      case 'g':
        return i32.eqz(i32.or(less, zero));
    }
  }
  lowFlags(): Expr {
    const at = (name: FlagName, bit: number): Expr => i64.shl(this.flag(name), i64c(bit));
    return i64.or(
      i64.or(i64.or(at('sf', 7), at('zf', 6)), i64.or(at('af', 4), at('pf', 2))),
      i64.or(this.flag('cf'), i64c(2)),
    );
  }
  setLowFlags(value: Expr): void {
    const f = this.f;
    const v = this.let(value);
    const bit = (n: number): Expr => i64.and(i64.shrU(v, i64c(n)), i64c(1));
    const of = this.let(this.flag('of'));
    const af = i64.shl(bit(4), i64c(3));
    this.setCarries(i64.or(this.carryPair(bit(0), of), af));
    i64.store(cpu, i64.xor(bit(6), i64c(1)), State.fz)(f);
    i64.store(cpu, i64.or(i64.shl(bit(7), i64c(63)), i64.xor(bit(2), i64c(1))), State.fs)(f);
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
  probeVector(i: number): void {
    this.vectors.probe(i);
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
    return this.segmentLinear(pointer, i32c(segmentOffset(SegmentIndex.ss)), bits, write);
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
  push(bits: Bits, value: Expr): void {
    const v = this.let(value);
    let pointer = i64.sub(this.stackPointer(), i64c(bits / 8));
    if (this.form.stack !== 'flat64') pointer = i64.and(pointer, state(State.stackMask));
    pointer = this.let(pointer);
    this.storeMemory(this.stackLinear(pointer, bits, true), bits, v, true);
    this.setStackPointer(pointer);
  }
  stackLoad(bits: Bits, pointer: Expr): Expr {
    const masked = this.form.stack === 'flat64' ? pointer : i64.and(pointer, state(State.stackMask));
    return this.loadMemory(this.stackLinear(this.let(masked), bits, false), bits, true);
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
    this.usedMemory = true;
    const pointer = state(State.gpr + register * 8);
    if (this.form.memory === 'flat64') return this.let(pointer);
    const offset = this.let(this.addressMasked(pointer));
    const segment = register === 7 ? i32c(segmentOffset(SegmentIndex.es)) : i32.load(uop, Uop.segment);
    return this.segmentLinear(offset, segment, bits, write);
  }
  stringSource(bits: Bits): Expr {
    return this.loadMemory(this.stringLinear(6, bits, false), bits, false);
  }
  stringDestination(bits: Bits): Expr {
    return this.loadMemory(this.stringLinear(7, bits, false), bits, false);
  }
  storeString(bits: Bits, value: Expr): void {
    const v = this.let(value);
    this.storeMemory(this.stringLinear(7, bits, true), bits, v, false);
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
    if (this.again === undefined) return;
    ifElse(this.f, get(this.again, I32), () => {
      i32.store(cpu, uop, State.branchFrom)(this.f);
      ret(this.f, i32c(0));
    });
  }

  checkTarget(target: Expr): void {
    if (this.operandBits !== 64) return;
    const f = this.f;
    ifElse(f, i64.ne(i64.shrS(i64.shl(target, i64c(16)), i64c(16)), target), () => {
      i64.store(cpu, target, State.slowAddress)(f);
      ifElse(f, call(Import.slow, I32, uop, cpu, i32c(Slow.target)), () => ret(f, i32c(0)));
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
      if (this.again !== undefined) {
        ifElse(f, get(this.again, I32), () => {
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
      if (this.again !== undefined) {
        ifElse(f, get(this.again, I32), () => tailCall(f, Helper.exitNext, uop, cpu));
      }
      emitEnter(f, this.let(i32.add(uop, i32c(Uop.bytes))));
    }
    this.ended = true;
  }

  /** Falls through to the next micro-op of the block. */
  private next(): void {
    const f = this.f;
    if (this.again !== undefined) {
      ifElse(f, get(this.again, I32), () => tailCall(f, Helper.exitNext, uop, cpu));
    }
    const next = i32.add(uop, i32c(Uop.bytes));
    tailCallIndirect(f, i32.load(uop, Uop.bytes + Uop.handler), next, cpu);
  }

  /** After a REP instruction the next micro-op begins a block of its own. */
  private nextBlock(): void {
    const f = this.f;
    if (this.again !== undefined) {
      ifElse(f, get(this.again, I32), () => tailCall(f, Helper.exitNext, uop, cpu));
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
    ifElse(f, i64.eqz(count()), finished);
    loop(f, (again) => {
      semantics(this);
      this.addToCounter(1, i64c(-1));
      ifElse(f, i64.eqz(count()), finished);
      if (this.form.repeat !== 'rep') {
        const stop = this.condition(this.form.repeat === 'repe' ? 'ne' : 'e');
        ifElse(f, stop, finished);
      }
      // Every further iteration is charged as an instruction, so that a long REP stops where any other code would. Between
      // iterations RF is set: what interrupts here pushes it, and the instruction goes on without an instruction breakpoint.
      const stay = (): void => {
        i32.store(cpu, i32.or(i32.load(cpu, State.flags), i32c(RESUME_FLAG)), State.flags)(f);
        i64.store(cpu, i64.add(state(State.ripBase), i64.load32u(uop, Uop.ip)), State.rip)(f);
        ret(f, i32c(0));
      };
      if (this.again !== undefined) ifElse(f, get(this.again, I32), stay);
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
