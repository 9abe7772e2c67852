/** Between 80-bit values and the host's numbers, for people. */
import { DOUBLE, fromBinary } from './convert80';
import { BIAS, EXPONENT_MASK, signOf, unitExponent, type Float80 } from './float80';

const bits = new DataView(new ArrayBuffer(8));

/** The 80-bit value of a double, exactly. */
export function fromDouble(value: number): Float80 {
  bits.setFloat64(0, value);
  return fromBinary(bits.getBigUint64(0), DOUBLE).value;
}

/** A finite value near to a double: value * 2^scale, where scale is 0 within the range of normal doubles. */
export function toDouble(x: Float80): { value: number; scale: number } {
  const sign = signOf(x) ? -1 : 1;
  const exponent = (x.signExponent & EXPONENT_MASK) - BIAS;
  if (exponent > 1000 || exponent < -1000) {
    return { value: (sign * Number(x.significand)) / 2 ** 63, scale: unitExponent(x) + 63 };
  }
  return { value: sign * Number(x.significand) * 2 ** unitExponent(x), scale: 0 };
}
