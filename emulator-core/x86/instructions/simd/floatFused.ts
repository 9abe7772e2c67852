/** FMA: one rounding of a product and a sum. SDM Vol. 1, "Fused-Multiply-ADD (FMA) Extensions". */
import { Fused } from '../../../cpu/fpu/softfloat/operations';
import type { Builder } from '../../../translate/builder';
import type { Family, Instruction } from '../instruction';
import { ALL_KINDS, PACKED_KINDS, compute, floatParts, mergeLow, precisionOf, type Kind } from './floatForms';

const { negateProduct, negateEven, negateOdd } = Fused;

interface Variant {
  name: string;
  title: string;
  option: number;
  kinds: readonly Kind[];
}

const VARIANTS: readonly Variant[] = [
  { name: 'madd', title: 'Multiply-Add', option: 0, kinds: ALL_KINDS },
  { name: 'msub', title: 'Multiply-Subtract', option: negateEven | negateOdd, kinds: ALL_KINDS },
  { name: 'nmadd', title: 'Negative Multiply-Add', option: negateProduct, kinds: ALL_KINDS },
  {
    name: 'nmsub',
    title: 'Negative Multiply-Subtract',
    option: negateProduct | negateEven | negateOdd,
    kinds: ALL_KINDS,
  },
  { name: 'maddsub', title: 'Multiply-Alternating Add/Subtract', option: negateEven, kinds: PACKED_KINDS },
  { name: 'msubadd', title: 'Multiply-Alternating Subtract/Add', option: negateOdd, kinds: PACKED_KINDS },
];

/** Places of factor, factor and addend among the operands, by the digits of the name. */
const ORDERS = { 132: [0, 2, 1], 213: [1, 0, 2], 231: [1, 2, 0] } as const;
type Order = keyof typeof ORDERS;

function fused(k: Kind, order: Order, option: number): (b: Builder) => void {
  return (b) => {
    // Memory first: it may fault.
    const operands = [2, 1, 0].map((i) => floatParts(b, k, i)).reverse();
    const sources = ORDERS[order].map((i) => operands[i]);
    const write = ([first, ...more]: Parameters<Builder['writeVector']>[1]): void =>
      b.writeVector(0, k.scalar ? [mergeLow(k, first, operands[0][0])] : [first, ...more]);
    compute(b, k, { operation: 'float:fused', option }, sources, write);
  };
}

function row(variant: Variant, order: Order, k: Kind): Instruction {
  const name = `Vf${variant.name}${order}${k.suffix}`;
  const all = [132, 213, 231].map((o) => `VF${variant.name.toUpperCase()}${o}${k.suffix.toUpperCase()}`).join('/');
  return {
    mnemonic: name,
    manual: `${all}—Fused ${variant.title} of ${precisionOf(k)} Precision Floating-Point Values`,
    feature: 'fma',
    unit: 'avx',
    semantics: fused(k, order, variant.option),
  };
}

export const floatFused: Family = VARIANTS.flatMap((variant) =>
  ([132, 213, 231] as const).flatMap((order) => variant.kinds.map((k) => row(variant, order, k))),
);
