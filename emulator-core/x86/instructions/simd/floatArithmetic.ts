/** Floating-point arithmetic: sums, products, quotients, roots, minima, maxima, horizontal forms, approximations. */
import { i32c, type Expr } from '../../../translate/wasm';
import { i32x4, shuffle, v128, v128c } from '../../../translate/wasmSimd';
import type { Family, Instruction } from '../instruction';
import { encodings } from './forms';
import {
  ALL_KINDS,
  PACKED_KINDS,
  PD,
  PS,
  SS,
  binaryFloat,
  compute,
  featureOf,
  floatParts,
  immediate,
  isNormal,
  isPlain,
  isZero,
  kindRows,
  precisionOf,
  splat,
  unaryFloat,
  type FloatForm,
  type Kind,
} from './floatForms';

/** Titles are like 'ADDPS—Add Packed Single Precision Floating-Point Values'. */
function titled(name: string, k: Kind, verb: string): string {
  return `${name.toUpperCase()}—${verb} ${precisionOf(k)} Precision Floating-Point Values`;
}

const both = (k: Kind, x: Expr, y: Expr): Expr => v128.and(isPlain(k, x), isPlain(k, y));

/** A sum that is tiny is exact, but counts as underflow when that is unmasked or flushed. */
const ADD: FloatForm = {
  operation: 'float:add',
  native: (k, x, y) => k.lanes.add(x, y),
  fits: (k, r, x, y) => v128.and(both(k, x, y), v128.or(isNormal(k, r), isZero(k, r))),
  rounds: true,
};
const SUBTRACT: FloatForm = { ...ADD, operation: 'float:subtract', native: (k, x, y) => k.lanes.sub(x, y) };
const MULTIPLY: FloatForm = {
  operation: 'float:multiply',
  native: (k, x, y) => k.lanes.mul(x, y),
  fits: (k, r, x, y) => {
    const exactZero = v128.and(isZero(k, r), v128.or(isZero(k, x), isZero(k, y)));
    return v128.and(both(k, x, y), v128.or(isNormal(k, r), exactZero));
  },
  rounds: true,
};
const DIVIDE: FloatForm = {
  operation: 'float:divide',
  native: (k, x, y) => k.lanes.div(x, y),
  fits: (k, r, x, y) => v128.and(both(k, x, y), v128.or(isNormal(k, r), v128.and(isZero(k, r), isZero(k, x)))),
  rounds: true,
};
/** Of these only NaNs and denormals are special. x86 gives the second operand when neither is less. */
const MINIMUM: FloatForm = {
  operation: 'float:minimum',
  native: (k, x, y) => k.lanes.pmin(y, x),
  fits: (k, _r, x, y) => both(k, x, y),
};
const MAXIMUM: FloatForm = { ...MINIMUM, operation: 'float:maximum', native: (k, x, y) => k.lanes.pmax(y, x) };
const SQUARE_ROOT: FloatForm = {
  operation: 'float:squareRoot',
  native: (k, x) => k.lanes.sqrt(x),
  // A NaN that comes of a negative operand is not equal to itself.
  fits: (k, r, x) => v128.and(isPlain(k, x), k.lanes.eq(r, r)),
  rounds: true,
};

function arithmetic(stem: string, verb: string, form: FloatForm): Instruction[] {
  return ALL_KINDS.flatMap((k) => {
    const name = stem + k.suffix;
    return kindRows(name, k, featureOf(k), { manual: titled(name, k, verb), semantics: binaryFloat(k, form) });
  });
}

/** Signs of the even lanes. */
const evenSigns = (k: Kind): Expr =>
  v128c(Array.from({ length: 16 }, (_, i) => (i % (k.double ? 16 : 8) === (k.double ? 7 : 3) ? 0x80 : 0)));

/** Differences in even lanes, sums in odd ones. */
const ALTERNATE: FloatForm = {
  ...ADD,
  operation: 'float:alternate',
  native: (k, x, y) => k.lanes.add(x, v128.xor(y, evenSigns(k))),
};

/** Lanes 0, 2 .. (odd: 1, 3 ..) of x, then of y. */
function everyOther(k: Kind, x: Expr, y: Expr, odd: boolean): Expr {
  const bytes = k.double ? 8 : 4;
  const from = (i: number): number => 2 * bytes * Math.floor(i / bytes) + (odd ? bytes : 0) + (i % bytes);
  return shuffle(x, y, Array.from({ length: 16 }, (_, i) => from(i))); // prettier-ignore
}

/** In each 128 bits: of neighbours, those of the first source in the low half, those of the second in the high one. */
function horizontal(stem: string, verb: string, form: FloatForm): Instruction[] {
  return PACKED_KINDS.flatMap((k) => {
    const name = stem + k.suffix;
    return kindRows(name, k, 'sse3', {
      manual: `${name.toUpperCase()}—Packed ${k.double ? 'Double' : 'Single'} Precision Floating-Point Horizontal ${verb}`,
      semantics: (b) => {
        const last = b.operandCount - 1;
        const y = floatParts(b, k, last);
        const x = floatParts(b, k, last - 1);
        const pick = (odd: boolean): Expr[] => x.map((part, i) => b.let(everyOther(k, part, y[i], odd)));
        compute(b, k, form, [pick(false), pick(true)], (r) => b.writeVector(0, r));
      },
    });
  });
}

const shorten = (x: Expr): Expr => v128.and(i32x4.add(x, i32x4.splat(i32c(0x400))), i32x4.splat(i32c(~0x7ff)));

const RECIPROCAL: FloatForm = {
  operation: 'float:reciprocal',
  native: (k, x) => shorten(k.lanes.div(splat(k, 1), x)),
  fits: (k, r, x) => v128.and(isNormal(k, r), isNormal(k, x)),
};
const RECIPROCAL_ROOT: FloatForm = {
  operation: 'float:reciprocalRoot',
  native: (k, x) => shorten(k.lanes.div(splat(k, 1), k.lanes.sqrt(x))),
  fits: (k, r, x) => v128.and(isNormal(k, r), isNormal(k, x)),
};
const APPROXIMATE =
  'Any value with a relative error of at most 1.5 * 2^-12 conforms, and processors differ: here the result is rounded to 12 bits of fraction';

function approximation(stem: string, what: string, form: FloatForm): Instruction[] {
  return [PS, SS].flatMap((k) => {
    const name = stem + k.suffix;
    const manual = `${name.toUpperCase()}—Compute ${what} of ${precisionOf(k)} Precision Floating-Point Values`;
    return kindRows(name, k, 'sse', {
      manual,
      note: APPROXIMATE,
      tolerance: 1.5 * 2 ** -12,
      semantics: unaryFloat(k, form),
    });
  });
}

export const floatArithmetic: Family = [
  ...arithmetic('Add', 'Add', ADD),
  ...arithmetic('Sub', 'Subtract', SUBTRACT),
  ...arithmetic('Mul', 'Multiply', MULTIPLY),
  ...arithmetic('Div', 'Divide', DIVIDE),
  ...arithmetic('Min', 'Minimum of', MINIMUM),
  ...arithmetic('Max', 'Maximum of', MAXIMUM),
  ...ALL_KINDS.flatMap((k) => {
    const name = 'Sqrt' + k.suffix;
    const manual = `${name.toUpperCase()}—Square Root of ${precisionOf(k)} Precision Floating-Point Values`;
    return kindRows(name, k, featureOf(k), { manual, semantics: unaryFloat(k, SQUARE_ROOT) });
  }),
  ...PACKED_KINDS.flatMap((k) =>
    kindRows('Addsub' + k.suffix, k, 'sse3', {
      manual: `ADDSUB${k.suffix.toUpperCase()}—Packed ${k.double ? 'Double' : 'Single'} Precision Floating-Point Add/Subtract`,
      semantics: binaryFloat(k, ALTERNATE),
    }),
  ),
  ...horizontal('Hadd', 'Add', ADD),
  ...horizontal('Hsub', 'Subtract', SUBTRACT),
  ...[PS, PD].flatMap((k) =>
    // VDPPD has no 256-bit form.
    encodings(
      'Dp' + k.suffix,
      { sse: 'sse4_1', vex128: 'avx', ...(k.double ? {} : { vex256: 'avx' }) },
      {
        manual: `DP${k.suffix.toUpperCase()}—Dot Product of ${precisionOf(k)} Precision Floating-Point Values`,
        note: 'Exceptions of the products end the instruction before those of the sums are looked for',
        semantics: (b) => binaryFloat(k, { operation: 'float:dot' }, immediate(b))(b),
      },
    ),
  ),
  ...approximation('Rcp', 'Reciprocals', RECIPROCAL),
  ...approximation('Rsqrt', 'Reciprocals of Square Roots', RECIPROCAL_ROOT),
];
