/** Packed shifts: by an immediate, by a count for all lanes, by a count for each lane, and of the whole register by bytes. */
import type { Builder } from '../../../translate/builder';
import { i32, i32c, i64, i64c, select, type Expr } from '../../../translate/wasm';
import { i16x8, i32x4, i64x2, i8x16, v128 } from '../../../translate/wasmSimd';
import type { Family, Instruction } from '../instruction';
import { IOTA, MMX_UP, SSE2_UP, atMost, binaryParts, encodings, immediate, readParts } from './forms';

const LANES = { 16: i16x8, 32: i32x4, 64: i64x2 } as const;
type Lane = keyof typeof LANES;
type Direction = 'shl' | 'shrU' | 'shrS';

/** Shifts the parts of operand `source`: counts beyond the lane give zeroes, or copies of the sign. `count`: i32, named. */
function shiftAll(b: Builder, source: number, bits: Lane, direction: Direction, count: Expr): void {
  const parts = readParts(b, source);
  const shift = LANES[bits][direction];
  const result =
    direction === 'shrS'
      ? parts.map((x) => shift(x, atMost(count, bits - 1)))
      : parts.map((x) => select(i32.geU(count, i32c(bits)), v128.zero, shift(x, count)));
  b.writeVector(0, result);
}

const byImmediate =
  (bits: Lane, direction: Direction) =>
  (b: Builder): void =>
    shiftAll(b, b.operandCount - 2, bits, direction, immediate(b));

/** The count is the low 64 bits of the second source. */
const byVector =
  (bits: Lane, direction: Direction) =>
  (b: Builder): void => {
    const source = b.operandCount - 2;
    const count = b.let(i64x2.extract(b.readVector(source + 1), 0));
    const limited = b.let(i32.wrap(select(i64.gtU(count, i64c(bits)), i64c(bits), count)));
    shiftAll(b, source, bits, direction, limited);
  };

/** Restricts a row further to Codes whose operands end so. */
const only =
  (end: RegExp) =>
  (row: Instruction): Instruction => ({ ...row, operands: new RegExp(`${row.operands!.source}.*${end.source}`) });

const shifts = (name: string, manual: string, bits: Lane, direction: Direction): Instruction[] => [
  ...encodings(name, MMX_UP, { manual, semantics: byImmediate(bits, direction) }).map(only(/imm8$/)),
  ...encodings(name, MMX_UP, { manual, semantics: byVector(bits, direction) }).map(only(/mmm\d+$/)),
];

/** PSRLDQ, PSLLDQ: each 128-bit part moves by itself. */
const bytes = (name: string, manual: string, index: (count: Expr) => Expr): Instruction[] =>
  encodings(name, SSE2_UP, {
    manual,
    semantics: (b) => {
      const indices = b.let(index(i8x16.splat(atMost(immediate(b), 16))));
      const parts = readParts(b, b.operandCount - 2);
      b.writeVector(0, parts.map((x) => i8x16.swizzle(x, indices))); // prettier-ignore
    },
  });

/** Lane by lane, in 64-bit arithmetic: a 32-bit lane shifted by 32 or more leaves it by itself. */
const variable = (name: string, manual: string, bits: 32 | 64, direction: Direction): Instruction[] => {
  const extract = (v: Expr, lane: number): Expr =>
    bits === 64 ? i64x2.extract(v, lane) : i64.extendU(i32x4.extract(v, lane));
  const shiftLane = (value: Expr, count: Expr): Expr => {
    if (direction === 'shrS') {
      return i64.shrS(i64.extend32(value), select(i64.gtU(count, i64c(31)), i64c(31), count));
    }
    const shifted = i64[direction](value, count);
    return select(i64.gtU(count, i64c(bits - 1)), i64c(0), shifted);
  };
  return encodings(
    name,
    { vex128: 'avx2', vex256: 'avx2' },
    {
      manual,
      semantics: binaryParts((x, y, b) => {
        let result = x;
        for (let lane = 0; lane < 128 / bits; lane++) {
          const value = shiftLane(extract(x, lane), b.let(extract(y, lane)));
          result = bits === 64 ? i64x2.replace(result, lane, value) : i32x4.replace(result, lane, i32.wrap(value));
        }
        return result;
      }),
    },
  );
};

const LEFT = 'PSLLW/PSLLD/PSLLQ—Shift Packed Data Left Logical';
const RIGHT = 'PSRLW/PSRLD/PSRLQ—Shift Packed Data Right Logical';
const ARITHMETIC = 'PSRAW/PSRAD/PSRAQ—Shift Packed Data Right Arithmetic';
const VARIABLE_LEFT = 'VPSLLVW/VPSLLVD/VPSLLVQ—Variable Bit Shift Left Logical';
const VARIABLE_RIGHT = 'VPSRLVW/VPSRLVD/VPSRLVQ—Variable Bit Shift Right Logical';

export const simdShifts: Family = [
  ...shifts('Psllw', LEFT, 16, 'shl'),
  ...shifts('Pslld', LEFT, 32, 'shl'),
  ...shifts('Psllq', LEFT, 64, 'shl'),
  ...shifts('Psrlw', RIGHT, 16, 'shrU'),
  ...shifts('Psrld', RIGHT, 32, 'shrU'),
  ...shifts('Psrlq', RIGHT, 64, 'shrU'),
  ...shifts('Psraw', ARITHMETIC, 16, 'shrS'),
  ...shifts('Psrad', ARITHMETIC, 32, 'shrS'),
  ...bytes('Pslldq', 'PSLLDQ—Shift Double Quadword Left Logical', (count) => i8x16.sub(IOTA, count)),
  ...bytes('Psrldq', 'PSRLDQ—Shift Double Quadword Right Logical', (count) => i8x16.add(IOTA, count)),
  ...variable('Psllvd', VARIABLE_LEFT, 32, 'shl'),
  ...variable('Psllvq', VARIABLE_LEFT, 64, 'shl'),
  ...variable('Psrlvd', VARIABLE_RIGHT, 32, 'shrU'),
  ...variable('Psrlvq', VARIABLE_RIGHT, 64, 'shrU'),
  ...variable('Psravd', 'VPSRAVW/VPSRAVD/VPSRAVQ—Variable Bit Shift Right Arithmetic', 32, 'shrS'),
];
