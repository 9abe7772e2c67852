/** Areas of guest memory that a vCPU shares with KVM: their places are in its MSRs. */
import type { Vcpu } from '../../cpu/vcpu';
import type { GuestMemory } from '../../devices/guestMemory';
import type { Field } from '../../fields';
import { SharedStruct, type Struct } from '../sharedStruct';
import { ENABLED } from './msrs';

/** The area that a register with the address and the enable bit names; undefined while it is off, or where RAM does not hold it. */
export function areaAt(memory: GuestMemory, struct: Struct, value: bigint): SharedStruct | undefined {
  return value & ENABLED ? SharedStruct.at(memory, struct, value & ~ENABLED) : undefined;
}

/** The same for a vCPU's register. */
export function areaOf(memory: GuestMemory, struct: Struct, cpu: Vcpu, msr: number): SharedStruct | undefined {
  return areaAt(memory, struct, cpu.msrs.get(msr) ?? 0n);
}

/** A shared structure with its place, or that there is none. */
export function describeArea(name: string, area: SharedStruct | undefined): Field {
  return area ? { name, value: `phys:0x${area.gpa.toString(16)}`, children: area.describe() } : { name, value: 'off' };
}
