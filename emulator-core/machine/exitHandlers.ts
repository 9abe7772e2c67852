/** What instructions that may exit to the VMM need of the machine. */
import type { AssistContext } from '../cpu/assistContext';
import { cpuid, cr4Allowed } from '../cpu/cpuid';
import type { Monitors } from '../cpu/monitor';
import type { MsrCpu } from '../cpu/msrs';
import type { Machine } from '../machine';
import type { ExitHandlers } from '../virt/exitAssists';
import type { Firmware } from './firmware';

/** Parts that the machine keeps to itself. */
export interface ExitParts {
  monitors: Monitors;
  context: AssistContext;
  msrViews: readonly MsrCpu[];
  firmware: Firmware;
  afterDeviceAccess(): void;
  afterMsrWrite(): void;
}

export function exitHandlers(machine: Machine, parts: ExitParts): ExitHandlers {
  const { platform, model, guest } = machine;
  const { context, firmware } = parts;
  return {
    vmm: machine.vmm,
    monitors: parts.monitors,
    features: model.features,
    readPort: (port, size) => {
      platform.currentCpu = context.cpu.index;
      const value = platform.bus.readPort(port, size);
      parts.afterDeviceAccess();
      return value;
    },
    writePort: (port, value, size) => {
      platform.currentCpu = context.cpu.index;
      platform.bus.writePort(port, value, size);
      // As where the handler keeps it.
      if (size !== 1 || !platform.bus.keepsBytes(port)) parts.afterDeviceAccess();
    },
    cpuid: (cpu, leaf, subleaf) => cpuid(model, leaf, subleaf, machine.cpuidContext(cpu)),
    msrs: (cpu) => {
      platform.currentCpu = cpu.index;
      return parts.msrViews[cpu.index];
    },
    msrWritten: () => parts.afterMsrWrite(),
    tsc: (cpu) => machine.clock.tsc(cpu.index),
    plainTsc: (cpu) => machine.clock.plainTsc(cpu.index),
    halt: (cpu) => {
      if (guest && !guest.halts(cpu)) return;
      cpu.activity = 'halted';
      cpu.attention = true;
    },
    firmwareCall: (c) => firmware.call(c.cpu),
    isFirmwareCall: (c) => firmware.service(c.cpu) !== undefined,
    guest,
    apicTaskPriority: (cpu) => platform.apic(cpu.index).cr8,
    setApicTaskPriority: (cpu, value) => (platform.apic(cpu.index).cr8 = value),
    loadPointers: (cpu, cr3) => machine.loadPointers(cpu, cr3),
    cr4Allowed: cr4Allowed(model),
    maxPhysicalAddress: model.maxPhysicalAddress,
  };
}
