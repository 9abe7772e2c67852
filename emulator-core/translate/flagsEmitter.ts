/**
 * The arithmetic flags in the interpreter's builder: RFLAGS' CF, PF, AF, ZF, SF and OF are kept as three values that they derive from
 * (State.fc, fz and fs).
 */
import type { Bits, Condition, FlagName } from './builder';
import { signExtend } from './operands';
import type { SemanticsBuilder } from './semanticsBuilder';
import { i32, i64, i64c, type Expr } from './wasm';

const TOP = -0x8000000000000000n;

/** The three values: of the vCPU's state, or an engine's locals for them. */
export interface FlagSlots {
  get(slot: FlagSlot): Expr;
  set(slot: FlagSlot, value: Expr): void;
}
export type FlagSlot = 'fc' | 'fz' | 'fs';

export class FlagsEmitter {
  constructor(
    protected readonly b: Pick<SemanticsBuilder, 'let'>,
    private readonly slots: FlagSlots,
  ) {}

  private setResult(bits: Bits, r: Expr): void {
    const value = this.b.let(signExtend(r, bits));
    this.slots.set('fz', value);
    this.slots.set('fs', value);
  }
  private setCarries(value: Expr): void {
    this.slots.set('fc', value);
  }
  /** Carries out of each bit, moved so that the operand's top bit is bit 63; AF stays at bit 3. */
  private placeCarries(bits: Bits, carries: Expr): Expr {
    if (bits === 64) return carries;
    const c = this.b.let(carries);
    return i64.or(i64.shl(c, i64c(64 - bits)), i64.and(c, i64c(8)));
  }
  private static addCarries(a: Expr, b: Expr, r: Expr): Expr {
    return i64.or(i64.and(a, b), i64.and(i64.or(a, b), i64.xor(r, i64c(-1))));
  }
  private static subBorrows(a: Expr, b: Expr, r: Expr): Expr {
    const notA = i64.xor(a, i64c(-1));
    return i64.or(i64.and(notA, b), i64.and(i64.or(notA, b), r));
  }
  add(bits: Bits, a: Expr, b: Expr, r: Expr): void {
    this.setCarries(this.placeCarries(bits, FlagsEmitter.addCarries(a, b, r)));
    this.setResult(bits, r);
  }
  /** @param _borrowIn 1 may have been subtracted besides */
  sub(bits: Bits, a: Expr, b: Expr, r: Expr, _borrowIn = false): void {
    this.setCarries(this.placeCarries(bits, FlagsEmitter.subBorrows(a, b, r)));
    this.setResult(bits, r);
  }
  logic(bits: Bits, r: Expr): void {
    this.setCarries(i64c(0));
    this.setResult(bits, r);
  }
  /** New carries with CF replaced by the old one, OF kept as bit 63 ^ bit 62. */
  protected keepCarry(carries: Expr): Expr {
    const c = this.b.let(carries);
    const x = this.b.let(i64.and(i64.xor(c, this.slots.get('fc')), i64c(TOP)));
    return i64.xor(c, i64.or(x, i64.shrU(x, i64c(1))));
  }
  inc(bits: Bits, a: Expr, r: Expr): void {
    this.setCarries(this.keepCarry(this.placeCarries(bits, FlagsEmitter.addCarries(a, i64c(1), r))));
    this.setResult(bits, r);
  }
  dec(bits: Bits, a: Expr, r: Expr): void {
    this.setCarries(this.keepCarry(this.placeCarries(bits, FlagsEmitter.subBorrows(a, i64c(1), r))));
    this.setResult(bits, r);
  }
  private carryPair(cf: Expr, of: Expr): Expr {
    const c = this.b.let(cf);
    return i64.or(i64.shl(c, i64c(63)), i64.shl(i64.xor(c, of), i64c(62)));
  }
  result(bits: Bits, r: Expr, cf: Expr, of: Expr): void {
    this.setCarries(this.carryPair(cf, of));
    this.setResult(bits, r);
  }
  carryAndOverflow(cf: Expr, of: Expr): void {
    this.setCarries(i64.or(this.carryPair(cf, of), i64.and(this.slots.get('fc'), i64c(8))));
  }
  setCarry(cf: Expr): void {
    const of = this.flag('of');
    this.carryAndOverflow(cf, this.b.let(of));
  }
  setZero(value: Expr): void {
    this.slots.set('fz', value);
  }
  flag(name: FlagName): Expr {
    const fc = this.slots.get('fc');
    switch (name) {
      case 'cf':
        return i64.shrU(fc, i64c(63));
      case 'of':
        return i64.shrU(i64.xor(fc, i64.shl(fc, i64c(1))), i64c(63));
      case 'af':
        return i64.and(i64.shrU(fc, i64c(3)), i64c(1));
      case 'zf':
        return i64.extendU(i64.eqz(this.slots.get('fz')));
      case 'sf':
        return i64.shrU(this.slots.get('fs'), i64c(63));
      case 'pf':
        return i64.xor(i64.and(i64.popcnt(i64.and(this.slots.get('fs'), i64c(0xff))), i64c(1)), i64c(1));
    }
  }
  condition(cc: Condition): Expr {
    const fc = this.slots.get('fc');
    const zero = i64.eqz(this.slots.get('fz'));
    const negative = (v: Expr): Expr => i64.ltS(v, i64c(0));
    const overflow = i64.xor(fc, i64.shl(fc, i64c(1)));
    const less = negative(i64.xor(this.slots.get('fs'), overflow));
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
        return i64.ne(this.slots.get('fz'), i64c(0));
      case 'be':
        return i32.or(negative(fc), zero);
      case 'a':
        return i32.eqz(i32.or(negative(fc), zero));
      case 's':
        return negative(this.slots.get('fs'));
      case 'ns':
        return i32.eqz(negative(this.slots.get('fs')));
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
  low(): Expr {
    const at = (name: FlagName, bit: number): Expr => i64.shl(this.flag(name), i64c(bit));
    return i64.or(
      i64.or(i64.or(at('sf', 7), at('zf', 6)), i64.or(at('af', 4), at('pf', 2))),
      i64.or(this.flag('cf'), i64c(2)),
    );
  }
  setLow(value: Expr): void {
    const v = this.b.let(value);
    const bit = (n: number): Expr => i64.and(i64.shrU(v, i64c(n)), i64c(1));
    const of = this.b.let(this.flag('of'));
    const af = i64.shl(bit(4), i64c(3));
    this.setCarries(i64.or(this.carryPair(bit(0), of), af));
    this.slots.set('fz', i64.xor(bit(6), i64c(1)));
    this.slots.set('fs', i64.or(i64.shl(bit(7), i64c(63)), i64.xor(bit(2), i64c(1))));
  }
}
