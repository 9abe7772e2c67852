/**
 * KVM's hypercalls: one row each. The number is in rax, up to four arguments in rbx, rcx, rdx and rsi; the result comes back in rax.
 * Outside of 64-bit code all are 32 bits wide.
 * Sources: Linux Documentation/virt/kvm/x86/hypercalls.rst; include/uapi/linux/kvm_para.h.
 */
import { State } from '../../cpu/layout';
import type { Vcpu } from '../../cpu/vcpu';
import { DeliveryMode } from '../../devices/apicBus';
import type { GuestMemory } from '../../devices/guestMemory';
import type { LocalApic } from '../../devices/localApic';
import { SharedStruct, type Struct } from '../sharedStruct';
import { kvmHas } from './features';

/** Results below zero: kvm_para.h's KVM_E... as negative numbers. */
export const KvmError = { PERM: -1n, E2BIG: -7n, FAULT: -14n, INVAL: -22n, OPNOTSUPP: -95n, NOSYS: -1000n } as const;

export interface HypercallHost {
  readonly memory: GuestMemory;
  readonly vcpus: readonly Vcpu[];
  apic(cpu: number): LocalApic;
  tsc(cpu: number): bigint;
  /** Wall time in nanoseconds since 1970. */
  wallTime(): bigint;
  /** Ends the HLT of a vCPU, or the next one it executes. */
  kick(cpu: Vcpu): void;
  /** Gives a vCPU that waits for its turn the next one. */
  yieldTo(from: Vcpu, to: Vcpu): void;
  /** The guest tells what pages are; false: it may not say that. */
  mapGpaRange(gpa: bigint, pages: bigint, attributes: bigint): boolean;
}

export interface Hypercall {
  cpu: Vcpu;
  /** rbx, rcx, rdx, rsi; zeros where the hypercall has no arguments. */
  args: readonly [bigint, bigint, bigint, bigint];
  /** Bits of an argument. */
  width: 32 | 64;
}

export interface HypercallRow {
  readonly number: number;
  /** As in kvm_para.h. */
  readonly name: string;
  readonly arguments: readonly string[];
  readonly text: string;
  /** Without this feature the hypercall is not there. */
  readonly feature?: string;
  /** Absent: x86 guests have no such hypercall, or no longer. */
  readonly run?: (call: Hypercall, host: HypercallHost) => bigint;
}

/** struct kvm_clock_pairing. */
export const KVM_CLOCK_PAIRING: Struct = {
  name: 'kvm_clock_pairing',
  size: 64,
  fields: [
    { name: 'sec', offset: 0, size: 8, signed: true },
    { name: 'nsec', offset: 8, size: 8, signed: true },
    { name: 'tsc', offset: 16, size: 8 },
    { name: 'flags', offset: 24, size: 4 },
  ],
};
const KVM_CLOCK_PAIRING_WALLCLOCK = 0n;

/** The vCPU with an APIC ID, here its number. */
function byApicId({ vcpus }: HypercallHost, id: bigint): Vcpu | undefined {
  return id < BigInt(vcpus.length) ? vcpus[Number(id)] : undefined;
}

function kickCpu({ args }: Hypercall, host: HypercallHost): bigint {
  const cpu = byApicId(host, args[1]);
  if (cpu) host.kick(cpu);
  return 0n;
}

function clockPairing({ cpu, args: [gpa, type] }: Hypercall, host: HypercallHost): bigint {
  if (type !== KVM_CLOCK_PAIRING_WALLCLOCK) return KvmError.OPNOTSUPP;
  const area = SharedStruct.at(host.memory, KVM_CLOCK_PAIRING, gpa);
  if (!area) return KvmError.FAULT;
  host.memory.write(area.gpa, new Uint8Array(KVM_CLOCK_PAIRING.size));
  const wall = host.wallTime();
  area.set({ sec: wall / 1_000_000_000n, nsec: wall % 1_000_000_000n, tsc: host.tsc(cpu.index) });
  return 0n;
}

/** ICR bits: destination mode (logical) and destination shorthand have no place here. */
const ICR_REFUSED = 0xc0800n;
const ICR_ASSERT = 0x4000n;
const ICR_LEVEL = 0x8000n;
/** Delivery modes in which a level that is not asserted interrupts nobody. */
const DEASSERTED: readonly number[] = [DeliveryMode.fixed, DeliveryMode.lowest, DeliveryMode.init];

function sendIpi({ args: [low, high, first, icr], width }: Hypercall, host: HypercallHost): bigint {
  if (icr & ICR_REFUSED) return KvmError.INVAL;
  const mode = Number((icr >> 8n) & 7n);
  const level = (icr & ICR_LEVEL) !== 0n;
  if (level && !(icr & ICR_ASSERT) && DEASSERTED.includes(mode)) return 0n;
  const message = {
    logical: false,
    mode,
    vector: Number(icr & 0xffn),
    level,
  };
  let delivered = 0n;
  const destinations = low | (high << BigInt(width));
  for (const { index } of host.vcpus) {
    const bit = BigInt(index) - first;
    if (bit < 0n || bit >= BigInt(2 * width) || !((destinations >> bit) & 1n)) continue;
    const taken =
      message.mode === DeliveryMode.lowest
        ? host.apic(index).accept({ ...message, mode: DeliveryMode.fixed, destination: index })
        : host.apic(index).accept({ ...message, destination: index });
    if (taken) delivered++;
  }
  return delivered;
}

function schedYield({ cpu, args }: Hypercall, host: HypercallHost): bigint {
  const target = byApicId(host, args[0]);
  if (target && target !== cpu) host.yieldTo(cpu, target);
  return 0n;
}

export const HYPERCALLS: readonly HypercallRow[] = [
  {
    number: 1,
    name: 'KVM_HC_VAPIC_POLL_IRQ',
    arguments: [],
    text: 'lets the host look for pending interrupts',
    run: () => 0n,
  },
  { number: 2, name: 'KVM_HC_MMU_OP', arguments: ['buffer', 'length'], text: 'page-table changes; removed from KVM' },
  { number: 3, name: 'KVM_HC_FEATURES', arguments: [], text: 'which hypercalls there are; PowerPC only' },
  { number: 4, name: 'KVM_HC_PPC_MAP_MAGIC_PAGE', arguments: [], text: 'maps the shared page; PowerPC only' },
  {
    number: 5,
    name: 'KVM_HC_KICK_CPU',
    arguments: ['flags', 'apic_id'],
    text: 'wakes a vCPU from HLT',
    feature: 'KVM_FEATURE_PV_UNHALT',
    run: kickCpu,
  },
  { number: 6, name: 'KVM_HC_MIPS_GET_CLOCK_FREQ', arguments: [], text: 'clock frequency; MIPS only' },
  { number: 7, name: 'KVM_HC_MIPS_EXIT_VM', arguments: [], text: 'ends the machine; MIPS only' },
  { number: 8, name: 'KVM_HC_MIPS_CONSOLE_OUTPUT', arguments: [], text: 'console output; MIPS only' },
  {
    number: 9,
    name: 'KVM_HC_CLOCK_PAIRING',
    arguments: ['gpa', 'clock_type'],
    text: "the host's wall time and the time-stamp counter of the same moment",
    run: clockPairing,
  },
  {
    number: 10,
    name: 'KVM_HC_SEND_IPI',
    arguments: ['ipi_bitmap_low', 'ipi_bitmap_high', 'min', 'icr'],
    text: 'interprocessor interrupts to many; returns to how many',
    feature: 'KVM_FEATURE_PV_SEND_IPI',
    run: sendIpi,
  },
  {
    number: 11,
    name: 'KVM_HC_SCHED_YIELD',
    arguments: ['apic_id'],
    text: 'gives the turn to a vCPU that waits for its own',
    feature: 'KVM_FEATURE_PV_SCHED_YIELD',
    run: schedYield,
  },
  {
    number: 12,
    name: 'KVM_HC_MAP_GPA_RANGE',
    arguments: ['gpa', 'npages', 'attributes'],
    text: 'which pages are plaintext, shared with the host, and which encrypted',
    feature: 'KVM_FEATURE_HC_MAP_GPA_RANGE',
    run: ({ args: [gpa, pages, attributes] }, host) => (host.mapGpaRange(gpa, pages, attributes) ? 0n : KvmError.INVAL),
  },
];

const BY_NUMBER: (HypercallRow | undefined)[] = [];
for (const row of HYPERCALLS) BY_NUMBER[row.number] = row;

/** The row of a hypercall number; undefined: KVM has none. */
export function hypercallRow(number: bigint): HypercallRow | undefined {
  return number < BigInt(BY_NUMBER.length) ? BY_NUMBER[Number(number)] : undefined;
}

const RAX = 0;
/** rbx, rcx, rdx, rsi. */
const ARGUMENTS = [3, 1, 2, 6] as const;
const NO_ARGUMENTS = [0n, 0n, 0n, 0n] as const;

/** The row of the number in a vCPU's rax, of which 64-bit code means all bits. */
function rowOf(cpu: Vcpu, width: 32 | 64): HypercallRow | undefined {
  if (width === 64 && cpu.get32(State.gpr + 4) !== 0) return undefined;
  return BY_NUMBER[cpu.gpr32(RAX)];
}

/** Executes the hypercall that a vCPU's registers hold, and puts the result into rax. Returns its row. */
export function runHypercall(cpu: Vcpu, host: HypercallHost): HypercallRow | undefined {
  const width = cpu.bitness === 64 ? 64 : 32;
  const row = rowOf(cpu, width);
  let result: bigint = KvmError.NOSYS;
  if (cpu.cpl !== 0) result = KvmError.PERM;
  else if (row?.run && (row.feature === undefined || kvmHas(row.feature))) {
    const args = row.arguments.length
      ? (ARGUMENTS.map((n) => BigInt.asUintN(width, cpu.gpr(n))) as unknown as Hypercall['args'])
      : NO_ARGUMENTS;
    result = row.run({ cpu, args, width }, host);
  }
  if (result === 0n) cpu.setGpr32(RAX, 0);
  else cpu.setGpr(RAX, BigInt.asUintN(width, result));
  return row;
}
