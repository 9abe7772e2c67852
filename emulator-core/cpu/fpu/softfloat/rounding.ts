/**
 * Binary formats and rounding to them. Values are JavaScript numbers, which hold every binary16, binary32 and binary64 value but
 * the payloads of NaNs. An exact result is a number plus what it misses (`residual`), times a power of two.
 * SDM Vol. 1, "Overview of Floating-Point Exceptions" and "SIMD Floating-Point Exceptions".
 */
import { Exception, Rounding, type FloatEnvironment } from './environment';

export interface BinaryFormat {
  /** Width of the encoding. */
  readonly bits: 16 | 32 | 64;
  /** Bits of significand, the leading one included. */
  readonly precision: number;
  /** Unbiased exponents of normal numbers. */
  readonly minimum: number;
  readonly maximum: number;
  readonly smallestNormal: number;
  readonly largest: number;
}

function binaryFormat(bits: 16 | 32 | 64, precision: number, maximum: number): BinaryFormat {
  const minimum = 1 - maximum;
  const largest = (2 - 2 ** (1 - precision)) * 2 ** maximum;
  return { bits, precision, minimum, maximum, smallestNormal: 2 ** minimum, largest };
}
export const HALF = binaryFormat(16, 11, 15);
export const SINGLE = binaryFormat(32, 24, 127);
export const DOUBLE = binaryFormat(64, 53, 1023);

const TWO_64 = 2 ** 64;
const number = new Float64Array(1);
const words = new Uint32Array(number.buffer);

/** What `normalize` found: 1 <= significand < 2. */
export const normal = { significand: 1, exponent: 0 };

/** Takes a positive finite number apart, into `normal`. */
export function normalize(x: number): void {
  number[0] = x;
  let bias = 1023;
  if (words[1] < 0x100000) {
    number[0] = x * TWO_64;
    bias += 64;
  }
  normal.exponent = (words[1] >>> 20) - bias;
  words[1] = (words[1] & 0xfffff) | 0x3ff00000;
  normal.significand = number[0];
}

/** 2^n for -1022 <= n <= 1023. */
export function powerOfTwo(n: number): number {
  words[0] = 0;
  words[1] = (n + 1023) << 20;
  return number[0];
}

/** The number beside an inexact `x` whose last bit is one, towards `residual`: it rounds further as the exact value does. */
export function roundToOdd(x: number, residual: number): number {
  number[0] = x;
  if (residual === 0 || words[0] & 1) return x;
  if (residual > 0 === x > 0) words[0] |= 1;
  else {
    if (words[0] === 0) words[1]--;
    words[0]--;
  }
  return number[0];
}

/** The last roundToInteger changed the value. */
let inexact = false;

/** q + (something of the sign of `residual`, smaller than q's last bit), q >= 0, rounded to an integer in the given direction. */
function roundToInteger(rounding: number, negative: boolean, q: number, residual: number): number {
  let below = Math.floor(q);
  const rest = q - below;
  inexact = rest !== 0 || residual !== 0;
  if (!inexact) return below;
  if (rounding === Rounding.nearest) {
    if (rest < 0.5 || (rest === 0.5 && residual < 0)) return below;
    if (rest > 0.5 || residual > 0) return below + 1;
    return below % 2 === 0 ? below : below + 1;
  }
  if (rest === 0 && residual < 0) below--;
  return rounding === (negative ? Rounding.down : Rounding.up) ? below + 1 : below;
}

/** Rounded to an integer in the given direction; exact ones as they are. The sign of a zero is that of x. */
export function integral(env: FloatEnvironment, x: number, rounding: number): number {
  const magnitude = Math.abs(x);
  if (magnitude >= 2 ** 52) return x;
  const result = roundToInteger(rounding, x < 0, magnitude, 0);
  if (inexact) env.flags |= Exception.PE;
  return x < 0 || Object.is(x, -0) ? -result : result;
}

/**
 * Rounds ±(significand + residual) * 2^exponent, 1 <= significand < 2, to a format. Of `residual` only the sign counts; the
 * significand must be the number nearest to the sum. When the result of an exception is unmasked, what is returned means nothing.
 */
function round(
  env: FloatEnvironment,
  format: BinaryFormat,
  negative: boolean,
  significand: number,
  residual: number,
  exponent: number,
): number {
  const { precision } = format;
  const { rounding } = env;
  const sign = negative ? -1 : 1;
  if (significand === 1 && residual < 0) {
    significand = 2;
    exponent--;
  }
  const scale = powerOfTwo(precision - 1);
  const q = roundToInteger(rounding, negative, significand * scale, residual);
  const top = q === 2 * scale ? exponent + 1 : exponent;
  // Tininess is detected after rounding, with the exponent unbounded.
  if (top < format.minimum) return tiny(env, format, negative, significand, residual, exponent);
  if (top > format.maximum) return overflow(env, format, negative);
  if (inexact) env.flags |= Exception.PE;
  return sign * (q / scale / (top - exponent + 1)) * powerOfTwo(top);
}

function tiny(
  env: FloatEnvironment,
  format: BinaryFormat,
  negative: boolean,
  significand: number,
  residual: number,
  exponent: number,
): number {
  const sign = negative ? -1 : 1;
  if ((env.masks & Exception.UE) === 0) {
    env.flags |= inexact ? Exception.UE | Exception.PE : Exception.UE;
    return 0;
  }
  if (env.ftz) {
    env.flags |= Exception.UE | Exception.PE;
    return sign * 0;
  }
  const shift = exponent - format.minimum + format.precision - 1;
  // Far below, all that matters is that something is there.
  const units = shift < -2 ? 0.25 : significand * powerOfTwo(shift);
  const q = roundToInteger(env.rounding, negative, units, residual);
  if (inexact) env.flags |= Exception.UE | Exception.PE;
  return sign * q * 2 ** (format.minimum - (format.precision - 1));
}

function overflow(env: FloatEnvironment, format: BinaryFormat, negative: boolean): number {
  env.flags |= Exception.OE;
  if (inexact || env.masks & Exception.OE) env.flags |= Exception.PE;
  const away = env.rounding === Rounding.nearest || env.rounding === (negative ? Rounding.down : Rounding.up);
  const magnitude = away ? Infinity : format.largest;
  return negative ? -magnitude : magnitude;
}

/** Rounds (x + residual) * 2^scale to a format: x finite, not zero, and the number nearest to x + residual. */
export function finish(
  env: FloatEnvironment,
  format: BinaryFormat,
  x: number,
  residual: number,
  scale: number,
): number {
  const magnitude = Math.abs(x);
  // Usual numbers need no more than JavaScript's own rounding.
  if (residual === 0 || (format === DOUBLE && env.rounding === Rounding.nearest)) {
    const y = scale === 0 ? x : Math.abs(scale) < 1000 ? x * powerOfTwo(scale) : 0;
    const z = format === DOUBLE ? y : format === SINGLE ? Math.fround(y) : 0;
    const inRange = Math.abs(z) >= 2 * format.smallestNormal && Math.abs(z) <= format.largest;
    if (inRange && (z === y || env.rounding === Rounding.nearest)) {
      if (residual !== 0 || z !== y) env.flags |= Exception.PE;
      return z;
    }
  }
  normalize(magnitude);
  const negative = x < 0;
  return round(env, format, negative, normal.significand, negative ? -residual : residual, normal.exponent + scale);
}
