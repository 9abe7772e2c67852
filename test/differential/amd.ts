/**
 * Where AMD's processors do something else than Intel's, which the machine follows: for hosts of AMD's only, and as narrow as the
 * difference. Seen on AMD EPYC (family 25, model 1) and on Intel Xeon (family 6, model 207); "SDM" says where the manual decides.
 */
import type { Encoded } from './encode';
import type { Form } from './forms';
import type { Sequence } from './generate';
import { Case, type Outcome } from './protocol';
import { addressOf } from './undefined';

const SUMMARY = 0x80;
const MXCSR_FLAGS = 0x3f;
const PAGE = 4096;
const SIMD_EXCEPTION = 19;
const BOUND_EXCEEDED = 5;
const RSP = 4;
const MXCSR_DE = 2;
const MXCSR_UE = 0x10;
const MXCSR_PE = 0x20;
/** Mask bits lie 7 above the flags. */
const MXCSR_MASKS = 7;

const X87_STORE = /^F(stp?|istt?p?|bstp)_m/;
const MMX_STORE = /^(Mov[dq]_(rm32|rm64|mmm64)_mm|Movntq)/;
const HALVES = /^VEX_Vcvtps2ph_xmmm/;
const MASKED_STORE = /^VEX_Vp?maskmov(ps|pd|d|q)_m/;
const DOT_PRODUCT = /^(VEX_Vd|D)pp[sd]_/;

/** A form with a difference that would spread in a sequence. */
export function spreads(form: Form): boolean {
  const { name } = form.info;
  const stores = [X87_STORE, MMX_STORE, MASKED_STORE].some((rule) => rule.test(name));
  return (form.memory && stores) || DOT_PRODUCT.test(name) || HALVES.test(name);
}

const nameOf = (sequence: Sequence): string => sequence.instructions[0].form.info.name;
/** #SS, #GP, #PF or #AC of the sequence's first instruction. */
const faulted = (sequence: Sequence, want: Outcome): boolean =>
  ((want.vector >= 12 && want.vector <= 14) || want.vector === 17) && want.rip[0] === sequence.rip;

/**
 * The address is checked before something that, on Intel's processors, keeps the memory operand from being accessed: nothing else
 * of the case can be compared.
 */
export function addressFirst(sequence: Sequence, cases: Buffer, at: number, got: Outcome, want: Outcome): boolean {
  if (!faulted(sequence, want)) return false;
  const name = nameOf(sequence);
  // An unmasked exception that leaves memory alone.
  if (X87_STORE.test(name)) return got.rip[0] !== sequence.rip && (got.fsw & SUMMARY) !== 0;
  if (HALVES.test(name)) return got.vector === SIMD_EXCEPTION;
  // BOUND: both bounds are read before the index is compared with one.
  if (/^Bound_/.test(name)) return got.vector === BOUND_EXCEEDED;
  // POP of a segment register: the slot is read whole, not 16 bits of it. SDM Vol. 2, "POP": the manual's page leaves it open.
  const pop = /^Pop([dq])_[DEFGS]S$/.exec(name);
  if (!pop) return false;
  const left = PAGE - (cases.readUInt32LE(at + Case.gpr + RSP * 8) % PAGE);
  return want.vector === 14 && left >= 2 && left < (pop[1] === 'd' ? 4 : 8);
}

/** RFLAGS bits. SDM Vol. 2, "REP": a fault of CMPS or SCAS restores the flags; here those of the last iteration stay. */
export function flags(sequence: Sequence, want: Outcome): number {
  const repeated = sequence.instructions[0].repeated && /^(Cmps|Scas)/.test(nameOf(sequence));
  return repeated && faulted(sequence, want) ? 0x8d5 : 0;
}

/** Bits of the x87 status word: a store from an MM register that faults leaves TOP as it was. */
export function status(sequence: Sequence, want: Outcome): number {
  return MMX_STORE.test(nameOf(sequence)) && faulted(sequence, want) ? 0x3800 : 0;
}

/**
 * MXCSR bits: VCVTPS2PH whose store faults leaves the exception flags as they were; an unmasked underflow of a denormal is not
 * inexact.
 */
export function mxcsr(sequence: Sequence, want: Outcome): number {
  if (!HALVES.test(nameOf(sequence))) return 0;
  if (faulted(sequence, want)) return MXCSR_FLAGS;
  const underflow = MXCSR_DE | MXCSR_UE;
  return (want.mxcsr & underflow) === underflow && !((want.mxcsr >> MXCSR_MASKS) & MXCSR_UE) ? MXCSR_PE : 0;
}

/** Bits of a page fault's address: masked stores report the first byte that cannot be written. */
export function address(sequence: Sequence): number {
  return MASKED_STORE.test(nameOf(sequence)) ? PAGE - 1 : 0;
}

/**
 * A range of addresses that is not written: by a CALL to a non-canonical address, which is found before the push, and by the store of
 * 10 bytes of which the last two fault.
 */
export function notStored(sequence: Sequence, cases: Buffer, at: number, want: Outcome): [number, number] | undefined {
  const name = nameOf(sequence);
  if (/^Call_rm64/.test(name) && want.vector === 13) {
    const top = cases.readUInt32LE(at + Case.gpr + RSP * 8);
    return [top - 8, top];
  }
  if (!/^F(stp_m80|bstp_m)/.test(name) || !faulted(sequence, want)) return undefined;
  const start = addressOf(sequence.instructions[0].memory[0], cases, at);
  return [start, start + 8];
}

/**
 * The upper half of rCX, rSI or rDI, which a repeated string instruction with an address size of 32 bits clears: here only once it has
 * moved on.
 */
export function keptHigh(
  sequence: Sequence,
  cases: Buffer,
  at: number,
  register: number,
  got: Outcome,
  want: Outcome,
): boolean {
  const [one] = sequence.instructions;
  if (sequence.mode !== 64 || !one.repeated || !one.memory.some((use) => use.string && use.addressBits === 32))
    return false;
  const high = register * 8 + 4;
  const before = cases.readUInt32LE(at + Case.gpr + high);
  return [1, 6, 7].includes(register) && got.gpr.readUInt32LE(high) === 0 && want.gpr.readUInt32LE(high) === before;
}

/** Vector register `register` is the same but for what may differ. */
export function sameVector(sequence: Sequence, register: number, got: Buffer, want: Buffer, outcome: Outcome): boolean {
  const name = nameOf(sequence);
  if (DOT_PRODUCT.test(name)) return sameSums(name.includes('pps_'), got, want);
  if (/^VEX_Vp?gather/.test(name) && faulted(sequence, outcome))
    return sameGathered(sequence.instructions[0], sequence.mode, register, got, want);
  return false;
}

/** DPPS, DPPD: of two NaNs another one may be the sum. */
function sameSums(single: boolean, got: Buffer, want: Buffer): boolean {
  const size = single ? 4 : 8;
  for (let i = 0; i < 32; i += size) {
    if (got.subarray(i, i + size).equals(want.subarray(i, i + size))) continue;
    const [a, b] = [got, want].map((v) => (single ? v.readFloatLE(i) : v.readDoubleLE(i)));
    if (!Number.isNaN(a) || !Number.isNaN(b)) return false;
  }
  return true;
}

/**
 * A gather that faults: the masks of elements still to load are not widened, and what is above destination and mask is not cleared.
 * SDM Vol. 2, "VGATHERDPS/VGATHERQPS", Operation, widens them first.
 */
function sameGathered(one: Encoded, mode: 32 | 64, register: number, got: Buffer, want: Buffer): boolean {
  const [, element, file, index] = /ather[dq](ps|pd|d|q)_([xy])mm_vm\d\d([xy])/.exec(one.form.info.name)!;
  const at = one.bytes.indexOf(0xc4);
  const wide = mode === 64;
  const destination = ((one.bytes[at + 4] >> 3) & 7) | (wide && !(one.bytes[at + 1] & 0x80) ? 8 : 0);
  const mask = (~one.bytes[at + 2] >> 3) & (wide ? 15 : 7);
  const bytes = file === 'y' ? 32 : 16;
  if (register === destination) return got.subarray(0, bytes).equals(want.subarray(0, bytes));
  if (register !== mask) return false;
  const size = element === 'ps' || element === 'd' ? 4 : 8;
  const width = index === 'y' ? 32 : bytes;
  for (let i = size - 1; i < width; i += size) if ((got[i] ^ want[i]) & 0x80) return false;
  return true;
}
