/**
 * The memory part of the builder: linear addresses of operands with their segment checks, and where the soft TLB has their bytes.
 * What happens where it has not is the engine's.
 */
import { Segment, SegmentIndex, State, Tlb, segmentOffset } from '../cpu/layout';
import type { HandlerForm } from './abi';
import type { Bits, Width } from './builder';
import { cpu, state, storeBits, truncate } from './operands';
import type { SemanticsBuilder } from './semanticsBuilder';
import { i32, i32c, i64, i64c, type Expr } from './wasm';

/** Locals (i32) of a memory operand that is read and written. */
export interface ModifiedOperand {
  /** Host address to read from and write to. */
  address: number;
  /** Non-zero: that is a copy, which a commit must write back. Absent: it never is. */
  bounced?: number;
}

export abstract class MemoryEmitter {
  /** Some operand's address was computed. */
  used = false;
  /** Linear address of the memory operand once it is known. */
  private linear?: Expr;
  private displacement?: Expr;

  constructor(
    protected readonly b: SemanticsBuilder,
    private readonly form: HandlerForm,
    /** The segment check must know before the access whether it is for writing. */
    private readonly writes: boolean,
  ) {}

  /** @param stack an access through the stack pointer: #SS instead of #GP */
  abstract load(linear: Expr, bits: Bits, stack: boolean): Expr;
  abstract store(linear: Expr, bits: Bits, value: Expr, stack: boolean): void;
  /** For a read-modify-write: where to work on the operand, in RAM or on a copy that a commit writes back. */
  abstract hostForModify(linear: Expr, bits: Bits): ModifiedOperand;
  /** Address to read all of a vector operand from. */
  abstract hostForRead(linear: Expr, bits: 128 | 256): Expr;
  /** Stores a vector operand: `put` stores it at an address. */
  abstract storeVector(linear: Expr, bits: 128 | 256, put: (address: Expr) => void): void;
  /** The access is refused when the i32 condition holds. `stack`: i32, it is one through SS. */
  protected abstract refuse(condition: Expr, stack: Expr): void;
  /** Address of the soft TLB in use; i32. */
  protected abstract tlb(): Expr;

  effectiveAddress(): Expr {
    this.used = true;
    const { fields } = this.b;
    let sum = i64.add(i64.add(fields.base(), fields.scaledIndex()), fields.displacement());
    if (this.displacement) sum = i64.add(sum, this.displacement);
    if (this.form.memory === 'flat64') return sum;
    if (this.form.memory === 'flat32') return truncate(sum, 32);
    return this.addressMasked(sum);
  }
  addressMasked(value: Expr): Expr {
    return i64.and(value, i64.shrU(i64c(-1), this.b.fields.addressShift()));
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
        ? this.segmentLinear(this.b.let(offset), this.b.fields.segment(), form?.bits ?? this.b.operandBits, this.writes)
        : this.b.let(offset);
    return this.linear;
  }

  /** segment base + offset after the limit and type check; `segment` is the state offset of the Segment struct. */
  segmentLinear(offset: Expr, segment: Expr, bits: Width, write: boolean): Expr {
    const struct = this.b.let(i32.add(cpu, segment));
    const last = this.b.let(i64.add(offset, i64c(bits / 8 - 1)));
    const high = i64.load(struct, write ? Segment.hiWrite : Segment.hiRead);
    const bad = i32.or(
      i32.or(i64.ltU(offset, i64.load(struct, write ? Segment.loWrite : Segment.loRead)), i64.gtU(last, high)),
      i64.ltU(last, offset),
    );
    this.refuse(bad, i32.eq(segment, i32c(segmentOffset(SegmentIndex.ss))));
    return this.b.let(i64.and(i64.add(offset, i64.load(struct, Segment.base)), state(State.linearMask)));
  }

  /** Whether the memory operand of `bits` is not aligned, or does not hit for writing (i32), and where it is when it does. */
  alignedForModify(bits: 128): { misses: Expr; host: Expr } {
    const linear = this.operandLinear();
    const entry = this.tlbEntry(linear);
    const unaligned = i64.ne(i64.and(linear, i64c(bits / 8 - 1)), i64c(0));
    const misses = i32.or(unaligned, this.tlbMiss(entry, linear, bits, Tlb.tagWrite));
    return { misses, host: this.hostAddress(linear, entry) };
  }

  /** TLB entry address (i32) for a linear address. */
  tlbEntry(linear: Expr, table = this.tlb()): Expr {
    // (linear >> 12) % entries * entry size
    const shift = Math.log2(4096 / Tlb.entrySize);
    const at = i32.and(i32.wrap(i64.shrU(linear, i64c(shift))), i32c((Tlb.entries - 1) * Tlb.entrySize));
    return this.b.let(i32.add(table, at));
  }

  /** True (i32) when the access does not hit: other page, or it crosses a page end. */
  protected tlbMiss(entry: Expr, linear: Expr, bits: Width, tag: number): Expr {
    const end = bits === 8 ? linear : i64.add(linear, i64c(bits / 8 - 1));
    return i64.ne(i64.load(entry, tag), i64.and(end, i64c(-4096)));
  }

  /** Where the bytes at `linear` are when their entry hits; i32. */
  protected hostAddress(linear: Expr, entry: Expr): Expr {
    return i32.add(i32.wrap(linear), i32.load(entry, Tlb.addend));
  }

  /** Stores to an address that hostForModify gave. */
  storeHost(address: Expr, bits: Bits, value: Expr): void {
    storeBits(this.b.f, address, bits, value);
  }
}
