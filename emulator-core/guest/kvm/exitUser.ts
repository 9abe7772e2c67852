/**
 * Who handles a VM exit under Linux: KVM in the kernel, or user space (QEMU), which gets it as a KVM_EXIT_... With the interrupt
 * controllers (8259s, I/O APIC, local APICs) and the 8254 in the kernel, as QEMU has them unless told otherwise.
 * Sources: Linux Documentation/virt/kvm/api.rst ("The kvm_run structure"); include/uapi/linux/kvm.h.
 */
import { PAGE } from '../../cpu/layout';
import { Vector } from '../../cpu/vcpu';
import type { Platform } from '../../devices/platform';
import type { VmExit } from '../../virt/exit';
import { exitField, ExitReason } from '../../virt/vmx/exitReasons';
import { hypercallRow } from './hypercalls';
import { KvmMsr } from './msrs';

export interface ExitHandling {
  /** 'never': KVM does not let this exit happen; it does here because the debugger asked for it. */
  where: 'kernel' | 'user' | 'never';
  /** kvm_run.exit_reason. */
  reason?: string;
}

const KERNEL: ExitHandling = { where: 'kernel' };
const NEVER: ExitHandling = { where: 'never' };
const user = (reason: string): ExitHandling => ({ where: 'user', reason: `KVM_EXIT_${reason}` });

type Rule = ExitHandling | ((exit: VmExit, platform: Platform, ramSize: number) => ExitHandling);

function exception(exit: VmExit): ExitHandling {
  switch (exit.interruptionInfo & 0xff) {
    // With KVM_SET_GUEST_DEBUG, which is what a debugger in user space uses.
    case Vector.DB:
    case Vector.BP:
      return user('DEBUG');
    case Vector.NMI:
    case Vector.UD:
    case Vector.PF:
    case Vector.MC:
    case Vector.AC:
      return KERNEL;
    default:
      return NEVER;
  }
}

function port(exit: VmExit, platform: Platform): ExitHandling {
  const { pic, pit, bus } = platform;
  const handler = bus.portHandler(Number(exitField(exit, 'port') ?? 0n));
  return handler === pic || handler === pit ? KERNEL : user('IO');
}

const IO_APIC_BYTES = 0x100;

function memory(exit: VmExit, platform: Platform, ramSize: number): ExitHandling {
  const gpa = Number(exit.guestPhysical);
  // Memory that is not there yet: the kernel maps it.
  if (gpa < ramSize) return KERNEL;
  const range = platform.bus.findMmio(gpa);
  if (range?.handler === platform.ioApic) return gpa - range.base < IO_APIC_BYTES ? KERNEL : user('MMIO');
  if (platform.apicBus.apics.some((apic) => apic.mmioBase === gpa - (gpa % 4096))) return KERNEL;
  return user('MMIO');
}

/** The kernel refuses what is no range of pages by itself. */
function vmcall(exit: VmExit): ExitHandling {
  if (hypercallRow(exitField(exit, 'nr') ?? 0n)?.name !== 'KVM_HC_MAP_GPA_RANGE') return KERNEL;
  return exit.rbx % BigInt(PAGE) === 0n && exit.rcx !== 0n ? user('HYPERCALL') : KERNEL;
}

/** Which user space has asked for by KVM_X86_SET_MSR_FILTER: it must for the register of live migration. */
const msr =
  (reason: string): Rule =>
  (exit) =>
    exitField(exit, 'msr') === BigInt(KvmMsr.migrationControl) ? user(reason) : KERNEL;

/** Exits that the kernel handles whatever they are about. */
const IN_KERNEL: readonly number[] = [
  ExitReason.externalInterrupt,
  ExitReason.interruptWindow,
  ExitReason.nmiWindow,
  ExitReason.taskSwitch,
  ExitReason.cpuid,
  ExitReason.hlt,
  ExitReason.invd,
  ExitReason.invlpg,
  ExitReason.rdpmc,
  ExitReason.crAccess,
  ExitReason.movDr,
  ExitReason.mwait,
  ExitReason.monitorTrapFlag,
  ExitReason.monitor,
  ExitReason.pause,
  ExitReason.tprBelowThreshold,
  ExitReason.apicAccess,
  ExitReason.gdtrIdtrAccess,
  ExitReason.ldtrTrAccess,
  ExitReason.preemptionTimer,
  ExitReason.wbinvd,
  ExitReason.xsetbv,
  ExitReason.rdrand,
  ExitReason.rdseed,
  ExitReason.invpcid,
  ExitReason.vmfunc,
  ExitReason.vmclear,
  ExitReason.vmlaunch,
  ExitReason.vmptrld,
  ExitReason.vmptrst,
  ExitReason.vmread,
  ExitReason.vmresume,
  ExitReason.vmwrite,
  ExitReason.vmxoff,
  ExitReason.vmxon,
  ExitReason.invept,
  ExitReason.invvpid,
];

const RULES: { readonly [reason: number]: Rule } = {
  ...Object.fromEntries(IN_KERNEL.map((reason) => [reason, KERNEL])),
  [ExitReason.exceptionOrNmi]: exception,
  [ExitReason.tripleFault]: user('SHUTDOWN'),
  [ExitReason.vmcall]: vmcall,
  [ExitReason.msrRead]: msr('X86_RDMSR'),
  [ExitReason.msrWrite]: msr('X86_WRMSR'),
  [ExitReason.ioInstruction]: port,
  [ExitReason.eptViolation]: memory,
  [ExitReason.eptMisconfig]: memory,
  [ExitReason.entryFailureGuestState]: user('FAIL_ENTRY'),
  [ExitReason.entryFailureMsrLoading]: user('FAIL_ENTRY'),
  [ExitReason.rdtsc]: NEVER,
  [ExitReason.rdtscp]: NEVER,
};

/** @param ramSize bytes of guest RAM, from guest-physical 0 */
export function exitHandling(exit: VmExit, platform: Platform, ramSize: number): ExitHandling {
  const rule = RULES[exit.reason & 0xffff];
  // An exit that KVM has no handler for.
  if (!rule) return user('INTERNAL_ERROR');
  return typeof rule === 'function' ? rule(exit, platform, ramSize) : rule;
}

const TEXTS = {
  kernel: 'handled in the kernel',
  never: 'KVM does not let it exit; the debugger does',
} as const;

/** 'handled in the kernel', 'user space: KVM_EXIT_IO'. */
export function describeHandling({ where, reason }: ExitHandling): string {
  return where === 'user' ? `user space: ${reason}` : TEXTS[where];
}
