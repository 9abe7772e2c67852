/**
 * FSIN, FCOS, FSINCOS, FPTAN, FPATAN, F2XM1, FYL2X and FYL2XP1 on 80-bit values.
 * SDM Vol. 1, "Basic Arithmetic/Trigonometric/Logarithmic, Exponential, and Scale Instructions", "Transcendental Instruction
 * Accuracy" and "Approximation of Pi"; tables of special values in Vol. 2.
 *
 * Each result is the exact one, rounded once as RC says. The manual promises an error below one unit in the last place, and
 * processors differ within it. Trigonometric arguments are reduced by a π of 66 bits, as the manual says and processors do.
 */
import {
  BIAS,
  Class,
  EXPONENT_MASK,
  Exception,
  ONE,
  classify,
  denormalStops,
  float80,
  infinity,
  invalid,
  negate,
  roundExtended,
  signOf,
  special,
  unitExponent,
  zero,
  type Environment,
  type Float80,
} from './float80';
import {
  arctangentFactor,
  artanhFactor,
  cosine,
  exponentialFactor,
  naturalLogOf2,
  quarterPi,
  sineFactor,
} from './series';

/** mantissa * 2^exponent. */
interface Scaled {
  mantissa: bigint;
  exponent: number;
}

/** Bits that a first attempt computes with, and what a computed mantissa may be off by in its last `GUARD` bits. */
const FIRST_BITS = 128;
const GUARD = 20;
/** Doublings after which no result is still nearer to a number or a midpoint than its error. */
const ATTEMPTS = 4;

function lengthOf(x: bigint): number {
  const digits = x.toString(16);
  return digits.length * 4 - 4 + (32 - Math.clz32(parseInt(digits[0], 16)));
}

/** Exponent of the power of two next above. */
function sizeOf({ mantissa, exponent }: Scaled): number {
  return lengthOf(mantissa) + exponent;
}

/** x * 2^-shift, truncated. */
function shiftRight(x: bigint, shift: number): bigint {
  return shift >= 0 ? x >> BigInt(shift) : x << BigInt(-shift);
}

/** x as a fixed-point number of `bits`. */
function fixed({ mantissa, exponent }: Scaled, bits: number): bigint {
  return shiftRight(mantissa, -exponent - bits);
}

function product(a: Scaled, b: Scaled): Scaled {
  return { mantissa: a.mantissa * b.mantissa, exponent: a.exponent + b.exponent };
}

/** a / b to `bits` significant bits and a few more. */
function quotient(a: Scaled, b: Scaled, bits: number): Scaled {
  if (a.mantissa === 0n) return a;
  const shift = Math.max(0, bits + 2 + lengthOf(b.mantissa) - lengthOf(a.mantissa));
  return { mantissa: (a.mantissa << BigInt(shift)) / b.mantissa, exponent: a.exponent - b.exponent - shift };
}

function magnitudeOf(x: Float80): Scaled {
  return { mantissa: x.significand, exponent: unitExponent(x) };
}

/**
 * Rounds a value that no finite binary number equals. `approximate(bits)` gives its magnitude with a relative error below
 * 2^(GUARD - bits); bits are doubled until both ends of that interval round the same. `first`: enough bits to tell the value
 * from numbers that it is near to by nature.
 */
function roundIrrational(
  env: Environment,
  sign: number,
  approximate: (bits: number) => Scaled,
  first = FIRST_BITS,
): Float80 {
  for (let attempt = 0; ; attempt++) {
    const bits = first << attempt;
    const { mantissa, exponent } = approximate(bits);
    const drop = lengthOf(mantissa) - bits;
    const value = shiftRight(mantissa, drop);
    const error = 1n << BigInt(GUARD);
    const kept = bits - 67;
    const low = shiftRight(value - error, kept);
    if (low === shiftRight(value + error, kept) || attempt === ATTEMPTS)
      return roundExtended(env, sign, exponent + drop + kept - 1, (low << 1n) | 1n);
  }
}

/** Rounds significand * 2^unit, which is the result exactly. Processors report it as inexact nevertheless. */
function roundExact(env: Environment, sign: number, unit: number, significand: bigint): Float80 {
  const result = roundExtended(env, sign, unit, significand);
  const tiny = (result.signExponent & EXPONENT_MASK) === 0 && (env.masks & Exception.UE) !== 0;
  env.flags |= Exception.PE | (tiny ? Exception.UE : 0);
  return result;
}

// ---- trigonometry ----

/** π/2 as processors have it: 66 significant bits. */
const HALF_PI: Scaled = { mantissa: 0xc90fdaa22168c234cn, exponent: -67 };

interface Reduced {
  /** Distance from the nearest multiple of π/2. */
  rest: Scaled;
  negative: boolean;
  /** That multiple, modulo 4. */
  quadrant: number;
}

/** |x| < 2^63. */
function reduce(x: Float80): Reduced {
  const negative = signOf(x) === 1;
  let { mantissa, exponent } = magnitudeOf(x);
  // Below 2^-1 nothing is taken off.
  if (sizeOf({ mantissa, exponent }) < 0) return { rest: { mantissa, exponent }, negative, quadrant: 0 };
  const unit = Math.min(exponent, HALF_PI.exponent);
  mantissa <<= BigInt(exponent - unit);
  exponent = unit;
  const period = HALF_PI.mantissa << BigInt(HALF_PI.exponent - unit);
  const count = (mantissa + period / 2n) / period;
  const rest = mantissa - count * period;
  const quadrant = Number(count & 3n);
  return {
    rest: { mantissa: rest < 0n ? -rest : rest, exponent },
    negative: rest < 0n !== negative,
    quadrant: negative ? (4 - quadrant) & 3 : quadrant,
  };
}

/** Enough bits that the square of a small argument counts beside 1. */
function bitsFor(x: Scaled): number {
  const size = sizeOf(x);
  return size >= -16 ? FIRST_BITS : FIRST_BITS - 2 * size;
}

function sineOf(rest: Scaled, bits: number): Scaled {
  const square = fixed(product(rest, rest), bits);
  return product(rest, { mantissa: sineFactor(square, bits), exponent: -bits });
}
function cosineOf(rest: Scaled, bits: number): Scaled {
  return { mantissa: cosine(fixed(product(rest, rest), bits), bits), exponent: -bits };
}

/** Sine (phase 0) or cosine (phase 1) of the reduced argument, which is not 0. */
function wave(env: Environment, { rest, negative, quadrant }: Reduced, phase: number): Float80 {
  const turn = (quadrant + phase) & 3;
  const odd = (turn & 1) === 1;
  const sign = (turn >> 1) ^ (!odd && negative ? 1 : 0);
  const compute = odd ? cosineOf : sineOf;
  return roundIrrational(env, sign, (bits) => compute(rest, bits), bitsFor(rest));
}

/** What a trigonometric instruction leaves: results, or C2 with its operand for |x| >= 2^63. */
export type Trigonometric = readonly Float80[] | 'out of range';

/** `results`: of an argument that is finite, in range and not 0; `zeroResults` of ±0. */
function trigonometric(
  env: Environment,
  x: Float80,
  results: (reduced: Reduced) => readonly Float80[],
  zeroResults: (x: Float80) => readonly Float80[],
): Trigonometric {
  const kind = classify(x);
  const nan = special(env, x, kind) ?? (kind === Class.infinity ? invalid(env) : undefined);
  if (nan) return zeroResults(x).map(() => nan);
  if (kind === Class.zero) return zeroResults(x);
  if (denormalStops(env, kind)) return zeroResults(x);
  if ((x.signExponent & EXPONENT_MASK) >= BIAS + 63) return 'out of range';
  return results(reduce(x));
}

export function sine(env: Environment, x: Float80): Trigonometric {
  return trigonometric(
    env,
    x,
    (r) => [wave(env, r, 0)],
    (z) => [z],
  );
}
export function cosineValue(env: Environment, x: Float80): Trigonometric {
  return trigonometric(
    env,
    x,
    (r) => [wave(env, r, 1)],
    () => [ONE],
  );
}
/** Sine, then cosine. C1 tells of the cosine. */
export function sineAndCosine(env: Environment, x: Float80): Trigonometric {
  return trigonometric(
    env,
    x,
    (r) => [wave(env, r, 0), wave(env, r, 1)],
    (z) => [z, ONE],
  );
}
/** Tangent, then 1. */
export function tangent(env: Environment, x: Float80): Trigonometric {
  const ratio = ({ rest, negative, quadrant }: Reduced): readonly Float80[] => {
    const odd = (quadrant & 1) === 1;
    const ratioOf = (bits: number): Scaled => {
      const [s, c] = [sineOf(rest, bits), cosineOf(rest, bits)];
      return odd ? quotient(c, s, bits) : quotient(s, c, bits);
    };
    const value = roundIrrational(env, negative !== odd ? 1 : 0, ratioOf, bitsFor(rest));
    return [value, ONE];
  };
  return trigonometric(env, x, ratio, (z) => [z, ONE]);
}

/** atan(z). */
function arctangentOf(z: Scaled, bits: number): Scaled {
  const square = fixed(product(z, z), bits);
  return product(z, { mantissa: arctangentFactor(square, bits), exponent: -bits });
}

/** Angle of the point (x, y) in the upper half plane, both magnitudes not 0; `left`: x is negative. */
function angle(y: Scaled, x: Scaled, left: boolean, bits: number): Scaled {
  const align = (v: Scaled, unit: number): bigint => v.mantissa << BigInt(v.exponent - unit);
  const near = Math.abs(sizeOf(y) - sizeOf(x)) <= 2;
  const unit = Math.min(y.exponent, x.exponent);
  const steep = near ? align(y, unit) > align(x, unit) : sizeOf(y) > sizeOf(x);
  const [small, large] = steep ? [x, y] : [y, x];
  // The angle is eighths * π/4 ± atan(z), with z at most 3/7.
  let eighths = steep ? 2 : left ? 4 : 0;
  let minus = steep !== left;
  let z: Scaled;
  if (near && align(small, unit) * 5n > align(large, unit) * 2n) {
    // atan(q) = π/4 - atan((1 - q) / (1 + q))
    const [s, l] = [align(small, unit), align(large, unit)];
    z = quotient({ mantissa: l - s, exponent: 0 }, { mantissa: l + s, exponent: 0 }, bits);
    eighths += minus ? -1 : 1;
    minus = !minus;
  } else z = quotient(small, large, bits);
  const part = arctangentOf(z, bits);
  if (eighths === 0) return part;
  const base = BigInt(eighths) * quarterPi(bits);
  const rest = fixed(part, bits);
  return { mantissa: minus ? base - rest : base + rest, exponent: -bits };
}

/** FPATAN: the angle of (x, y), from -π to π. */
export function arctangent(env: Environment, y: Float80, x: Float80): Float80 {
  const kindY = classify(y);
  const kindX = classify(x);
  const nan = special(env, y, kindY, x, kindX);
  if (nan) return nan;
  if (denormalStops(env, kindY, kindX)) return y;
  const sign = signOf(y);
  const left = signOf(x) === 1;
  /** A multiple of π/4. */
  const eighth = (n: number): Float80 =>
    n === 0
      ? zero(sign)
      : roundIrrational(env, sign, (bits) => ({ mantissa: BigInt(n) * quarterPi(bits), exponent: -bits }));
  if (kindY === Class.infinity && kindX === Class.infinity) return eighth(left ? 3 : 1);
  if (kindY === Class.zero || kindX === Class.infinity) return eighth(left ? 4 : 0);
  if (kindX === Class.zero || kindY === Class.infinity) return eighth(2);
  const [magnitudeY, magnitudeX] = [magnitudeOf(y), magnitudeOf(x)];
  // A small angle is near the quotient itself; any other has a part of π in it.
  const distance = left ? 0 : sizeOf(magnitudeX) - sizeOf(magnitudeY);
  const first = distance > 16 ? FIRST_BITS + 2 * distance : FIRST_BITS;
  return roundIrrational(env, sign, (bits) => angle(magnitudeY, magnitudeX, left, bits), first);
}

// ---- exponential and logarithms ----

/** F2XM1: 2^x - 1 for -1 <= x <= 1; other values come back as they are, as inexact results. */
export function exponential(env: Environment, x: Float80): Float80 {
  const kind = classify(x);
  const nan = special(env, x, kind);
  if (nan) return nan;
  const negative = signOf(x) === 1;
  if (kind === Class.infinity) return negative ? negate(ONE) : x;
  if (kind === Class.zero || denormalStops(env, kind)) return x;
  const magnitude = magnitudeOf(x);
  if ((x.signExponent & EXPONENT_MASK) >= ONE.signExponent) {
    env.flags |= Exception.PE;
    const minusOne = x.signExponent === negate(ONE).signExponent && x.significand === ONE.significand;
    return minusOne ? float80(x.signExponent - 1, ONE.significand) : x;
  }
  return roundIrrational(env, negative ? 1 : 0, (bits) => {
    const t = product(magnitude, { mantissa: naturalLogOf2(bits), exponent: -bits });
    const argument = fixed(t, bits);
    return product(t, { mantissa: exponentialFactor(negative ? -argument : argument, bits), exponent: -bits });
  });
}

/** ln((1 + z) / (1 - z)) / ln 2 of |z| below 1/5. */
function logarithmOf(z: Scaled, bits: number): Scaled {
  const square = fixed(product(z, z), bits);
  const value = product(z, { mantissa: artanhFactor(square, bits), exponent: 1 - bits });
  return quotient(value, { mantissa: naturalLogOf2(bits), exponent: -bits }, bits);
}

/** y * log2(mantissa * 2^exponent). `y` is finite and not 0. */
function timesLogarithm(env: Environment, y: Float80, { mantissa, exponent }: Scaled): Float80 {
  let length = lengthOf(mantissa);
  const one = 1n << BigInt(length - 1);
  // m = mantissa / 2^(length - 1) is brought between 1/√2 and √2, roughly.
  if (mantissa * 5n > one * 7n) length++;
  const unit = 1n << BigInt(length - 1);
  const whole = BigInt(exponent + length - 1);
  const sign = signOf(y);
  if (mantissa === unit) {
    if (whole === 0n) return zero(sign);
    const size = whole < 0n ? -whole : whole;
    return roundExact(env, sign ^ (whole < 0n ? 1 : 0), unitExponent(y), y.significand * size);
  }
  const below = mantissa < unit;
  const negative = whole < 0n || (whole === 0n && below);
  const difference = { mantissa: below ? unit - mantissa : mantissa - unit, exponent: 0 };
  const total = { mantissa: mantissa + unit, exponent: 0 };
  return roundIrrational(env, sign ^ (negative ? 1 : 0), (bits) => {
    const fraction = logarithmOf(quotient(difference, total, bits), bits);
    if (whole === 0n) return product(fraction, magnitudeOf(y));
    const part = fixed(fraction, bits);
    const log = (whole << BigInt(bits)) + (below ? -part : part);
    return product({ mantissa: log < 0n ? -log : log, exponent: -bits }, magnitudeOf(y));
  });
}

/** FYL2X: y * log2(x). */
export function logarithm(env: Environment, y: Float80, x: Float80): Float80 {
  const kindY = classify(y);
  const kindX = classify(x);
  const nan = special(env, y, kindY, x, kindX);
  if (nan) return nan;
  const sign = signOf(y);
  if (kindX === Class.zero) {
    if (kindY === Class.zero) return invalid(env);
    if (kindY === Class.infinity) return infinity(sign ^ 1);
    // As a division does, this says nothing of a denormal y.
    env.flags |= Exception.ZE;
    return infinity(sign ^ 1);
  }
  if (signOf(x)) return invalid(env);
  const isOne = x.signExponent === ONE.signExponent && x.significand === ONE.significand;
  if (kindY === Class.infinity ? isOne : kindX === Class.infinity && kindY === Class.zero) return invalid(env);
  if (denormalStops(env, kindY, kindX)) return y;
  const below = (x.signExponent & EXPONENT_MASK) < ONE.signExponent;
  if (kindX === Class.infinity) return infinity(sign);
  if (kindY === Class.infinity) return infinity(below ? sign ^ 1 : sign);
  if (kindY === Class.zero) return zero(below ? sign ^ 1 : sign);
  return timesLogarithm(env, y, magnitudeOf(x));
}

/** Where 1 beside x counts no more. */
const FAR = 80;

/** FYL2XP1: y * log2(x + 1). With x <= -1, which the manual leaves undefined, x as an inexact result, as AMD processors do. */
export function logarithmPlusOne(env: Environment, y: Float80, x: Float80): Float80 {
  const kindY = classify(y);
  const kindX = classify(x);
  const nan = special(env, y, kindY, x, kindX);
  if (nan) return nan;
  const negative = signOf(x) === 1;
  const sign = signOf(y) ^ (negative ? 1 : 0);
  if (kindX === Class.zero && kindY === Class.infinity) return invalid(env);
  if (kindX === Class.infinity && (negative || kindY === Class.zero)) return invalid(env);
  if (denormalStops(env, kindY, kindX)) return y;
  if (kindX === Class.infinity || kindY === Class.infinity) return infinity(sign);
  if (kindX === Class.zero || kindY === Class.zero) return zero(sign);
  const exponent = (x.signExponent & EXPONENT_MASK) - ONE.signExponent;
  if (negative && exponent >= 0) {
    env.flags |= Exception.PE;
    return x;
  }
  const magnitude = magnitudeOf(x);
  if (exponent >= FAR) return timesLogarithm(env, y, magnitude);
  if (exponent >= -2) return timesLogarithm(env, y, onePlus(x));
  return roundIrrational(env, sign, (bits) => {
    // z = x / (2 + x)
    const small = fixed(magnitude, bits);
    const total = { mantissa: (2n << BigInt(bits)) + (negative ? -small : small), exponent: -bits };
    return product(logarithmOf(quotient(magnitude, total, bits), bits), magnitudeOf(y));
  });
}

/** 1 + x for x > -1 that is not small. */
function onePlus(x: Float80): Scaled {
  const { mantissa, exponent } = magnitudeOf(x);
  const unit = Math.min(exponent, 0);
  const one = 1n << BigInt(-unit);
  const value = mantissa << BigInt(exponent - unit);
  return { mantissa: signOf(x) ? one - value : one + value, exponent: unit };
}
