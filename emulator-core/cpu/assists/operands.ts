/** Reading and writing an r/m operand of an assist, by the size its Code names. */
import { CODES } from '../../x86/codes';
import type { CpuContext } from '../cpuContext';
import { GuestFault, Vector } from '../vcpu';

export type Assist = (c: CpuContext) => void;

/** Operand `i` (register or memory), zero-extended. `bytes`: of a memory operand. */
export function readOperand(c: CpuContext, i: number, bytes: number): bigint {
  const operand = CODES[c.code]!.operands[i];
  const memory = c.hasMemory && operand?.memory !== undefined;
  if (memory) return c.read(c.linear(bytes, false), bytes);
  const offset = c.registerOffset(i);
  const value = c.cpu.get64(offset & ~7) >> BigInt((offset & 7) * 8);
  return BigInt.asUintN(bytes * 8, value);
}

/** Writes operand `i`: a register takes its own size by the Code's name, memory takes `memoryBytes`. */
export function writeOperand(c: CpuContext, i: number, value: bigint, memoryBytes: number): void {
  const operand = CODES[c.code]!.operands[i];
  if (c.hasMemory && operand?.memory !== undefined) {
    c.write(c.linear(memoryBytes, true), BigInt.asUintN(memoryBytes * 8, value), memoryBytes);
    return;
  }
  c.cpu.setGprSized(c.registerOffset(i) >> 3, value, (operand?.register ?? 64) / 8);
}

/** #GP(0) unless CPL is 0. */
export function privileged(c: CpuContext): void {
  if (c.cpu.cpl !== 0) throw new GuestFault(Vector.GP, 0);
}

/** #UD in real-address and virtual-8086 mode. */
export function protectedOnly(c: CpuContext): void {
  if (c.cpu.realOrV8086) throw new GuestFault(Vector.UD);
}
