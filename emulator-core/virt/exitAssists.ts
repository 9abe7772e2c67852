/**
 * Instructions that may exit to the VMM: port I/O, CPUID, HLT, MSRs, debug registers, hypercalls, time stamps (control registers
 * are in controlRegisters.ts).
 * Each checks the guest's own privilege first, then the VMCS controls, exits, and is handled as the VMM does.
 * SDM Vol. 3C, "Instructions That Cause VM Exits".
 */
import type { Assist } from '../cpu/assists/operands';
import { privileged } from '../cpu/assists/operands';
import type { CpuContext } from '../cpu/cpuContext';
import { forgetCpuid, rememberCpuid } from '../cpu/cpuidCache';
import { DebugStatus, GENERAL_DETECT } from '../cpu/debugRegisters';
import { highOf, lowOf } from '../cpu/halves';
import { SegmentIndex, State } from '../cpu/layout';
import { validXcr0 } from '../cpu/stateComponents';
import { readMsr, writeMsr, type MsrCpu } from '../cpu/msrs';
import { Abandon, Cr4, GuestFault, Vector, type Vcpu } from '../cpu/vcpu';
import { CODES } from '../x86/codes';
import { Primary, Secondary } from './vmx/controls';
import { ExitReason, encodeDrQualification, encodeIoQualification } from './vmx/exitReasons';
import { stringIo } from './stringIo';
import { extensionAssists } from './extensionAssists';
import { controlRegisterAssists, type ControlRegisterHandlers } from './controlRegisters';
import type { Monitors } from '../cpu/monitor';
import type { GuestInterface } from '../guest/guestInterface';

/** What the handlers need of the platform behind the VMM. */
export interface ExitHandlers extends ControlRegisterHandlers {
  monitors: Monitors;
  /** CPUID features of the processor. */
  features: ReadonlySet<string>;
  readPort(port: number, size: number): number;
  writePort(port: number, value: number, size: number): void;
  cpuid(cpu: Vcpu, leaf: number, subleaf: number): { eax: number; ebx: number; ecx: number; edx: number };
  msrs(cpu: Vcpu): MsrCpu;
  /** An MSR was written: what depends on it is to be found anew, and something may be due earlier. */
  msrWritten(): void;
  tsc(cpu: Vcpu): bigint;
  /** As a number; undefined: only tsc() knows it. */
  plainTsc(cpu: Vcpu): number | undefined;
  halt(cpu: Vcpu): void;
  /** VMCALL: true when firmware took it (rip is then set). */
  firmwareCall(c: CpuContext): boolean;
  /** VMCALL: true when firmware will take it. */
  isFirmwareCall(c: CpuContext): boolean;
  /** What the guest is offered beyond a PC. */
  guest?: Pick<GuestInterface, 'hypercall' | 'foreignHypercall'>;
}

const RAX = 0;
const RCX = 1;
const RDX = 2;
/** -KVM_ENOSYS and -KVM_EPERM (Linux include/uapi/linux/kvm_para.h): what a hypercall that the VMM does not have returns. */
const HYPERCALL_UNKNOWN = 0xfffffffffffffc18n;
const HYPERCALL_NOT_PERMITTED = 0xffffffffffffffffn;

/** A number for each Code of IN and OUT: bytes, whether the port is an immediate, and the exit's qualification but for the port. */
const PortForm = { size: 7, immediate: 8, qualification: 8 } as const;
const PORT_FORMS = CODES.map((info) => {
  if (!info || !/^(In|Out)$/.test(info.row.mnemonic)) return 0;
  const immediate = info.name.includes('imm8');
  const size = info.name.includes('EAX') ? 4 : info.name.includes('AX') ? 2 : 1;
  const qualification = encodeIoQualification({ port: 0, size, in: info.row.mnemonic === 'In', immediate });
  return size | (immediate ? PortForm.immediate : 0) | (qualification << PortForm.qualification);
});

export function exitAssists(h: ExitHandlers): Record<string, Assist> {
  const { vmm } = h;
  const exit = (c: CpuContext, reason: number, qualification = 0): void => {
    if (vmm.tryInstructionExit(c.cpu, c.uop, reason, qualification)) throw new Abandon();
  };

  // ---- port I/O ----

  /** CPL > IOPL (or virtual-8086 mode) asks the TSS's I/O permission bitmap. SDM Vol. 1, "I/O Permission Bit Map". */
  function checkPorts(c: CpuContext, port: number, size: number): void {
    const cpu = c.cpu;
    if (!cpu.protectedMode || (!cpu.v8086 && cpu.cpl <= cpu.iopl)) return;
    const tr = SegmentIndex.tr;
    const limit = cpu.segmentLimit(tr);
    const base = cpu.segmentBase(tr);
    if (!(cpu.rights(tr) & 8) || limit < 0x67) throw new GuestFault(Vector.GP, 0);
    const map = Number(c.readSystem(base + 0x66n, 2)) + (port >> 3);
    if (map + 1 > limit) throw new GuestFault(Vector.GP, 0);
    const bits = Number(c.readSystem(base + BigInt(map), 2)) >> (port & 7);
    if (bits & ((1 << size) - 1)) throw new GuestFault(Vector.GP, 0);
  }

  /** I/O breakpoints are traps: after the access. */
  function accessed(cpu: Vcpu, port: number, size: number): void {
    if (!(cpu.cr4 & Cr4.DE)) return;
    const bits = cpu.debug.port(port, size, true);
    if (!bits) return;
    cpu.debugHits |= bits;
    cpu.attention = true;
  }

  function portOf(c: CpuContext, form: number): number {
    return form & PortForm.immediate ? Number(c.immediate() & 0xffn) : c.cpu.gpr32(RDX) & 0xffff;
  }

  function input(c: CpuContext): void {
    const form = PORT_FORMS[c.code];
    const { cpu } = c;
    const size = form & PortForm.size;
    const port = portOf(c, form);
    checkPorts(c, port, size);
    exit(c, ExitReason.ioInstruction, (form >>> PortForm.qualification) + port * 0x10000);
    const value = h.readPort(port, size);
    if (size === 4) cpu.setGpr32(RAX, value);
    else cpu.set32(State.gpr, size === 2 ? (cpu.gpr32(RAX) & ~0xffff) | value : (cpu.gpr32(RAX) & ~0xff) | value);
    accessed(cpu, port, size);
  }

  function output(c: CpuContext): void {
    const form = PORT_FORMS[c.code];
    const { cpu } = c;
    const size = form & PortForm.size;
    const port = portOf(c, form);
    checkPorts(c, port, size);
    exit(c, ExitReason.ioInstruction, (form >>> PortForm.qualification) + port * 0x10000);
    const value = size === 4 ? cpu.gpr32(RAX) : cpu.gpr32(RAX) & (size === 2 ? 0xffff : 0xff);
    h.writePort(port, value, size);
    accessed(cpu, port, size);
  }

  const strings = { vmm, readPort: h.readPort, writePort: h.writePort, checkPorts, accessed };

  // ---- CPUID, HLT, time ----

  function cpuid(c: CpuContext): void {
    const { cpu } = c;
    exit(c, ExitReason.cpuid);
    const [leaf, subleaf] = [cpu.gpr32(RAX), cpu.gpr32(RCX)];
    const r = h.cpuid(cpu, leaf, subleaf);
    cpu.setGpr32(RAX, r.eax);
    cpu.setGpr32(3, r.ebx);
    cpu.setGpr32(RCX, r.ecx);
    cpu.setGpr32(RDX, r.edx);
    rememberCpuid(cpu, leaf, subleaf, r);
  }

  function halt(c: CpuContext): void {
    privileged(c);
    if (vmm.primary & Primary.hltExiting) exit(c, ExitReason.hlt);
    h.halt(c.cpu);
  }

  function setPair(cpu: Vcpu, value: bigint): void {
    cpu.setGpr32(RAX, lowOf(value));
    cpu.setGpr32(RDX, highOf(value));
  }

  function readTimeStamp(c: CpuContext, reason: number): void {
    if (c.cpu.cr4 & Cr4.TSD && c.cpu.cpl !== 0) throw new GuestFault(Vector.GP, 0);
    if (vmm.primary & Primary.rdtscExiting) exit(c, reason);
    const count = h.plainTsc(c.cpu);
    if (count === undefined) return setPair(c.cpu, h.tsc(c.cpu));
    c.cpu.setGpr32(RAX, count % 2 ** 32);
    c.cpu.setGpr32(RDX, Math.floor(count / 2 ** 32));
  }

  // ---- MSRs ----

  function readModelSpecific(c: CpuContext): void {
    privileged(c);
    const index = c.cpu.gpr32(RCX);
    if (vmm.msrExits(index, false)) exit(c, ExitReason.msrRead);
    const value = readMsr(h.msrs(c.cpu), index);
    if (value === undefined) throw new GuestFault(Vector.GP, 0);
    setPair(c.cpu, value);
  }

  function writeModelSpecific(c: CpuContext): void {
    privileged(c);
    const cpu = c.cpu;
    const index = cpu.gpr32(RCX);
    if (vmm.msrExits(index, true)) exit(c, ExitReason.msrWrite);
    const value = (BigInt(cpu.gpr32(RDX)) << 32n) | BigInt(cpu.gpr32(RAX));
    const before = cpu.efer;
    if (!writeMsr(h.msrs(cpu), index, value)) throw new GuestFault(Vector.GP, 0);
    h.msrWritten();
    if (cpu.efer !== before) {
      cpu.modeChanged();
      c.flushTranslations();
    }
  }

  // ---- debug registers ----

  function debugRegister(c: CpuContext, number: number): number {
    if (number === 4 || number === 5) {
      if (c.cpu.cr4 & Cr4.DE) throw new GuestFault(Vector.UD);
      return State.dr + (number + 2) * 8;
    }
    return State.dr + number * 8;
  }

  function moveDebug(c: CpuContext, from: boolean): void {
    const cpu = c.cpu;
    const number = c.registerOffset(from ? 1 : 0);
    const register = c.registerOffset(from ? 0 : 1) >> 3;
    if (number > 7) throw new GuestFault(Vector.UD);
    // This exit comes before the checks of privilege and CR4.DE. SDM Vol. 3C, "Instructions That Cause VM Exits Conditionally".
    if (vmm.primary & Primary.movDrExiting)
      exit(c, ExitReason.movDr, encodeDrQualification({ number, from, register }));
    const slot = debugRegister(c, number);
    privileged(c);
    if (cpu.get32(State.dr + 7 * 8) & GENERAL_DETECT) {
      throw new GuestFault(Vector.DB, undefined, undefined, { debug: DebugStatus.BD });
    }
    if (from) {
      cpu.setGprSized(register, cpu.get64(slot), cpu.bitness === 64 ? 8 : 4);
      return;
    }
    const value = cpu.bitness === 64 ? cpu.gpr(register) : cpu.gpr(register) & 0xffffffffn;
    const control = number >= 4;
    if (control && value >> 32n) throw new GuestFault(Vector.GP, 0);
    const fixed = number === 6 || number === 4 ? (value & 0xe00fn) | 0xffff0ff0n : (value & 0xffff2bffn) | 0x400n;
    cpu.set64(slot, control ? fixed : value);
    c.flushTranslations();
    c.jump(c.nextRip);
  }

  // ---- hypercalls ----

  function vmcall(c: CpuContext): void {
    const cpu = c.cpu;
    // Firmware is called from its own stubs alone.
    const firmware = cpu.bitness === 16 && h.isFirmwareCall(c);
    if (vmm.tryHypercallExit(cpu, c.uop, firmware)) throw new Abandon();
    if (firmware && h.firmwareCall(c)) return;
    if (h.guest) h.guest.hypercall(cpu);
    else cpu.setGpr(RAX, cpu.cpl === 0 ? HYPERCALL_UNKNOWN : HYPERCALL_NOT_PERMITTED);
  }

  return {
    ...extensionAssists(h),
    input,
    output,
    inputString: (c) => stringIo(strings, c, true),
    outputString: (c) => stringIo(strings, c, false),
    cpuid,
    halt,
    writeExtendedControl: (c) => {
      const { cpu } = c;
      if (!(cpu.cr4 & Cr4.OSXSAVE)) throw new GuestFault(Vector.UD);
      privileged(c);
      exit(c, ExitReason.xsetbv);
      const value = (BigInt(cpu.gpr32(RDX)) << 32n) | BigInt(cpu.gpr32(RAX));
      if (cpu.gpr32(RCX) !== 0 || !validXcr0(h.features, value)) throw new GuestFault(Vector.GP, 0);
      cpu.set64(State.xcr0, value);
      forgetCpuid(cpu);
      cpu.modeChanged();
    },
    pause: (c) => {
      if (vmm.primary & Primary.pauseExiting) exit(c, ExitReason.pause);
    },
    readTimeStamp: (c) => readTimeStamp(c, ExitReason.rdtsc),
    readTimeStampAndId: (c) => {
      readTimeStamp(c, ExitReason.rdtscp);
      c.cpu.setGpr(RCX, c.cpu.get64(State.tscAux) & 0xffffffffn);
    },
    readPerformanceCounter: (c) => {
      if (c.cpu.cpl !== 0 && !(c.cpu.cr4 & Cr4.PCE)) throw new GuestFault(Vector.GP, 0);
      if (vmm.primary & Primary.rdpmcExiting) exit(c, ExitReason.rdpmc);
      // No performance-monitoring counters are announced.
      throw new GuestFault(Vector.GP, 0);
    },
    readMsr: readModelSpecific,
    writeMsr: writeModelSpecific,
    ...controlRegisterAssists(h),
    readDebugRegister: (c) => moveDebug(c, true),
    writeDebugRegister: (c) => moveDebug(c, false),
    invalidateCaches: (c) => {
      privileged(c);
      const invd = CODES[c.code]!.row.mnemonic === 'Invd';
      if (invd) exit(c, ExitReason.invd);
      else if (vmm.secondary & Secondary.wbinvdExiting) exit(c, ExitReason.wbinvd);
    },
    vmcall,
    // On Intel processors AMD's hypercall instruction is undefined.
    vmmcall: (c) => {
      if (h.guest) h.guest.foreignHypercall(c);
      else throw new GuestFault(Vector.UD);
    },
  };
}
