/**
 * How a vector operation becomes rows: most exist as MMX, SSE, VEX.128 and VEX.256 instructions that differ in registers and
 * feature only.
 */
import type { Builder } from '../../../translate/builder';
import type { Expr } from '../../../translate/wasm';
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

/** destination = operation(first source, second source), part by part: legacy `a op= b`, VEX `d = a op b`. */
export function binaryParts(operation: (x: Expr, y: Expr, b: Builder) => Expr): (b: Builder) => void {
  return (b) => {
    const first = b.operandCount === 3 ? 1 : 0;
    const y = readParts(b, first + 1);
    b.writeVector(0, y.map((part, i) => b.let(operation(b.let(b.readVector(first, i)), part, b)))); // prettier-ignore
  };
}

/** destination = operation(source), part by part. */
export function unaryParts(operation: (x: Expr, b: Builder) => Expr): (b: Builder) => void {
  return (b) => b.writeVector(0, readParts(b, 1).map((part) => b.let(operation(part, b)))); // prettier-ignore
}
