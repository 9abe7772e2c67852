/** What a region's micro-op says about its instruction: constants, and registers that the region has in locals. */
import { State, Uop } from '../../cpu/layout';
import { state } from '../operands';
import type { OperandFields } from '../semanticsBuilder';
import { I64, get, i32c, i64, i64c, type Expr } from '../wasm';
import type { UopMemory } from './regionPlan';
import type { RegionState } from './regionState';

/** Place of a micro-op's register operands. */
const SLOTS = [Uop.r0, Uop.r1, Uop.r2, Uop.r3];
const LAST_GPR = State.gpr + 16 * 8;

/** The State offset is one of a general register, or of its second byte. */
export function isGpr(offset: number): boolean {
  return offset >= State.gpr && offset < LAST_GPR;
}

export class RegionOperands implements OperandFields {
  constructor(
    private readonly s: RegionState,
    private readonly from: UopMemory,
    private readonly uop: number,
  ) {}

  /** A field of 32 bits. */
  field(offset: number): number {
    return this.from.i32[(this.uop + offset) >> 2];
  }
  private half(offset: number): number {
    return this.from.u16[(this.uop + offset) >> 1];
  }
  byte(offset: number): number {
    return this.from.u8[this.uop + offset];
  }
  private constant(offset: number): Expr {
    return i64c(this.from.i64[(this.uop + offset) >> 3]);
  }
  /** State offset of a register operand's place. */
  slot(slot: number): number {
    return slot === 2 ? this.half(Uop.r2) : this.field(SLOTS[slot]);
  }

  private register(offset: number): Expr {
    if (offset === State.zero) return i64c(0);
    if (offset === State.ripBase) return get(this.s.ripBase, I64);
    return isGpr(offset) ? this.s.gpr((offset - State.gpr) >> 3) : state(offset);
  }
  base(): Expr {
    return this.register(this.field(Uop.base));
  }
  scaledIndex(): Expr {
    const scale = this.byte(Uop.scale);
    const index = this.register(this.half(Uop.index));
    return scale ? i64.shl(index, i64c(scale)) : index;
  }
  displacement(): Expr {
    return this.constant(Uop.displacement);
  }
  immediate(): Expr {
    return this.constant(Uop.immediate);
  }
  segment(): Expr {
    return i32c(this.field(Uop.segment));
  }
  addressShift(): Expr {
    return i64c(this.byte(Uop.addressShift));
  }
  next(): Expr {
    return i64.add(get(this.s.ripBase, I64), i64c(this.field(Uop.ip) + this.field(Uop.length)));
  }
  controlRegister(): Expr {
    return i32c(this.field(Uop.r1));
  }
  length(): Expr {
    return i64c(this.field(Uop.length));
  }
}
