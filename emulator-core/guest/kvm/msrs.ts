/**
 * KVM's model-specific registers, as rows of the processor's table: they exist where the feature is announced.
 * Sources: Linux Documentation/virt/kvm/x86/msr.rst; arch/x86/include/uapi/asm/kvm_para.h.
 */
import type { MsrRow } from '../../cpu/msrs';

export const KvmMsr = {
  wallClockOld: 0x11,
  systemTimeOld: 0x12,
  wallClock: 0x4b564d00,
  systemTime: 0x4b564d01,
  asyncPfEnable: 0x4b564d02,
  stealTime: 0x4b564d03,
  eoiEnable: 0x4b564d04,
  pollControl: 0x4b564d05,
  asyncPfInterrupt: 0x4b564d06,
  asyncPfAcknowledge: 0x4b564d07,
  migrationControl: 0x4b564d08,
} as const;

/** Bit 0 of those that hold an address: the area is in use. */
export const ENABLED = 1n;

const reserved = (mask: bigint) => (value: bigint) => (value & mask) === 0n;
const above = (bit: bigint) => reserved(((1n << 64n) - 1n) & ~((1n << bit) - 1n));

function row(index: number, name: string, feature: string, rest: Partial<MsrRow> = {}): MsrRow {
  return {
    index,
    name: `MSR_KVM_${name}`,
    feature: `KVM_FEATURE_${feature}`,
    reset: 0n,
    writable: true,
    read: (cpu) => cpu.guest?.readMsr(index),
    write: (cpu, value) => cpu.guest?.writeMsr(index, value) ?? false,
    ...rest,
  };
}

const ENABLE_BIT = [{ bit: 0, name: 'enabled' }];

/** Reserved bits are those for which KVM raises #GP. */
export const KVM_MSRS: readonly MsrRow[] = [
  row(KvmMsr.wallClockOld, 'WALL_CLOCK', 'CLOCKSOURCE'),
  row(KvmMsr.systemTimeOld, 'SYSTEM_TIME', 'CLOCKSOURCE', { bits: ENABLE_BIT }),
  row(KvmMsr.wallClock, 'WALL_CLOCK_NEW', 'CLOCKSOURCE2'),
  row(KvmMsr.systemTime, 'SYSTEM_TIME_NEW', 'CLOCKSOURCE2', { bits: ENABLE_BIT }),
  row(KvmMsr.asyncPfEnable, 'ASYNC_PF_EN', 'ASYNC_PF', {
    // Bit 2 needs KVM_FEATURE_ASYNC_PF_VMEXIT.
    valid: reserved(0x34n),
    bits: [
      { bit: 0, name: 'ENABLED' },
      { bit: 1, name: 'SEND_ALWAYS' },
      { bit: 2, name: 'DELIVERY_AS_PF_VMEXIT' },
      { bit: 3, name: 'DELIVERY_AS_INT' },
    ],
  }),
  row(KvmMsr.stealTime, 'STEAL_TIME', 'STEAL_TIME', { valid: reserved(0x3en), bits: ENABLE_BIT }),
  // The address is a multiple of 4.
  row(KvmMsr.eoiEnable, 'PV_EOI_EN', 'PV_EOI', { valid: reserved(2n), bits: ENABLE_BIT }),
  row(KvmMsr.pollControl, 'POLL_CONTROL', 'POLL_CONTROL', {
    reset: 1n,
    valid: above(1n),
    bits: [{ bit: 0, name: 'host polls on HLT' }],
  }),
  row(KvmMsr.asyncPfInterrupt, 'ASYNC_PF_INT', 'ASYNC_PF_INT', {
    valid: above(8n),
    bits: [{ bit: 0, name: 'vector', width: 8 }],
  }),
  row(KvmMsr.asyncPfAcknowledge, 'ASYNC_PF_ACK', 'ASYNC_PF_INT', { read: () => 0n }),
  row(KvmMsr.migrationControl, 'MIGRATION_CONTROL', 'MIGRATION_CONTROL', {
    reset: 1n,
    valid: above(1n),
    bits: [{ bit: 0, name: 'live migration allowed' }],
  }),
];

const RESET = new Map(KVM_MSRS.map(({ index, reset }) => [index, reset]));
/** Value of one of these registers after power-on. */
export function kvmMsrReset(index: number): bigint {
  return RESET.get(index) ?? 0n;
}
