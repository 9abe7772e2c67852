/** Vector instructions: MMX, SSE, AVX. */
import type { Family } from '../instruction';
import { simdArithmetic } from './arithmetic';
import { simdMoves } from './moves';

export const simd: Family = [...simdMoves, ...simdArithmetic];
