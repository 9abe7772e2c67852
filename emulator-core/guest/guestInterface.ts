/**
 * What the VMM offers its guest beyond a PC: the interface that a paravirtual guest looks for in CPUID 0x40000000. One
 * implementation a hypervisor; the machine calls its hooks, the debugger its descriptions.
 */
import type { CpuidResult } from '../cpu/cpuid';
import type { CpuContext } from '../cpu/cpuContext';
import type { Vcpu } from '../cpu/vcpu';
import type { Field } from '../fields';
import type { VmExit } from '../virt/exit';
import type { HypercallInfo } from './hypercallInfo';

/** launch.json's `mode`, for those that have an interface. */
export type GuestInterfaceName = 'kvm';

export interface GuestInterface {
  /** Title for people: 'KVM'. */
  readonly title: string;
  /** Whether a feature of this interface is announced, by the name that MSR rows use. */
  has(feature: string): boolean;
  /** CPUID 0x40000000 to 0x4fffffff. */
  leaf(leaf: number, subleaf: number): CpuidResult;
  /** RDMSR and WRMSR of the interface's own registers, whose rows have checked existence and reserved bits. False: #GP. */
  readMsr(cpu: Vcpu, index: number): bigint | undefined;
  writeMsr(cpu: Vcpu, index: number, value: bigint): boolean;
  /** A VMCALL that is nobody else's: registers in and out. */
  hypercall(cpu: Vcpu): void;
  /** The hypercall instruction of the other vendor. */
  foreignHypercall(c: CpuContext): void;
  /** Takes the page of RAM that holds `gpa` away until the guest touches it, as a host that swaps does. */
  swapOut?(gpa: number): void;
  /** An access of `cpu` found no page at `gpa`. True: it is there now, or the guest's exception is pending. */
  swapIn?(cpu: Vcpu, gpa: number): boolean;
  /** HLT; false: the vCPU goes on. */
  halts(cpu: Vcpu): boolean;
  /** `cpu` runs from now on, the one before no longer; undefined: none runs. */
  scheduled(cpu: Vcpu | undefined): void;
  /** An interrupt of `cpu` may have become pending. */
  interruptChanged(cpu: Vcpu): void;
  /** A vCPU's time-stamp counter was written. */
  tscChanged(): void;
  /** INIT. */
  vcpuReset(cpu: Vcpu): void;
  /** Power cycle. */
  reset(): void;
  save(): unknown;
  restore(state: unknown): void;

  /** Everything that the guest has set up, decoded from its memory. */
  describe(cpu: Vcpu): Field[];
  hypercalls(): HypercallInfo[];
  /** One line about an exit, where this interface knows more than the architecture. */
  summary(exit: VmExit): string | undefined;
  /** Fields beyond the architectural ones. */
  describeExit(exit: VmExit): Field[];
}
