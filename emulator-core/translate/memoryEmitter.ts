/**
 * The memory part of the interpreter's builder: linear addresses of operands with their segment checks, and accesses through the soft
 * TLB with the way into the slow path.
 */
import { Segment, SegmentIndex, State, Tlb, Uop, segmentOffset } from '../cpu/layout';
import { Import, Slow, SlowResult, type HandlerForm } from './abi';
import type { Bits, Width } from './builder';
import type { InterpreterBuilder } from './interpreter';
import { SIZE_LOG, cpu, loadBits, state, storeBits, uop } from './operands';
import { I32, I64, call, get, i32, i32c, i64, i64c, ifElse, ret, set, type Expr } from './wasm';

/** Locals (i32) of a memory operand that is read and written. */
export interface ModifiedOperand {
  /** Host address to read from and write to. */
  address: number;
  /** Non-zero: that is a copy, which a commit must write back. */
  bounced: number;
}

export class MemoryEmitter {
  /** Some operand's address was computed. */
  used = false;
  /** Local that is non-zero when control must return to the run loop after this instruction; undefined: it never must. */
  again?: number;
  /** Linear address of the memory operand once it is known. */
  private linear?: Expr;
  private displacement?: Expr;

  constructor(
    private readonly b: Pick<InterpreterBuilder, 'f' | 'let' | 'operandBits'>,
    private readonly form: HandlerForm,
    /** The segment check must know before the access whether it is for writing. */
    private readonly writes: boolean,
  ) {}

  effectiveAddress(): Expr {
    this.used = true;
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
    this.displacement = this.b.let(bytes);
  }

  operandLinear(): Expr {
    this.used = true;
    if (this.linear) return this.linear;
    const offset = this.effectiveAddress();
    const form = this.form.operands.find((o) => o.kind === 'm');
    this.linear =
      this.form.memory === 'segment'
        ? this.segmentLinear(
            this.b.let(offset),
            i32.load(uop, Uop.segment),
            form?.bits ?? this.b.operandBits,
            this.writes,
          )
        : this.b.let(offset);
    return this.linear;
  }

  /** segment base + offset after the limit and type check; `segment` is the state offset of the Segment struct. */
  segmentLinear(offset: Expr, segment: Expr, bits: Width, write: boolean): Expr {
    const { f } = this.b;
    const struct = this.b.let(i32.add(cpu, segment));
    const last = this.b.let(i64.add(offset, i64c(bits / 8 - 1)));
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
    return this.b.let(i64.and(i64.add(offset, i64.load(struct, Segment.base)), state(State.linearMask)));
  }

  againLocal(): number {
    this.again ??= this.b.f.local(I32);
    return this.again;
  }

  /** TLB entry address (i32) for a linear address. */
  tlbEntry(linear: Expr): Expr {
    const page = i32.and(i32.wrap(i64.shrU(linear, i64c(12))), i32c(Tlb.entries - 1));
    return this.b.let(i32.add(i32.load(cpu, State.tlb), i32.shl(page, i32c(5))));
  }

  /** True (i32) when the access does not hit: other page, or it crosses a page end. */
  tlbMiss(entry: Expr, linear: Expr, bits: Width, tag: number): Expr {
    const end = bits === 8 ? linear : i64.add(linear, i64c(bits / 8 - 1));
    return i64.ne(i64.load(entry, tag), i64.and(end, i64c(-4096)));
  }

  /** Status of the slow path (SlowResult), to be used once. */
  slowCall(linear: Expr, kind: number): Expr {
    i64.store(cpu, linear, State.slowAddress)(this.b.f);
    return call(Import.slow, I32, uop, cpu, i32c(kind));
  }

  /** Ends the handler when the slow path abandoned the instruction, and keeps whether to return to the run loop after it. */
  slowStatus(status: Expr): void {
    const { f } = this.b;
    const local = this.againLocal();
    set(local, status)(f);
    ifElse(f, i32.eq(get(local, I32), i32c(SlowResult.abort)), () => ret(f, i32c(0)));
  }

  /** @param stack an access through the stack pointer: #SS instead of #GP */
  load(linear: Expr, bits: Bits, stack: boolean): Expr {
    const { f } = this.b;
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

  store(linear: Expr, bits: Bits, value: Expr, stack: boolean): void {
    const { f } = this.b;
    const v = this.b.let(value);
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

  /** For a read-modify-write: where to work on the operand, in RAM or on a copy that a commit writes back. */
  hostForModify(linear: Expr, bits: Bits): ModifiedOperand {
    const { f } = this.b;
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
    return { address, bounced };
  }
}
