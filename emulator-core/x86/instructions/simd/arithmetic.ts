/** Packed integer arithmetic. */
import type { Expr } from '../../../translate/wasm';
import { i16x8, i32x4, i64x2, i8x16 } from '../../../translate/wasmSimd';
import type { Family, Instruction } from '../instruction';
import { MMX_UP, binaryParts, encodings, type Encodings } from './forms';

const packed = (name: string, manual: string, sets: Encodings, operation: (x: Expr, y: Expr) => Expr): Instruction[] =>
  encodings(name, sets, { manual, semantics: binaryParts(operation) });

export const simdArithmetic: Family = [
  ...packed('Paddb', 'PADDB/PADDW/PADDD/PADDQ—Add Packed Integers', MMX_UP, i8x16.add),
  ...packed('Paddw', 'PADDB/PADDW/PADDD/PADDQ—Add Packed Integers', MMX_UP, i16x8.add),
  ...packed('Paddd', 'PADDB/PADDW/PADDD/PADDQ—Add Packed Integers', MMX_UP, i32x4.add),
  ...packed('Paddq', 'PADDB/PADDW/PADDD/PADDQ—Add Packed Integers', { ...MMX_UP, mmx: 'sse2' }, i64x2.add),
];
