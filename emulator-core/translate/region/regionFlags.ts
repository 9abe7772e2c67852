/**
 * Flags in a region: an instruction only notes what they derive from. Most are overwritten unread, and most conditions need the noted
 * operands alone.
 */
import { CONDITIONS, type Bits, type Condition, type FlagName } from '../builder';
import { FlagsEmitter } from '../flagsEmitter';
import { signExtend, truncate } from '../operands';
import { I32, I64, get, i32, i32c, i64, i64c, ifElse, select, set, type Expr } from '../wasm';
import { Pending, type PendingFlags, type RegionState } from './regionState';

export class RegionFlags extends FlagsEmitter {
  constructor(
    b: { let(value: Expr): Expr },
    private readonly s: RegionState,
  ) {
    super(b, {
      get: (slot) => get(s[slot], I64),
      set: (slot, value) => {
        s.usesFlags = true;
        set(s[slot], value)(s.f);
      },
    });
  }

  private local(name: 'x' | 'y' | 'z' | 'fc', flags?: PendingFlags): Expr {
    return get(this.s[name], I64, name === 'fc' ? undefined : flags?.operandBits[name]);
  }

  private note(flags: Omit<PendingFlags, 'kind' | 'operandBits'>, x: Expr, y: Expr, z: Expr): void {
    const { s } = this;
    s.usesFlags = true;
    set(s.x, x)(s.f);
    set(s.y, y)(s.f);
    set(s.z, z)(s.f);
    s.flags = { kind: 'pending', operandBits: { x: x.bits, y: y.bits, z: z.bits }, ...flags };
  }

  override add(bits: Bits, a: Expr, b: Expr, r: Expr): void {
    this.note({ bits, result: 'z', keepsCarry: false, from: 'other' }, a, b, r);
  }
  override sub(bits: Bits, a: Expr, b: Expr, r: Expr, borrowIn = false): void {
    this.note({ bits, result: 'y', keepsCarry: false, from: borrowIn ? 'other' : 'subtract' }, b, r, a);
  }
  override logic(bits: Bits, r: Expr): void {
    const result = this.b.let(r);
    this.note({ bits, result: 'y', keepsCarry: false, from: 'logic' }, i64c(0), result, result);
  }
  override inc(bits: Bits, a: Expr, r: Expr): void {
    this.settleCarry();
    this.note({ bits, result: 'z', keepsCarry: true, from: 'other' }, a, i64c(1), r);
  }
  override dec(bits: Bits, a: Expr, r: Expr): void {
    this.settleCarry();
    this.note({ bits, result: 'y', keepsCarry: true, from: 'other' }, i64c(1), r, a);
  }

  /** Carries of what is noted, the operand's top bit at bit 63. `shift`: 64 minus the operand size; i64. */
  private carries(shift: Expr): Expr {
    const [x, y, z] = [this.local('x'), this.local('y'), this.local('z')];
    const notZ = i64.xor(z, i64c(-1));
    const all = i64.or(i64.and(x, y), i64.and(i64.or(x, y), notZ));
    if (shift.constant === 0n) return all;
    const c = this.b.let(all);
    return i64.or(i64.shl(c, shift), i64.and(c, i64c(8)));
  }

  private settleFrom(shift: Expr, from: Expr, setCarries: (carries: Expr) => void): void {
    const { s } = this;
    setCarries(this.b.let(this.carries(shift)));
    const result = this.b.let(i64.shrS(i64.shl(from, shift), shift));
    set(s.fz, result)(s.f);
    set(s.fs, result)(s.f);
  }

  /** Puts the flags into fc, fz and fs. */
  settle(): void {
    const { s } = this;
    const { f, flags } = s;
    s.usesFlags = true;
    const put = (carries: Expr): void => set(s.fc, carries)(f);
    if (flags.kind === 'pending') {
      const { bits, keepsCarry } = flags;
      this.settleFrom(i64c(64 - bits), this.noted(flags), (carries) =>
        put(keepsCarry ? this.keepCarry(carries) : carries),
      );
    } else if (flags.kind === 'dynamic') {
      const pending = get(s.pending, I32);
      ifElse(f, pending, () => {
        const result = select(i32.and(pending, i32c(Pending.sum)), this.local('z'), this.local('y'));
        this.settleFrom(this.shiftOf(pending), result, (carries) => {
          const kept = this.b.let(this.keepCarry(carries));
          put(select(i32.and(pending, i32c(Pending.keepsCarry)), kept, carries));
        });
        set(s.pending, i32c(0))(f);
      });
    }
    s.flags = { kind: 'settled' };
  }

  /** 64 minus the operand size, from the local `pending`; i64. */
  private shiftOf(pending: Expr): Expr {
    return this.b.let(i64.extendU(i32.and(pending, i32c(Pending.shift))));
  }

  /** Puts CF into fc; the others need not be there, for the next instruction changes them. */
  private settleCarry(): void {
    const { s } = this;
    const { f, flags } = s;
    s.usesFlags = true;
    if (flags.kind === 'pending') {
      if (flags.keepsCarry) return;
      set(s.fc, flags.from === 'logic' ? i64c(0) : this.carries(i64c(64 - flags.bits)))(f);
    } else if (flags.kind === 'dynamic') {
      const pending = get(s.pending, I32);
      const mine = i32.and(pending, i32c(Pending.some | Pending.keepsCarry));
      ifElse(f, i32.eq(mine, i32c(Pending.some)), () => {
        set(s.fc, this.carries(this.shiftOf(pending)))(f);
      });
    }
  }

  /** CF as i32. */
  private carry(flags: PendingFlags): Expr {
    if (flags.keepsCarry) return i64.ltS(this.local('fc'), i64c(0));
    if (flags.from === 'logic') return i32c(0);
    if (flags.from === 'subtract') return i64.ltU(this.local('z', flags), this.local('x', flags));
    return i64.ltS(this.carries(i64c(64 - flags.bits)), i64c(0));
  }

  private noted(flags: PendingFlags): Expr {
    return this.local(flags.result, flags);
  }
  private zero(flags: PendingFlags): Expr {
    const result = this.noted(flags);
    return flags.bits === 32 ? i32.eqz(i32.wrap(result)) : i64.eqz(truncate(result, flags.bits));
  }
  private negative(flags: PendingFlags): Expr {
    const result = this.noted(flags);
    if (flags.bits === 32) return i32.ltS(i32.wrap(result), i32c(0));
    return i64.ltS(signExtend(result, flags.bits), i64c(0));
  }

  /** Signed comparison of what was compared; undefined: that needs the flags. */
  private signed(flags: PendingFlags, compare: 'ltS' | 'leS'): Expr | undefined {
    const { bits, from } = flags;
    if (from === 'other') return undefined;
    const a = from === 'logic' ? this.local('y', flags) : this.local('z', flags);
    const b = from === 'logic' ? i64c(0) : this.local('x', flags);
    if (bits === 32) return i32[compare](i32.wrap(a), from === 'logic' ? i32c(0) : i32.wrap(b));
    return i64[compare](signExtend(a, bits), from === 'logic' ? b : signExtend(b, bits));
  }

  /** A condition with an even encoding from what is noted; undefined: it needs the flags. */
  private even(cc: Condition, flags: PendingFlags): Expr | undefined {
    switch (cc) {
      case 'e':
        return this.zero(flags);
      case 's':
        return this.negative(flags);
      case 'b':
        return this.carry(flags);
      case 'be':
        return flags.from === 'subtract'
          ? i64.leU(this.local('z', flags), this.local('x', flags))
          : i32.or(this.carry(flags), this.zero(flags));
      case 'l':
        return this.signed(flags, 'ltS');
      case 'le':
        return this.signed(flags, 'leS');
      default:
        return undefined;
    }
  }

  /** Conditions with odd encodings are the opposites of those before them. SDM Vol. 2, Appendix B, "Condition Test (tttn) Field". */
  private direct(cc: Condition, flags: PendingFlags): Expr | undefined {
    const encoding = CONDITIONS.indexOf(cc);
    const even = this.even(CONDITIONS[encoding & ~1], flags);
    return even && encoding & 1 ? i32.eqz(even) : even;
  }

  override condition(cc: Condition): Expr {
    const { flags } = this.s;
    const direct = flags.kind === 'pending' ? this.direct(cc, flags) : undefined;
    if (direct) return direct;
    this.settle();
    return super.condition(cc);
  }

  override flag(name: FlagName): Expr {
    const { flags } = this.s;
    if (flags.kind === 'pending' && name === 'cf') return i64.extendU(this.carry(flags));
    this.settle();
    return super.flag(name);
  }

  override result(bits: Bits, r: Expr, cf: Expr, of: Expr): void {
    // All flags anew.
    this.s.flags = { kind: 'settled' };
    super.result(bits, r, cf, of);
  }
  override carryAndOverflow(cf: Expr, of: Expr): void {
    const [c, o] = [this.b.let(cf), this.b.let(of)];
    this.settle();
    super.carryAndOverflow(c, o);
  }
  override setCarry(cf: Expr): void {
    const c = this.b.let(cf);
    this.settle();
    super.setCarry(c);
  }
  override setZero(value: Expr): void {
    const v = this.b.let(value);
    this.settle();
    super.setZero(v);
  }
  override low(): Expr {
    this.settle();
    return super.low();
  }
  override setLow(value: Expr): void {
    const v = this.b.let(value);
    this.settle();
    super.setLow(v);
  }
}
