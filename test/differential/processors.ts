/**
 * Where processors that all follow their manuals differ, and a comparison with one of them says nothing about the machine, which
 * follows Intel's. Everything here is as narrow as the difference.
 */
import type { Sequence } from './generate';
import type { Outcome } from './protocol';

const INVALID_UNMASKED = 0x81;
const CONDITION_CODES = 0x4700;
const C1 = 0x200;

/** Several accesses and checks, whose order no manual gives: any of them may be the one that faults. */
const SEVERAL =
  /^(Cmps|Retf|Iret|Fldenv|Fnstenv|Fnsave|Frstor|Pusha|Popa|Enter|L[defgs]s_|Jmp_m16|Bound|Call_|Fxsave|Fxrstor|Xsave|Xrstor)/;

export function accessesSeveral(name: string): boolean {
  return SEVERAL.test(name);
}

const COMPARISONS = /^F(u?com|icom|tst)/;

/** Bits of the x87 status word that differ. */
export function looseStatus(sequence: Sequence, want: Outcome): number {
  const name = sequence.instructions[0].form.info.name;
  // SDM Vol. 2, FCOM: with an unmasked invalid operand the condition codes are not set; AMD processors set them to unordered.
  if (COMPARISONS.test(name) && unmasked(want)) return CONDITION_CODES;
  // SDM Vol. 2, FCOMI: C1 is cleared; AMD processors keep it.
  if (/^Fu?comi/.test(name)) return C1;
  return 0;
}

function unmasked(want: Outcome): boolean {
  return (want.fsw & INVALID_UNMASKED) === INVALID_UNMASKED && (want.fcw & 1) === 0;
}

/** RFLAGS bits that differ. */
export function looseFlags(sequence: Sequence, want: Outcome): number {
  // As above, for EFLAGS.
  return /^Fu?comi/.test(sequence.instructions[0].form.info.name) && unmasked(want) ? 0x8d5 : 0;
}

/** General registers that differ, one bit each. */
export function looseRegisters(sequence: Sequence, want: Outcome): number {
  // A fault in the middle of POPA: AMD processors have loaded the registers before it. It loads them anew when it is restarted.
  return /^Popa/.test(sequence.instructions[0].form.info.name) && want.vector >= 12 && want.vector <= 14 ? 0xef : 0;
}

/** Bits of the low half of a general register that are undefined. SDM Vol. 2, LAR: limit bits 19:16 of the descriptor. */
export function looseBits(sequence: Sequence, register: number): number {
  const [first] = sequence.instructions;
  return first.form.info.row.mnemonic === 'Lar' && first.destination === register ? 0xf0000 : 0;
}
