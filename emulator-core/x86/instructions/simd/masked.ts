/** Moves of single elements under a mask, and gathers: only the elements wanted are accessed. */
import type { Family, Instruction } from '../instruction';

const GATHER_NOTE =
  'After a fault the masks of elements still to load are all ones (AMD processors leave them as they were)';
const MASKMOV_NOTE =
  'Bytes that are not stored must be writable too, as on AMD processors (the manual leaves it to the implementation)';

const rows = (manual: string, feature: string, assist: string, ...mnemonics: string[]): Instruction[] =>
  mnemonics.map((mnemonic) => ({ mnemonic, manual, feature, unit: 'avx', assist }));

const VMASKMOV = 'VMASKMOV—Conditional SIMD Packed Loads and Stores';
const VPMASKMOV = 'VPMASKMOV—Conditional SIMD Integer Packed Loads and Stores';
/** `kind`: title in the manual. */
const gathers = (kind: string, assist: string, ...mnemonics: string[]): Instruction[] =>
  rows(`${kind}—Gather Packed Values Using Signed Indices`, 'avx2', assist, ...mnemonics).map((row) => ({
    ...row,
    note: GATHER_NOTE,
  }));

export const simdMasked: Family = [
  ...rows(VMASKMOV, 'avx', 'maskedMove32', 'Vmaskmovps'),
  ...rows(VMASKMOV, 'avx', 'maskedMove64', 'Vmaskmovpd'),
  ...rows(VPMASKMOV, 'avx2', 'maskedMove32', 'Vpmaskmovd'),
  ...rows(VPMASKMOV, 'avx2', 'maskedMove64', 'Vpmaskmovq'),
  ...gathers('VGATHERDPS/VGATHERQPS', 'gather32', 'Vgatherdps', 'Vgatherqps'),
  ...gathers('VGATHERDPD/VGATHERQPD', 'gather64', 'Vgatherdpd', 'Vgatherqpd'),
  ...gathers('VPGATHERDD/VPGATHERQD', 'gather32', 'Vpgatherdd', 'Vpgatherqd'),
  ...gathers('VPGATHERDQ/VPGATHERQQ', 'gather64', 'Vpgatherdq', 'Vpgatherqq'),
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
