/** Finds what differs between the two outcomes of a case, leaving out what the manuals leave undefined. */
import type { CpuVendor } from '../../emulator-core/cpu/cpuModels';
import * as amd from './amd';
import type { Sequence } from './generate';
import { Case, CaseFlag, DATA, ENDLESS, Outcome, VISIBLE_FLAGS } from './protocol';
import {
  accessesSeveral,
  looseBits,
  looseControl,
  looseFault,
  looseFlags,
  looseLimit,
  looseRegisters,
  looseStatus,
  looseTransition,
  nearExtended,
  nearVectors,
} from './processors';
import { undefinedFlags, undefinedMemory, undefinedRegisters } from './undefined';

const GPR_NAMES = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');
const SEGMENT_NAMES = 'es cs ss ds fs gs'.split(' ');
const hex = (value: number): string => (value >>> 0).toString(16);

/** Exact comparison without any explanation: the fast path. */
function same(a: Outcome, b: Outcome): boolean {
  return (
    a.vector === b.vector &&
    a.rip[0] === b.rip[0] &&
    a.rip[1] === b.rip[1] &&
    ((a.rflags ^ b.rflags) & VISIBLE_FLAGS) === 0 &&
    a.gpr.equals(b.gpr) &&
    a.error === b.error &&
    a.address[0] === b.address[0] &&
    a.address[1] === b.address[1] &&
    a.mxcsr === b.mxcsr &&
    a.fcw === b.fcw &&
    a.fsw === b.fsw &&
    a.valid === b.valid &&
    a.selectors.every((value, i) => value === b.selectors[i]) &&
    a.bases.equals(b.bases) &&
    a.x87.equals(b.x87) &&
    a.ymm.equals(b.ymm) &&
    a.memory.equals(b.memory)
  );
}

/**
 * Differences as text, empty when there are none. `got` is the machine's outcome, `want` the processor's.
 * @param vendor of the processor
 */
export function difference(
  sequence: Sequence,
  cases: Buffer,
  at: number,
  got: Outcome,
  want: Outcome,
  vendor: CpuVendor = 'intel',
): string[] {
  if (same(got, want)) return [];
  const onAmd = vendor === 'amd';
  if (onAmd && amd.addressFirst(sequence, cases, at, got, want)) return [];
  if (looseControl(want)) return [];
  if (looseLimit(sequence, got, want)) return [];
  if (looseFault(sequence, got) && isFault(want.vector)) return [];
  const out: string[] = [];
  const check = (what: string, a: number, b: number): void => {
    if (a !== b) out.push(`${what} ${hex(a)}, not ${hex(b)}`);
  };
  const name = sequence.instructions[0].form.info.name;
  const several = sequence.instructions.length === 1 && accessesSeveral(name);
  // Which of two faults comes first.
  const otherFault = several && isFault(got.vector) && isFault(want.vector) && got.vector !== want.vector;
  if (!otherFault) check('vector', got.vector, want.vector);
  if (got.vector === ENDLESS || want.vector === ENDLESS) return out;
  check('rip', got.rip[0], want.rip[0]);
  check('rip, high', got.rip[1], want.rip[1]);
  // The kernel hides whether pages of the upper half are present, and the last page below.
  const hidden = want.address[1] >>> 31 || (want.address[1] === 0x7fff && want.address[0] >= 0xfffff000);
  const present = want.vector === 14 && hidden ? 1 : 0;
  // Of several accesses, one may meet a page that is not present, another one that is read-only.
  const anyError = otherFault || (several && want.vector === 14) ? 1 : present;
  if (!otherFault) check('error', got.error & ~anyError, want.error & ~anyError);
  if (!several) {
    const within = onAmd ? ~amd.address(sequence) : -1;
    check('address', got.address[0] & within, want.address[0] & within);
    check('address, high', got.address[1], want.address[1]);
  }
  const looseOnAmd = onAmd ? amd.flags(sequence, want) : 0;
  const mask = VISIBLE_FLAGS & ~(undefinedFlags(sequence, cases, at) | looseFlags(sequence, want) | looseOnAmd);
  check('flags', got.rflags & mask, want.rflags & mask);
  const wide = !(cases.readUInt32LE(at + Case.flags) & CaseFlag.compatibility);
  const loose = undefinedRegisters(sequence, cases, at) | looseRegisters(sequence, want);
  for (let r = 0; r < (wide ? 16 : 8); r++) {
    if (loose & (1 << r)) continue;
    const bits = looseBits(sequence, r);
    check(GPR_NAMES[r], got.gpr.readUInt32LE(r * 8) & ~bits, want.gpr.readUInt32LE(r * 8) & ~bits);
    if (onAmd && amd.keptHigh(sequence, cases, at, r, got, want)) continue;
    if (wide) check(GPR_NAMES[r] + ', high', got.gpr.readUInt32LE(r * 8 + 4), want.gpr.readUInt32LE(r * 8 + 4));
  }
  const simd = onAmd ? ~amd.mxcsr(sequence, want) : -1;
  check('mxcsr', got.mxcsr & simd, want.mxcsr & simd);
  check('fcw', got.fcw, want.fcw);
  const codes = ~(looseStatus(sequence, got, want) | (onAmd ? amd.status(sequence, want) : 0));
  check('fsw', got.fsw & codes, want.fsw & codes);
  if (!looseTransition(sequence, want)) check('valid x87 registers', got.valid, want.valid);
  for (let s = 0; s < 6; s++) check(SEGMENT_NAMES[s], selector(got.selectors[s]), selector(want.selectors[s]));
  for (let s = 0; s < 4; s++)
    check(s < 2 ? 'fs base' : 'gs base', got.bases.readUInt32LE(s * 4), want.bases.readUInt32LE(s * 4));
  for (let r = 0; r < 8; r++) {
    const [a, b] = [got, want].map((side) => side.x87.subarray(r * 16, r * 16 + 10));
    if (!nearExtended(sequence, a, b)) checkBytes(out, `R${r}`, a, b);
  }
  for (let r = 0; r < 16; r++) {
    const [a, b] = [got, want].map((side) => side.ymm.subarray(r * 32, r * 32 + 32));
    if (a.equals(b) || nearVectors(sequence, a, b)) continue;
    if (!onAmd || !amd.sameVector(sequence, r, a, b, want)) checkBytes(out, `ymm${r}`, a, b);
  }
  if (!got.memory.equals(want.memory)) {
    const ignored = undefinedMemory(sequence, cases, at);
    const slot = onAmd ? amd.notStored(sequence, cases, at, want) : undefined;
    const left = (address: number): boolean => slot !== undefined && address >= slot[0] && address < slot[1];
    const first = want.memory.findIndex((byte, i) => byte !== got.memory[i] && !ignored(DATA + i) && !left(DATA + i));
    if (first >= 0)
      checkBytes(
        out,
        `[${hex(DATA + first)}]`,
        got.memory.subarray(first, first + 16),
        want.memory.subarray(first, first + 16),
      );
  }
  return out;
}

/** #UD, #NP, #SS, #GP or #PF. */
const isFault = (vector: number): boolean => vector === 6 || (vector >= 11 && vector <= 14);

/** Returning to user code, as the kernel does before a signal handler runs, clears the RPL of null selectors. SDM Vol. 2, "IRET". */
function selector(value: number): number {
  return value < 4 ? 0 : value;
}

function checkBytes(out: string[], what: string, a: Buffer, b: Buffer): void {
  if (!a.equals(b))
    out.push(`${what} ${Buffer.from(a).reverse().toString('hex')}, not ${Buffer.from(b).reverse().toString('hex')}`);
}
