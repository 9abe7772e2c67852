/**
 * Arithmetic on 80-bit values: exact results from whole-number arithmetic, rounded once.
 * Intel SDM Vol. 1, "x87 FPU Instruction Set" and "x87 FPU Floating-Point Exception Conditions".
 * Each function notes exceptions in the environment. When one that is unmasked precedes the computation (IE, DE, ZE), the
 * value returned means nothing and must not be stored.
 */
import {
  BIAS,
  Class,
  EXPONENT_MASK,
  Exception,
  Rounding,
  bitLength,
  classify,
  denormalStops,
  float80,
  infinity,
  invalid,
  isNan,
  negate,
  pack,
  roundExtended,
  roundShift,
  signOf,
  special,
  unitExponent,
  zero,
  type Environment,
  type Float80,
} from './float80';

/** Beyond this distance a smaller operand only says that something is there. */
const FAR = 140;

export function add(env: Environment, a: Float80, b: Float80): Float80 {
  return sum(env, a, b, false);
}
export function subtract(env: Environment, a: Float80, b: Float80): Float80 {
  return sum(env, a, b, true);
}

function sum(env: Environment, a: Float80, right: Float80, minus: boolean): Float80 {
  const kindA = classify(a);
  const kindB = classify(right);
  const nan = special(env, a, kindA, right, kindB);
  if (nan) return nan;
  const b = minus ? negate(right) : right;
  const signA = signOf(a);
  const signB = signOf(b);
  if (kindA === Class.infinity && kindB === Class.infinity && signA !== signB) return invalid(env);
  if (denormalStops(env, kindA, kindB)) return a;
  if (kindA === Class.infinity) return a;
  if (kindB === Class.infinity) return b;
  const emptySign = env.rounding === Rounding.down ? 1 : 0;
  if (kindA === Class.zero && kindB === Class.zero) return zero(signA === signB ? signA : emptySign);
  let x = signA ? -a.significand : a.significand;
  let y = signB ? -b.significand : b.significand;
  let unit = unitExponent(a);
  let unitB = unitExponent(b);
  if (x === 0n) return roundExtended(env, signB, unitB, b.significand, env.precision);
  if (y === 0n) return roundExtended(env, signA, unit, a.significand, env.precision);
  if (unit < unitB) [x, y, unit, unitB] = [y, x, unitB, unit];
  if (unit - unitB > FAR) {
    unitB = unit - FAR;
    y = y < 0n ? -1n : 1n;
  }
  const total = (x << BigInt(unit - unitB)) + y;
  if (total === 0n) return zero(emptySign);
  return roundExtended(env, total < 0n ? 1 : 0, unitB, total < 0n ? -total : total, env.precision);
}

export function multiply(env: Environment, a: Float80, b: Float80): Float80 {
  const kindA = classify(a);
  const kindB = classify(b);
  const nan = special(env, a, kindA, b, kindB);
  if (nan) return nan;
  const sign = signOf(a) ^ signOf(b);
  if ((kindA === Class.infinity && kindB === Class.zero) || (kindA === Class.zero && kindB === Class.infinity))
    return invalid(env);
  if (denormalStops(env, kindA, kindB)) return a;
  if (kindA === Class.infinity || kindB === Class.infinity) return infinity(sign);
  if (kindA === Class.zero || kindB === Class.zero) return zero(sign);
  return roundExtended(env, sign, unitExponent(a) + unitExponent(b), a.significand * b.significand, env.precision);
}

export function divide(env: Environment, a: Float80, b: Float80): Float80 {
  const kindA = classify(a);
  const kindB = classify(b);
  const nan = special(env, a, kindA, b, kindB);
  if (nan) return nan;
  const sign = signOf(a) ^ signOf(b);
  if (kindA === kindB && (kindA === Class.infinity || kindA === Class.zero)) return invalid(env);
  if (kindB === Class.zero && kindA !== Class.infinity) {
    env.flags |= Exception.ZE;
    return infinity(sign);
  }
  if (denormalStops(env, kindA, kindB)) return a;
  if (kindA === Class.infinity) return infinity(sign);
  if (kindA === Class.zero || kindB === Class.infinity) return zero(sign);
  const numerator = a.significand << BigInt(FAR);
  let quotient = numerator / b.significand;
  if (quotient * b.significand !== numerator) quotient |= 1n;
  return roundExtended(env, sign, unitExponent(a) - unitExponent(b) - FAR, quotient, env.precision);
}

/** Integer square root. */
function root(n: bigint): bigint {
  let x = BigInt(Math.floor(Math.sqrt(Number(n))));
  for (let i = 0; i < 3; i++) x = (x + n / x) >> 1n;
  while (x * x > n) x--;
  while ((x + 1n) * (x + 1n) <= n) x++;
  return x;
}

export function squareRoot(env: Environment, a: Float80): Float80 {
  const kind = classify(a);
  const nan = special(env, a, kind);
  if (nan) return nan;
  if (kind === Class.zero) return a;
  if (signOf(a)) return invalid(env);
  if (denormalStops(env, kind)) return a;
  if (kind === Class.infinity) return a;
  const unit = unitExponent(a);
  let shift = 200 - bitLength(a.significand);
  if ((unit - shift) & 1) shift++;
  const n = a.significand << BigInt(shift);
  let r = root(n);
  if (r * r !== n) r = (r << 1n) | 1n;
  else r <<= 1n;
  return roundExtended(env, 0, (unit - shift) / 2 - 1, r, env.precision);
}

export type Relation = 'less' | 'equal' | 'greater' | 'unordered';

/** a against b. `quietly`: only signaling NaNs and unsupported operands are invalid (FUCOM), else all NaNs are (FCOM). */
export function compare(env: Environment, a: Float80, b: Float80, quietly: boolean): Relation {
  const kindA = classify(a);
  const kindB = classify(b);
  if (special(env, a, kindA, b, kindB)) {
    if (!quietly) env.flags |= Exception.IE;
    return 'unordered';
  }
  denormalStops(env, kindA, kindB);
  const x = order(a, kindA);
  const y = order(b, kindB);
  return x < y ? 'less' : x > y ? 'greater' : 'equal';
}

/** A whole number that sorts as the value does. */
function order(x: Float80, kind: number): bigint {
  if (kind === Class.zero) return 0n;
  const exponent = Math.max(x.signExponent & EXPONENT_MASK, 1);
  const magnitude = (BigInt(exponent) << 64n) + x.significand;
  return signOf(x) ? -magnitude : magnitude;
}

/** FRNDINT. */
export function roundToInteger(env: Environment, a: Float80): Float80 {
  const kind = classify(a);
  const nan = special(env, a, kind);
  if (nan) return nan;
  if (denormalStops(env, kind)) return a;
  const unit = unitExponent(a);
  if (kind === Class.infinity || kind === Class.zero || unit >= 0) return a;
  const sign = signOf(a);
  const r = roundShift(a.significand, Math.min(-unit, 70), env.rounding, sign);
  if (r.inexact) env.flags |= Exception.PE;
  env.roundedUp = r.up;
  return pack(sign, 0, r.value);
}

/** FSCALE: a times 2 to the power of b truncated. */
export function scale(env: Environment, a: Float80, b: Float80): Float80 {
  const kindA = classify(a);
  const kindB = classify(b);
  const nan = special(env, a, kindA, b, kindB);
  if (nan) return nan;
  const down = kindB === Class.infinity && signOf(b) === 1;
  if (kindB === Class.infinity && (down ? kindA === Class.infinity : kindA === Class.zero)) return invalid(env);
  if (denormalStops(env, kindA, kindB)) return a;
  if (kindA === Class.infinity || kindA === Class.zero) return a;
  const sign = signOf(a);
  if (kindB === Class.infinity) return down ? zero(sign) : infinity(sign);
  const unit = unitExponent(b);
  // 2^16 is further than any two exponents are apart.
  let power = 0;
  if (unit >= -47) power = 0x10000;
  else if (unit > -64) power = Number(b.significand >> BigInt(-unit));
  if (signOf(b)) power = -power;
  return roundExtended(env, sign, unitExponent(a) + power, a.significand);
}

/** FXTRACT: unbiased exponent and significand. */
export function extract(env: Environment, a: Float80): { exponent: Float80; significand: Float80 } {
  const kind = classify(a);
  const nan = special(env, a, kind);
  if (nan) return { exponent: nan, significand: nan };
  if (kind === Class.zero) {
    env.flags |= Exception.ZE;
    return { exponent: infinity(1), significand: a };
  }
  if (kind === Class.infinity) return { exponent: infinity(0), significand: a };
  denormalStops(env, kind);
  const length = bitLength(a.significand);
  const exponent = unitExponent(a) + length - 1;
  return {
    exponent: pack(exponent < 0 ? 1 : 0, 0, BigInt(Math.abs(exponent))),
    significand: float80((a.signExponent & 0x8000) | BIAS, a.significand << BigInt(64 - length)),
  };
}

export interface Remainder {
  value: Float80;
  /** False when an operand alone decided, or stopped the operation: there is no quotient to tell. */
  computed: boolean;
  /** Low bits of the quotient, undefined when the reduction is not complete (C2). */
  quotient?: number;
}

/** FPREM (`nearest` false: quotient truncated) and FPREM1 (quotient to nearest). */
export function remainder(env: Environment, a: Float80, b: Float80, nearest: boolean): Remainder {
  const kindA = classify(a);
  const kindB = classify(b);
  const nan = special(env, a, kindA, b, kindB);
  if (nan) return { value: nan, computed: false };
  if (kindA === Class.infinity || kindB === Class.zero) return { value: invalid(env), computed: false };
  if (denormalStops(env, kindA, kindB)) return { value: a, computed: false };
  if (kindA === Class.zero) return { value: a, computed: true, quotient: 0 };
  const sign = signOf(a);
  const lengthA = bitLength(a.significand);
  const lengthB = bitLength(b.significand);
  const unitA = unitExponent(a);
  const unitB = unitExponent(b);
  const distance = unitA + lengthA - (unitB + lengthB);
  // The dividend stays, but a denormal one is rounded as a result is (an unmasked underflow scales it).
  if (kindB === Class.infinity || distance < -1)
    return { value: roundExtended(env, sign, unitA, a.significand), computed: true, quotient: 0 };
  const complete = distance < 64;
  // An incomplete reduction takes off 32 to 63 bits of the quotient.
  const drop = complete ? 0 : distance - ((distance & 31) | 32);
  const unit = Math.min(unitA, unitB + drop);
  const x = a.significand << BigInt(unitA - unit);
  const y = b.significand << BigInt(unitB + drop - unit);
  let quotient = x / y;
  let rest = x - quotient * y;
  let negative = sign;
  if (nearest && complete && (rest * 2n > y || (rest * 2n === y && (quotient & 1n) === 1n))) {
    quotient++;
    rest = y - rest;
    negative ^= 1;
  }
  const value = rest === 0n ? zero(sign) : roundExtended(env, negative, unit, rest);
  return { value, computed: true, quotient: complete ? Number(quotient & 7n) : undefined };
}

/** C3, C2, C0 of FXAM without sign: bits 2, 1, 0 of the result in this order. */
export function examine(x: Float80): number {
  const kind = classify(x);
  if (isNan(kind)) return 0b001;
  if (kind === Class.normal) return 0b010;
  if (kind === Class.infinity) return 0b011;
  if (kind === Class.zero) return 0b100;
  return kind === Class.denormal ? 0b110 : 0b000;
}
