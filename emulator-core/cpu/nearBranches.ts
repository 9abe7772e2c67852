/**
 * Near branches whose target cannot be fetched: #GP(0) at the branch, which has not happened. Handlers jump without looking; the run
 * loop finds out when it looks the target up, and gives back here what the branch changed. SDM Vol. 2, JMP, CALL, RET, Jcc, LOOP.
 */
import type { MachineMemory } from '../mmu/memory';
import { CODES } from '../x86/codes';
import { State, Uop } from './layout';
import type { Vcpu } from './vcpu';

const RCX = 1;
const RSP = 4;
const ONES = 0xffffffffffffffffn;

/** Undoes the register changes of the branch at micro-op `uop`. What a CALL pushed stays below the stack pointer. */
export function undoneBranch(cpu: Vcpu, uop: number, memory: MachineMemory): void {
  const info = CODES[memory.u16[(uop + Uop.code) >> 1]];
  if (!info) return;
  const { mnemonic } = info.row;
  const bytes = BigInt(info.operandBits / 8);
  if (mnemonic.startsWith('Retn')) moveStack(cpu, -bytes - memory.i64[(uop + Uop.immediate) >> 3]);
  else if (mnemonic === 'Call') moveStack(cpu, bytes);
  else if (mnemonic.startsWith('Loop')) {
    const width = info.name.endsWith('_CX') ? 2 : info.name.endsWith('_ECX') ? 4 : 8;
    cpu.setGprSized(RCX, BigInt.asUintN(width * 8, cpu.gpr(RCX) + 1n), width);
  }
}

function moveStack(cpu: Vcpu, by: bigint): void {
  const mask = cpu.get64(State.stackMask);
  cpu.setGpr(RSP, (cpu.gpr(RSP) & ~mask & ONES) | ((cpu.gpr(RSP) + by) & mask));
}
