/**
 * RCPPS, RSQRTPS and their scalar forms: approximations without exceptions, whatever MXCSR says. SDM Vol. 2, RCPPS, RSQRTPS:
 * relative error at most 1.5 * 2^-12. Processors differ inside that bound; here the value is rounded to 12 bits of fraction.
 */
import type { FloatUnit } from './lanes';
import type { FloatOperation } from './operations';
import { SINGLE, type BinaryFormat } from './rounding';

/** Drops all but 12 bits of the fraction of result lane i, rounding to nearest. */
function shorten(u: FloatUnit, i: number): void {
  u.result.u32[i] = (u.result.u32[i] + 0x400) & ~0x7ff;
}

function approximate(f: (u: FloatUnit, i: number, x: number) => void): FloatOperation {
  return (u, format: BinaryFormat, count) => {
    for (let i = 0; i < count; i++) {
      const x = u.a.f32[i];
      if (x !== x) u.propagate(format, i, u.a);
      // Denormal operands count as zeros of their sign.
      else if (Math.abs(x) < SINGLE.smallestNormal) u.result.u32[i] = (u.a.u32[i] & 0x80000000) | 0x7f800000;
      else f(u, i, x);
    }
  };
}

/** Tiny results are zeros. */
export const reciprocal = approximate((u, i, x) => {
  u.result.f32[i] = 1 / x;
  shorten(u, i);
  if (Math.abs(1 / x) < SINGLE.smallestNormal) u.result.u32[i] &= 0x80000000;
});

export const reciprocalRoot = approximate((u, i, x) => {
  if (x < 0) u.result.putIndefinite(SINGLE, i);
  else {
    u.result.f32[i] = 1 / Math.fround(Math.sqrt(x));
    if (x !== Infinity) shorten(u, i);
  }
});
