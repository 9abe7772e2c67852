/**
 * Where processors that all follow their manuals differ, and a comparison with one of them says nothing about the machine, which
 * follows Intel's. Everything here is as narrow as the difference.
 */
import { spreads } from './amd';
import type { Form } from './forms';
import type { Sequence } from './generate';
import type { Outcome } from './protocol';

const INVALID_UNMASKED = 0x81;
const CONDITION_CODES = 0x4700;
const C1 = 0x200;

/** Several accesses and checks, whose order no manual gives: any of them may be the one that faults. */
const SEVERAL =
  /^(Cmps|Retf|Iret|Fldenv|Fnstenv|Fnsave|Frstor|Pusha|Popa|Enter|L[defgs]s_|Jmp_m16|Mov_dr_|Mov_r\d+_dr|Maskmov|VEX_Vmaskmovdqu|Cmpxchg16b|Bound|Call_|Fxsave|Fxrstor|Xsave|Xrstor)/;

export function accessesSeveral(name: string): boolean {
  return SEVERAL.test(name);
}

/** RCPPS, RSQRTPS and their kin: the manual bounds the relative error, 1.5 * 2^-12, and two results may lie that far apart twice. */
const APPROXIMATE = /^V?r(cp|sqrt)[ps]s/i;
const RELATIVE_ERROR = 2 * 1.5 * 2 ** -12;

/** SDM Vol. 1, "Transcendental Instruction Accuracy": an error below one unit in the last place. */
const TRANSCENDENTAL = /^F(sin|cos|sincos|ptan|patan|2xm1|yl2x|yl2xp1)(_|$)/;

const plain = (name: string): string => name.replace(/^VEX_/, '');

/** Vector registers that may count as equal although their bits differ. */
export function nearVectors(sequence: Sequence, got: Buffer, want: Buffer): boolean {
  if (!APPROXIMATE.test(plain(sequence.instructions[0].form.info.name))) return false;
  for (let i = 0; i < want.length; i += 4) {
    if (got.readUInt32LE(i) === want.readUInt32LE(i)) continue;
    const a = got.readFloatLE(i);
    const b = want.readFloatLE(i);
    // SDM Vol. 2, RCPPS: results about the smallest normal number may be flushed to zero.
    const flushed = b === 0 && Math.abs(a) <= 2 ** -126 * (1 + RELATIVE_ERROR);
    if (!flushed && !(Number.isFinite(b) && Math.abs(a - b) <= Math.abs(b) * RELATIVE_ERROR)) return false;
  }
  return true;
}

/** The same for an x87 register of 10 bytes. */
export function nearExtended(sequence: Sequence, got: Buffer, want: Buffer): boolean {
  if (!TRANSCENDENTAL.test(sequence.instructions[0].form.info.name)) return false;
  const distance = ordered(got) - ordered(want);
  return distance >= -2n && distance <= 2n;
}

/** Neighbours in value are neighbours as numbers here. */
function ordered(value: Buffer): bigint {
  const exponent = BigInt(value.readUInt16LE(8) & 0x7fff);
  // The integer bit belongs to the exponent.
  const magnitude = (exponent << 63n) + (value.readBigUInt64LE(0) & 0x7fffffffffffffffn);
  return value.readUInt16LE(8) & 0x8000 ? -magnitude : magnitude;
}

/** SDM Vol. 2, MASKMOVDQU: whether an address is looked at when no byte is stored depends on the processor. */
export function looseFault(sequence: Sequence, got: Outcome): boolean {
  const { rip, code, instructions } = sequence;
  return /^(VEX_Vm|M)askmov(q|dqu)_/.test(instructions[0].form.info.name) && got.rip[0] === rip + code.length;
}

/** Bytes of the largest access (FXSAVE), below 4 GiB. */
const NEAR_LIMIT = 2 ** 32 - 512;

/**
 * SDM Vol. 3A, "Limit Checking": an access around the end of 4 GiB may or may not exceed the limit FFFFFFFFH. The machine raises #GP or
 * #SS, as AMD processors do; Intel ones may look at the page.
 */
export function looseLimit(sequence: Sequence, got: Outcome, want: Outcome): boolean {
  const beyond = sequence.mode === 32 && (got.vector === 12 || got.vector === 13) && got.rip[0] === want.rip[0];
  return beyond && want.vector === 14 && want.address[1] === 0 && want.address[0] > NEAR_LIMIT;
}

const MISALIGNED_MODE = 1 << 17;

/** LDMXCSR of a reserved bit is #GP; it is the misaligned exception mask of AMD processors. APM Vol. 2, "MXCSR Register". */
export function looseControl(want: Outcome): boolean {
  return (want.mxcsr & MISALIGNED_MODE) !== 0;
}

/** Faults after a step to MMX registers: AMD processors have already made the x87 registers MMX registers. */
export function looseTransition(sequence: Sequence, want: Outcome): boolean {
  return want.vector >= 12 && /^(Cvt(t?p[sd]2pi|pi2p[sd])|Maskmovq)_/.test(sequence.instructions[0].form.info.name);
}

const UNDERFLOW = 0x10;

/** ST(0) is below the normal numbers. */
function denormalTop({ fsw, x87 }: Outcome): boolean {
  return (x87.readUInt16LE(((fsw >> 11) & 7) * 16 + 8) & 0x7fff) === 0;
}

const COMPARISONS = /^F(u?com|icom|tst)/;

/** Bits of the x87 status word that differ. */
export function looseStatus(sequence: Sequence, got: Outcome, want: Outcome): number {
  const name = sequence.instructions[0].form.info.name;
  // SDM Vol. 2, FCOM: with an unmasked invalid operand the condition codes are not set; AMD processors set them to unordered.
  if (COMPARISONS.test(name) && unmasked(want)) return CONDITION_CODES;
  // SDM Vol. 2, FCOMI: C1 is cleared; AMD processors keep it.
  if (/^Fu?comi/.test(name)) return C1;
  // How the last place was rounded; and so, whether a result beside the smallest normal number has underflowed.
  if (TRANSCENDENTAL.test(name)) return denormalTop(got) !== denormalTop(want) ? C1 | UNDERFLOW : C1;
  if (looseTransition(sequence, want)) return 0x3800;
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

/**
 * SDM Vol. 2, SHA extensions, exception type 4: #GP when the memory operand is not aligned. AMD processors take any address, so
 * cases are aligned.
 */
export function needsAlignment(form: Form): boolean {
  return form.memory && /^Sha(1|256)/.test(form.info.name);
}

/** A form with any of these differences: not for sequences, in which they would spread. */
export function isLoose(form: Form): boolean {
  const { name } = form.info;
  const rules = [SEVERAL, APPROXIMATE, TRANSCENDENTAL, COMPARISONS, /^(Lar|Maskmov|VEX_Vmaskmov|Cvt\w*_mm|Cvt\w*_mmm)/];
  return needsAlignment(form) || spreads(form) || rules.some((rule) => rule.test(plain(name)) || rule.test(name));
}
