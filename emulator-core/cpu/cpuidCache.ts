/**
 * Answers of CPUID that a vCPU has had, for handlers to give again (translate/exitEmitter.ts): until forgetCpuid(), which whoever writes
 * what they depend on calls, and the machine before each run.
 */
import type { CpuidResult } from './cpuid';
import { CpuidAnswer, State, cpuidEntry } from './layout';
import type { Vcpu } from './vcpu';

/** What CPUID answers may have changed: CR4, XCR0, an MSR, or the state as a whole. */
export function forgetCpuid(cpu: Vcpu): void {
  for (let i = 0; i < CpuidAnswer.entries; i++) cpu.set32(State.cpuid + i * CpuidAnswer.size + CpuidAnswer.leaf, i ^ 1);
}

/** CPUID has just answered `result` for EAX = `leaf` and ECX = `subleaf`. */
export function rememberCpuid(cpu: Vcpu, leaf: number, subleaf: number, result: CpuidResult): void {
  const entry = State.cpuid + cpuidEntry(leaf) * CpuidAnswer.size;
  cpu.set32(entry + CpuidAnswer.leaf, leaf);
  cpu.set32(entry + CpuidAnswer.subleaf, subleaf);
  for (const name of ['eax', 'ebx', 'ecx', 'edx'] as const) cpu.set32(entry + CpuidAnswer[name], result[name]);
}
