/** Division of 128 by 64 bits by WebAssembly's of 64 bits, where the dividend fits 64 bits, as it mostly does. */
import { i32, i64, i64c, type Expr } from './wasm';

export interface NarrowDivision {
  /** i32: not 0 where `quotient` and `remainder` would be wrong or trap. A zero divisor and -2^63 / -1 are among that. */
  unfit: Expr;
  quotient: Expr;
  remainder: Expr;
}

/**
 * @param high upper half of the dividend
 * @param dividend its lower half; this and `divisor` are evaluated several times
 */
export function narrowDivision(signed: boolean, high: Expr, dividend: Expr, divisor: Expr): NarrowDivision {
  const sign = signed ? i64.shrS(dividend, i64c(63)) : i64c(0);
  const unfit = i32.or(i64.ne(high, sign), i64.eqz(divisor));
  if (!signed) return { unfit, quotient: i64.divU(dividend, divisor), remainder: i64.remU(dividend, divisor) };
  // The quotient of -2^63 and -1 has 65 bits.
  const smallest = i64.eq(dividend, i64c(-0x8000000000000000n));
  return {
    unfit: i32.or(unfit, i32.and(smallest, i64.eq(divisor, i64c(-1)))),
    quotient: i64.divS(dividend, divisor),
    remainder: i64.remS(dividend, divisor),
  };
}
