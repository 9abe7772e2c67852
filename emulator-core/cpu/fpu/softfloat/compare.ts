/** Comparisons: relations, the predicates of CMPPS and its kin, MIN and MAX. */
export const Relation = { greater: 0, less: 1, equal: 2, unordered: 3 } as const;

/** One of Relation; NaNs are unordered, zeros equal. */
export function relation(a: number, b: number): number {
  if (a === b) return Relation.equal;
  if (a < b) return Relation.less;
  return a > b ? Relation.greater : Relation.unordered;
}

export interface Predicate {
  readonly name: string;
  /** Bit r is set when relation r satisfies it. */
  readonly relations: number;
  /** A quiet NaN is an invalid operation as well. */
  readonly signaling: boolean;
}

const G = 1 << Relation.greater;
const L = 1 << Relation.less;
const E = 1 << Relation.equal;
const U = 1 << Relation.unordered;

/** By immediate bits 4:0; legacy encodings have the first eight. SDM Vol. 2, CMPPD, "Comparison Predicate for CMPPD and CMPPS". */
export const PREDICATES: readonly Predicate[] = (
  [
    ['eq_oq', E],
    ['lt_os', L],
    ['le_os', L | E],
    ['unord_q', U],
    ['neq_uq', G | L | U],
    ['nlt_us', G | E | U],
    ['nle_us', G | U],
    ['ord_q', G | L | E],
    ['eq_uq', E | U],
    ['nge_us', L | U],
    ['ngt_us', L | E | U],
    ['false_oq', 0],
    ['neq_oq', G | L],
    ['ge_os', G | E],
    ['gt_os', G],
    ['true_uq', G | L | E | U],
    ['eq_os', E],
    ['lt_oq', L],
    ['le_oq', L | E],
    ['unord_s', U],
    ['neq_us', G | L | U],
    ['nlt_uq', G | E | U],
    ['nle_uq', G | U],
    ['ord_s', G | L | E],
    ['eq_us', E | U],
    ['nge_uq', L | U],
    ['ngt_uq', L | E | U],
    ['false_os', 0],
    ['neq_os', G | L],
    ['ge_oq', G | E],
    ['gt_oq', G],
    ['true_us', G | L | E | U],
  ] as const
).map(([name, relations]) => ({ name, relations, signaling: name.endsWith('s') }));

/** The lesser; the second when neither is. */
export function minimum(a: number, b: number): number {
  return a < b ? a : b;
}

/** The greater; the second when neither is. */
export function maximum(a: number, b: number): number {
  return a > b ? a : b;
}
