/** Packed integer multiplication, and sums of products and of differences. */
import { i32, i32c, type Expr } from '../../../translate/wasm';
import { i16x8, i32x4, i64x2, i8x16, v128 } from '../../../translate/wasmSimd';
import type { Family, Instruction } from '../instruction';
import {
  MMX_UP,
  SSE41_UP,
  SSE_MMX_UP,
  SSSE3_UP,
  binaryParts,
  encodings,
  everySecond,
  firstSource,
  immediate,
  qwords2,
  readParts,
  unaryParts,
  words8,
  type Encodings,
} from './forms';

const packed = (
  name: string,
  manual: string,
  sets: Encodings,
  operation: Parameters<typeof binaryParts>[0],
): Instruction[] => encodings(name, sets, { manual, semantics: binaryParts(operation) });

type Products = (x: Expr, y: Expr) => Expr;
/** High halves of the 16-bit products. */
const highWords =
  (low: Products, high: Products): Products =>
  (x, y) =>
    everySecond(low(x, y), high(x, y), 2, 1);
/** Products of the even 32-bit lanes. */
const evenDwords =
  (multiply: Products): Products =>
  (x, y) =>
    multiply(everySecond(x, x, 4, 0), everySecond(y, y, 4, 0));

const INT16_MIN = words8(...Array<number>(8).fill(0x8000));

export const simdMultiply: Family = [
  ...packed('Pmullw', 'PMULLW—Multiply Packed Signed Integers and Store Low Result', MMX_UP, i16x8.mul),
  ...packed('Pmulld', 'PMULLD/PMULLQ—Multiply Packed Integers and Store Low Result', SSE41_UP, i32x4.mul),
  ...packed(
    'Pmulhw',
    'PMULHW—Multiply Packed Signed Integers and Store High Result',
    MMX_UP,
    highWords(i32x4.extmulLowI16x8S, i32x4.extmulHighI16x8S),
  ),
  ...packed(
    'Pmulhuw',
    'PMULHUW—Multiply Packed Unsigned Integers and Store High Result',
    SSE_MMX_UP,
    highWords(i32x4.extmulLowI16x8U, i32x4.extmulHighI16x8U),
  ),
  ...packed(
    'Pmuludq',
    'PMULUDQ—Multiply Packed Unsigned Doubleword Integers',
    { ...MMX_UP, mmx: 'sse2' },
    evenDwords(i64x2.extmulLowI32x4U),
  ),
  ...packed('Pmuldq', 'PMULDQ—Multiply Packed Doubleword Integers', SSE41_UP, evenDwords(i64x2.extmulLowI32x4S)),
  ...packed('Pmulhrsw', 'PMULHRSW—Packed Multiply High With Round and Scale', SSSE3_UP, (x, y) => {
    // WebAssembly saturates -1 * -1, x86 wraps: 0x7fff becomes 0x8000 there.
    const wraps = v128.and(i16x8.eq(x, INT16_MIN), i16x8.eq(y, INT16_MIN));
    return v128.xor(i16x8.q15mulrSatS(x, y), wraps);
  }),
  ...packed('Pmaddwd', 'PMADDWD—Multiply and Add Packed Integers', MMX_UP, i32x4.dotI16x8S),
  ...packed('Pmaddubsw', 'PMADDUBSW—Multiply and Add Packed Signed and Unsigned Bytes', SSSE3_UP, (x, y) => {
    const eight = i32c(8);
    const low = i16x8.mul(i16x8.shrU(i16x8.shl(x, eight), eight), i16x8.shrS(i16x8.shl(y, eight), eight));
    return i16x8.addSatS(low, i16x8.mul(i16x8.shrU(x, eight), i16x8.shrS(y, eight)));
  }),
  ...packed('Psadbw', 'PSADBW—Compute Sum of Absolute Differences', SSE_MMX_UP, (x, y, b) => {
    const differences = v128.or(i8x16.subSatU(x, y), i8x16.subSatU(y, x));
    const fours = b.let(i32x4.extaddPairwiseI16x8U(i16x8.extaddPairwiseI8x16U(differences)));
    return i64x2.add(v128.and(fours, qwords2(0xffffffff, 0xffffffff)), i64x2.shrU(fours, i32c(32)));
  }),
  ...encodings('Mpsadbw', SSE41_UP, {
    manual: 'MPSADBW—Compute Multiple Packed Sums of Absolute Difference',
    semantics: (b) => {
      const first = firstSource(b);
      const y = readParts(b, first + 1);
      b.writeVector(
        0,
        b.vectorOperation('blockDifferences', [readParts(b, first), y], i32.and(immediate(b), i32c(63))),
      );
    },
  }),
  ...encodings(
    'Phminposuw',
    { sse: 'sse4_1', vex128: 'avx' },
    {
      manual: 'PHMINPOSUW—Packed Horizontal Word Minimum',
      semantics: unaryParts((x, b) => b.vectorOperation('minimumWord', [[x]])[0]),
    },
  ),
];
