/** A vCPU as its MSR table sees it: slots of the state, the local APIC, the time-stamp counter. */
import type { Machine } from '../machine';
import { cpuidHas } from './cpuid';
import { SegmentIndex, State } from './layout';
import type { MsrCpu, MsrSlot } from './msrs';
import type { Vcpu } from './vcpu';

const SLOTS: Record<Exclude<MsrSlot, 'fsBase' | 'gsBase' | 'apicBase'>, number> = {
  cr0: State.cr0,
  efer: State.efer,
  star: State.star,
  lstar: State.lstar,
  cstar: State.cstar,
  fmask: State.fmask,
  kernelGsBase: State.kernelGsBase,
  tscAux: State.tscAux,
  pat: State.pat,
  sysenterCs: State.sysenterCs,
  sysenterEsp: State.sysenterEsp,
  sysenterEip: State.sysenterEip,
  tscAdjust: State.tscAdjust,
  xss: State.xss,
  pkrs: State.pkrs,
};

export function msrView(cpu: Vcpu, machine: Machine): MsrCpu {
  const apic = () => machine.platform.apic(cpu.index);
  return {
    slot: (name) => {
      if (name === 'fsBase') return cpu.segmentBase(SegmentIndex.fs);
      if (name === 'gsBase') return cpu.segmentBase(SegmentIndex.gs);
      if (name === 'apicBase') return apic().apicBase;
      return cpu.get64(SLOTS[name]);
    },
    setSlot: (name, value) => {
      if (name === 'fsBase') cpu.setSegmentBase(SegmentIndex.fs, value);
      else if (name === 'gsBase') cpu.setSegmentBase(SegmentIndex.gs, value);
      else if (name === 'apicBase') apic().writeApicBase(value);
      else if (name === 'pkrs') cpu.setPkrs(Number(value));
      else cpu.set64(SLOTS[name], value);
    },
    extra: cpu.msrs,
    tsc: () => machine.clock.tsc(cpu.index),
    setTsc: (value) => machine.clock.setTsc(cpu.index, value),
    apicReadMsr: (index) => apic().readX2apicMsr(index),
    apicWriteMsr: (index, value) => apic().writeX2apicMsr(index, value),
    tscDeadline: () => apic().tscDeadline,
    setTscDeadline: (value) => apic().writeTscDeadline(value, machine.clock.tsc(cpu.index)),
    setApicBase: (value) => apic().writeApicBase(value),
    maxPhysicalAddress: machine.model.maxPhysicalAddress,
    maxLinearAddress: machine.model.maxLinearAddress,
    cpuidHas: (feature) => cpuidHas(machine.model, feature) || (machine.guest?.has(feature) ?? false),
    guest: {
      readMsr: (index) => machine.guest?.readMsr(cpu, index),
      writeMsr: (index, value) => machine.guest?.writeMsr(cpu, index, value) ?? false,
    },
  };
}
