/** Divisions of 128 by 64 bits of which WebAssembly's of 64 bits does the usual ones: those whose dividend has 64 bits. */
import { i32, i64, i64c, type Expr } from './wasm';

export interface NarrowDivision {
  /** i32: not 0 where `quotient` and `remainder` would be wrong or trap. */
  wide: Expr;
  quotient: Expr;
  remainder: Expr;
}

/** @param dividend low half of it; like `divisor`, it is used several times */
export function narrowDivision(signed: boolean, high: Expr, dividend: Expr, divisor: Expr): NarrowDivision {
  const sign = signed ? i64.shrS(dividend, i64c(63)) : i64c(0);
  const wide = i32.or(i64.ne(high, sign), i64.eqz(divisor));
  if (!signed) return { wide, quotient: i64.divU(dividend, divisor), remainder: i64.remU(dividend, divisor) };
  // Its quotient does not fit 64 bits.
  const smallest = i64.eq(dividend, i64c(-0x8000000000000000n));
  return {
    wide: i32.or(wide, i32.and(smallest, i64.eq(divisor, i64c(-1)))),
    quotient: i64.divS(dividend, divisor),
    remainder: i64.remS(dividend, divisor),
  };
}
