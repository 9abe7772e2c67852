/** Shuffles, unpacking, packing, permutations and blends. */
import type { Builder } from '../../../translate/builder';
import { i32, i32c, select, type Expr } from '../../../translate/wasm';
import { i16x8, i32x4, i64x2, i8x16, shuffle, v128 } from '../../../translate/wasmSimd';
import type { Family, Instruction } from '../instruction';
import {
  DOUBLE_UP,
  MMX_UP,
  SINGLE_UP,
  SSE2_UP,
  SSE41_UP,
  SSSE3_UP,
  atMost,
  binaryParts,
  dwordIndices,
  dwords4,
  encodings,
  immediate,
  immediateMask,
  joinHigh,
  joinLow,
  moveBytes,
  qwords2,
  readParts,
  twoBitFields,
  words8,
  type Encodings,
} from './forms';

/** Lanes of the low (or high) halves of x and y in turn. MM registers are half as long. */
const interleave = (bytes: number, high: boolean): ((b: Builder) => void) =>
  binaryParts((x, y, b) => {
    const start = high ? (b.usesMmx ? 4 : 8) : 0;
    const lanes = Array.from({ length: 16 }, (_, i) => {
      const lane = Math.floor(i / bytes);
      return (lane & 1 ? 16 : 0) + ((start + (lane >> 1) * bytes + (i % bytes)) & 15);
    });
    return shuffle(x, y, lanes);
  });
const unpack = (name: string, manual: string, sets: Encodings, bytes: number, high: boolean): Instruction[] =>
  encodings(name, sets, { manual, semantics: interleave(bytes, high) });
const LOW = 'PUNPCKLBW/PUNPCKLWD/PUNPCKLDQ/PUNPCKLQDQ—Unpack Low Data';
const HIGH = 'PUNPCKHBW/PUNPCKHWD/PUNPCKHDQ/PUNPCKHQDQ—Unpack High Data';
const unpackFloats = (low: 'low' | 'high', type: 'Single' | 'Double'): string =>
  `UNPCK${low[0].toUpperCase()}P${type[0]}—Unpack and Interleave ${low === 'low' ? 'Low' : 'High'} Packed ${type} Precision Floating-Point Values`;

const pack = (name: string, manual: string, sets: Encodings, narrow: (x: Expr, y: Expr) => Expr): Instruction[] =>
  encodings(name, sets, {
    manual,
    semantics: binaryParts((x, y, b) => (b.usesMmx ? narrow(joinLow(x, y), v128.zero) : narrow(x, y))),
  });

/** A shuffle of each part by indices made of the immediate. */
const byImmediate =
  (indices: (imm: Expr) => Expr) =>
  (b: Builder): void => {
    const parts = readParts(b, 1);
    const lanes = b.let(indices(immediate(b)));
    b.writeVector(0, parts.map((x) => i8x16.swizzle(x, lanes))); // prettier-ignore
  };
const dwords = byImmediate((imm) => dwordIndices(twoBitFields(imm)));
/** Words: four are picked by the immediate, the others (given with their place) stay. */
const words = (shifts: Expr, pickFrom: Expr, keep: Expr): ((b: Builder) => void) =>
  byImmediate((imm) => {
    const fields = v128.and(i16x8.shrU(i16x8.mul(i16x8.splat(imm), shifts), i32c(6)), words8(3, 3, 3, 3, 3, 3, 3, 3));
    const lanes = v128.or(v128.bitselect(fields, v128.zero, pickFrom), keep);
    return i16x8.add(
      i16x8.mul(lanes, words8(...Array<number>(8).fill(0x0202))),
      words8(...Array<number>(8).fill(0x0100)),
    );
  });
const ONES = 0xffff;
const lowWords = words(
  words8(64, 16, 4, 1, 0, 0, 0, 0),
  words8(ONES, ONES, ONES, ONES, 0, 0, 0, 0),
  words8(0, 0, 0, 0, 4, 5, 6, 7),
);
const highWords = words(
  words8(0, 0, 0, 0, 64, 16, 4, 1),
  words8(0, 0, 0, 0, ONES, ONES, ONES, ONES),
  words8(0, 1, 2, 3, 4, 4, 4, 4),
);

/** Two lanes of the first source, then two of the second. */
function shuffleSingles(b: Builder): void {
  const lanes = b.let(dwordIndices(twoBitFields(immediate(b))));
  binaryParts((x, y) => {
    const low = i8x16.swizzle(x, lanes);
    const high = i8x16.swizzle(y, lanes);
    return shuffle(low, high, [0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31]);
  })(b);
}
/** The low lane of x and the high one of y, each from its low or high half by a bit of the immediate. */
const pickQuadwords = (x: Expr, y: Expr, imm: Expr, part: number): Expr =>
  v128.bitselect(joinHigh(x, y), joinLow(x, y), immediateMask(64, imm, 2 * part));

const align = encodings('Palignr', SSSE3_UP, {
  manual: 'PALIGNR—Packed Align Right',
  semantics: (b) => {
    const count = b.let(atMost(immediate(b), 32));
    binaryParts((x, y) =>
      b.usesMmx
        ? moveBytes(joinLow(y, x), atMost(count, 16))
        : v128.or(moveBytes(y, count), moveBytes(x, i32.sub(count, i32c(16)))),
    )(b);
  },
});

/** Blends by an immediate, a bit for each lane. */
const blend = (name: string, manual: string, sets: Encodings, size: 16 | 32 | 64): Instruction[] =>
  encodings(name, sets, {
    manual,
    semantics: (b) => {
      const imm = immediate(b);
      // PBLENDW uses the eight bits for either part.
      const shift = size === 16 ? 0 : 128 / size;
      binaryParts((x, y, _, part) => v128.bitselect(y, x, immediateMask(size, imm, part * shift)))(b);
    },
  });
/** Blends by the sign bits of a mask: XMM0 (legacy) or the fourth operand. */
const variableBlend = (name: string, manual: string, sets: Encodings, spread: (mask: Expr) => Expr): Instruction[] =>
  encodings(name, sets, {
    manual,
    semantics: binaryParts((x, y, b, part) => {
      const mask = b.operandCount === 4 ? b.readVector(3, part) : b.vectorRegister(0, part);
      return v128.bitselect(y, x, spread(mask));
    }),
  });

const VEX_ONLY: Encodings = { vex128: 'avx', vex256: 'avx' };
/** Restricts rows to Codes with (or without) an immediate. */
const withImmediate = (yes: boolean, list: Instruction[]): Instruction[] =>
  list.map((row) => ({ ...row, operands: new RegExp(`${row.operands!.source}.*${yes ? 'imm8' : 'm(128|256)'}$`) }));

/** VPERMQ, VPERMPD: each quadword of the result is one of the four, by two bits of the immediate. */
function permuteQuadwords(b: Builder): void {
  const [low, high] = readParts(b, 1);
  const imm = immediate(b);
  const part = (i: number): Expr => {
    const bits = b.let(i32x4.splat(i32.shrU(imm, i32c(4 * i))));
    const odd = b.let(i64x2.ne(v128.and(bits, qwords2(1, 4)), v128.zero));
    const pick = (x: Expr): Expr => v128.bitselect(joinHigh(x, x), joinLow(x, x), odd);
    return v128.bitselect(pick(high), pick(low), i64x2.ne(v128.and(bits, qwords2(2, 8)), v128.zero));
  };
  b.writeVector(0, [b.let(part(0)), b.let(part(1))]);
}
/** VPERMD, VPERMPS: each doubleword is one of the eight of operand 2, by three bits of operand 1. */
function permuteDwords(b: Builder): void {
  const [low, high] = readParts(b, 2);
  const part = (i: number): Expr => {
    const indices = b.let(b.readVector(1, i));
    const bytes = b.let(dwordIndices(v128.and(indices, dwords4(3, 3, 3, 3))));
    const upper = i32x4.ne(v128.and(indices, dwords4(4, 4, 4, 4)), v128.zero);
    return v128.bitselect(i8x16.swizzle(high, bytes), i8x16.swizzle(low, bytes), upper);
  };
  b.writeVector(0, [b.let(part(0)), b.let(part(1))]);
}
/** Each part of the result: one of the four parts of both sources, or zero. */
function permuteParts(b: Builder): void {
  const y = readParts(b, 2);
  const x = readParts(b, 1);
  const imm = immediate(b);
  const part = (shift: number): Expr => {
    const bit = (n: number): Expr => i32.and(imm, i32c(1 << (shift + n)));
    const picked = select(bit(1), select(bit(0), y[1], y[0]), select(bit(0), x[1], x[0]));
    return select(bit(3), v128.zero, picked);
  };
  b.writeVector(0, [part(0), part(4)]);
}
const ymmRow = (name: string, feature: string, manual: string, semantics: Instruction['semantics']): Instruction => ({
  mnemonic: name,
  manual,
  feature,
  unit: 'avx',
  semantics,
});

const SHUFPS = 'SHUFPS—Packed Interleave Shuffle of Quadruplets of Single Precision Floating-Point Values';
const SHUFPD = 'SHUFPD—Packed Interleave Shuffle of Pairs of Double Precision Floating-Point Values';
const VPERMILPS = 'VPERMILPS—Permute In-Lane of Quadruples of Single Precision Floating-Point Values';
const VPERMILPD = 'VPERMILPD—Permute In-Lane of Pairs of Double Precision Floating-Point Values';
const BLEND_ALL: Encodings = { sse: 'sse4_1', vex128: 'avx', vex256: 'avx' };

export const simdShuffles: Family = [
  ...unpack('Punpcklbw', LOW, MMX_UP, 1, false),
  ...unpack('Punpcklwd', LOW, MMX_UP, 2, false),
  ...unpack('Punpckldq', LOW, MMX_UP, 4, false),
  ...unpack('Punpcklqdq', LOW, SSE2_UP, 8, false),
  ...unpack('Punpckhbw', HIGH, MMX_UP, 1, true),
  ...unpack('Punpckhwd', HIGH, MMX_UP, 2, true),
  ...unpack('Punpckhdq', HIGH, MMX_UP, 4, true),
  ...unpack('Punpckhqdq', HIGH, SSE2_UP, 8, true),
  ...unpack('Unpcklps', unpackFloats('low', 'Single'), SINGLE_UP, 4, false),
  ...unpack('Unpcklpd', unpackFloats('low', 'Double'), DOUBLE_UP, 8, false),
  ...unpack('Unpckhps', unpackFloats('high', 'Single'), SINGLE_UP, 4, true),
  ...unpack('Unpckhpd', unpackFloats('high', 'Double'), DOUBLE_UP, 8, true),

  ...pack('Packsswb', 'PACKSSWB/PACKSSDW—Pack With Signed Saturation', MMX_UP, i8x16.narrowI16x8S),
  ...pack('Packssdw', 'PACKSSWB/PACKSSDW—Pack With Signed Saturation', MMX_UP, i16x8.narrowI32x4S),
  ...pack('Packuswb', 'PACKUSWB—Pack With Unsigned Saturation', MMX_UP, i8x16.narrowI16x8U),
  ...pack('Packusdw', 'PACKUSDW—Pack With Unsigned Saturation', SSE41_UP, i16x8.narrowI32x4U),

  ...encodings('Pshufb', SSSE3_UP, {
    manual: 'PSHUFB—Packed Shuffle Bytes',
    semantics: binaryParts((x, y, b) => {
      // Bit 7 of an index gives 0, as any index beyond 15 does in WebAssembly.
      return i8x16.swizzle(x, v128.and(y, i8x16.splat(i32c(b.usesMmx ? 0x87 : 0x8f))));
    }),
  }),
  ...encodings('Pshufd', SSE2_UP, { manual: 'PSHUFD—Shuffle Packed Doublewords', semantics: dwords }),
  ...encodings('Pshuflw', SSE2_UP, { manual: 'PSHUFLW—Shuffle Packed Low Words', semantics: lowWords }),
  ...encodings('Pshufhw', SSE2_UP, { manual: 'PSHUFHW—Shuffle Packed High Words', semantics: highWords }),
  ...encodings('Pshufw', { mmx: 'sse' }, { manual: 'PSHUFW—Shuffle Packed Words', semantics: lowWords }),
  ...encodings('Shufps', SINGLE_UP, { manual: SHUFPS, semantics: shuffleSingles }),
  ...encodings('Shufpd', DOUBLE_UP, {
    manual: SHUFPD,
    semantics: (b) => {
      const imm = immediate(b);
      binaryParts((x, y, _, part) => pickQuadwords(x, y, imm, part))(b);
    },
  }),
  ...align,

  ...withImmediate(true, encodings('Permilps', VEX_ONLY, { manual: VPERMILPS, semantics: dwords })),
  ...withImmediate(
    false,
    encodings('Permilps', VEX_ONLY, {
      manual: VPERMILPS,
      semantics: binaryParts((x, y) => i8x16.swizzle(x, dwordIndices(v128.and(y, dwords4(3, 3, 3, 3))))),
    }),
  ),
  ...withImmediate(
    true,
    encodings('Permilpd', VEX_ONLY, {
      manual: VPERMILPD,
      semantics: (b) => {
        const parts = readParts(b, 1);
        const imm = immediate(b);
        b.writeVector(0, parts.map((x, part) => pickQuadwords(x, x, imm, part))); // prettier-ignore
      },
    }),
  ),
  ...withImmediate(
    false,
    encodings('Permilpd', VEX_ONLY, {
      manual: VPERMILPD,
      semantics: binaryParts((x, y) => {
        const high = i64x2.ne(v128.and(y, qwords2(2, 2)), v128.zero);
        return v128.bitselect(joinHigh(x, x), joinLow(x, x), high);
      }),
    }),
  ),
  ymmRow('Vpermq', 'avx2', 'VPERMQ—Qwords Element Permutation', permuteQuadwords),
  ymmRow('Vpermpd', 'avx2', 'VPERMPD—Permute Double Precision Floating-Point Elements', permuteQuadwords),
  ymmRow('Vpermd', 'avx2', 'VPERMD/VPERMW—Permute Packed Doubleword/Word Elements', permuteDwords),
  ymmRow('Vpermps', 'avx2', 'VPERMPS—Permute Single Precision Floating-Point Elements', permuteDwords),
  ymmRow('Vperm2f128', 'avx', 'VPERM2F128—Permute Floating-Point Values', permuteParts),
  ymmRow('Vperm2i128', 'avx2', 'VPERM2I128—Permute Integer Values', permuteParts),

  ...blend('Blendps', 'BLENDPS—Blend Packed Single Precision Floating-Point Values', BLEND_ALL, 32),
  ...blend('Blendpd', 'BLENDPD—Blend Packed Double Precision Floating-Point Values', BLEND_ALL, 64),
  ...blend('Pblendw', 'PBLENDW—Blend Packed Words', SSE41_UP, 16),
  ...blend('Pblendd', 'VPBLENDD—Blend Packed Dwords', { vex128: 'avx2', vex256: 'avx2' }, 32),
  ...variableBlend(
    'Blendvps',
    'BLENDVPS—Variable Blend Packed Single Precision Floating-Point Values',
    BLEND_ALL,
    (mask) => i32x4.shrS(mask, i32c(31)),
  ),
  ...variableBlend(
    'Blendvpd',
    'BLENDVPD—Variable Blend Packed Double Precision Floating-Point Values',
    BLEND_ALL,
    (mask) => i64x2.shrS(mask, i32c(63)),
  ),
  ...variableBlend('Pblendvb', 'PBLENDVB—Variable Blend Packed Bytes', SSE41_UP, (mask) => i8x16.shrS(mask, i32c(7))),
];
