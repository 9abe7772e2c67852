/** What CPUID's answers depend on besides the processor model, of one vCPU of a machine. */
import type { Machine } from '../machine';
import type { CpuidContext } from './cpuid';
import { State } from './layout';
import { miscEnable, type MsrCpu } from './msrs';
import type { Vcpu } from './vcpu';

/** @param tscHz frequency of the time-stamp counter, and of the crystal clock behind it */
export function cpuidContext(cpu: Vcpu, machine: Machine, msrs: MsrCpu, tscHz: number): CpuidContext {
  return {
    apicId: cpu.index,
    cpus: machine.vcpus.length,
    cr4: cpu.cr4,
    xcr0: cpu.get32(State.xcr0),
    xss: cpu.get32(State.xss),
    tscHz,
    crystalHz: tscHz,
    apicDisabled: !machine.platform.apic(cpu.index).enabled,
    miscEnable: miscEnable(msrs),
  };
}
