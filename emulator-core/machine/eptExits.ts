/**
 * Guest-physical accesses that EPT does not let through: VM exits, and without one that stops, device accesses or the end of the
 * machine. SDM Vol. 3C, "EPT-Induced VM Exits".
 */
import type { Core } from '../cpu/core';
import { join } from '../cpu/halves';
import { PAGE } from '../cpu/layout';
import type { Vcpu } from '../cpu/vcpu';
import type { Platform } from '../devices/platform';
import type { Vmm } from '../virt/vmm';
import { EptAccess, type Ept } from '../virt/vmx/ept';
import { ExitReason, encodeEptViolationQualification } from '../virt/vmx/exitReasons';

export interface EptExitHost {
  afterDeviceAccess(): void;
  /** Memory that was taken away comes back. True: it is there now, or the guest's exception is pending. */
  swapIn(cpu: Vcpu, gpa: number): boolean;
  /** The guest did something that the machine cannot go on from. */
  error(text: string): void;
}

/** Of accesses beyond RAM, by EptAccess. */
const DEVICE_QUALIFICATION = [EptAccess.read, EptAccess.write].reduce<number[]>((list, access) => {
  list[access] = encodeEptViolationQualification(access, 0, 'page');
  return list;
}, []);

export class EptExits {
  constructor(
    private readonly core: Core,
    private readonly ept: Ept,
    private readonly vmm: Vmm,
    private readonly platform: Platform,
    private readonly host: EptExitHost,
  ) {}

  /** CoreHost.eptExit. */
  access(cpu: Vcpu, page: number, low: number, high: number, size: number, write: boolean): boolean {
    const access = write ? EptAccess.write : EptAccess.read;
    const gpa = page * PAGE + (low & (PAGE - 1));
    // Beyond RAM nothing is mapped.
    const ram = gpa < this.core.memory.ramSize;
    const misconfigured = ram && this.core.mmu.eptMisconfiguration;
    const reason = misconfigured ? ExitReason.eptMisconfig : ExitReason.eptViolation;
    const qualification = misconfigured
      ? 0
      : ram
        ? encodeEptViolationQualification(access, this.ept.result.permissions, 'page')
        : DEVICE_QUALIFICATION[access];
    const uop = this.core.currentUop;
    if (uop) {
      if (this.vmm.tryMemoryExit(cpu, uop, reason, qualification, low, high, page)) return false;
    } else {
      const facts = { qualification, guestLinear: join(low, high), guestPhysical: gpa };
      if (this.vmm.tryExit(cpu, reason, this.core.instructionRip(cpu), facts)) return false;
    }
    // The instruction runs again.
    if (this.swapsIn(cpu, gpa)) return false;
    const { platform } = this;
    const { memoryPath } = this.core;
    platform.currentCpu = cpu.index;
    const step = Math.min(size, 4);
    if (write) {
      platform.bus.writeMmio(gpa, memoryPath.mmioLow, step);
      if (size === 8) platform.bus.writeMmio(gpa + 4, memoryPath.mmioHigh, 4);
    } else {
      memoryPath.mmioLow = platform.bus.readMmio(gpa, step);
      memoryPath.mmioHigh = size === 8 ? platform.bus.readMmio(gpa + 4, 4) : 0;
      // As where the helper of handlers reads it.
      if (page === platform.plainApicPage(cpu.index)) return true;
    }
    this.host.afterDeviceAccess();
    return true;
  }

  private swapsIn(cpu: Vcpu, gpa: number): boolean {
    if (gpa >= this.core.memory.ramSize || !this.host.swapIn(cpu, gpa)) return false;
    // That it is being read is due at some time.
    this.host.afterDeviceAccess();
    return true;
  }

  /** CoreHost.eptWalkExit. */
  walk(cpu: Vcpu, linear: bigint, access: number): boolean {
    const { mmu, memory } = this.core;
    const qualification = encodeEptViolationQualification(
      mmu.eptAccess,
      this.ept.result.permissions,
      mmu.eptDuringWalk ? 'paging structure' : 'page',
    );
    const reason = mmu.eptMisconfiguration ? ExitReason.eptMisconfig : ExitReason.eptViolation;
    const facts = { qualification, guestLinear: linear, guestPhysical: mmu.eptGpa };
    const rip = this.core.instructionRip(cpu);
    if (this.vmm.tryExit(cpu, reason, rip, facts)) return false;
    if (this.swapsIn(cpu, mmu.eptGpa)) return !cpu.pending;
    const what = mmu.eptDuringWalk
      ? 'its page tables lie'
      : access === EptAccess.execute
        ? 'it executes'
        : 'it accesses';
    this.host.error(
      `vCPU ${cpu.index} at 0x${rip.toString(16)}: ${what} outside of memory, at guest-physical 0x${mmu.eptGpa.toString(16)} ` +
        `(linear 0x${linear.toString(16)}); RAM ends at 0x${memory.ramSize.toString(16)}`,
    );
    return false;
  }
}
