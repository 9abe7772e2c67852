/** The floating-point operations on vectors, one row each: what FloatUnit does for the slow path of every SSE and AVX instruction. */
import { add, divide, fusedMultiplyAdd, multiply, squareRoot, subtract, type Binary } from './arithmetic';
import { reciprocal, reciprocalRoot } from './approximate';
import { PREDICATES, Relation, maximum, minimum, relation } from './compare';
import { fromInt32, fromInt64, narrow, narrowHalf, toInt32, toInt64, widen, widenHalf } from './convert';
import { Exception } from './environment';
import type { FloatUnit } from './lanes';
import { DOUBLE, integral, type BinaryFormat } from './rounding';

/**
 * Carries an operation out on lanes 0 .. count-1 of the unit's operands. `option`: immediate of the instruction or variant of the
 * operation; 0 where there is none.
 */
export type FloatOperation = (u: FloatUnit, format: BinaryFormat, count: number, option: number) => void;

/** result[i] = even(a[i], b[i]) in even lanes, odd(a[i], b[i]) in odd ones. */
function vertical(even: Binary, odd = even): FloatOperation {
  return (u, format, count) => {
    for (let i = 0; i < count; i++) {
      const x = u.a.number(format, i);
      const y = u.b.number(format, i);
      if (x !== x || y !== y) u.nanOfTwo(format, i);
      else {
        const operation = i & 1 ? odd : even;
        u.result.put(format, i, operation(u.env, format, u.denormal(format, x), u.denormal(format, y)));
      }
      u.settle();
    }
  };
}

/** result[i] = f(a[i]). */
function unary(f: (u: FloatUnit, format: BinaryFormat, x: number, option: number) => number): FloatOperation {
  return (u, format, count, option) => {
    for (let i = 0; i < count; i++) {
      if (Number.isNaN(u.a.number(format, i))) {
        if (u.a.signaling(format, i)) u.invalid();
        u.propagate(format, i, u.a);
      } else u.result.put(format, i, f(u, format, u.operand(format, u.a, i), option));
      u.settle();
    }
  };
}

const products = vertical(multiply);
const sums = vertical(add);

/** In each 128 bits: the sum of the products that option bits 7:4 select, in the lanes that bits 3:0 select; +0 elsewhere. */
const dot: FloatOperation = (u, format, count, option) => {
  const perVector = format === DOUBLE ? 2 : 4;
  const { a, b, result, p, q } = u;
  p.bytes.fill(0);
  q.bytes.fill(0);
  for (let i = 0; i < count; i++) {
    if ((option >> (4 + (i % perVector))) & 1) {
      p.copyLane(format, i, a, i);
      q.copyLane(format, i, b, i);
    }
  }
  a.bytes.set(p.bytes);
  b.bytes.set(q.bytes);
  products(u, format, count, 0);
  // In every lane neighbours are added, then the sums of neighbours. Which comes first decides between two NaNs: seen on Intel
  // processors.
  const steps: readonly (readonly [first: number, second: number])[] = format === DOUBLE ? [[0, 1]] : [[1, 0], [0, 2]]; // prettier-ignore
  for (const [first, second] of steps) {
    if (!u.step()) break;
    for (let i = 0; i < count; i++) {
      a.copyLane(format, i, result, i ^ first);
      b.copyLane(format, i, result, i ^ second);
    }
    sums(u, format, count, 0);
  }
  for (let i = 0; i < count; i++) if (!((option >> (i % perVector)) & 1)) result.putMask(format, i, false);
};

/** Any NaN is invalid and gives the second operand as it is; so do two zeros. */
function choose(f: (a: number, b: number) => number): FloatOperation {
  return (u, format, count) => {
    for (let i = 0; i < count; i++) {
      const x = u.operand(format, u.a, i);
      const y = u.operand(format, u.b, i);
      if (x !== x || y !== y) {
        u.invalid();
        if (y !== y) u.result.copyLane(format, i, u.b, i);
        else u.result.put(format, i, y);
      } else u.result.put(format, i, f(x, y));
      u.settle();
    }
  };
}

/** Notes what a comparison notes; the relation of a[i] and b[i]. */
function compareLane(u: FloatUnit, format: BinaryFormat, i: number, signaling: boolean): number {
  const x = u.operand(format, u.a, i);
  const y = u.operand(format, u.b, i);
  const r = relation(x, y);
  if (r === Relation.unordered) {
    const quietly = !(x !== x && u.a.signaling(format, i)) && !(y !== y && u.b.signaling(format, i));
    if (signaling || !quietly) u.invalid();
    u.env.flags &= ~Exception.DE;
  }
  u.settle();
  return r;
}

/** Variants of fused multiply-add: which parts are negated. The addend in even and in odd lanes. */
export const Fused = { negateProduct: 1, negateEven: 2, negateOdd: 4 } as const;

export const FLOAT_OPERATIONS = {
  add: vertical(add),
  subtract: vertical(subtract),
  multiply: vertical(multiply),
  divide: vertical(divide),
  /** ADDSUBPS, ADDSUBPD. */
  alternate: vertical(subtract, add),
  squareRoot: unary((u, format, x) => squareRoot(u.env, format, x)),
  minimum: choose(minimum),
  maximum: choose(maximum),
  /** ±(a * b) ± c; option: bits of Fused. */
  fused: ((u, format, count, option) => {
    for (let i = 0; i < count; i++) {
      let x = u.a.number(format, i);
      let y = u.b.number(format, i);
      let z = u.c.number(format, i);
      if (x !== x || y !== y || z !== z) u.nanOfThree(format, i);
      else {
        x = u.denormal(format, x);
        y = u.denormal(format, y);
        z = u.denormal(format, z);
        if (option & Fused.negateProduct) x = -x;
        if (option & (i & 1 ? Fused.negateOdd : Fused.negateEven)) z = -z;
        u.result.put(format, i, fusedMultiplyAdd(u.env, format, x, y, z));
      }
      u.settle();
    }
  }) as FloatOperation,
  /** Masks; option: predicate. */
  compare: ((u, format, count, option) => {
    const predicate = PREDICATES[option & 31];
    for (let i = 0; i < count; i++) {
      const r = compareLane(u, format, i, predicate.signaling);
      u.result.putMask(format, i, ((predicate.relations >> r) & 1) !== 0);
    }
  }) as FloatOperation,
  /** result.u32[0] = one of Relation; option 1: a quiet NaN is an invalid operation (COMISS), 0: it is not (UCOMISS). */
  relate: ((u, format, _count, option) => {
    u.result.u32[0] = compareLane(u, format, 0, option !== 0);
  }) as FloatOperation,
  /** option: immediate of ROUNDPS. A denormal operand is not noted. */
  integral: unary((u, _format, x, option) => {
    const { env } = u;
    const rounded = integral(env, x, option & 4 ? env.rounding : option & 3);
    env.flags &= option & 8 ? 0 : ~Exception.DE;
    return rounded;
  }),
  /** DPPS, DPPD; option: the immediate. */
  dot,
  reciprocal,
  reciprocalRoot,
  widen,
  narrow,
  widenHalf,
  narrowHalf,
  fromInt32,
  fromInt64,
  toInt32,
  toInt64,
} satisfies Record<string, FloatOperation>;
