/**
 * Steal time: how long a vCPU wanted to run while another one did, and whether it is running; and TLB flushes that wait until it runs.
 * Sources: Linux Documentation/virt/kvm/x86/msr.rst; arch/x86/include/uapi/asm/kvm_para.h.
 */
import type { Vcpu } from '../../cpu/vcpu';
import type { GuestMemory } from '../../devices/guestMemory';
import type { Field } from '../../fields';
import { beginUpdate, type SharedStruct, type Struct } from '../sharedStruct';
import { areaOf, describeArea } from './area';
import { KvmMsr } from './msrs';

/** Bits of kvm_steal_time.preempted. */
export const Preempted = { preempted: 1, flushTlb: 2 } as const;

export const KVM_STEAL_TIME: Struct = {
  name: 'kvm_steal_time',
  size: 64,
  fields: [
    { name: 'steal', offset: 0, size: 8, text: (value) => `${value} ns` },
    { name: 'version', offset: 8, size: 4, text: String },
    { name: 'flags', offset: 12, size: 4 },
    {
      name: 'preempted',
      offset: 16,
      size: 1,
      text: (value) =>
        [
          Number(value) & Preempted.preempted ? 'KVM_VCPU_PREEMPTED' : 'running',
          Number(value) & Preempted.flushTlb ? 'KVM_VCPU_FLUSH_TLB' : '',
        ]
          .filter(Boolean)
          .join(' '),
    },
  ],
};

export interface StealHost {
  readonly memory: GuestMemory;
  readonly vcpus: readonly Vcpu[];
  /** Virtual nanoseconds since power-on. */
  now(): number;
  /** Forgets all translations of the vCPU. */
  flushTranslations(cpu: Vcpu): void;
  /** Whether something ends the vCPU's HLT. */
  wakes(cpu: Vcpu): boolean;
}

interface VcpuTime {
  /** Nanoseconds that it waited for its turn, and how much of that its structure has. */
  stolen: number;
  reported: number;
  /** When it began to wait; -1: it runs or has nothing to do. */
  waitsSince: number;
}

export interface StealState {
  running: number;
  times: VcpuTime[];
}

export class StealTime {
  /** The vCPU that runs; -1: none. */
  private running = -1;
  private times: VcpuTime[];

  constructor(private readonly host: StealHost) {
    this.times = host.vcpus.map(newTime);
  }

  /** MSR_KVM_STEAL_TIME was written. */
  enabled(cpu: Vcpu): void {
    this.report(cpu);
  }

  /** `cpu` runs from now on, the one before no longer; undefined: none runs. */
  scheduled(cpu: Vcpu | undefined): void {
    const next = cpu?.index ?? -1;
    if (next === this.running) return;
    const { vcpus } = this.host;
    const before = vcpus[this.running] as Vcpu | undefined;
    this.running = next;
    if (before) {
      this.area(before)?.set({ preempted: Preempted.preempted });
      if (before.activity === 'active') this.waits(before);
    }
    if (!cpu) return;
    const time = this.times[next];
    if (time.waitsSince >= 0) time.stolen += this.host.now() - time.waitsSince;
    time.waitsSince = -1;
    this.report(cpu);
  }

  /** A vCPU may have got something to do. */
  waits(cpu: Vcpu): void {
    const time = this.times[cpu.index];
    if (time.waitsSince >= 0 || cpu.index === this.running) return;
    if (cpu.activity === 'active' || (cpu.activity === 'halted' && this.host.wakes(cpu))) {
      time.waitsSince = this.host.now();
    }
  }

  private report(cpu: Vcpu): void {
    const area = this.area(cpu);
    if (!area) return;
    if (Number(area.get('preempted')) & Preempted.flushTlb) this.host.flushTranslations(cpu);
    area.set({ preempted: 0 });
    const time = this.times[cpu.index];
    const done = beginUpdate(area);
    area.set({ steal: area.get('steal') + BigInt(Math.floor(time.stolen - time.reported)) });
    time.reported = time.stolen;
    done();
  }

  private area(cpu: Vcpu): SharedStruct | undefined {
    return areaOf(this.host.memory, KVM_STEAL_TIME, cpu, KvmMsr.stealTime);
  }

  describe(cpu: Vcpu): Field {
    return describeArea('Steal time', this.area(cpu));
  }

  /** INIT: the vCPU has nothing to do. */
  forget(cpu: Vcpu): void {
    this.times[cpu.index].waitsSince = -1;
  }
  reset(): void {
    this.running = -1;
    this.times = this.host.vcpus.map(newTime);
  }
  save(): StealState {
    return structuredClone({ running: this.running, times: this.times });
  }
  restore(state: StealState): void {
    this.running = state.running;
    this.times = structuredClone(state.times);
  }
}

function newTime(): VcpuTime {
  return { stolen: 0, reported: 0, waitsSince: -1 };
}
