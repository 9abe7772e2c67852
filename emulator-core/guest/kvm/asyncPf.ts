/**
 * Asynchronous page faults: the host has a page of the guest's memory on its disk. A guest that agreed is told with a #PF of its own
 * kind ("page not present", with a token in CR2), does something else, and is told by an interrupt when the page is there ("page
 * ready", with the same token). Pages go away only when the debugger swaps them out.
 * Sources: Linux Documentation/virt/kvm/x86/msr.rst; arch/x86/include/uapi/asm/kvm_para.h.
 */
import { Vector, type Vcpu } from '../../cpu/vcpu';
import { DeliveryMode } from '../../devices/apicBus';
import type { GuestMemory } from '../../devices/guestMemory';
import type { LocalApic } from '../../devices/localApic';
import { hex, type Field } from '../../fields';
import type { EventQueue } from '../../time/eventQueue';
import { SharedStruct, type Struct } from '../sharedStruct';
import { describeArea } from './area';
import { KvmMsr } from './msrs';

/** Bits of MSR_KVM_ASYNC_PF_EN. */
const Enable = { enabled: 1n, sendAlways: 2n, asInterrupt: 8n } as const;
const IN_USE = Enable.enabled | Enable.asInterrupt;
const KVM_PV_REASON_PAGE_NOT_PRESENT = 1n;
/** Wakes all of the guest's waiting tasks. */
const WAKE_ALL = 0xffffffff;
/** What reading a page from the host's disk takes, in virtual nanoseconds. */
const READ_NS = 100_000;
const PAGE = 4096;
const EVENT = 'kvm.asyncPf';

export const KVM_VCPU_PV_APF_DATA: Struct = {
  name: 'kvm_vcpu_pv_apf_data',
  size: 64,
  fields: [
    {
      name: 'flags',
      offset: 0,
      size: 4,
      text: (value) => (value & KVM_PV_REASON_PAGE_NOT_PRESENT ? 'KVM_PV_REASON_PAGE_NOT_PRESENT' : ''),
    },
    {
      name: 'token',
      offset: 4,
      size: 4,
      text: (value) => (value === 0n ? 'none' : Number(value) === WAKE_ALL ? 'all pages are ready' : 'a page is ready'),
    },
  ],
};

export interface AsyncPfHost {
  readonly memory: GuestMemory;
  readonly vcpus: readonly Vcpu[];
  readonly events: EventQueue;
  apic(cpu: number): LocalApic;
  /** Virtual nanoseconds since power-on. */
  now(): number;
  /** Lets EPT map a page of RAM, or not. */
  setPresent(gpa: number, present: boolean): void;
  /** The vCPU could take an interrupt now, and no event is being delivered. */
  interruptible(cpu: Vcpu): boolean;
}

export interface AsyncPfState {
  swapped: number[];
  reading: { page: number; cpu: number; token: number; due: number }[];
  /** By vCPU: tokens that wait for the guest to take the one before. */
  ready: number[][];
  nextId: number[];
}

export class AsyncPageFaults {
  private state: AsyncPfState;

  constructor(private readonly host: AsyncPfHost) {
    this.state = this.initial();
    host.events.register(EVENT, (now) => this.arrived(now));
  }

  private initial(): AsyncPfState {
    const { vcpus } = this.host;
    return { swapped: [], reading: [], ready: vcpus.map(() => []), nextId: vcpus.map(() => 1) };
  }

  /** Puts the page that holds guest-physical `gpa`, of RAM, on the host's disk. */
  swapOut(gpa: number): void {
    const page = Math.floor(gpa / PAGE);
    const { swapped, reading } = this.state;
    if (swapped.includes(page) || reading.some((each) => each.page === page)) return;
    swapped.push(page);
    this.host.setPresent(page * PAGE, false);
  }

  /**
   * An access of a vCPU ran into a page that EPT does not map. True: it was on the disk, and is there now or the guest's fault is
   * pending. False: it was not.
   */
  fault(cpu: Vcpu, gpa: number): boolean {
    const page = Math.floor(gpa / PAGE);
    const { swapped, reading, nextId } = this.state;
    if (reading.some((each) => each.page === page)) {
      this.host.setPresent(page * PAGE, true);
      return true;
    }
    const at = swapped.indexOf(page);
    if (at < 0) return false;
    swapped.splice(at, 1);
    const area = this.mayTell(cpu) ? this.area(cpu) : undefined;
    if (!area) {
      // The vCPU waits for it; nothing of the guest's runs meanwhile.
      this.host.setPresent(page * PAGE, true);
      return true;
    }
    const id = nextId[cpu.index];
    nextId[cpu.index] = id === 0xfffff ? 1 : id + 1;
    const token = id * PAGE + cpu.index;
    area.set({ flags: KVM_PV_REASON_PAGE_NOT_PRESENT });
    cpu.pending = { vector: Vector.PF, error: 0, address: BigInt(token) };
    reading.push({ page, cpu: cpu.index, token, due: this.host.now() + READ_NS });
    this.schedule();
    return true;
  }

  private mayTell(cpu: Vcpu): boolean {
    const value = this.enabled(cpu);
    if ((value & IN_USE) !== IN_USE || (cpu.cpl !== 3 && !(value & Enable.sendAlways))) return false;
    return !cpu.pending && this.host.interruptible(cpu);
  }

  private schedule(): void {
    const due = Math.min(...this.state.reading.map((each) => each.due), Infinity);
    this.host.events.at(EVENT, due);
  }

  private arrived(now: number): void {
    const { reading, ready } = this.state;
    const arrived = reading.filter((each) => each.due <= now);
    this.state.reading = reading.filter((each) => each.due > now);
    for (const { page, cpu, token } of arrived) {
      this.host.setPresent(page * PAGE, true);
      if (token) ready[cpu].push(token);
    }
    for (const cpu of this.host.vcpus) this.tellReady(cpu);
    this.schedule();
  }

  /** Tells of the next page that is there, once the guest has taken the one before. */
  private tellReady(cpu: Vcpu): void {
    const ready = this.state.ready[cpu.index];
    if ((this.enabled(cpu) & IN_USE) !== IN_USE) ready.length = 0;
    const area = this.area(cpu);
    const apic = this.host.apic(cpu.index);
    if (ready.length === 0 || !area || !apic.acceptsVectors || area.get('token') !== 0n) return;
    area.set({ token: ready.shift()! });
    const vector = Number((cpu.msrs.get(KvmMsr.asyncPfInterrupt) ?? 0n) & 0xffn);
    apic.accept({ destination: cpu.index, logical: false, mode: DeliveryMode.fixed, vector, level: false });
  }

  /** Whether MSR_KVM_ASYNC_PF_EN may take `value`: the area lies in RAM. */
  accepts(value: bigint): boolean {
    return (value & IN_USE) !== IN_USE || this.areaAt(value) !== undefined;
  }

  /** MSR_KVM_ASYNC_PF_EN was written. */
  changed(cpu: Vcpu): void {
    if ((this.enabled(cpu) & IN_USE) !== IN_USE) {
      this.forget(cpu);
      return;
    }
    const ready = this.state.ready[cpu.index];
    // Whatever the guest waited for before is there.
    if (ready.length === 0) ready.push(WAKE_ALL);
    this.tellReady(cpu);
  }

  /** MSR_KVM_ASYNC_PF_ACK was written. */
  acknowledged(cpu: Vcpu, value: bigint): void {
    if (value & 1n) this.tellReady(cpu);
  }

  /** The vCPU is told of nothing that it waited for. */
  forget(cpu: Vcpu): void {
    this.state.ready[cpu.index] = [];
    for (const each of this.state.reading) if (each.cpu === cpu.index) each.token = 0;
  }

  private enabled(cpu: Vcpu): bigint {
    return cpu.msrs.get(KvmMsr.asyncPfEnable) ?? 0n;
  }

  private area(cpu: Vcpu): SharedStruct | undefined {
    return this.areaAt(this.enabled(cpu));
  }

  /** The area that a value of MSR_KVM_ASYNC_PF_EN names; undefined while it is off, or where RAM does not hold it. */
  private areaAt(value: bigint): SharedStruct | undefined {
    if ((value & IN_USE) !== IN_USE) return undefined;
    return SharedStruct.at(this.host.memory, KVM_VCPU_PV_APF_DATA, value & ~0x3fn);
  }

  describe(cpu: Vcpu): Field {
    const field = describeArea('Asynchronous page faults', this.area(cpu));
    if (!field.children) return field;
    const { swapped, reading, ready } = this.state;
    const tokens = (list: readonly number[]): string => list.map((token) => hex(token, 32)).join(' ') || 'none';
    const vector = cpu.msrs.get(KvmMsr.asyncPfInterrupt) ?? 0n;
    return {
      ...field,
      children: [
        ...field.children,
        { name: '"page ready" vector', value: hex(vector, 8) },
        { name: 'sent at CPL 0', value: this.enabled(cpu) & Enable.sendAlways ? 'yes' : 'no' },
        { name: 'pages swapped out', value: String(swapped.length) },
        {
          name: 'being read',
          value: tokens(reading.flatMap((each) => (each.cpu === cpu.index && each.token ? [each.token] : []))),
        },
        { name: 'ready, not yet told', value: tokens(ready[cpu.index]) },
      ],
    };
  }

  reset(): void {
    for (const page of [...this.state.swapped, ...this.state.reading.map((each) => each.page)])
      this.host.setPresent(page * PAGE, true);
    this.host.events.cancel(EVENT);
    this.state = this.initial();
  }
  save(): AsyncPfState {
    return structuredClone(this.state);
  }
  /** EPT and deadlines are restored by their owners. */
  restore(state: AsyncPfState): void {
    this.state = structuredClone(state);
  }
}
