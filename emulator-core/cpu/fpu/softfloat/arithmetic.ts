/**
 * Exact arithmetic on binary32 and binary64 numbers, rounded once. Operands are numbers of the format and no NaNs; a NaN returned
 * stands for the invalid operation, which is then noted in the environment. No operation allocates.
 *
 * Results of binary64 operations are computed to the nearest number and what that misses is computed exactly:
 * T. J. Dekker, "A floating-point technique for extending the available precision"; for the fused operation
 * S. Boldo and G. Melquiond, "Emulation of FMA and correctly rounded sums: proved algorithms using rounding to odd".
 * Sums and products of binary32 numbers are exact in binary64, or exact but for a residual; quotients and roots of them are never
 * so close to a number of 25 bits that binary64 could not tell them apart.
 */
import { Exception, Rounding, type FloatEnvironment } from './environment';
import { DOUBLE, finish, normal, normalize, powerOfTwo, roundToOdd, type BinaryFormat } from './rounding';

export type Binary = (env: FloatEnvironment, format: BinaryFormat, a: number, b: number) => number;

/** What the last twoSum or twoProduct misses. */
let residual = 0;

function twoSum(a: number, b: number): number {
  const sum = a + b;
  const fromB = sum - a;
  residual = a - (sum - fromB) + (b - fromB);
  return sum;
}

const SPLITTER = 2 ** 27 + 1;

/** For factors with 1 <= |x| < 4. */
function twoProduct(a: number, b: number): number {
  const product = a * b;
  let t = SPLITTER * a;
  const highA = t - (t - a);
  const lowA = a - highA;
  t = SPLITTER * b;
  const highB = t - (t - b);
  const lowB = b - highB;
  residual = lowA * lowB - (product - highA * highB - lowA * highB - highA * lowB);
  return product;
}

function invalid(env: FloatEnvironment): number {
  env.flags |= Exception.IE;
  return NaN;
}

const isInfinite = (x: number): boolean => x === Infinity || x === -Infinity;

/** Beyond this sums of binary64 numbers are scaled. */
const LARGE = 2 ** 1020;
const SCALE = 200;

export function add(env: FloatEnvironment, format: BinaryFormat, a: number, b: number): number {
  if (isInfinite(a) || isInfinite(b)) return a === -b ? invalid(env) : a + b;
  let scale = 0;
  if (format === DOUBLE && (Math.abs(a) > LARGE || Math.abs(b) > LARGE)) {
    scale = SCALE;
    a = scaleDown(a);
    b = scaleDown(b);
  }
  const sum = twoSum(a, b);
  if (sum !== 0) return finish(env, format, sum, residual, scale);
  // Zeros of one sign keep it; what cancels is +0, or -0 when rounding down.
  if (a === 0 && Object.is(a, b)) return a;
  return env.rounding === Rounding.down ? -0 : 0;
}

/** x * 2^-SCALE; of what gets lost beside a large number, the sign remains. */
function scaleDown(x: number): number {
  if (x === 0) return x;
  const scaled = x * powerOfTwo(-SCALE);
  if (Math.abs(scaled) > 2 ** -700) return scaled;
  return x < 0 ? -(2 ** -700) : 2 ** -700;
}

export function subtract(env: FloatEnvironment, format: BinaryFormat, a: number, b: number): number {
  return add(env, format, a, -b);
}

export function multiply(env: FloatEnvironment, format: BinaryFormat, a: number, b: number): number {
  if (a === 0 || b === 0) return isInfinite(a) || isInfinite(b) ? invalid(env) : a * b;
  if (isInfinite(a) || isInfinite(b)) return a * b;
  if (format !== DOUBLE) return finish(env, format, a * b, 0, 0);
  normalize(Math.abs(a));
  const x = a < 0 ? -normal.significand : normal.significand;
  const exponent = normal.exponent;
  normalize(Math.abs(b));
  const product = twoProduct(x, b < 0 ? -normal.significand : normal.significand);
  return finish(env, format, product, residual, exponent + normal.exponent);
}

export function divide(env: FloatEnvironment, format: BinaryFormat, a: number, b: number): number {
  if ((a === 0 && b === 0) || (isInfinite(a) && isInfinite(b))) return invalid(env);
  if (b === 0 && !isInfinite(a)) env.flags |= Exception.ZE;
  if (a === 0 || b === 0 || isInfinite(a) || isInfinite(b)) return a / b;
  if (format !== DOUBLE) return finish(env, format, a / b, 0, 0);
  normalize(Math.abs(a));
  const x = a < 0 ? -normal.significand : normal.significand;
  const exponent = normal.exponent;
  normalize(Math.abs(b));
  const positive = b > 0;
  const y = normal.significand;
  const quotient = x / y;
  const product = twoProduct(quotient, y);
  const remainder = x - product - residual;
  const scale = exponent - normal.exponent;
  return positive ? finish(env, format, quotient, remainder, scale) : finish(env, format, -quotient, -remainder, scale);
}

export function squareRoot(env: FloatEnvironment, format: BinaryFormat, x: number): number {
  if (x === 0 || x === Infinity) return x;
  if (x < 0) return invalid(env);
  if (format !== DOUBLE) return finish(env, format, Math.sqrt(x), 0, 0);
  normalize(x);
  const odd = normal.exponent & 1;
  const square = odd ? normal.significand * 2 : normal.significand;
  const half = (normal.exponent - odd) / 2;
  const root = Math.sqrt(square);
  const product = twoProduct(root, root);
  return finish(env, format, root, square - product - residual, half);
}

/** Beyond this distance of exponents the smaller term only says that something is there. */
const FAR = 120;

/** a * b + c. */
export function fusedMultiplyAdd(env: FloatEnvironment, format: BinaryFormat, a: number, b: number, c: number): number {
  if ((a === 0 && isInfinite(b)) || (isInfinite(a) && b === 0)) return invalid(env);
  const plain = isInfinite(a) || isInfinite(b) || a === 0 || b === 0;
  if (format !== DOUBLE || plain) return add(env, format, a * b, c);
  if (isInfinite(c)) return c;
  normalize(Math.abs(a));
  const x = a < 0 ? -normal.significand : normal.significand;
  let exponent = normal.exponent;
  normalize(Math.abs(b));
  const product = twoProduct(x, b < 0 ? -normal.significand : normal.significand);
  const low = residual;
  exponent += normal.exponent;
  if (c === 0) return finish(env, format, product, low, exponent);
  normalize(Math.abs(c));
  const distance = normal.exponent - exponent;
  let term = c < 0 ? -normal.significand : normal.significand;
  if (distance > FAR) return finish(env, format, term, product, normal.exponent);
  term *= powerOfTwo(Math.max(distance, -FAR));
  const high = twoSum(term, low);
  const highLow = residual;
  const total = twoSum(product, high);
  const rest = twoSum(residual, highLow);
  const sum = twoSum(total, roundToOdd(rest, residual));
  if (sum === 0) return env.rounding === Rounding.down ? -0 : 0;
  return finish(env, format, sum, residual, exponent);
}
