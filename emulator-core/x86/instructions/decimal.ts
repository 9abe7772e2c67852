/** Decimal adjustment, BOUND and SALC: invalid in 64-bit mode, rare elsewhere. */
import type { Family } from './instruction';

export const decimal: Family = [
  {
    mnemonic: 'Daa',
    manual: 'DAA—Decimal Adjust AL After Addition',
    assist: 'decimalAdjust',
    undefinedResults: [{ flags: 'OF' }],
    note: 'OF is kept',
  },
  {
    mnemonic: 'Das',
    manual: 'DAS—Decimal Adjust AL After Subtraction',
    assist: 'decimalAdjust',
    undefinedResults: [{ flags: 'OF' }],
    note: 'OF is kept',
  },
  {
    mnemonic: 'Aaa',
    manual: 'AAA—ASCII Adjust After Addition',
    assist: 'asciiAdjust',
    undefinedResults: [{ flags: 'OF SF ZF PF' }],
    note: 'Undefined flags are kept',
  },
  {
    mnemonic: 'Aas',
    manual: 'AAS—ASCII Adjust AL After Subtraction',
    assist: 'asciiAdjust',
    undefinedResults: [{ flags: 'OF SF ZF PF' }],
    note: 'Undefined flags are kept',
  },
  {
    mnemonic: 'Aam',
    manual: 'AAM—ASCII Adjust AX After Multiply',
    assist: 'asciiMultiply',
    undefinedResults: [{ flags: 'OF AF CF' }],
    note: 'Undefined flags are 0',
  },
  {
    mnemonic: 'Aad',
    manual: 'AAD—ASCII Adjust AX Before Division',
    assist: 'asciiDivide',
    undefinedResults: [{ flags: 'OF AF CF' }],
    note: 'Undefined flags are 0',
  },
  { mnemonic: 'Bound', manual: 'BOUND—Check Array Index Against Bounds', assist: 'checkBounds' },
  // AMD documents it; Intel processors execute it, too.
  { mnemonic: 'Salc', manual: 'SALC—Set AL From Carry (undocumented opcode D6)', assist: 'setFromCarry' },
];
