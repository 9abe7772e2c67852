/**
 * Paravirtual end of interrupt: a bit in guest memory says that no EOI is needed; the guest clears it instead. The hypervisor looks
 * at it when it has to do with the local APIC next, which ends the interrupt then.
 * Sources: Linux Documentation/virt/kvm/x86/msr.rst; arch/x86/include/uapi/asm/kvm_para.h.
 */
import type { Vcpu } from '../../cpu/vcpu';
import type { GuestMemory } from '../../devices/guestMemory';
import type { LocalApic } from '../../devices/localApic';
import type { Field } from '../../fields';
import type { SharedStruct, Struct } from '../sharedStruct';
import { areaAt, areaOf, describeArea } from './area';
import { ENABLED, KvmMsr } from './msrs';

const BIT = 'KVM_PV_EOI_BIT';

export const PV_EOI_WORD: Struct = {
  name: 'PV EOI',
  size: 4,
  fields: [
    {
      name: BIT,
      offset: 0,
      // The other bytes are the guest's alone.
      size: 1,
      text: (value) => (value & 1n ? 'the interrupt in service needs no EOI' : 'EOI is needed'),
    },
  ],
};

export interface EoiHost {
  readonly memory: GuestMemory;
  readonly vcpus: readonly Vcpu[];
  apic(cpu: number): LocalApic;
}

export class PvEoi {
  /** By vCPU: the bit was set and not looked at since. */
  private pending: boolean[];

  constructor(private readonly host: EoiHost) {
    this.pending = host.vcpus.map(() => false);
    for (const cpu of host.vcpus) {
      host.apic(cpu.index).paravirtualEoi = {
        accessed: () => this.settle(cpu),
        acknowledged: (vector) => this.offer(cpu, vector),
      };
    }
  }

  /** Interrupt `vector` is about to be delivered. */
  private offer(cpu: Vcpu, vector: number): void {
    const area = this.area(cpu);
    if (!area || !this.host.apic(cpu.index).endsUnnoticed(vector)) return;
    area.set({ [BIT]: 1 });
    this.pending[cpu.index] = true;
  }

  /** The APIC's state is about to be read or changed: what the bit says takes effect, and it is taken back. */
  settle(cpu: Vcpu): void {
    if (!this.pending[cpu.index]) return;
    this.pending[cpu.index] = false;
    const area = this.area(cpu);
    if (!area) return;
    if (area.get(BIT) & 1n) area.set({ [BIT]: 0 });
    else this.host.apic(cpu.index).endOfInterrupt();
  }

  private area(cpu: Vcpu): SharedStruct | undefined {
    return areaOf(this.host.memory, PV_EOI_WORD, cpu, KvmMsr.eoiEnable);
  }

  /** Whether MSR_KVM_PV_EOI_EN may take `value`: the word lies in RAM. */
  accepts(value: bigint): boolean {
    return !(value & ENABLED) || areaAt(this.host.memory, PV_EOI_WORD, value) !== undefined;
  }

  describe(cpu: Vcpu): Field {
    return describeArea('PV EOI', this.area(cpu));
  }

  /** INIT: what was offered no longer counts. */
  forget(cpu: Vcpu): void {
    this.pending[cpu.index] = false;
  }
  reset(): void {
    this.pending.fill(false);
  }
  save(): boolean[] {
    return [...this.pending];
  }
  restore(state: readonly boolean[]): void {
    this.pending = [...state];
  }
}
