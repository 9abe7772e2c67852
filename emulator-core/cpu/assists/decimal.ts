/** Decimal adjustment of AL and AX, BOUND and SALC. SDM Vol. 2, the Operation sections of each. */
import { CODES } from '../../x86/codes';
import type { CpuContext } from '../cpuContext';
import { Flag, GuestFault, Vector } from '../vcpu';
import type { Assist } from './operands';

const RAX = 0;

const mnemonicOf = (c: CpuContext): string => CODES[c.code]!.row.mnemonic;

function setAx(c: CpuContext, al: number, ah: number): void {
  c.cpu.setGprSized(RAX, BigInt((al & 0xff) | ((ah & 0xff) << 8)), 2);
}

/** SF, ZF and PF of a byte. */
function resultFlags(al: number): number {
  let parity = al & 0xff;
  parity ^= parity >> 4;
  parity ^= parity >> 2;
  parity ^= parity >> 1;
  return (al & 0x80 ? Flag.SF : 0) | ((al & 0xff) === 0 ? Flag.ZF : 0) | (parity & 1 ? 0 : Flag.PF);
}

const RESULT = Flag.SF | Flag.ZF | Flag.PF;

function decimalAdjust(c: CpuContext): void {
  const { cpu } = c;
  const sign = mnemonicOf(c) === 'Das' ? -1 : 1;
  const ax = cpu.gpr32(RAX) & 0xffff;
  const before = cpu.rflags;
  const old = ax & 0xff;
  let al = old;
  let carry = false;
  const half = (old & 15) > 9 || (before & Flag.AF) !== 0;
  if (half) {
    al += 6 * sign;
    carry = (before & Flag.CF) !== 0 || al < 0 || al > 0xff;
  }
  const high = old > 0x99 || (before & Flag.CF) !== 0;
  if (high) {
    al += 0x60 * sign;
    carry = true;
  } else if (sign > 0) carry = false;
  setAx(c, al, ax >> 8);
  const kept = before & ~(RESULT | Flag.CF | Flag.AF);
  cpu.rflags = kept | resultFlags(al) | (carry ? Flag.CF : 0) | (half ? Flag.AF : 0);
}

function asciiAdjust(c: CpuContext): void {
  const { cpu } = c;
  const sign = mnemonicOf(c) === 'Aas' ? -1 : 1;
  const ax = cpu.gpr32(RAX) & 0xffff;
  const before = cpu.rflags;
  const adjust = (ax & 15) > 9 || (before & Flag.AF) !== 0;
  // The processor adds 106h (or subtracts 6 from AX and 1 from AH): a carry out of AL reaches AH.
  const sum = adjust ? ax + 0x106 * sign : ax;
  setAx(c, sum & 15, sum >> 8);
  const kept = before & ~(Flag.CF | Flag.AF);
  cpu.rflags = kept | (adjust ? Flag.CF | Flag.AF : 0);
}

function asciiMultiply(c: CpuContext): void {
  const base = Number(c.immediate() & 0xffn);
  if (base === 0) throw new GuestFault(Vector.DE);
  const al = c.cpu.gpr32(RAX) & 0xff;
  finishAscii(c, al % base, Math.floor(al / base));
}

function asciiDivide(c: CpuContext): void {
  const base = Number(c.immediate() & 0xffn);
  const ax = c.cpu.gpr32(RAX) & 0xffff;
  finishAscii(c, ((ax & 0xff) + (ax >> 8) * base) & 0xff, 0);
}

function finishAscii(c: CpuContext, al: number, ah: number): void {
  setAx(c, al, ah);
  const kept = c.cpu.rflags & ~(RESULT | Flag.OF | Flag.AF | Flag.CF);
  c.cpu.rflags = kept | resultFlags(al);
}

function checkBounds(c: CpuContext): void {
  const bytes = c.operandBytes;
  const bits = bytes * 8;
  const index = BigInt.asIntN(bits, c.cpu.gpr(c.registerOffset(0) >> 3));
  const lower = BigInt.asIntN(bits, c.read(c.linear(bytes, false), bytes));
  // Before the upper bound is read, as Intel processors do.
  if (index < lower) throw new GuestFault(Vector.BR);
  const upper = BigInt.asIntN(bits, c.read(c.linear(bytes, false, bytes), bytes));
  if (index > upper) throw new GuestFault(Vector.BR);
}

export const decimalAssists: Record<string, Assist> = {
  decimalAdjust,
  asciiAdjust,
  asciiMultiply,
  asciiDivide,
  checkBounds,
  setFromCarry: (c) => c.cpu.setGprSized(RAX, c.cpu.rflags & Flag.CF ? 0xffn : 0n, 1),
};
