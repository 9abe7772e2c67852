/**
 * RFLAGS that code below the I/O privilege level may change, and the virtual interrupt flag that stands for IF there: VME in
 * virtual-8086 mode, PVI in protected mode at CPL 3. SDM Vol. 3A, "8086 Emulation", "Class 3—Software Interrupt Handling in
 * Virtual-8086 Mode" and "Protected-Mode Virtual Interrupts".
 */
import type { CpuContext } from '../cpuContext';
import { Cr4, Flag, GuestFault, Vector, type Vcpu } from '../vcpu';

/** CF PF AF ZF SF TF DF OF NT AC ID */
const ALWAYS_WRITABLE = 0x244dd5;

/** RFLAGS that IRET and POPF may change at the present privilege level; RF, VM, VIF and VIP are theirs to say. */
export function writableFlags(cpu: Vcpu, bytes: number): number {
  let mask = ALWAYS_WRITABLE;
  if (cpu.cpl === 0) mask |= Flag.IOPL | Flag.IF;
  else if (cpu.cpl <= cpu.iopl) mask |= Flag.IF;
  return bytes === 2 ? mask & 0xffff : mask;
}

/** Whose interrupts CLI and STI switch: IF, the virtual IF, or none (#GP). SDM Vol. 2, "CLI", Table "Decision Table for CLI Results". */
function interruptFlag(cpu: Vcpu): number {
  if (!cpu.protectedMode) return Flag.IF;
  if (cpu.v8086) {
    if (cpu.iopl === 3) return Flag.IF;
    return cpu.cr4 & Cr4.VME ? Flag.VIF : 0;
  }
  if (cpu.cpl <= cpu.iopl) return Flag.IF;
  return cpu.cpl === 3 && cpu.cr4 & Cr4.PVI ? Flag.VIF : 0;
}

export function clearInterrupts(c: CpuContext): void {
  const flag = interruptFlag(c.cpu);
  if (!flag) throw new GuestFault(Vector.GP, 0);
  c.cpu.setSystemFlag(flag, false);
}

export function setInterrupts(c: CpuContext): void {
  const { cpu } = c;
  const flag = interruptFlag(cpu);
  if (!flag || (flag === Flag.VIF && cpu.systemFlags & Flag.VIP)) throw new GuestFault(Vector.GP, 0);
  if (flag === Flag.IF) {
    if (!cpu.interruptsEnabled) cpu.shadowUntil = c.icount + 2;
    // What comes later than now calls for attention itself.
    if (c.interruptWaits) cpu.attention = true;
  }
  cpu.setSystemFlag(flag, true);
}

/** #GP(0) where POPF or IRET with VME may not load `flags`: TF, or IF while a virtual interrupt is pending. */
export function virtualFlags(cpu: Vcpu, flags: number): void {
  const pending = (cpu.systemFlags & Flag.VIP) !== 0 && (flags & Flag.IF) !== 0;
  if (pending || flags & Flag.TF) throw new GuestFault(Vector.GP, 0);
}

/** VIF takes the value of IF in `flags`. */
export function setVirtualInterrupts(cpu: Vcpu, flags: number): void {
  cpu.setSystemFlag(Flag.VIF, (flags & Flag.IF) !== 0);
}

/** FLAGS as virtual-8086 code below IOPL 3 sees them with VME: IF is VIF, IOPL is 3. */
export function flagsWithVirtualInterrupts(cpu: Vcpu): number {
  const flags = (cpu.rflags & ~Flag.IF) | Flag.IOPL;
  return cpu.systemFlags & Flag.VIF ? flags | Flag.IF : flags;
}
