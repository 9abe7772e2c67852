/** Floating-point comparisons, to masks and to flags, and rounding to whole numbers. */
import type { Builder } from '../../../translate/builder';
import { i32, i32c, i64, i64c, select, type Expr } from '../../../translate/wasm';
import { i32x4, v128 } from '../../../translate/wasmSimd';
import { Relation } from '../../../cpu/fpu/softfloat/compare';
import type { Family, Instruction } from '../instruction';
import {
  ALL_KINDS,
  SD,
  SS,
  anyUnfit,
  binaryFloat,
  callOperation,
  countOf,
  featureOf,
  floatParts,
  immediate,
  isPlain,
  kindRows,
  mergeLow,
  precisionOf,
  refusesRounding,
  type FloatForm,
  type Kind,
} from './floatForms';

/** All ones when bit (immediate bits 2:0) of `table` is set: which predicates a relation of two numbers satisfies. */
const satisfied = (table: number, imm: Expr): Expr =>
  i32x4.splat(i32.sub(i32c(0), i32.and(i32.shrU(i32c(table), i32.and(imm, i32c(7))), i32c(1))));

/** What predicates make of numbers repeats from 8 on: those differ in what NaNs do. */
const LESS = 0b10010110;
const EQUAL = 0b10100101;
const GREATER = 0b11110000;

/** Masks of lanes; NaNs and denormals go to the operation. */
function compareToMask(k: Kind): (b: Builder) => void {
  return (b) => {
    // Legacy encodings have eight predicates; processors take no notice of the bits above, which the manual reserves.
    const imm = b.let(i32.and(immediate(b), i32c(b.operandCount === 3 ? 7 : 31)));
    const form: FloatForm = {
      operation: 'float:compare',
      native: (_k, x, y) => {
        const less = v128.and(k.lanes.lt(x, y), satisfied(LESS, imm));
        const equal = v128.and(k.lanes.eq(x, y), satisfied(EQUAL, imm));
        return v128.or(v128.or(less, equal), v128.and(k.lanes.gt(x, y), satisfied(GREATER, imm)));
      },
      fits: (_k, _r, x, y) => v128.and(isPlain(k, x), isPlain(k, y)),
    };
    binaryFloat(k, form, imm)(b);
  };
}

/** ZF PF CF: greater 000, less 001, equal 100, unordered 111; OF SF AF are cleared. */
function compareToFlags(k: Kind, signaling: boolean): (b: Builder) => void {
  return (b) => {
    const x = floatParts(b, k, 0);
    const y = floatParts(b, k, 1);
    const setFlags = (unordered: Expr, below: Expr, equal: Expr): void => {
      // A result of one bit has odd parity.
      b.flagsResult(64, i64.xor(unordered, i64c(1)), below, i64c(0));
      b.setZero(i64.xor(equal, i64c(1)));
    };
    const bit = (mask: Expr): Expr => i64.extendU(i32.and(i32x4.extract(mask, 0), i32c(1)));
    b.when(
      anyUnfit(k, [isPlain(k, x[0]), isPlain(k, y[0])]),
      () => {
        const parts = callOperation(b, 'float:relate', k.double, 1, [x, y], signaling ? 1 : 0);
        const relation = b.let(i32x4.extract(parts[0], 0));
        const is = (r: number): Expr => i32.eq(relation, i32c(r));
        const unordered = is(Relation.unordered);
        setFlags(
          i64.extendU(unordered),
          i64.extendU(i32.or(is(Relation.less), unordered)),
          i64.extendU(i32.or(is(Relation.equal), unordered)),
        );
      },
      () => setFlags(i64c(0), bit(k.lanes.lt(x[0], y[0])), bit(k.lanes.eq(x[0], y[0]))),
    );
  };
}

/** Immediate of ROUNDPS: bits 1:0 the direction, bit 2: MXCSR's instead, bit 3: no precision exception. */
function roundLanes(k: Kind): (b: Builder) => void {
  return (b) => {
    const imm = immediate(b);
    const last = b.operandCount - 2;
    const x = floatParts(b, k, last);
    const rest = k.scalar ? b.let(b.readVector(last - 1)) : undefined;
    const write = (parts: Expr[]): void => b.writeVector(0, rest ? [mergeLow(k, parts[0], rest)] : parts);
    const slowly = (): void =>
      write(callOperation(b, 'float:integral', k.double, countOf(b, k), [x], i32.and(imm, i32c(15))));
    // Where the immediate alone decides, MXCSR does not matter.
    const dependent = i32.ne(i32.and(imm, i32c(12)), i32c(8));
    const special = anyUnfit(
      k,
      x.map((part) => isPlain(k, part)),
    );
    const unfit = i32.or(special, i32.and(dependent, refusesRounding(b)));
    b.when(unfit, slowly, () => {
      const mode = b.let(select(i32.and(imm, i32c(4)), i32c(0), i32.and(imm, i32c(3))));
      const rounded = (f: (v: Expr) => Expr): void => write(x.map((part) => f(part)));
      b.when(
        i32.and(mode, i32c(2)),
        () => b.when(i32.and(mode, i32c(1)), () => rounded(k.lanes.trunc), () => rounded(k.lanes.ceil)), // prettier-ignore
        () => b.when(i32.and(mode, i32c(1)), () => rounded(k.lanes.floor), () => rounded(k.lanes.nearest)), // prettier-ignore
      );
    });
  };
}

function toFlags(stem: string, signaling: boolean): Instruction[] {
  return [SS, SD].flatMap((k) => {
    const name = stem + k.suffix;
    const title = signaling ? 'Compare Scalar Ordered' : 'Unordered Compare Scalar';
    const precision = k.double ? 'Double' : 'Single';
    return kindRows(name, k, featureOf(k), {
      manual: `${name.toUpperCase()}—${title} ${precision} Precision Floating-Point Values and Set EFLAGS`,
      semantics: compareToFlags(k, signaling),
    });
  });
}

export const floatCompare: Family = [
  ...ALL_KINDS.flatMap((k) =>
    kindRows('Cmp' + k.suffix, k, featureOf(k), {
      manual: `CMP${k.suffix.toUpperCase()}—Compare ${precisionOf(k)} Precision Floating-Point Value`,
      semantics: compareToMask(k),
    }),
  ),
  ...toFlags('Comi', true),
  ...toFlags('Ucomi', false),
  ...ALL_KINDS.flatMap((k) =>
    kindRows('Round' + k.suffix, k, 'sse4_1', {
      manual: `ROUND${k.suffix.toUpperCase()}—Round ${precisionOf(k)} Precision Floating-Point Values`,
      semantics: roundLanes(k),
    }),
  ),
];
