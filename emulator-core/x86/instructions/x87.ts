/**
 * The x87 FPU. One assist carries out all of them (cpu/assists/fpu.ts looks the operation up by mnemonic); a row says which exist.
 */
import type { Family, Instruction } from './instruction';

const x87Row = (mnemonic: string, manual: string): Instruction => ({ mnemonic, manual, assist: 'x87', feature: 'fpu' });
const all = (manual: string, ...mnemonics: string[]): Instruction[] => mnemonics.map((m) => x87Row(m, manual));

const UNMASKED =
  'An invalid operand that is unmasked leaves the flags as they were (AMD processors set them to unordered)';
const INCOMPLETE = 'An incomplete reduction takes 32 to 63 bits, which the manual leaves open';
/** Rows with a note. */
const noted = (note: string, list: readonly Instruction[]): Instruction[] => list.map((row) => ({ ...row, note }));

const ACCURACY = 'Correctly rounded; processors may be one unit in the last place off, with C1 to match';
const REDUCTION = 'Arguments are reduced with a π of 66 bits (SDM Vol. 1, "Approximation of Pi")';
/** SDM Vol. 1, "Transcendental Instruction Accuracy". */
const transcendental = (note: string | undefined, list: readonly Instruction[]): Instruction[] =>
  list.map((row) => ({ ...row, ulps: 1, note: note ? `${ACCURACY}. ${note}` : ACCURACY }));

export const x87: Family = [
  ...all('FLD—Load Floating-Point Value', 'Fld'),
  ...all('FILD—Load Integer', 'Fild'),
  ...all('FBLD—Load Binary Coded Decimal', 'Fbld'),
  ...all('FST/FSTP—Store Floating-Point Value', 'Fst', 'Fstp'),
  ...noted(
    'Undocumented: as FSTP, but an empty ST(0) is only popped, without stack fault',
    all('FST/FSTP—Store Floating-Point Value', 'Fstpnce'),
  ),
  ...all('FIST/FISTP—Store Integer', 'Fist', 'Fistp'),
  { ...x87Row('Fisttp', 'FISTTP—Store Integer With Truncation'), feature: 'sse3' },
  ...all('FBSTP—Store BCD Integer and Pop', 'Fbstp'),
  ...all(
    'FLD1/FLDL2T/FLDL2E/FLDPI/FLDLG2/FLDLN2/FLDZ—Load Constant',
    'Fld1',
    'Fldl2t',
    'Fldl2e',
    'Fldpi',
    'Fldlg2',
    'Fldln2',
    'Fldz',
  ),
  ...all('FADD/FADDP/FIADD—Add', 'Fadd', 'Faddp', 'Fiadd'),
  ...all('FSUB/FSUBP/FISUB—Subtract', 'Fsub', 'Fsubp', 'Fisub'),
  ...all('FSUBR/FSUBRP/FISUBR—Reverse Subtract', 'Fsubr', 'Fsubrp', 'Fisubr'),
  ...all('FMUL/FMULP/FIMUL—Multiply', 'Fmul', 'Fmulp', 'Fimul'),
  ...all('FDIV/FDIVP/FIDIV—Divide', 'Fdiv', 'Fdivp', 'Fidiv'),
  ...all('FDIVR/FDIVRP/FIDIVR—Reverse Divide', 'Fdivr', 'Fdivrp', 'Fidivr'),
  ...noted(UNMASKED, all('FCOM/FCOMP/FCOMPP—Compare Floating-Point Values', 'Fcom', 'Fcomp', 'Fcompp')),
  ...noted(UNMASKED, all('FUCOM/FUCOMP/FUCOMPP—Unordered Compare Floating-Point Values', 'Fucom', 'Fucomp', 'Fucompp')),
  ...noted(UNMASKED, all('FICOM/FICOMP—Compare Integer', 'Ficom', 'Ficomp')),
  ...noted(
    `${UNMASKED}; C1 is cleared (AMD processors keep it)`,
    all(
      'FCOMI/FCOMIP/FUCOMI/FUCOMIP—Compare Floating-Point Values and Set EFLAGS',
      'Fcomi',
      'Fcomip',
      'Fucomi',
      'Fucomip',
    ),
  ),
  ...all('FTST—TEST', 'Ftst'),
  ...all('FXAM—Examine Floating-Point', 'Fxam'),
  ...all(
    'FCMOVcc—Floating-Point Conditional Move',
    'Fcmovb',
    'Fcmove',
    'Fcmovbe',
    'Fcmovu',
    'Fcmovnb',
    'Fcmovne',
    'Fcmovnbe',
    'Fcmovnu',
  ),
  ...all('FXCH—Exchange Register Contents', 'Fxch'),
  ...all('FCHS—Change Sign', 'Fchs'),
  ...all('FABS—Absolute Value', 'Fabs'),
  ...all('FSQRT—Square Root', 'Fsqrt'),
  ...all('FRNDINT—Round to Integer', 'Frndint'),
  ...all('FSCALE—Scale', 'Fscale'),
  ...all('FXTRACT—Extract Exponent and Significand', 'Fxtract'),
  ...noted(INCOMPLETE, all('FPREM—Partial Remainder', 'Fprem')),
  ...noted(INCOMPLETE, all('FPREM1—Partial Remainder', 'Fprem1')),
  ...transcendental('Below -1 and above 1 the result is undefined: the operand', all('F2XM1—Compute 2x–1', 'F2xm1')),
  ...transcendental(undefined, all('FYL2X—Compute y * log2x', 'Fyl2x')),
  ...transcendental(
    'Outside ±(1 - √2/2) the result is undefined: y * log2(x + 1) all the same, and x itself from -1 downward',
    all('FYL2XP1—Compute y * log2(x +1)', 'Fyl2xp1'),
  ),
  ...transcendental(undefined, all('FPATAN—Partial Arctangent', 'Fpatan')),
  ...transcendental(REDUCTION, all('FPTAN—Partial Tangent', 'Fptan')),
  ...transcendental(REDUCTION, all('FSIN—Sine', 'Fsin')),
  ...transcendental(REDUCTION, all('FCOS—Cosine', 'Fcos')),
  ...transcendental(REDUCTION, all('FSINCOS—Sine and Cosine', 'Fsincos')),
  ...all('FINIT/FNINIT—Initialize Floating-Point Unit', 'Fninit'),
  ...all('FCLEX/FNCLEX—Clear Exceptions', 'Fnclex'),
  ...all('FSTCW/FNSTCW—Store x87 FPU Control Word', 'Fnstcw'),
  ...all('FLDCW—Load x87 FPU Control Word', 'Fldcw'),
  ...all('FSTSW/FNSTSW—Store x87 FPU Status Word', 'Fnstsw'),
  ...all('FSTENV/FNSTENV—Store x87 FPU Environment', 'Fnstenv'),
  ...all('FLDENV—Load x87 FPU Environment', 'Fldenv'),
  ...all('FSAVE/FNSAVE—Store x87 FPU State', 'Fnsave'),
  ...all('FRSTOR—Restore x87 FPU State', 'Frstor'),
  ...noted(
    'With CR0.NE clear a pending exception is ignored, as with IGNNE# asserted: no FERR# reaches IRQ 13',
    all('WAIT/FWAIT—Wait', 'Wait'),
  ),
  ...all('FNOP—No Operation', 'Fnop'),
  ...noted('Of the 8087 and 80287; ignored since', all('FNOP—No Operation', 'Fneni', 'Fndisi', 'Fnsetpm')),
  ...all('FFREE—Free Floating-Point Register', 'Ffree', 'Ffreep'),
  ...all('FINCSTP—Increment Stack-Top Pointer', 'Fincstp'),
  ...all('FDECSTP—Decrement Stack-Top Pointer', 'Fdecstp'),
];
