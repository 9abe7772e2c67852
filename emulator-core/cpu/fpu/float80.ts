/**
 * The double extended-precision format and what all arithmetic on it shares: classes, NaN rules and rounding.
 * Intel SDM Vol. 1, "Data Types" ("x87 FPU Data Types") and "Programming with the x87 FPU".
 */

/** One 80-bit value as it lies in a register. */
export interface Float80 {
  /** Sign in bit 15, biased exponent below. */
  readonly signExponent: number;
  /** 64 bits, integer bit included. */
  readonly significand: bigint;
}

export const BIAS = 16383;
export const EXPONENT_MASK = 0x7fff;
export const INTEGER_BIT = 1n << 63n;
const QUIET_BIT = 1n << 62n;

/** Exception flags of the status word, and at the same places the masks of the control word. */
export const Exception = { IE: 1, DE: 2, ZE: 4, OE: 8, UE: 16, PE: 32, SF: 64 } as const;

/** RC field of the control word. */
export const Rounding = { nearest: 0, down: 1, up: 2, truncate: 3 } as const;

/** How an operation rounds, what is masked, and what it reports. One object serves one instruction. */
export interface Environment {
  rounding: number;
  /** Bits of significand that FADD, FSUB, FMUL, FDIV and FSQRT round to: 24, 53 or 64. */
  precision: number;
  /** Masked exceptions (Exception bits). */
  masks: number;
  /** Exceptions met. */
  flags: number;
  /** The significand was rounded up in magnitude (C1). */
  roundedUp: boolean;
  /** A memory operand was denormal in its own format. */
  denormalSource: boolean;
}

export const Class = {
  zero: 0,
  normal: 1,
  denormal: 2,
  infinity: 3,
  quietNan: 4,
  signalingNan: 5,
  unsupported: 6,
} as const;

/** One of Class. Unsupported: what the 387 and later refuse (unnormals, pseudo-infinities, pseudo-NaNs). */
export function classify(x: Float80): number {
  const exponent = x.signExponent & EXPONENT_MASK;
  const { significand } = x;
  if (exponent === 0) return significand === 0n ? Class.zero : Class.denormal;
  if (significand < INTEGER_BIT) return Class.unsupported;
  if (exponent !== EXPONENT_MASK) return Class.normal;
  if (significand === INTEGER_BIT) return Class.infinity;
  return significand & QUIET_BIT ? Class.quietNan : Class.signalingNan;
}

export function isNan(kind: number): boolean {
  return kind === Class.quietNan || kind === Class.signalingNan;
}

export function signOf(x: Float80): number {
  return x.signExponent >> 15;
}

export function float80(signExponent: number, significand: bigint): Float80 {
  return { signExponent, significand };
}
export function zero(sign: number): Float80 {
  return float80(sign << 15, 0n);
}
export function infinity(sign: number): Float80 {
  return float80((sign << 15) | EXPONENT_MASK, INTEGER_BIT);
}
export const INDEFINITE: Float80 = float80(0xffff, INTEGER_BIT | QUIET_BIT);
export const ONE: Float80 = float80(BIAS, INTEGER_BIT);

export function negate(x: Float80): Float80 {
  return float80(x.signExponent ^ 0x8000, x.significand);
}
export function quiet(x: Float80): Float80 {
  return float80(x.signExponent, x.significand | QUIET_BIT);
}

/** Notes an invalid operation and gives the default answer to it. */
export function invalid(env: Environment): Float80 {
  env.flags |= Exception.IE;
  return INDEFINITE;
}

/**
 * The answer of an operation with an unsupported or NaN operand, undefined when there is none.
 * SDM Vol. 1, Table "Rules for Handling NaNs".
 */
export function special(env: Environment, a: Float80, kindA: number, b = a, kindB = kindA): Float80 | undefined {
  if (kindA <= Class.infinity && kindB <= Class.infinity) return undefined;
  if (kindA === Class.unsupported || kindB === Class.unsupported) return invalid(env);
  const signalingA = kindA === Class.signalingNan;
  const signalingB = kindB === Class.signalingNan;
  if (signalingA || signalingB) env.flags |= Exception.IE;
  if (!isNan(kindB)) return quiet(a);
  if (!isNan(kindA)) return quiet(b);
  if (signalingA !== signalingB) return signalingA ? b : a;
  if (a.significand !== b.significand) return quiet(a.significand > b.significand ? a : b);
  return quiet(signOf(a) ? b : a);
}

/** Notes denormal operands; true when that is unmasked: the operation must not go on. */
export function denormalStops(env: Environment, kindA: number, kindB = kindA): boolean {
  if (kindA !== Class.denormal && kindB !== Class.denormal && !env.denormalSource) return false;
  env.flags |= Exception.DE;
  return (env.masks & Exception.DE) === 0;
}

/** Exponent of the significand's bit 0 in a finite number. */
export function unitExponent(x: Float80): number {
  return Math.max(x.signExponent & EXPONENT_MASK, 1) - BIAS - 63;
}

const double = new DataView(new ArrayBuffer(8));

/** Bits up to the leading one of 0 < x < 2^1000. */
export function bitLength(x: bigint): number {
  double.setFloat64(0, Number(x));
  const high = double.getInt32(0);
  const n = (high >>> 20) - 1022;
  // A power of two may be what the conversion rounded up to.
  const power = (high & 0xfffff) === 0 && double.getInt32(4) === 0;
  return power && x >> BigInt(n - 1) === 0n ? n - 1 : n;
}

/** x / 2^shift rounded to an integer; `inexact` and `up` tell how. Negative shifts are exact. */
export function roundShift(
  x: bigint,
  shift: number,
  rounding: number,
  sign: number,
): { value: bigint; inexact: boolean; up: boolean } {
  if (shift <= 0) return { value: x << BigInt(-shift), inexact: false, up: false };
  const s = BigInt(shift);
  const value = x >> s;
  const rest = BigInt.asUintN(shift, x);
  if (rest === 0n) return { value, inexact: false, up: false };
  const half = 1n << (s - 1n);
  let up: boolean;
  if (rounding === Rounding.nearest) up = rest > half || (rest === half && (value & 1n) === 1n);
  else up = rounding === (sign ? Rounding.down : Rounding.up);
  return { value: up ? value + 1n : value, inexact: true, up };
}

/** A binary format that results are rounded to. */
export interface Format {
  precision: number;
  /** Unbiased exponents of normal numbers. */
  minimum: number;
  maximum: number;
  /** What an unmasked overflow or underflow to a register takes off or adds to the exponent; 0: nothing is delivered (memory). */
  adjust: number;
}

const EXTENDED: Record<number, Format> = Object.fromEntries(
  [24, 53, 64].map((precision) => [precision, { precision, minimum: 1 - BIAS, maximum: BIAS, adjust: 24576 }]),
);

/** A rounded magnitude: significand of at most `precision` bits times 2^unit, or beyond the format. */
export interface Rounded {
  significand: bigint;
  unit: number;
  infinite?: boolean;
}

/** Rounds significand * 2^unit (significand > 0) to a format, with overflow and underflow and their masked and unmasked responses. */
export function roundTo(env: Environment, format: Format, sign: number, unit: number, significand: bigint): Rounded {
  const { precision, minimum, maximum } = format;
  const length = bitLength(significand);
  let exponent = unit + length - 1;
  let r = roundShift(significand, length - precision, env.rounding, sign);
  let top = exponent + (r.value >> BigInt(precision) ? 1 : 0);
  // Tininess is detected after rounding.
  if (top < minimum) {
    if (env.masks & Exception.UE) {
      const shift = minimum - (precision - 1) - unit;
      const tiny = roundShift(significand, Math.min(shift, length + 2), env.rounding, sign);
      if (tiny.inexact) env.flags |= Exception.UE | Exception.PE;
      env.roundedUp = tiny.up;
      return { significand: tiny.value, unit: minimum - (precision - 1) };
    }
    env.flags |= Exception.UE;
    if (format.adjust === 0) return { significand: 0n, unit: 0 };
    exponent += format.adjust;
    top += format.adjust;
    // Scaling beyond even the adjusted range: as if masked.
    if (top < minimum) {
      r = { value: 0n, inexact: true, up: false };
    }
  } else if (top > maximum) {
    env.flags |= Exception.OE;
    if (env.masks & Exception.OE) {
      env.flags |= Exception.PE;
      env.roundedUp = env.rounding === Rounding.nearest || env.rounding === (sign ? Rounding.down : Rounding.up);
      if (env.roundedUp) return { significand: 1n, unit: 0, infinite: true };
      return { significand: (1n << BigInt(precision)) - 1n, unit: maximum - (precision - 1) };
    }
    if (format.adjust === 0) return { significand: 0n, unit: 0 };
    exponent -= format.adjust;
    // As far as only FSCALE gets.
    if (top - format.adjust > maximum) {
      env.flags |= Exception.PE;
      env.roundedUp = true;
      return { significand: 1n, unit: 0, infinite: true };
    }
  }
  if (r.inexact) env.flags |= Exception.PE;
  env.roundedUp = r.up;
  return { significand: r.value, unit: exponent - (precision - 1) };
}

/** significand * 2^unit as a register value; significand 0 gives a zero. */
export function pack(sign: number, unit: number, significand: bigint): Float80 {
  if (significand === 0n) return zero(sign);
  const shift = 64 - bitLength(significand);
  const exponent = unit - shift + 63 + BIAS;
  if (exponent > 0) return float80((sign << 15) | exponent, significand << BigInt(shift));
  return float80(sign << 15, significand << BigInt(unit - (1 - BIAS - 63)));
}

/** Rounds to a register: to `precision` bits in the 15-bit exponent range. */
export function roundExtended(
  env: Environment,
  sign: number,
  unit: number,
  significand: bigint,
  precision = 64,
): Float80 {
  const r = roundTo(env, EXTENDED[precision], sign, unit, significand);
  return r.infinite ? infinity(sign) : pack(sign, r.unit, r.significand);
}
