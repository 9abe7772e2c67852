/**
 * How floating-point operations become rows and handlers. A handler computes natively, which is right when no lane meets anything
 * special and MXCSR asks for what WebAssembly does (round to nearest, nothing unmasked) and has the precision flag already; else it
 * calls the operation of cpu/fpu/softfloat. Both come from one description. SDM Vol. 1, "SIMD Floating-Point Exceptions".
 */
import { Mxcsr } from '../../../cpu/fpu/softfloat/environment';
import { FloatArgument, type FloatOperationName } from '../../../cpu/vector/float';
import type { Builder } from '../../../translate/builder';
import { i32, i32c, type Expr } from '../../../translate/wasm';
import { f32x4, f64x2, i32x4, shuffle, v128, v128c } from '../../../translate/wasmSimd';
import type { Instruction } from '../instruction';
import { encodings, type Shared } from './forms';

/** Lane instructions of WebAssembly. */
export type Lanes = typeof f32x4 | typeof f64x2;

/** One of the four kinds of floating-point instruction. */
export interface Kind {
  suffix: 'ps' | 'pd' | 'ss' | 'sd';
  double: boolean;
  scalar: boolean;
  lanes: Lanes;
  /** Lanes in 128 bits. */
  perPart: 2 | 4;
}

const kind = (suffix: Kind['suffix']): Kind => {
  const double = suffix[1] === 'd';
  return { suffix, double, scalar: suffix[0] === 's', lanes: double ? f64x2 : f32x4, perPart: double ? 2 : 4 };
};
export const PS = kind('ps');
export const PD = kind('pd');
export const SS = kind('ss');
export const SD = kind('sd');
export const ALL_KINDS = [PS, PD, SS, SD];
export const PACKED_KINDS = [PS, PD];

/** A number in every lane. */
export function splat(k: Kind, value: number): Expr {
  const array = k.double ? new Float64Array([value, value]) : new Float32Array([value, value, value, value]);
  return v128c(new Uint8Array(array.buffer));
}

const smallestNormal = (k: Kind): number => (k.double ? 2 ** -1022 : 2 ** -126);

/** Lanes that are zero. */
export const isZero = (k: Kind, x: Expr): Expr => k.lanes.eq(x, v128.zero);
/** Lanes that are no NaN and not denormal. */
export const isPlain = (k: Kind, x: Expr): Expr =>
  v128.or(k.lanes.ge(k.lanes.abs(x), splat(k, smallestNormal(k))), isZero(k, x));
/** Lanes that are normal; those next to the denormals may have been rounded up to that. */
export const isNormal = (k: Kind, x: Expr): Expr =>
  v128.and(k.lanes.ge(k.lanes.abs(x), splat(k, 2 * smallestNormal(k))), k.lanes.lt(k.lanes.abs(x), splat(k, Infinity)));
export const isBelow = (k: Kind, x: Expr, limit: number): Expr => k.lanes.lt(k.lanes.abs(x), splat(k, limit));

/** i32: results must not be rounded natively. */
export function refusesRounding(b: Builder): Expr {
  return i32.ne(i32.and(b.mxcsr(), i32c(Mxcsr.nativeFields)), i32c(Mxcsr.native));
}

/** i32: some lane (of a scalar kind: lane 0) of some part is false in `masks`. */
export function anyUnfit(k: Kind, masks: Expr[]): Expr {
  const all = masks.reduce((x, y) => v128.and(x, y));
  return i32.eqz(k.scalar ? i32x4.extract(all, 0) : i32x4.allTrue(all));
}

/** Calls the operation of cpu/fpu/softfloat on `count` lanes. `option`: its option, or the part of the argument that is in an Expr. */
export function callOperation(
  b: Builder,
  name: FloatOperationName,
  double: boolean,
  count: number,
  vectors: Expr[][],
  option: number | Expr = 0,
): Expr[] {
  const fixed = (double ? FloatArgument.double : 0) | (count << FloatArgument.countShift);
  const argument = typeof option === 'number' ? i32c(fixed | option) : i32.or(option, i32c(fixed));
  return b.vectorOperation(name, vectors, argument);
}

/** Lanes that a kind's operation works on. */
export const countOf = (b: Builder, k: Kind): number => (k.scalar ? 1 : k.perPart * b.parts);

/** Lane 0 of `low` under the other lanes of `rest`. */
export function mergeLow(k: Kind, low: Expr, rest: Expr): Expr {
  const bytes = k.double ? 8 : 4;
  return shuffle(low, rest, Array.from({ length: 16 }, (_, i) => (i < bytes ? i : i + 16))); // prettier-ignore
}

/** What a row computes: of the sources' lanes, natively and by an operation. */
export interface FloatForm {
  operation: FloatOperationName;
  option?: number;
  native?: (k: Kind, ...sources: Expr[]) => Expr;
  /** Lanes for which the native result is right. */
  fits?: (k: Kind, result: Expr, ...sources: Expr[]) => Expr;
  /** The native result is rounded (else it is exact, whatever MXCSR says). */
  rounds?: boolean;
}

/** Computes a form over parts of sources: hands the result's parts to `write`. */
export function compute(
  b: Builder,
  k: Kind,
  form: FloatForm,
  sources: Expr[][],
  write: (parts: Expr[]) => void,
  option: number | Expr = form.option ?? 0,
): void {
  const slowly = (): void => write(callOperation(b, form.operation, k.double, countOf(b, k), sources, option));
  const { native, fits } = form;
  if (!native || !fits) {
    slowly();
    return;
  }
  const parts = sources[0].map((_, p) => sources.map((s) => s[p]));
  const results = parts.map((xs) => b.let(native(k, ...xs)));
  const unfit = anyUnfit(k, results.map((r, p) => fits(k, r, ...parts[p]))); // prettier-ignore
  b.when(form.rounds ? i32.or(unfit, refusesRounding(b)) : unfit, slowly, () => write(results));
}

/** Parts of operand `i`, named; a scalar kind has one. */
export function floatParts(b: Builder, k: Kind, i: number): Expr[] {
  return Array.from({ length: k.scalar ? 1 : b.parts }, (_, part) => b.let(b.readVector(i, part)));
}

/** The immediate operand, i32. */
export function immediate(b: Builder): Expr {
  return b.let(i32.wrap(b.read(b.operandCount - 1)));
}

/**
 * destination = form(first source, second source): legacy `a op= b`, VEX `d = a op b`. A scalar result's upper lanes are those of
 * the first source. `imm`: the option, for an instruction with an immediate operand.
 */
export function binaryFloat(k: Kind, form: FloatForm, imm?: Expr): (b: Builder) => void {
  return (b) => {
    const last = b.operandCount - (imm ? 2 : 1);
    const y = floatParts(b, k, last);
    const x = floatParts(b, k, last - 1);
    compute(b, k, form, [x, y], (r) => b.writeVector(0, k.scalar ? [mergeLow(k, r[0], x[0])] : r), imm);
  };
}

/** destination = form(source); a scalar result's upper lanes are those of the operand before. */
export function unaryFloat(k: Kind, form: FloatForm): (b: Builder) => void {
  return (b) => {
    const last = b.operandCount - 1;
    const x = floatParts(b, k, last);
    const rest = k.scalar ? b.let(b.readVector(last - 1)) : undefined;
    compute(b, k, form, [x], (r) => b.writeVector(0, rest ? [mergeLow(k, r[0], rest)] : r));
  };
}

/** CPUID feature of the legacy encoding where a row says nothing else. */
export const featureOf = (k: Kind): string => (k.double ? 'sse2' : 'sse');

/** 'Packed Single' and so on, as titles have it. */
export function precisionOf(k: Kind): string {
  return `${k.scalar ? 'Scalar' : 'Packed'} ${k.double ? 'Double' : 'Single'}`;
}

/** Rows of one kind of an instruction: legacy, VEX.128 and, packed, VEX.256. `feature`: of the legacy one. */
export function kindRows(name: string, k: Kind, feature: string, shared: Shared): Instruction[] {
  return encodings(name, { sse: feature, vex128: 'avx', ...(k.scalar ? {} : { vex256: 'avx' }) }, shared);
}
