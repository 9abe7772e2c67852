/**
 * How a vector operation becomes rows: most exist as MMX, SSE, VEX.128 and VEX.256 instructions that differ in registers and
 * feature only.
 */
import type { Builder } from '../../../translate/builder';
import { i32, i32c, select, type Expr } from '../../../translate/wasm';
import { i16x8, i32x4, i64x2, i8x16, shuffle, v128, v128c } from '../../../translate/wasmSimd';
import type { Instruction } from '../instruction';

/** CPUID features by encoding; an encoding without feature does not exist. */
export interface Encodings {
  mmx?: string;
  sse?: string;
  /** VEX.128, and VEX.256. */
  vex128?: string;
  vex256?: string;
}

/** The usual sets of integer instructions. */
export const MMX_UP: Encodings = { mmx: 'mmx', sse: 'sse2', vex128: 'avx', vex256: 'avx2' };
export const SSE2_UP: Encodings = { sse: 'sse2', vex128: 'avx', vex256: 'avx2' };
export const SSSE3_UP: Encodings = { mmx: 'ssse3', sse: 'ssse3', vex128: 'avx', vex256: 'avx2' };
export const SSE41_UP: Encodings = { sse: 'sse4_1', vex128: 'avx', vex256: 'avx2' };
export const SSE42_UP: Encodings = { sse: 'sse4_2', vex128: 'avx', vex256: 'avx2' };
/** The MMX forms that came with SSE. */
export const SSE_MMX_UP: Encodings = { mmx: 'sse', sse: 'sse2', vex128: 'avx', vex256: 'avx2' };
/** Of instructions over floating-point values: all of AVX came at once. */
export const SINGLE_UP: Encodings = { sse: 'sse', vex128: 'avx', vex256: 'avx' };
export const DOUBLE_UP: Encodings = { sse: 'sse2', vex128: 'avx', vex256: 'avx' };

/** What all encodings of an operation share. `name`: the legacy mnemonic as iced-x86 spells it ('Paddb'); VEX adds a V. */
export type Shared = Omit<Instruction, 'mnemonic' | 'operands' | 'feature' | 'unit'>;

/**
 * Rows for the encodings of one operation. Codes are told apart by their first vector operand (`place`: which of the operands
 * tells, 0 by default).
 */
export function encodings(name: string, sets: Encodings, shared: Shared, place = 0): Instruction[] {
  const before = place ? `^(?:[^_]+_){${place}}` : '^';
  const at = (file: string): RegExp => new RegExp(`${before}${file}(_|m|$)`);
  const rows: Instruction[] = [];
  const vex = 'V' + name[0].toLowerCase() + name.slice(1);
  if (sets.mmx) rows.push({ ...shared, mnemonic: name, operands: at('mm'), feature: sets.mmx, unit: 'mmx' });
  if (sets.sse) rows.push({ ...shared, mnemonic: name, operands: at('xmm'), feature: sets.sse, unit: 'sse' });
  if (sets.vex128) rows.push({ ...shared, mnemonic: vex, operands: at('xmm'), feature: sets.vex128, unit: 'avx' });
  if (sets.vex256) rows.push({ ...shared, mnemonic: vex, operands: at('ymm'), feature: sets.vex256, unit: 'avx' });
  return rows;
}

/** Parts 0 .. parts-1 of an operand, each named. */
export function readParts(b: Builder, i: number): Expr[] {
  return Array.from({ length: b.parts }, (_, part) => b.let(b.readVector(i, part)));
}

/** Place of the first source: legacy encodings combine operands 0 and 1, VEX ones 1 and 2. An immediate comes last. */
export function firstSource(b: Builder): 0 | 1 {
  const immediate = b.kind(b.operandCount - 1) === 'i' ? 1 : 0;
  return b.operandCount - immediate >= 3 ? 1 : 0;
}

/** The 8-bit immediate, the last operand, as i32: named. */
export function immediate(b: Builder): Expr {
  return b.let(i32.wrap(b.read(b.operandCount - 1)));
}

/** destination = operation(first source, second source), part by part: legacy `a op= b`, VEX `d = a op b`. */
export function binaryParts(operation: (x: Expr, y: Expr, b: Builder, part: number) => Expr): (b: Builder) => void {
  return (b) => {
    const first = firstSource(b);
    const y = readParts(b, first + 1);
    b.writeVector(0, y.map((part, i) => b.let(operation(b.let(b.readVector(first, i)), part, b, i)))); // prettier-ignore
  };
}

/** destination = operation(source), part by part. */
export function unaryParts(operation: (x: Expr, b: Builder, part: number) => Expr): (b: Builder) => void {
  return (b) => b.writeVector(0, readParts(b, 1).map((part, i) => b.let(operation(part, b, i)))); // prettier-ignore
}

const constant = (bytes: number, values: readonly number[]): Expr =>
  v128c(values.flatMap((value) => Array.from({ length: bytes }, (_, i) => Math.floor(value / 256 ** i) & 0xff)));
/** Constants by lane: 16, 8, 4 and 2 unsigned values. */
export const bytes16 = (...values: number[]): Expr => constant(1, values);
export const words8 = (...values: number[]): Expr => constant(2, values);
export const dwords4 = (...values: number[]): Expr => constant(4, values);
export const qwords2 = (...values: number[]): Expr => constant(8, values);

/** 0, 1, 2 .. 15. */
export const IOTA = v128c(Array.from({ length: 16 }, (_, i) => i));

/** The low halves of x and y, as one vector. */
export const joinLow = (x: Expr, y: Expr): Expr =>
  shuffle(x, y, [0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23]);
/** The high halves. */
export const joinHigh = (x: Expr, y: Expr): Expr =>
  shuffle(x, y, [8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31]);

/** Every second lane of x and then of y, `bytes` wide, from lane `odd` (0 or 1) on. */
export function everySecond(x: Expr, y: Expr, bytes: number, odd: 0 | 1): Expr {
  const lanes = Array.from({ length: 16 }, (_, i) => (2 * Math.floor(i / bytes) + odd) * bytes + (i % bytes));
  return shuffle(x, y, lanes);
}

/** min(value, limit), unsigned; value is named. */
export function atMost(value: Expr, limit: number): Expr {
  return select(i32.geU(value, i32c(limit)), i32c(limit), value);
}

/** Lanes of all ones where bit `shift` + lane of the immediate is set. `size`: of a lane in bits. */
export function immediateMask(size: 16 | 32 | 64, imm: Expr, shift = 0): Expr {
  const bits = shift ? i32.shrU(imm, i32c(shift)) : imm;
  if (size === 16) {
    const one = words8(1, 2, 4, 8, 16, 32, 64, 128);
    return i16x8.ne(v128.and(i16x8.splat(bits), one), v128.zero);
  }
  if (size === 32) return i32x4.ne(v128.and(i32x4.splat(bits), dwords4(1, 2, 4, 8)), v128.zero);
  return i64x2.ne(v128.and(i32x4.splat(bits), qwords2(1, 2)), v128.zero);
}

const ALL_FOURS = dwords4(...Array<number>(4).fill(0x04040404));
const FIRST_BYTES = dwords4(...Array<number>(4).fill(0x03020100));
/** Byte indices for swizzle, from indices of 32-bit lanes (0 .. 3 each). */
export function dwordIndices(lanes: Expr): Expr {
  return i32x4.add(i32x4.mul(lanes, ALL_FOURS), FIRST_BYTES);
}

/** Four 2-bit fields of the immediate, from bit 0 on, as 32-bit lanes. */
export function twoBitFields(imm: Expr): Expr {
  const aligned = i32x4.shrU(i32x4.mul(i32x4.splat(imm), dwords4(64, 16, 4, 1)), i32c(6));
  return v128.and(aligned, dwords4(3, 3, 3, 3));
}

/** Bytes of the vector moved down by `count` (an i32, -16 .. 16): zeroes come in. */
export function moveBytes(vector: Expr, count: Expr): Expr {
  return i8x16.swizzle(vector, i8x16.add(IOTA, i8x16.splat(count)));
}
