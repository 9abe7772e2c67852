/**
 * kvmclock: the guest's time as a function of its time-stamp counter, in a structure a vCPU, and the wall time at boot.
 * Sources: Linux Documentation/virt/kvm/x86/msr.rst; arch/x86/include/asm/pvclock-abi.h.
 */
import type { Vcpu } from '../../cpu/vcpu';
import type { GuestMemory } from '../../devices/guestMemory';
import type { Field } from '../../fields';
import { setBits } from '../../virt/bitTable';
import { beginUpdate, SharedStruct, type Struct } from '../sharedStruct';
import { areaOf, describeArea } from './area';
import { KvmMsr } from './msrs';

/** Bits of pvclock_vcpu_time_info.flags. */
const FLAGS = [
  { bit: 0, name: 'TSC_STABLE' },
  { bit: 1, name: 'GUEST_STOPPED' },
];
const TSC_STABLE = 1;

const seconds = (ns: bigint): string => `${ns / 1_000_000_000n}.${String(ns % 1_000_000_000n).padStart(9, '0')} s`;
const version = (value: bigint): string => `${value}${value & 1n ? ', being updated' : ''}`;

export const PVCLOCK_VCPU_TIME_INFO: Struct = {
  name: 'pvclock_vcpu_time_info',
  size: 32,
  fields: [
    { name: 'version', offset: 0, size: 4, text: version },
    { name: 'tsc_timestamp', offset: 8, size: 8, text: String },
    { name: 'system_time', offset: 16, size: 8, text: seconds },
    { name: 'tsc_to_system_mul', offset: 24, size: 4, text: (value) => `${Number(value) / 2 ** 32}` },
    { name: 'tsc_shift', offset: 28, size: 1, signed: true, text: String },
    {
      name: 'flags',
      offset: 29,
      size: 1,
      text: (value) => setBits(FLAGS, value).join(' '),
    },
  ],
};

export const PVCLOCK_WALL_CLOCK: Struct = {
  name: 'pvclock_wall_clock',
  size: 12,
  fields: [
    { name: 'version', offset: 0, size: 4, text: version },
    { name: 'sec', offset: 4, size: 4, text: (value) => new Date(Number(value) * 1000).toISOString() },
    { name: 'nsec', offset: 8, size: 4, text: String },
  ],
};

export interface ClockHost {
  readonly memory: GuestMemory;
  readonly vcpus: readonly Vcpu[];
  /** Virtual nanoseconds since power-on. */
  now(): number;
  tsc(cpu: number): bigint;
  tscOffsetOf(cpu: number): bigint;
}

/**
 * How guests turn counts of a counter into nanoseconds: ((count << shift) * mul) >> 32, a negative shift being one to the right.
 * The multiplier is a fraction of 2^32 in [1/2, 1), which keeps the most digits.
 * @param hz the counter's frequency, above 0
 */
export function pvclockScale(hz: number): { mul: number; shift: number } {
  let numerator = 1_000_000_000n;
  let denominator = BigInt(hz);
  let shift = 0;
  for (; numerator >= denominator; shift++) denominator <<= 1n;
  for (; numerator * 2n < denominator; shift--) numerator <<= 1n;
  return { mul: Number((numerator << 32n) / denominator), shift };
}

export class KvmClock {
  /** MSR_KVM_WALL_CLOCK: one for all vCPUs. */
  wallClock = 0n;
  private readonly scale: { mul: number; shift: number };

  /**
   * @param tscHz frequency of the time-stamp counters
   * @param startTime wall time at power-on, milliseconds since 1970
   */
  constructor(
    private readonly host: ClockHost,
    tscHz: number,
    private readonly startTime: number,
  ) {
    this.scale = pvclockScale(tscHz);
  }

  /** Writes the wall time at power-on where the guest wants it; beyond RAM nothing happens. */
  writeWallClock(gpa: bigint): void {
    this.wallClock = gpa;
    const area = SharedStruct.at(this.host.memory, PVCLOCK_WALL_CLOCK, gpa);
    if (!area) return;
    const done = beginUpdate(area);
    const ms = Math.floor(this.startTime);
    area.set({ sec: Math.floor(ms / 1000), nsec: (ms % 1000) * 1_000_000 });
    done();
  }

  /** Brings a vCPU's structure up to date, if it has one. */
  update(cpu: Vcpu): void {
    const area = this.area(cpu);
    if (!area) return;
    const done = beginUpdate(area);
    area.set({
      tsc_timestamp: this.host.tsc(cpu.index),
      system_time: BigInt(Math.floor(this.host.now())),
      tsc_to_system_mul: this.scale.mul,
      tsc_shift: this.scale.shift,
      flags: this.stable ? TSC_STABLE : 0,
    });
    done();
  }

  /** Time does not go back between vCPUs: their counters agree. */
  private get stable(): boolean {
    const { vcpus } = this.host;
    return vcpus.every(({ index }) => this.host.tscOffsetOf(index) === this.host.tscOffsetOf(0));
  }

  private area(cpu: Vcpu): SharedStruct | undefined {
    return areaOf(this.host.memory, PVCLOCK_VCPU_TIME_INFO, cpu, KvmMsr.systemTime);
  }

  describe(cpu: Vcpu): Field[] {
    const wall =
      this.wallClock === 0n ? undefined : SharedStruct.at(this.host.memory, PVCLOCK_WALL_CLOCK, this.wallClock);
    return [describeArea('kvmclock', this.area(cpu)), describeArea('Wall clock at boot', wall)];
  }
}
