/**
 * KVM's CPUID leaves and features: one row a feature.
 * Sources: Linux Documentation/virt/kvm/x86/cpuid.rst; arch/x86/include/uapi/asm/kvm_para.h.
 */
import type { CpuidResult } from '../../cpu/cpuid';
import { hex, type Field } from '../../fields';

export interface KvmFeature {
  /** As in kvm_para.h. */
  readonly name: string;
  readonly bit: number;
  /** Register of leaf 0x40000001: EAX holds features, EDX hints. */
  readonly register: 'eax' | 'edx';
  readonly text: string;
  /** Why it is not announced; absent: it is. */
  readonly absent?: string;
}

const row = (bit: number, name: string, text: string, absent?: string): KvmFeature => ({
  name: `KVM_FEATURE_${name}`,
  bit,
  register: 'eax',
  text,
  ...(absent ? { absent } : {}),
});

export const KVM_FEATURES: readonly KvmFeature[] = [
  row(0, 'CLOCKSOURCE', 'kvmclock by MSRs 0x11 and 0x12'),
  row(1, 'NOP_IO_DELAY', 'port I/O needs no delays'),
  row(2, 'MMU_OP', 'page-table changes by hypercall', 'deprecated; KVM no longer has it'),
  row(3, 'CLOCKSOURCE2', 'kvmclock by MSRs 0x4b564d00 and 0x4b564d01'),
  row(4, 'ASYNC_PF', 'asynchronous page faults'),
  row(5, 'STEAL_TIME', 'steal time'),
  row(6, 'PV_EOI', 'end of interrupt by a bit in memory'),
  row(7, 'PV_UNHALT', 'waking a halted vCPU by hypercall'),
  row(9, 'PV_TLB_FLUSH', 'TLB flush of a preempted vCPU when it runs again'),
  row(10, 'ASYNC_PF_VMEXIT', 'asynchronous page faults as VM exits of a nested guest', 'no nested virtualization'),
  row(11, 'PV_SEND_IPI', 'interprocessor interrupts to many by hypercall'),
  row(12, 'POLL_CONTROL', 'polling on HLT can be turned off'),
  row(13, 'PV_SCHED_YIELD', 'yielding to a preempted vCPU by hypercall'),
  row(14, 'ASYNC_PF_INT', '"page ready" by interrupt'),
  row(
    15,
    'MSI_EXT_DEST_ID',
    'APIC IDs above 255 in MSI addresses',
    'at most 255 vCPUs; QEMU sets it with a split irqchip',
  ),
  row(16, 'HC_MAP_GPA_RANGE', 'telling of plaintext and encrypted pages by hypercall'),
  row(17, 'MIGRATION_CONTROL', 'allowing live migration, by MSR 0x4b564d08'),
  row(24, 'CLOCKSOURCE_STABLE_BIT', 'kvmclock tells by a flag when it is monotonic across vCPUs'),
  {
    name: 'KVM_HINTS_REALTIME',
    bit: 0,
    register: 'edx',
    text: 'vCPUs are never preempted for long',
    absent: 'vCPUs take turns',
  },
];

const SIGNATURE = 0x40000000;
const FEATURES = 0x40000001;

/** Whether the feature with kvm_para.h's name is announced. */
export function kvmHas(name: string): boolean {
  return ANNOUNCED.has(name);
}
const ANNOUNCED = new Set(KVM_FEATURES.filter((feature) => !feature.absent).map((feature) => feature.name));

function announced(register: KvmFeature['register']): number {
  return KVM_FEATURES.reduce(
    (bits, feature) => (feature.register === register && !feature.absent ? bits | (1 << feature.bit) : bits),
    0,
  );
}

/** CPUID 0x40000000 and up: the signature 'KVMKVMKVM' and the features; zeros beyond. */
export function kvmLeaf(leaf: number): CpuidResult {
  if (leaf === SIGNATURE) return { eax: FEATURES, ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d };
  if (leaf === FEATURES) return { eax: announced('eax'), ebx: 0, ecx: 0, edx: announced('edx') };
  return { eax: 0, ebx: 0, ecx: 0, edx: 0 };
}

/** What is announced, and what not and why. */
export function describeFeatures(): Field[] {
  const part = (register: KvmFeature['register'], name: string): Field => ({
    name,
    value: hex(announced(register), 32),
    children: KVM_FEATURES.filter((feature) => feature.register === register).map(
      ({ name: each, bit, text, absent }) => ({
        name: each,
        value: absent ? 'no' : 'yes',
        text: `bit ${bit}: ${text}${absent ? `; not announced: ${absent}` : ''}`,
      }),
    ),
  });
  return [part('eax', 'Features'), part('edx', 'Hints')];
}
