/** Packed integer addition, subtraction, comparison, minimum and maximum, average, absolute value and sign. */
import { i32c, type Expr } from '../../../translate/wasm';
import { i16x8, i32x4, i64x2, i8x16, v128 } from '../../../translate/wasmSimd';
import type { Family, Instruction } from '../instruction';
import {
  MMX_UP,
  SSE41_UP,
  SSE42_UP,
  SSE_MMX_UP,
  SSSE3_UP,
  binaryParts,
  encodings,
  everySecond,
  joinLow,
  unaryParts,
  type Encodings,
} from './forms';

type Lanewise = (x: Expr, y: Expr) => Expr;
type Entry = readonly [name: string, operation: Lanewise];

const packed = (manual: string, sets: Encodings, ...entries: Entry[]): Instruction[] =>
  entries.flatMap(([name, operation]) => encodings(name, sets, { manual, semantics: binaryParts(operation) }));

const PADD = 'PADDB/PADDW/PADDD/PADDQ—Add Packed Integers';
const PSUB = 'PSUBB/PSUBW/PSUBD—Subtract Packed Integers';
const PCMPEQ = 'PCMPEQB/PCMPEQW/PCMPEQD—Compare Packed Data for Equal';
const PCMPGT = 'PCMPGTB/PCMPGTW/PCMPGTD—Compare Packed Signed Integers for Greater Than';
const PAVG = 'PAVGB/PAVGW—Average Packed Integers';
const MAX_SIGNED = 'PMAXSB/PMAXSW/PMAXSD/PMAXSQ—Maximum of Packed Signed Integers';
const MIN_SIGNED = 'PMINSB/PMINSW—Minimum of Packed Signed Integers';

/** Pairs of neighbours: first those of the first source, then those of the second. */
const horizontal = (bytes: 2 | 4, operation: Lanewise): Instruction['semantics'] =>
  binaryParts((first, second, b) => {
    // MM registers: both sources fit one vector, and the result is its low half.
    const [x, y] = b.usesMmx ? [b.let(joinLow(first, second)), v128.zero] : [first, second];
    return operation(everySecond(x, y, bytes, 0), everySecond(x, y, bytes, 1));
  });
const horizontals = (manual: string, ...entries: (readonly [string, 2 | 4, Lanewise])[]): Instruction[] =>
  entries.flatMap(([name, bytes, operation]) =>
    encodings(name, SSSE3_UP, { manual, semantics: horizontal(bytes, operation) }),
  );

/** The first source, negated where the second is negative, zero where the second is zero. */
const sign = (name: string, lanes: Pick<typeof i8x16, 'shrS' | 'sub' | 'eq'>, bits: number): Instruction[] =>
  encodings(name, SSSE3_UP, {
    manual: 'PSIGNB/PSIGNW/PSIGND—Packed SIGN',
    semantics: binaryParts((x, y, b) => {
      const negative = b.let(lanes.shrS(y, i32c(bits - 1)));
      return v128.andnot(lanes.sub(v128.xor(x, negative), negative), lanes.eq(y, v128.zero));
    }),
  });

const absolute = (name: string, operation: (x: Expr) => Expr): Instruction[] =>
  encodings(name, SSSE3_UP, {
    manual: 'PABSB/PABSW/PABSD/PABSQ—Packed Absolute Value',
    semantics: unaryParts(operation),
  });

export const simdArithmetic: Family = [
  ...packed(PADD, MMX_UP, ['Paddb', i8x16.add], ['Paddw', i16x8.add], ['Paddd', i32x4.add]),
  // The 64-bit forms over MM registers came with SSE2: APM Vol. 5, PADDQ and PSUBQ.
  ...packed(PADD, { ...MMX_UP, mmx: 'sse2' }, ['Paddq', i64x2.add]),
  ...packed(PSUB, MMX_UP, ['Psubb', i8x16.sub], ['Psubw', i16x8.sub], ['Psubd', i32x4.sub]),
  ...packed('PSUBQ—Subtract Packed Quadword Integers', { ...MMX_UP, mmx: 'sse2' }, ['Psubq', i64x2.sub]),
  ...packed(
    'PADDSB/PADDSW—Add Packed Signed Integers with Signed Saturation',
    MMX_UP,
    ['Paddsb', i8x16.addSatS],
    ['Paddsw', i16x8.addSatS],
  ),
  ...packed(
    'PADDUSB/PADDUSW—Add Packed Unsigned Integers With Unsigned Saturation',
    MMX_UP,
    ['Paddusb', i8x16.addSatU],
    ['Paddusw', i16x8.addSatU],
  ),
  ...packed(
    'PSUBSB/PSUBSW—Subtract Packed Signed Integers With Signed Saturation',
    MMX_UP,
    ['Psubsb', i8x16.subSatS],
    ['Psubsw', i16x8.subSatS],
  ),
  ...packed(
    'PSUBUSB/PSUBUSW—Subtract Packed Unsigned Integers With Unsigned Saturation',
    MMX_UP,
    ['Psubusb', i8x16.subSatU],
    ['Psubusw', i16x8.subSatU],
  ),

  ...packed(PCMPEQ, MMX_UP, ['Pcmpeqb', i8x16.eq], ['Pcmpeqw', i16x8.eq], ['Pcmpeqd', i32x4.eq]),
  ...packed('PCMPEQQ—Compare Packed Qword Data for Equal', SSE41_UP, ['Pcmpeqq', i64x2.eq]),
  ...packed(PCMPGT, MMX_UP, ['Pcmpgtb', i8x16.gtS], ['Pcmpgtw', i16x8.gtS], ['Pcmpgtd', i32x4.gtS]),
  ...packed('PCMPGTQ—Compare Packed Data for Greater Than', SSE42_UP, ['Pcmpgtq', i64x2.gtS]),

  ...packed(PAVG, SSE_MMX_UP, ['Pavgb', i8x16.avgrU], ['Pavgw', i16x8.avgrU]),
  ...packed('PMAXUB/PMAXUW—Maximum of Packed Unsigned Integers', SSE_MMX_UP, ['Pmaxub', i8x16.maxU]),
  ...packed('PMAXUB/PMAXUW—Maximum of Packed Unsigned Integers', SSE41_UP, ['Pmaxuw', i16x8.maxU]),
  ...packed('PMAXUD/PMAXUQ—Maximum of Packed Unsigned Integers', SSE41_UP, ['Pmaxud', i32x4.maxU]),
  ...packed(MAX_SIGNED, SSE_MMX_UP, ['Pmaxsw', i16x8.maxS]),
  ...packed(MAX_SIGNED, SSE41_UP, ['Pmaxsb', i8x16.maxS], ['Pmaxsd', i32x4.maxS]),
  ...packed('PMINUB/PMINUW—Minimum of Packed Unsigned Integers', SSE_MMX_UP, ['Pminub', i8x16.minU]),
  ...packed('PMINUB/PMINUW—Minimum of Packed Unsigned Integers', SSE41_UP, ['Pminuw', i16x8.minU]),
  ...packed('PMINUD/PMINUQ—Minimum of Packed Unsigned Integers', SSE41_UP, ['Pminud', i32x4.minU]),
  ...packed(MIN_SIGNED, SSE_MMX_UP, ['Pminsw', i16x8.minS]),
  ...packed(MIN_SIGNED, SSE41_UP, ['Pminsb', i8x16.minS]),
  ...packed('PMINSD/PMINSQ—Minimum of Packed Signed Integers', SSE41_UP, ['Pminsd', i32x4.minS]),

  ...absolute('Pabsb', i8x16.abs),
  ...absolute('Pabsw', i16x8.abs),
  ...absolute('Pabsd', i32x4.abs),
  ...sign('Psignb', i8x16, 8),
  ...sign('Psignw', i16x8, 16),
  ...sign('Psignd', i32x4, 32),

  ...horizontals('PHADDW/PHADDD—Packed Horizontal Add', ['Phaddw', 2, i16x8.add], ['Phaddd', 4, i32x4.add]),
  ...horizontals('PHADDSW—Packed Horizontal Add and Saturate', ['Phaddsw', 2, i16x8.addSatS]),
  ...horizontals('PHSUBW/PHSUBD—Packed Horizontal Subtract', ['Phsubw', 2, i16x8.sub], ['Phsubd', 4, i32x4.sub]),
  ...horizontals('PHSUBSW—Packed Horizontal Subtract and Saturate', ['Phsubsw', 2, i16x8.subSatS]),
];
