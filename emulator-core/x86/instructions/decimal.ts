/** Decimal adjustment, BOUND and SALC: invalid in 64-bit mode, rare elsewhere. */
import type { Family } from './instruction';

export const decimal: Family = [
  {
    mnemonic: 'Daa',
    manual: 'DAA—Decimal Adjust AL After Addition',
    assist: 'decimalAdjust',
    note: 'OF undefined: kept',
  },
  {
    mnemonic: 'Das',
    manual: 'DAS—Decimal Adjust AL After Subtraction',
    assist: 'decimalAdjust',
    note: 'OF undefined: kept',
  },
  {
    mnemonic: 'Aaa',
    manual: 'AAA—ASCII Adjust After Addition',
    assist: 'asciiAdjust',
    note: 'OF SF ZF PF undefined: kept',
  },
  {
    mnemonic: 'Aas',
    manual: 'AAS—ASCII Adjust AL After Subtraction',
    assist: 'asciiAdjust',
    note: 'OF SF ZF PF undefined: kept',
  },
  {
    mnemonic: 'Aam',
    manual: 'AAM—ASCII Adjust AX After Multiply',
    assist: 'asciiMultiply',
    note: 'OF AF CF undefined: 0',
  },
  {
    mnemonic: 'Aad',
    manual: 'AAD—ASCII Adjust AX Before Division',
    assist: 'asciiDivide',
    note: 'OF AF CF undefined: 0',
  },
  { mnemonic: 'Bound', manual: 'BOUND—Check Array Index Against Bounds', assist: 'checkBounds' },
  // AMD documents it; Intel processors execute it, too.
  { mnemonic: 'Salc', manual: 'SALC—Set AL From Carry (undocumented opcode D6)', assist: 'setFromCarry' },
];
