/** Single elements and 128-bit parts: insertion, extraction, masks of signs, broadcasts, widening moves. */
import type { Builder } from '../../../translate/builder';
import { i32, i32c, i64, i64c, select, type Expr } from '../../../translate/wasm';
import { i16x8, i32x4, i64x2, i8x16, shuffle, v128 } from '../../../translate/wasmSimd';
import type { Family, Instruction } from '../instruction';
import {
  IOTA,
  dwordIndices,
  dwords4,
  encodings,
  firstSource,
  immediate,
  immediateMask,
  qwords2,
  words8,
  type Encodings,
} from './forms';

type Size = 8 | 16 | 32 | 64;
const SPLAT: Record<Size, (value: Expr) => Expr> = {
  8: (value) => i8x16.splat(i32.wrap(value)),
  16: (value) => i16x8.splat(i32.wrap(value)),
  32: (value) => i32x4.splat(i32.wrap(value)),
  64: (value) => i64x2.splat(value),
};
/** All ones in the lane with this number. */
const LANE_MASK: Record<Size, (lane: Expr) => Expr> = {
  8: (lane) => i8x16.eq(i8x16.splat(lane), IOTA),
  16: (lane) => i16x8.eq(i16x8.splat(lane), words8(0, 1, 2, 3, 4, 5, 6, 7)),
  32: (lane) => i32x4.eq(i32x4.splat(lane), dwords4(0, 1, 2, 3)),
  64: (lane) => i64x2.eq(i64x2.splat(i64.extendU(lane)), qwords2(0, 1)),
};
/** The immediate selects a lane; higher bits do not count. */
const laneOf = (b: Builder, size: Size): Expr => b.let(i32.and(immediate(b), i32c((b.usesMmx ? 64 : 128) / size - 1)));

const PINS = 'PINSRB/PINSRD/PINSRQ—Insert Byte/Dword/Qword';
const PEXTRW = 'PEXTRW—Extract Word';
const PEXT = 'PEXTRB/PEXTRD/PEXTRQ—Extract Byte/Dword/Qword';

const insert = (name: string, sets: Encodings, manual: string, size: Size): Instruction[] =>
  encodings(name, sets, {
    manual,
    semantics: (b) => {
      const first = firstSource(b);
      const value = b.let(b.read(first + 1));
      const mask = LANE_MASK[size](laneOf(b, size));
      b.writeVector(0, [v128.bitselect(SPLAT[size](value), b.readVector(first), mask)]);
    },
  });

/** The vector moved down so that the lane is at the bottom, cut to the lane. */
function extractLane(x: Expr, lane: Expr, size: Size): Expr {
  const shift = i8x16.splat(i32.shl(lane, i32c(Math.log2(size / 8))));
  const low = i64x2.extract(i8x16.swizzle(x, i8x16.add(IOTA, shift)), 0);
  return size === 64 ? low : i64.and(low, i64c((1n << BigInt(size)) - 1n));
}
const extract = (name: string, sets: Encodings, manual: string, size: Size): Instruction[] =>
  encodings(
    name,
    sets,
    { manual, semantics: (b) => b.write(0, extractLane(b.readVector(1), laneOf(b, size), size)) },
    1,
  );

/** Copies a 32-bit element into a lane and clears lanes. In memory the element is the operand itself. */
function insertSingle(b: Builder): void {
  const first = firstSource(b);
  const inMemory = b.kind(first + 1) === 'm';
  const y = b.let(b.readVector(first + 1));
  const imm = immediate(b);
  const lanes = inMemory ? v128.zero : i32x4.splat(i32.shrU(imm, i32c(6)));
  const element = i8x16.swizzle(y, dwordIndices(lanes));
  const place = LANE_MASK[32](i32.and(i32.shrU(imm, i32c(4)), i32c(3)));
  b.writeVector(0, [v128.andnot(v128.bitselect(element, b.readVector(first), place), immediateMask(32, imm))]);
}

/** Sign bits of all lanes. */
const signs = (
  name: string,
  sets: Encodings,
  manual: string,
  lanes: number,
  bitmask: (x: Expr) => Expr,
): Instruction[] =>
  encodings(
    name,
    sets,
    {
      manual,
      semantics: (b) => {
        let mask = bitmask(b.readVector(1));
        if (b.parts === 2) mask = i32.or(mask, i32.shl(bitmask(b.readVector(1, 1)), i32c(lanes)));
        b.write(0, i64.extendU(mask));
      },
    },
    1,
  );

/** The low `bytes` of operand 1 in all lanes. */
const broadcast = (name: string, operands: RegExp, feature: string, bytes: number, manual: string): Instruction => ({
  mnemonic: name,
  manual,
  operands,
  feature,
  unit: 'avx',
  semantics: (b) => {
    const x = b.let(b.readVector(1));
    const all = b.let(shuffle(x, x, Array.from({ length: 16 }, (_, i) => i % bytes))); // prettier-ignore
    b.writeVector(0, Array<Expr>(b.parts).fill(all));
  },
});
const VBROADCAST = 'VBROADCAST—Load with Broadcast Floating-Point Data';
const VPBROADCAST = 'VPBROADCAST—Load Integer and Broadcast';

/** A 128-bit part of a YMM register: the immediate's bit 0 tells which. */
const insertPart = (name: string, feature: string, manual: string): Instruction => ({
  mnemonic: name,
  manual,
  feature,
  unit: 'avx',
  semantics: (b) => {
    const y = b.let(b.readVector(2));
    const high = b.let(i32.and(immediate(b), i32c(1)));
    b.writeVector(0, [select(high, b.readVector(1, 0), y), select(high, y, b.readVector(1, 1))]);
  },
});
const extractPart = (name: string, feature: string, manual: string): Instruction => ({
  mnemonic: name,
  manual,
  feature,
  unit: 'avx',
  semantics: (b) => {
    const high = i32.and(immediate(b), i32c(1));
    b.writeVector(0, [select(high, b.readVector(1, 1), b.readVector(1, 0))]);
  },
});

type Widen = (x: Expr) => Expr;
const WIDEN: Record<string, readonly [signed: Widen, zero: Widen]> = {
  b: [i16x8.extendLowI8x16S, i16x8.extendLowI8x16U],
  w: [i32x4.extendLowI16x8S, i32x4.extendLowI16x8U],
  d: [i64x2.extendLowI32x4S, i64x2.extendLowI32x4U],
};
/** PMOVSX and PMOVZX from lanes of `from` to lanes of `to`: b, w, d, q. */
function widening(sign: 's' | 'z', from: string, to: string): Instruction[] {
  const steps = 'bwd'.slice('bwdq'.indexOf(from), 'bwdq'.indexOf(to)).split('');
  return encodings(
    `Pmov${sign}x${from}${to}`,
    { sse: 'sse4_1', vex128: 'avx', vex256: 'avx2' },
    {
      manual: sign === 's' ? 'PMOVSX—Packed Move With Sign Extend' : 'PMOVZX—Packed Move With Zero Extend',
      semantics: (b) => {
        const source = b.let(b.readVector(1));
        const parts: Expr[] = [];
        for (let part = 0; part < b.parts; part++) {
          // Each part of the result takes 16 / ratio bytes of the source.
          const start = part * (16 >> steps.length);
          const moved = start ? shuffle(source, source, bytesFrom(start)) : source;
          parts.push(steps.reduce((x, step) => WIDEN[step][sign === 's' ? 0 : 1](x), moved));
        }
        b.writeVector(0, parts);
      },
    },
  );
}
const bytesFrom = (start: number): number[] => Array.from({ length: 16 }, (_, i) => (start + i) & 15);
const WIDENINGS = ['bw', 'bd', 'bq', 'wd', 'wq', 'dq'];

export const simdElements: Family = [
  ...insert('Pinsrb', { sse: 'sse4_1', vex128: 'avx' }, PINS, 8),
  ...insert('Pinsrw', { mmx: 'sse', sse: 'sse2', vex128: 'avx' }, 'PINSRW—Insert Word', 16),
  ...insert('Pinsrd', { sse: 'sse4_1', vex128: 'avx' }, PINS, 32),
  ...insert('Pinsrq', { sse: 'sse4_1', vex128: 'avx' }, PINS, 64),
  ...extract('Pextrb', { sse: 'sse4_1', vex128: 'avx' }, PEXT, 8),
  // The form that can store is SSE4.1's.
  ...extract('Pextrw', { sse: 'sse4_1' }, PEXTRW, 16).map((row): Instruction => ({ ...row, operands: /^r\d+m16_xmm/ })),
  ...extract('Pextrw', { mmx: 'sse', sse: 'sse2', vex128: 'avx' }, PEXTRW, 16),
  ...extract('Pextrd', { sse: 'sse4_1', vex128: 'avx' }, PEXT, 32),
  ...extract('Pextrq', { sse: 'sse4_1', vex128: 'avx' }, PEXT, 64),
  ...extract('Extractps', { sse: 'sse4_1', vex128: 'avx' }, 'EXTRACTPS—Extract Packed Floating-Point Values', 32),
  ...encodings(
    'Insertps',
    { sse: 'sse4_1', vex128: 'avx' },
    { manual: 'INSERTPS—Insert Scalar Single Precision Floating-Point Value', semantics: insertSingle },
  ),

  ...signs(
    'Movmskps',
    { sse: 'sse', vex128: 'avx', vex256: 'avx' },
    'MOVMSKPS—Extract Packed Single Precision Floating-Point Sign Mask',
    4,
    i32x4.bitmask,
  ),
  ...signs(
    'Movmskpd',
    { sse: 'sse2', vex128: 'avx', vex256: 'avx' },
    'MOVMSKPD—Extract Packed Double Precision Floating-Point Sign Mask',
    2,
    i64x2.bitmask,
  ),
  ...signs(
    'Pmovmskb',
    { mmx: 'sse', sse: 'sse2', vex128: 'avx', vex256: 'avx2' },
    'PMOVMSKB—Move Byte Mask',
    16,
    i8x16.bitmask,
  ),

  broadcast('Vbroadcastss', /_m32$/, 'avx', 4, VBROADCAST),
  broadcast('Vbroadcastss', /_xmm$/, 'avx2', 4, VBROADCAST),
  broadcast('Vbroadcastsd', /_m64$/, 'avx', 8, VBROADCAST),
  broadcast('Vbroadcastsd', /_xmm$/, 'avx2', 8, VBROADCAST),
  broadcast('Vbroadcastf128', /_m128$/, 'avx', 16, VBROADCAST),
  broadcast('Vbroadcasti128', /_m128$/, 'avx2', 16, VPBROADCAST),
  broadcast('Vpbroadcastb', /_xmmm8$/, 'avx2', 1, VPBROADCAST),
  broadcast('Vpbroadcastw', /_xmmm16$/, 'avx2', 2, VPBROADCAST),
  broadcast('Vpbroadcastd', /_xmmm32$/, 'avx2', 4, VPBROADCAST),
  broadcast('Vpbroadcastq', /_xmmm64$/, 'avx2', 8, VPBROADCAST),

  insertPart('Vinsertf128', 'avx', 'VINSERTF128—Insert Packed Floating-Point Values'),
  insertPart('Vinserti128', 'avx2', 'VINSERTI128—Insert Packed Integer Values'),
  extractPart('Vextractf128', 'avx', 'VEXTRACTF128—Extract Packed Floating-Point Values'),
  extractPart('Vextracti128', 'avx2', 'VEXTRACTI128—Extract Packed Integer Values'),

  ...WIDENINGS.flatMap(([from, to]) => [...widening('s', from, to), ...widening('z', from, to)]),
];
