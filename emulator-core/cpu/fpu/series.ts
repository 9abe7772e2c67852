/**
 * Power series over whole numbers: the elementary functions to as many bits as asked for, the same on every machine.
 * A fixed-point number is a whole number that counts units of 2^-bits. Each series is the factor that remains when the leading
 * term is taken out, so that it is near 1 and keeps its relative precision however small the argument is.
 * Each step truncates once: a series is off by less than one unit a term.
 */

/** Sum of (±)^k * argument^k / divisor(1) / ... / divisor(k), beginning with 1. The argument is fixed-point and below 1. */
function sum(argument: bigint, bits: number, divisor: (k: bigint) => bigint): bigint {
  const shift = BigInt(bits);
  let term = 1n << shift;
  let total = term;
  for (let k = 1n; ; k++) {
    term = ((term * argument) >> shift) / divisor(k);
    if (term === 0n) return total;
    total += term;
  }
}

/** Sum of argument^k / (2k + 1). */
function oddSum(argument: bigint, bits: number): bigint {
  const shift = BigInt(bits);
  let power = 1n << shift;
  let total = power;
  for (let k = 3n; ; k += 2n) {
    power = (power * argument) >> shift;
    // A negative power is truncated to -1 and stays there.
    if (power === 0n || power === -1n) return total;
    total += power / k;
  }
}

/** sin(r) / r of square = r * r. */
export function sineFactor(square: bigint, bits: number): bigint {
  return sum(-square, bits, (k) => 2n * k * (2n * k + 1n));
}
/** cos(r) of square = r * r. */
export function cosine(square: bigint, bits: number): bigint {
  return sum(-square, bits, (k) => 2n * k * (2n * k - 1n));
}
/** (e^t - 1) / t. */
export function exponentialFactor(t: bigint, bits: number): bigint {
  return sum(t, bits, (k) => k + 1n);
}
/** atan(z) / z of square = z * z. */
export function arctangentFactor(square: bigint, bits: number): bigint {
  return oddSum(-square, bits);
}
/** artanh(z) / z of square = z * z; ln(m) is 2 artanh((m - 1) / (m + 1)). */
export function artanhFactor(square: bigint, bits: number): bigint {
  return oddSum(square, bits);
}

/** Constants by their number of bits. Callers ask for few different ones. */
const cache = new Map<string, bigint>();
function constant(name: string, bits: number, make: (bits: number) => bigint): bigint {
  const key = `${name} ${bits}`;
  let value = cache.get(key);
  if (value === undefined) {
    value = make(bits + 16) >> 16n;
    cache.set(key, value);
  }
  return value;
}

/** atan(1/n) or, `hyperbolic`, artanh(1/n). */
function ofReciprocal(n: bigint, bits: number, hyperbolic: boolean): bigint {
  const square = n * n;
  let power = (1n << BigInt(bits)) / n;
  let total = power;
  for (let k = 3n; power !== 0n; k += 2n) {
    power /= hyperbolic ? square : -square;
    total += power / k;
  }
  return total;
}

/** π/4 = 4 atan(1/5) - atan(1/239) (Machin). */
export function quarterPi(bits: number): bigint {
  return constant('pi/4', bits, (b) => 4n * ofReciprocal(5n, b, false) - ofReciprocal(239n, b, false));
}
/** ln 2 = 2 artanh(1/3). */
export function naturalLogOf2(bits: number): bigint {
  return constant('ln 2', bits, (b) => 2n * ofReciprocal(3n, b, true));
}
