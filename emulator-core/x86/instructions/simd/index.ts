/** Vector instructions: MMX, SSE, AVX. */
import type { Family } from '../instruction';
import { simdArithmetic } from './arithmetic';
import { simdCrypto } from './cryptography';
import { floatArithmetic } from './floatArithmetic';
import { floatCompare } from './floatCompare';
import { floatConvert } from './floatConvert';
import { floatFused } from './floatFused';
import { simdElements } from './elements';
import { simdLogic } from './logic';
import { simdMasked } from './masked';
import { simdMoves } from './moves';
import { simdMultiply } from './multiply';
import { simdShifts } from './shifts';
import { simdShuffles } from './shuffles';
import { simdStrings } from './strings';

export const simd: Family = [
  ...simdMoves,
  ...floatArithmetic,
  ...floatCompare,
  ...floatConvert,
  ...floatFused,
  ...simdElements,
  ...simdLogic,
  ...simdShuffles,
  ...simdArithmetic,
  ...simdMultiply,
  ...simdShifts,
  ...simdStrings,
  ...simdMasked,
  ...simdCrypto,
];
