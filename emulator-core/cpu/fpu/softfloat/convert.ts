/** Conversions between the binary formats and integers. SDM Vol. 1, "SSE/SSE2/SSE3 Conversions", table "Rules for Handling NaNs". */
import { Exception, Rounding } from './environment';
import type { FloatUnit } from './lanes';
import type { FloatOperation } from './operations';
import { DOUBLE, HALF, SINGLE, finish, integral, powerOfTwo } from './rounding';

/** Quiets the NaN in lane i of a and stores it as binary64. */
function widenNan(u: FloatUnit, i: number): void {
  if (u.a.signaling(SINGLE, i)) u.invalid();
  const bits = u.a.u32[i];
  u.result.u32[2 * i] = bits << 29;
  u.result.u32[2 * i + 1] = (bits & 0x80000000) | 0x7ff80000 | ((bits & 0x7fffff) >>> 3);
}

/** binary32 -> binary64. */
export const widen: FloatOperation = (u, _format, count) => {
  for (let i = 0; i < count; i++) {
    const x = u.operand(SINGLE, u.a, i);
    if (x !== x) widenNan(u, i);
    else u.result.f64[i] = x;
    u.settle();
  }
};

/** binary64 -> binary32. */
export const narrow: FloatOperation = (u, _format, count) => {
  for (let i = 0; i < count; i++) {
    const x = u.operand(DOUBLE, u.a, i);
    if (x !== x) {
      if (u.a.signaling(DOUBLE, i)) u.invalid();
      const high = u.a.u32[2 * i + 1];
      u.result.u32[i] = (high & 0x80000000) | 0x7fc00000 | ((high & 0x7ffff) << 3) | (u.a.u32[2 * i] >>> 29);
    } else u.result.f32[i] = x === 0 || Math.abs(x) === Infinity ? x : finish(u.env, SINGLE, x, 0, 0);
    u.settle();
  }
};

/** binary16 -> binary32. Denormal operands are not noted, and DAZ does not touch them. */
export const widenHalf: FloatOperation = (u, _format, count) => {
  for (let i = 0; i < count; i++) {
    const bits = u.a.u16[i];
    const sign = (bits & 0x8000) << 16;
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 0x3ff;
    if (exponent === 31) {
      if (fraction !== 0 && fraction < 0x200) u.invalid();
      u.result.u32[i] = sign | 0x7f800000 | (fraction << 13) | (fraction ? 0x400000 : 0);
    } else if (exponent === 0) u.result.f32[i] = (sign ? -fraction : fraction) * 2 ** -24;
    else u.result.u32[i] = sign | ((exponent + 112) << 23) | (fraction << 13);
    if (exponent === 0 && fraction === 0) u.result.u32[i] = sign;
    u.settle();
  }
};

/** The encoding of a number that binary16 holds. */
function encodeHalf(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(x);
  if (magnitude === Infinity) return sign | 0x7c00;
  if (magnitude < HALF.smallestNormal) return sign | (magnitude * 2 ** 24);
  let exponent = HALF.minimum;
  while (magnitude >= powerOfTwo(exponent + 1)) exponent++;
  return sign | (((exponent + 14) << 10) + magnitude * powerOfTwo(10 - exponent));
}

/** binary32 -> binary16; option: immediate of VCVTPS2PH (rounding, bit 2: that of MXCSR). FTZ does not count. */
export const narrowHalf: FloatOperation = (u, _format, count, option) => {
  const { env } = u;
  const { rounding, ftz } = env;
  if ((option & 4) === 0) env.rounding = option & 3;
  env.ftz = false;
  for (let i = 0; i < count; i++) {
    const x = u.operand(SINGLE, u.a, i);
    if (x !== x) {
      if (u.a.signaling(SINGLE, i)) u.invalid();
      const bits = u.a.u32[i];
      u.result.u16[i] = ((bits >>> 16) & 0x8000) | 0x7e00 | ((bits >> 13) & 0x3ff);
    } else {
      u.result.u16[i] = encodeHalf(x === 0 || Math.abs(x) === Infinity ? x : finish(env, HALF, x, 0, 0));
      // Also where an unmasked underflow would leave it exact: seen on Intel processors.
      if (env.flags & Exception.DE) env.flags |= Exception.PE;
    }
    u.settle();
  }
  env.rounding = rounding;
  env.ftz = ftz;
};

export const fromInt32: FloatOperation = (u, format, count) => {
  for (let i = 0; i < count; i++) {
    const x = u.a.i32[i];
    u.result.put(format, i, x === 0 ? 0 : finish(u.env, format, x, 0, 0));
    u.settle();
  }
};

/** a.i32[1]:a.u32[0] -> lane 0. */
export const fromInt64: FloatOperation = (u, format) => {
  const high = u.a.i32[1] * 2 ** 32;
  const low = u.a.u32[0];
  const sum = high + low;
  // |high| is 0 or at least as large as low.
  const residual = low - (sum - high);
  u.result.put(format, 0, sum === 0 ? 0 : finish(u.env, format, sum, residual, 0));
  u.settle();
};

/** Lane i as an integer of magnitude up to 2^(bits-1), undefined when invalid. A denormal operand is not noted. */
function toInteger(u: FloatUnit, x: number, bits: number, truncate: number): number | undefined {
  const { env } = u;
  env.flags &= ~Exception.DE;
  const limit = powerOfTwo(bits - 1);
  const value = x === x ? integral(env, x, truncate ? Rounding.truncate : env.rounding) : NaN;
  if (value >= -limit && value < limit) return value;
  env.flags = Exception.IE;
  return undefined;
}

/** Lanes -> i32; option 1: truncated, 0: rounded by MXCSR. What does not fit gives the integer indefinite value. */
export const toInt32: FloatOperation = (u, format, count, option) => {
  for (let i = 0; i < count; i++) {
    u.result.i32[i] = toInteger(u, u.operand(format, u.a, i), 32, option) ?? -(2 ** 31);
    u.settle();
  }
};

/** Lane 0 -> i64 in result.u32[1]:result.u32[0]; option as toInt32. */
export const toInt64: FloatOperation = (u, format, _count, option) => {
  const value = toInteger(u, u.operand(format, u.a, 0), 64, option) ?? -(2 ** 63);
  const high = Math.floor(value / 2 ** 32);
  u.result.i32[1] = high;
  u.result.u32[0] = value - high * 2 ** 32;
  u.settle();
};
