/** Conversions between floating-point formats and integers, in vector, general and MMX registers. */
import type { FloatOperationName } from '../../../cpu/vector/float';
import type { Builder } from '../../../translate/builder';
import { i32, i32c, i64, i64c, type Expr } from '../../../translate/wasm';
import { f32x4, f64x2, i32x4, i64x2, shuffle, v128 } from '../../../translate/wasmSimd';
import type { Family, Instruction } from '../instruction';
import { encodings } from './forms';
import {
  PD,
  PS,
  SD,
  SS,
  anyUnfit,
  callOperation,
  floatParts,
  immediate,
  isBelow,
  isNormal,
  isPlain,
  isZero,
  mergeLow,
  refusesRounding,
  type Kind,
} from './floatForms';

/** MXCSR: precision masked, and its flag set: an inexact result changes nothing. RC as well where a rounding depends on it. */
const SEEN_INEXACT = 0x1020;
const ROUNDING = 0x6000;

const lowHalves = (a: Expr, b: Expr): Expr => shuffle(a, b, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]);
const highHalf = (a: Expr): Expr => shuffle(a, a, [8, 9, 10, 11, 12, 13, 14, 15, 8, 9, 10, 11, 12, 13, 14, 15]);
/** The high half becomes zero. */
const lowHalf = (a: Expr): Expr => lowHalves(a, v128.zero);

/** How lanes change their width. */
type Widths = 'same' | 'wider' | 'narrower';

interface Conversion {
  operation: FloatOperationName;
  option?: number;
  /** Format argument of the operation. */
  double: boolean;
  widths: Widths;
  /** Of the lanes (the two low ones, where widths differ), and which of those are right. Absent: only the operation does it. */
  native?: (x: Expr) => Expr;
  fits?: (r: Expr, x: Expr) => Expr;
  /** i32: MXCSR asks for more than `native` gives. */
  refuses?: (b: Builder) => Expr;
  /** It cannot meet anything special. */
  exact?: boolean;
}

/** destination = conversion(source): as many lanes as the wider of both vectors holds. */
function convertLanes(c: Conversion): (b: Builder) => void {
  return (b) => {
    const count = (c.widths === 'same' ? 4 : 2) * b.parts;
    const source = Array.from({ length: c.widths === 'wider' ? 1 : b.parts }, (_, p) => b.let(b.readVector(1, p)));
    // Of a source whose lanes become wider, the second part of the result is made of the high half.
    const inputs = c.widths === 'wider' && b.parts === 2 ? [source[0], b.let(highHalf(source[0]))] : source;
    const finish = (parts: Expr[]): void => {
      if (c.widths !== 'narrower') b.writeVector(0, parts);
      else b.writeVector(0, [parts.length === 2 ? lowHalves(parts[0], parts[1]) : lowHalf(parts[0])]);
    };
    const slowly = (): void => {
      const parts = callOperation(b, c.operation, c.double, count, [inputs], c.option);
      if (c.widths === 'narrower') b.writeVector(0, [b.parts === 2 ? parts[0] : lowHalf(parts[0])]);
      else b.writeVector(0, parts);
    };
    const { native, fits } = c;
    if (!native) {
      slowly();
      return;
    }
    const results = inputs.map((x) => b.let(native(x)));
    if (c.exact) finish(results);
    else {
      const unfit = anyUnfit(PS, results.map((r, i) => fits!(r, inputs[i]))); // prettier-ignore
      b.when(c.refuses ? i32.or(unfit, c.refuses(b)) : unfit, slowly, () => finish(results));
    }
  };
}

/** Lanes 0 and 1 of a mask for 64-bit lanes hold for the low half; the high half does not count. */
const lowMask = (mask: Expr): Expr => v128.or(mask, shuffle(v128.zero, v128.ones, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23])); // prettier-ignore

/** i32: an inexact rounding to integers would be seen, or (not truncating) go elsewhere. */
function refusesInteger(truncate: boolean): (b: Builder) => Expr {
  const fields = truncate ? SEEN_INEXACT : SEEN_INEXACT | ROUNDING;
  return (b) => i32.ne(i32.and(b.mxcsr(), i32c(fields)), i32c(SEEN_INEXACT));
}

const toInt32 = (k: Kind, truncate: boolean): Conversion => ({
  operation: 'float:toInt32',
  option: truncate ? 1 : 0,
  double: k.double,
  widths: k.double ? 'narrower' : 'same',
  native: (x) => {
    const whole = truncate ? x : k.lanes.nearest(x);
    return k.double ? i32x4.truncSatF64x2SZero(whole) : i32x4.truncSatF32x4S(whole);
  },
  fits: (_r, x) => isBelow(k, x, 2 ** 31 - 1),
  refuses: refusesInteger(truncate),
});

const DQ_PS: Conversion = {
  operation: 'float:fromInt32',
  double: false,
  widths: 'same',
  native: f32x4.convertI32x4S,
  fits: () => v128.ones,
  refuses: refusesRounding,
};
const DQ_PD: Conversion = {
  operation: 'float:fromInt32',
  double: true,
  widths: 'wider',
  native: f64x2.convertLowI32x4S,
  exact: true,
};
const PS_PD: Conversion = {
  operation: 'float:widen',
  double: true,
  widths: 'wider',
  native: f64x2.promoteLowF32x4,
  fits: (_r, x) => lowMask(isPlain(PS, x)),
};
const PD_PS: Conversion = {
  operation: 'float:narrow',
  double: false,
  widths: 'narrower',
  native: f32x4.demoteF64x2Zero,
  fits: (r, x) => v128.and(isPlain(PD, x), fitsNarrow(r, x)),
  refuses: refusesRounding,
};
/** For 64-bit lanes of x: the single made of it is normal, or both are zero. */
function fitsNarrow(r: Expr, x: Expr): Expr {
  const single = v128.or(isNormal(PS, r), isZero(PS, r));
  const nonzeroLost = v128.and(i32x4ToMask64(isZero(PS, r)), v128.not(isZero(PD, x)));
  return v128.and(i32x4ToMask64(single), v128.not(nonzeroLost));
}
/** The two low 32-bit masks as 64-bit masks. */
function i32x4ToMask64(mask: Expr): Expr {
  return i64x2.extendLowI32x4S(mask);
}
const PH_PS: Conversion = { operation: 'float:widenHalf', double: false, widths: 'wider' };

/** Rows of a conversion whose source tells 128 bits from 256 (or whose destination does). */
function vectorRows(name: string, feature: string, manual: string, c: Conversion, place = 0): Instruction[] {
  const sets = { sse: feature, vex128: 'avx', vex256: 'avx' };
  return encodings(name, sets, { manual, semantics: convertLanes(c) }, place);
}

/** VCVTPH2PS: four or eight lanes, whose source is half as wide. */
function convertHalves(b: Builder): void {
  const source = b.let(b.readVector(1));
  b.writeVector(0, callOperation(b, PH_PS.operation, false, 4 * b.parts, [Array<Expr>(b.parts).fill(source)]));
}

/** VCVTPS2PH. Exceptions of the conversion come before those of the store; a fault of the store finds MXCSR's flags set. */
function convertToHalves(b: Builder): void {
  const source = floatParts(b, PS, 1);
  const option = i32.and(immediate(b), i32c(7));
  const [result] = callOperation(b, 'float:narrowHalf', false, 4 * b.parts, [source], option);
  b.writeVector(0, [b.parts === 2 ? result : lowHalf(result)]);
}

/** CVTSS2SD, CVTSD2SS: lane 0; the rest is that of the operand before. */
function convertScalar(to: Kind, c: Conversion): (b: Builder) => void {
  const from = to.double ? SS : SD;
  return (b) => {
    const last = b.operandCount - 1;
    const x = b.let(b.readVector(last));
    const rest = b.let(b.readVector(last - 1));
    const result = b.let(c.native!(x));
    const unfit = anyUnfit(from, [c.fits!(result, x)]);
    const write = (value: Expr): void => b.writeVector(0, [mergeLow(to, value, rest)]);
    b.when(
      c.refuses ? i32.or(unfit, c.refuses(b)) : unfit,
      () => write(callOperation(b, c.operation, c.double, 1, [[x]])[0]),
      () => write(result),
    );
  };
}

/** A general register or memory -> lane 0. Integers of up to 53 (24) bits are exact. */
function fromGeneral(k: Kind): (b: Builder) => void {
  return (b) => {
    const last = b.operandCount - 1;
    const bits = b.bits(last);
    const value = b.let(b.readSigned(last));
    const rest = b.let(b.readVector(last - 1));
    const write = (part: Expr): void => b.writeVector(0, [mergeLow(k, part, rest)]);
    const natively = (): void => write(k.lanes.splatI64S(value));
    const precision = k.double ? 53 : 24;
    if (bits === 32 && k.double) {
      natively();
      return;
    }
    const beyond = i64.gtU(i64.add(value, i64c(2 ** precision)), i64c(2 ** (precision + 1)));
    b.when(
      i32.and(beyond, refusesRounding(b)),
      () => write(callOperation(b, bits === 64 ? 'float:fromInt64' : 'float:fromInt32', k.double, 1, [[i64x2.splat(value)]])[0]), // prettier-ignore
      natively,
    );
  };
}

/** Lane 0 -> a general register. */
function toGeneral(k: Kind, truncate: boolean): (b: Builder) => void {
  return (b) => {
    const bits = b.bits(0);
    const x = b.let(b.readVector(1));
    const whole = b.let(truncate ? k.lanes.trunc(x) : k.lanes.nearest(x));
    const limit = bits === 32 ? 2 ** 31 - 1 : 2 ** 63;
    const inexact = anyUnfit(k, [k.lanes.eq(x, whole)]);
    const unfit = i32.or(anyUnfit(k, [isBelow(k, x, limit)]), i32.and(inexact, refusesInteger(truncate)(b)));
    const name = bits === 64 ? 'float:toInt64' : 'float:toInt32';
    b.when(
      unfit,
      () => b.write(0, i64x2.extract(callOperation(b, name, k.double, 1, [[x]], truncate ? 1 : 0)[0], 0)),
      () => b.write(0, k.lanes.truncateI64S(whole)),
    );
  };
}

/** Two 32-bit integers of an MMX register or memory -> the low half, or both halves as doubles. */
function fromMmx(k: Kind): (b: Builder) => void {
  return (b) => {
    const x = b.let(b.readVector(1));
    if (k.double) {
      b.writeVector(0, [f64x2.convertLowI32x4S(x)]);
      return;
    }
    const rest = b.let(b.readVector(0));
    const write = (part: Expr): void => b.writeVector(0, [mergeLow(PD, part, rest)]);
    b.when(
      refusesRounding(b),
      () => write(callOperation(b, 'float:fromInt32', false, 2, [[x]])[0]),
      () => write(f32x4.convertI32x4S(x)),
    );
  };
}

function toMmx(k: Kind, truncate: boolean): (b: Builder) => void {
  return (b) => {
    const x = b.let(b.readVector(1));
    b.writeVector(0, callOperation(b, 'float:toInt32', k.double, 2, [[x]], truncate ? 1 : 0));
  };
}

function scalarRows(name: string, manual: string, feature: string, semantics: (b: Builder) => void): Instruction[] {
  const vex = 'V' + name[0].toLowerCase() + name.slice(1);
  return [
    { mnemonic: name, manual, feature, unit: 'sse', semantics },
    { mnemonic: vex, manual, feature: 'avx', unit: 'avx', semantics },
  ];
}

function mmxRow(name: string, manual: string, feature: string, semantics: (b: Builder) => void): Instruction {
  return { mnemonic: name, manual, feature, unit: 'sse', semantics };
}

const TRUNCATED = 'With Truncation ';
const DWORD = 'Packed Signed Doubleword Integer Values';

export const floatConvert: Family = [
  ...vectorRows('Cvtdq2ps', 'sse2', 'CVTDQ2PS—Convert Packed Doubleword Integers to Packed Single Precision Floating-Point Values', DQ_PS),
  ...vectorRows('Cvtdq2pd', 'sse2', 'CVTDQ2PD—Convert Packed Doubleword Integers to Packed Double Precision Floating-Point Values', DQ_PD),
  ...vectorRows('Cvtps2pd', 'sse2', 'CVTPS2PD—Convert Packed Single Precision Floating-Point Values to Packed Double Precision Floating-Point Values', PS_PD),
  ...vectorRows('Cvtpd2ps', 'sse2', 'CVTPD2PS—Convert Packed Double Precision Floating-Point Values to Packed Single Precision Floating-Point Values', PD_PS, 1),
  ...vectorRows('Cvtps2dq', 'sse2', `CVTPS2DQ—Convert Packed Single Precision Floating-Point Values to ${DWORD}`, toInt32(PS, false)),
  ...vectorRows('Cvttps2dq', 'sse2', `CVTTPS2DQ—Convert ${TRUNCATED}Packed Single Precision Floating-Point Values to ${DWORD}`, toInt32(PS, true)),
  ...vectorRows('Cvtpd2dq', 'sse2', 'CVTPD2DQ—Convert Packed Double Precision Floating-Point Values to Packed Doubleword Integers', toInt32(PD, false), 1),
  ...vectorRows('Cvttpd2dq', 'sse2', `CVTTPD2DQ—Convert ${TRUNCATED}Packed Double Precision Floating-Point Values to Packed Doubleword Integers`, toInt32(PD, true), 1),
  ...encodings('Cvtph2ps', { vex128: 'f16c', vex256: 'f16c' }, { manual: 'VCVTPH2PS—Convert Packed FP16 Values to Single Precision Floating-Point Values', semantics: convertHalves }),
  ...encodings('Cvtps2ph', { vex128: 'f16c', vex256: 'f16c' }, { manual: 'VCVTPS2PH—Convert Single Precision Floating-Point Values to 16-bit Floating-Point Values', semantics: convertToHalves }, 1),
  ...scalarRows('Cvtss2sd', 'CVTSS2SD—Convert Scalar Single Precision Floating-Point Value to Scalar Double Precision Floating-Point Value', 'sse2', convertScalar(SD, PS_PD)),
  ...scalarRows('Cvtsd2ss', 'CVTSD2SS—Convert Scalar Double Precision Floating-Point Value to Scalar Single Precision Floating-Point Value', 'sse2', convertScalar(SS, PD_PS)),
  ...scalarRows('Cvtsi2ss', 'CVTSI2SS—Convert Doubleword Integer to Scalar Single Precision Floating-Point Value', 'sse', fromGeneral(SS)),
  ...scalarRows('Cvtsi2sd', 'CVTSI2SD—Convert Doubleword Integer to Scalar Double Precision Floating-Point Value', 'sse2', fromGeneral(SD)),
  ...scalarRows('Cvtss2si', 'CVTSS2SI—Convert Scalar Single Precision Floating-Point Value to Doubleword Integer', 'sse', toGeneral(SS, false)),
  ...scalarRows('Cvtsd2si', 'CVTSD2SI—Convert Scalar Double Precision Floating-Point Value to Doubleword Integer', 'sse2', toGeneral(SD, false)),
  ...scalarRows('Cvttss2si', `CVTTSS2SI—Convert ${TRUNCATED}Scalar Single Precision Floating-Point Value to Integer`, 'sse', toGeneral(SS, true)),
  ...scalarRows('Cvttsd2si', `CVTTSD2SI—Convert ${TRUNCATED}Scalar Double Precision Floating-Point Value to Signed Integer`, 'sse2', toGeneral(SD, true)),
  mmxRow('Cvtpi2ps', 'CVTPI2PS—Convert Packed Dword Integers to Packed Single Precision Floating-Point Values', 'sse', fromMmx(PS)),
  mmxRow('Cvtpi2pd', 'CVTPI2PD—Convert Packed Dword Integers to Packed Double Precision Floating-Point Values', 'sse2', fromMmx(PD)),
  mmxRow('Cvtps2pi', 'CVTPS2PI—Convert Packed Single Precision Floating-Point Values to Packed Dword Integers', 'sse', toMmx(PS, false)),
  mmxRow('Cvttps2pi', `CVTTPS2PI—Convert ${TRUNCATED}Packed Single Precision Floating-Point Values to Packed Dword Integers`, 'sse', toMmx(PS, true)),
  mmxRow('Cvtpd2pi', 'CVTPD2PI—Convert Packed Double Precision Floating-Point Values to Packed Dword Integers', 'sse2', toMmx(PD, false)),
  mmxRow('Cvttpd2pi', `CVTTPD2PI—Convert ${TRUNCATED}Packed Double Precision Floating-Point Values to Packed Dword Integers`, 'sse2', toMmx(PD, true)),
]; // prettier-ignore
