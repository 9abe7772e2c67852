/** Moves of single elements under a mask, and gathers: only the elements wanted are accessed. */
import type { Family, Instruction } from '../instruction';

const MASKMOV_NOTE = 'Bytes that are not stored raise no exception (the manual leaves it to the implementation)';

const rows = (manual: string, feature: string, assist: string, ...mnemonics: string[]): Instruction[] =>
  mnemonics.map((mnemonic) => ({ mnemonic, manual, feature, unit: 'avx', assist }));

const VMASKMOV = 'VMASKMOV—Conditional SIMD Packed Loads and Stores';
const VPMASKMOV = 'VPMASKMOV—Conditional SIMD Integer Packed Loads and Stores';
const gathers = (kind: string): string => `${kind}—Gather Packed Values Using Signed Indices`;

export const simdMasked: Family = [
  ...rows(VMASKMOV, 'avx', 'maskedMove32', 'Vmaskmovps'),
  ...rows(VMASKMOV, 'avx', 'maskedMove64', 'Vmaskmovpd'),
  ...rows(VPMASKMOV, 'avx2', 'maskedMove32', 'Vpmaskmovd'),
  ...rows(VPMASKMOV, 'avx2', 'maskedMove64', 'Vpmaskmovq'),
  ...rows(gathers('VGATHERDPS/VGATHERQPS'), 'avx2', 'gather32', 'Vgatherdps', 'Vgatherqps'),
  ...rows(gathers('VGATHERDPD/VGATHERQPD'), 'avx2', 'gather64', 'Vgatherdpd', 'Vgatherqpd'),
  ...rows(gathers('VPGATHERDD/VPGATHERQD'), 'avx2', 'gather32', 'Vpgatherdd', 'Vpgatherqd'),
  ...rows(gathers('VPGATHERDQ/VPGATHERQQ'), 'avx2', 'gather64', 'Vpgatherdq', 'Vpgatherqq'),
  {
    mnemonic: 'Maskmovq',
    manual: 'MASKMOVQ—Store Selected Bytes of Quadword',
    feature: 'sse',
    unit: 'mmx',
    assist: 'storeBytesMmx',
    note: MASKMOV_NOTE,
  },
  {
    mnemonic: 'Maskmovdqu',
    manual: 'MASKMOVDQU—Store Selected Bytes of Double Quadword',
    feature: 'sse2',
    unit: 'sse',
    assist: 'storeBytes',
    note: MASKMOV_NOTE,
  },
  {
    mnemonic: 'Vmaskmovdqu',
    manual: 'MASKMOVDQU—Store Selected Bytes of Double Quadword',
    feature: 'avx',
    unit: 'avx',
    assist: 'storeBytes',
    note: MASKMOV_NOTE,
  },
];
