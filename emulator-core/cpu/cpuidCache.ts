/**
 * Answers of CPUID that a vCPU has had, for handlers to give again (translate/exitEmitter.ts). They hold while the control registers
 * that they depend on are as they were, and until forgetCpuid().
 */
import { cpuidEntry } from '../translate/exitEmitter';
import type { CpuidResult } from './cpuid';
import { CPUID_KEY, CpuidAnswer, State } from './layout';
import type { Vcpu } from './vcpu';

/** Something else than the slots of CPUID_KEY may have changed: an MSR, or the state as a whole. */
export function forgetCpuid(cpu: Vcpu): void {
  for (let i = 0; i < CpuidAnswer.entries; i++) cpu.set32(State.cpuid + i * CpuidAnswer.size + CpuidAnswer.known, 0);
}

/** CPUID has just answered `result` for EAX = `leaf` and ECX = `subleaf`. */
export function rememberCpuid(cpu: Vcpu, leaf: number, subleaf: number, result: CpuidResult): void {
  for (const [i, slot] of CPUID_KEY.entries()) {
    const value = cpu.get32(slot);
    if (value === cpu.get32(State.cpuidKey + 4 * i)) continue;
    forgetCpuid(cpu);
    cpu.set32(State.cpuidKey + 4 * i, value);
  }
  const entry = State.cpuid + cpuidEntry(leaf) * CpuidAnswer.size;
  cpu.set32(entry + CpuidAnswer.leaf, leaf);
  cpu.set32(entry + CpuidAnswer.subleaf, subleaf);
  cpu.set32(entry + CpuidAnswer.known, 1);
  for (const name of ['eax', 'ebx', 'ecx', 'edx'] as const) cpu.set32(entry + CpuidAnswer[name], result[name]);
}
