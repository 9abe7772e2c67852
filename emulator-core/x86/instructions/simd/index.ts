/** Vector instructions: MMX, SSE, AVX. */
import type { Family } from '../instruction';
import { simdArithmetic } from './arithmetic';
import { floatArithmetic } from './floatArithmetic';
import { floatCompare } from './floatCompare';
import { floatConvert } from './floatConvert';
import { floatFused } from './floatFused';
import { simdMoves } from './moves';

export const simd: Family = [
  ...simdMoves,
  ...simdArithmetic,
  ...floatArithmetic,
  ...floatCompare,
  ...floatConvert,
  ...floatFused,
];
