/** Bitwise logic, and tests that set flags. */
import type { Builder } from '../../../translate/builder';
import { i32, i64, i64c, type Expr } from '../../../translate/wasm';
import { i32x4, i64x2, v128 } from '../../../translate/wasmSimd';
import type { Family, Instruction } from '../instruction';
import { DOUBLE_UP, MMX_UP, SINGLE_UP, binaryParts, encodings, readParts, type Encodings } from './forms';

const bitwise = (operation: (x: Expr, y: Expr) => Expr, ...rows: [string, string, Encodings][]): Instruction[] =>
  rows.flatMap(([name, manual, sets]) => encodings(name, sets, { manual, semantics: binaryParts(operation) }));

const any = (values: Expr[]): Expr => values.reduce((x, y) => i32.or(x, y));

/** ZF: `both(source AND destination)` finds nothing; CF: the same of source AND NOT destination; other arithmetic flags 0. */
const test =
  (found: (bits: Expr) => Expr) =>
  (b: Builder): void => {
    const y = readParts(b, 1);
    const x = readParts(b, 0);
    const none = (values: Expr[]): Expr => b.let(i64.extendU(i32.eqz(any(values))));
    const zero = none(x.map((part, i) => found(v128.and(part, y[i]))));
    const carry = none(x.map((part, i) => found(v128.andnot(y[i], part))));
    b.setLowFlags(i64.shl(zero, i64c(6)));
    b.flagsCarry(carry, i64c(0));
  };
const VTEST = 'VTESTPD/VTESTPS—Packed Bit Test';

export const simdLogic: Family = [
  ...bitwise(
    v128.and,
    ['Pand', 'PAND—Logical AND', MMX_UP],
    ['Andps', 'ANDPS—Bitwise Logical AND of Packed Single Precision Floating-Point Values', SINGLE_UP],
    ['Andpd', 'ANDPD—Bitwise Logical AND of Packed Double Precision Floating-Point Values', DOUBLE_UP],
  ),
  ...bitwise(
    (x, y) => v128.andnot(y, x),
    ['Pandn', 'PANDN—Logical AND NOT', MMX_UP],
    ['Andnps', 'ANDNPS—Bitwise Logical AND NOT of Packed Single Precision Floating-Point Values', SINGLE_UP],
    ['Andnpd', 'ANDNPD—Bitwise Logical AND NOT of Packed Double Precision Floating-Point Values', DOUBLE_UP],
  ),
  ...bitwise(
    v128.or,
    ['Por', 'POR—Bitwise Logical OR', MMX_UP],
    ['Orps', 'ORPS—Bitwise Logical OR of Packed Single Precision Floating-Point Values', SINGLE_UP],
    ['Orpd', 'ORPD—Bitwise Logical OR of Packed Double Precision Floating-Point Values', DOUBLE_UP],
  ),
  ...bitwise(
    v128.xor,
    ['Pxor', 'PXOR—Logical Exclusive OR', MMX_UP],
    ['Xorps', 'XORPS—Bitwise Logical XOR of Packed Single Precision Floating-Point Values', SINGLE_UP],
    ['Xorpd', 'XORPD—Bitwise Logical XOR of Packed Double Precision Floating-Point Values', DOUBLE_UP],
  ),
  ...encodings(
    'Ptest',
    { sse: 'sse4_1', vex128: 'avx', vex256: 'avx' },
    { manual: 'PTEST—Logical Compare', semantics: test(v128.anyTrue) },
  ),
  ...encodings('Testps', { vex128: 'avx', vex256: 'avx' }, { manual: VTEST, semantics: test(i32x4.bitmask) }),
  ...encodings('Testpd', { vex128: 'avx', vex256: 'avx' }, { manual: VTEST, semantics: test(i64x2.bitmask) }),
];
