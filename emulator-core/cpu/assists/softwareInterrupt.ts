/** INT n, INT3, INTO and INT1. SDM Vol. 2, "INT n/INTO/INT3/INT1"; Vol. 3A, "Software Interrupt Handling Methods While in Virtual-8086 Mode". */
import { InterruptionType, encodeInterruptionInformation } from '../../virt/vmx/exitQualification';
import type { CpuContext } from '../cpuContext';
import { reportDebug } from '../debugRegisters';
import { deliver, deliverThroughVectorTable } from '../exceptions';
import { SegmentIndex } from '../layout';
import { Cr4, Flag, GuestFault, Vector } from '../vcpu';
import type { Assist } from './operands';
import { flagsWithVirtualInterrupts } from './virtualFlags';

const { tr: TR } = SegmentIndex;
const IO_MAP_BASE = 0x66n;
/** The bitmap lies below the I/O permission bitmap. */
const REDIRECTION_BYTES = 32;

/** With VME: bit `vector` of the TSS's interrupt redirection bitmap is clear, so the 8086 program handles it itself. */
function redirected(c: CpuContext, vector: number): boolean {
  const cpu = c.cpu;
  if (!(cpu.cr4 & Cr4.VME)) return false;
  const base = cpu.segmentBase(TR);
  if (cpu.segmentLimit(TR) < 0x67) throw new GuestFault(Vector.GP, 0);
  const at = Number(c.readSystem(base + IO_MAP_BASE, 2)) - REDIRECTION_BYTES + (vector >> 3);
  if (at < 0 || at > cpu.segmentLimit(TR)) throw new GuestFault(Vector.GP, 0);
  return ((Number(c.readSystem(base + BigInt(at), 1)) >> (vector & 7)) & 1) === 0;
}

/** INT n in virtual-8086 mode; true when the 8086 program's own handler runs. */
function withinV8086(c: CpuContext, vector: number): boolean {
  const cpu = c.cpu;
  const virtual = cpu.iopl < 3;
  if (!redirected(c, vector)) {
    if (virtual) throw new GuestFault(Vector.GP, 0);
    return false;
  }
  const flags = virtual ? flagsWithVirtualInterrupts(cpu) : cpu.rflags;
  deliverThroughVectorTable(c, BigInt(vector * 4), c.nextRip, flags);
  cpu.setSystemFlag(virtual ? Flag.VIF : Flag.IF, false);
  return true;
}

function interrupt(c: CpuContext, vector: number, type: number): void {
  const cpu = c.cpu;
  const next = c.nextRip;
  if (type !== InterruptionType.softwareInterrupt) c.exits.softwareException(c, vector, type);
  else if (cpu.v8086 && withinV8086(c, vector)) {
    cpu.trapSuppressed = true;
    return c.jump(cpu.rip);
  }
  // INT1 (ICEBP) counts as a debug exception: the gate's DPL does not matter, and error codes have EXT set.
  const hardware = type === InterruptionType.privilegedSoftwareException;
  const info = encodeInterruptionInformation(vector, type);
  c.exits.delivering(info, 0, () => deliver(c, { vector, software: !hardware, external: hardware }, next));
  // A debug trap that MOV SS holds off becomes one with the #DB of INT1.
  if (hardware && cpu.debugTraps) {
    reportDebug(cpu, cpu.debugTraps);
    cpu.debugTraps = 0;
  }
  // Delivery has cleared TF.
  cpu.trapSuppressed = true;
  c.jump(cpu.rip);
}

export const softwareInterruptAssists: Record<string, Assist> = {
  softwareInterrupt: (c) => interrupt(c, Number(c.immediate() & 0xffn), InterruptionType.softwareInterrupt),
  breakpointTrap: (c) => interrupt(c, Vector.BP, InterruptionType.softwareException),
  debugTrap: (c) => interrupt(c, Vector.DB, InterruptionType.privilegedSoftwareException),
  overflowTrap: (c) => {
    if (c.cpu.rflags & Flag.OF) interrupt(c, Vector.OF, InterruptionType.softwareException);
    else c.jump(c.nextRip);
  },
};
