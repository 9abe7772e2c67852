/** Between 80-bit values and the memory formats: integers, single and double precision, packed decimal. */
import {
  BIAS,
  Class,
  Exception,
  INTEGER_BIT,
  classify,
  float80,
  isNan,
  pack,
  quiet,
  roundShift,
  roundTo,
  signOf,
  special,
  unitExponent,
  zero,
  type Environment,
  type Float80,
  type Format,
} from './float80';

interface MemoryFormat extends Format {
  bits: number;
}
export const SINGLE: MemoryFormat = { bits: 32, precision: 24, minimum: -126, maximum: 127, adjust: 0 };
export const DOUBLE: MemoryFormat = { bits: 64, precision: 53, minimum: -1022, maximum: 1023, adjust: 0 };

/** The exact 80-bit value of a single or double. Signaling NaNs stay signaling; `denormal` tells that the source was. */
export function fromBinary(bits: bigint, format: MemoryFormat): { value: Float80; denormal: boolean } {
  const fractionBits = format.precision - 1;
  const exponentMask = 2 * format.maximum + 1;
  const sign = Number(bits >> BigInt(format.bits - 1)) & 1;
  const exponent = Number(bits >> BigInt(fractionBits)) & exponentMask;
  const fraction = BigInt.asUintN(fractionBits, bits);
  if (exponent === exponentMask) {
    const significand = INTEGER_BIT | (fraction << BigInt(63 - fractionBits));
    return { value: float80((sign << 15) | 0x7fff, significand), denormal: false };
  }
  if (exponent === 0) {
    const value = fraction === 0n ? zero(sign) : pack(sign, format.minimum - fractionBits, fraction);
    return { value, denormal: fraction !== 0n };
  }
  const significand = INTEGER_BIT | (fraction << BigInt(63 - fractionBits));
  return { value: float80((sign << 15) | (exponent - format.maximum + BIAS), significand), denormal: false };
}

/** Rounded to single or double as FST does. */
export function toBinary(env: Environment, x: Float80, format: MemoryFormat): bigint {
  const fractionBits = BigInt(format.precision - 1);
  const sign = BigInt(signOf(x)) << BigInt(format.bits - 1);
  const top = BigInt(2 * format.maximum + 1) << fractionBits;
  const kind = classify(x);
  const nan = special(env, x, kind);
  if (nan) {
    const significand = quiet(nan).significand;
    const fraction = BigInt.asUintN(Number(fractionBits), significand >> (63n - fractionBits));
    return (BigInt(signOf(nan)) << BigInt(format.bits - 1)) | top | fraction;
  }
  if (kind === Class.infinity) return sign | top;
  if (kind === Class.zero) return sign;
  const r = roundTo(env, format, signOf(x), unitExponent(x), x.significand);
  if (r.infinite) return sign | top;
  // Rounding may carry into the exponent, from denormal to normal too: the encoding is made for that.
  if (r.significand === 0n) return sign;
  const biased = r.unit + Number(fractionBits) + format.maximum;
  return sign | ((BigInt(biased - 1) << fractionBits) + r.significand);
}

export function fromInteger(value: bigint): Float80 {
  return value < 0n ? pack(1, 0, -value) : pack(0, 0, value);
}

/** A magnitude rounded to a whole number, undefined when the value is no number or is beyond 2^64. */
function magnitude(x: Float80, rounding: number): { value: bigint; inexact: boolean; up: boolean } | undefined {
  const kind = classify(x);
  if (kind === Class.infinity || isNan(kind) || kind === Class.unsupported) return undefined;
  const unit = unitExponent(x);
  if (unit > 0) return kind === Class.zero ? { value: 0n, inexact: false, up: false } : undefined;
  return roundShift(x.significand, Math.min(-unit, 70), rounding, signOf(x));
}

/** Rounded to a signed integer of `bits` as FIST does; the integer indefinite when it does not fit. */
export function toInteger(env: Environment, x: Float80, bits: number, rounding = env.rounding): bigint {
  const limit = 1n << BigInt(bits - 1);
  const r = magnitude(x, rounding);
  const value = r && (signOf(x) ? -r.value : r.value);
  if (!r || value === undefined || value < -limit || value >= limit) {
    env.flags |= Exception.IE;
    return -limit;
  }
  if (r.inexact) env.flags |= Exception.PE;
  env.roundedUp = r.up;
  return value;
}

const DECIMAL_LIMIT = 10n ** 18n;
export const DECIMAL_INDEFINITE = 0xffffc000000000000000n;

/** Rounded to 18 decimal digits and a sign as FBSTP does: 80 bits. */
export function toDecimal(env: Environment, x: Float80): bigint {
  const r = magnitude(x, env.rounding);
  if (!r || r.value >= DECIMAL_LIMIT) {
    env.flags |= Exception.IE;
    return DECIMAL_INDEFINITE;
  }
  if (r.inexact) env.flags |= Exception.PE;
  env.roundedUp = r.up;
  // Decimal digits read as hexadecimal are packed decimal.
  return (BigInt(signOf(x)) << 79n) | BigInt('0x' + r.value.toString());
}

/** FBLD: 80 bits of packed decimal. Digits above 9 (undefined) count with their binary weight. */
export function fromDecimal(bits: bigint): Float80 {
  let value = 0n;
  for (let i = 17n; i >= 0n; i--) value = value * 10n + ((bits >> (i * 4n)) & 15n);
  return pack(Number(bits >> 79n) & 1, 0, value);
}
