/** The debugger's view of guest memory: no accessed or dirty flags, no exits, no device touched. */
import type { Machine } from '../../../emulator-core/machine';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr0, type Vcpu } from '../../../emulator-core/cpu/vcpu';
import { walk, type PagingRegisters } from '../../../emulator-core/mmu/pagingView';
import type { AddressSpace } from '../../target';

const PAGE = 4096;

export function pagingRegisters(machine: Machine, cpu: Vcpu): PagingRegisters {
  const { features, maxPhysicalAddress } = machine.model;
  return {
    cr0: cpu.get64(State.cr0),
    cr3: cpu.get64(State.cr3),
    cr4: cpu.get64(State.cr4),
    efer: cpu.get64(State.efer),
    pat: cpu.get64(State.pat),
    pkru: BigInt(cpu.get32(State.pkru) >>> 0),
    pkrs: BigInt(cpu.get32(State.pkrs) >>> 0),
    pointers: [0, 1, 2, 3].map((i) => cpu.get64(State.pdpte + i * 8)),
    maxPhysicalAddress,
    hugePages: features.has('pdpe1gb'),
    pse36: features.has('pse36'),
  };
}

/** Reads 8 bytes of guest-physical RAM; undefined outside of it. */
export function physicalReader(machine: Machine): (gpa: bigint) => bigint | undefined {
  const { memory } = machine;
  return (gpa) => {
    if (gpa < 0n || gpa + 8n > BigInt(memory.ramSize)) return undefined;
    return memory.view.getBigUint64(memory.ramBase + Number(gpa), true);
  };
}

/** Guest-physical address of a linear one, or undefined where nothing is mapped. */
export function debugTranslate(machine: Machine, cpu: Vcpu, linear: bigint): bigint | undefined {
  if (!(cpu.cr0 & Cr0.PG)) return BigInt.asUintN(32, linear);
  return walk(pagingRegisters(machine, cpu), physicalReader(machine), linear).result;
}

/** HPA of the first byte of a page's part, or -1. */
function locate(machine: Machine, cpu: Vcpu, space: AddressSpace, address: bigint): number {
  const { memory } = machine;
  if (space === 'host') return address < BigInt(memory.u8.length) ? Number(address) : -1;
  const gpa = space === 'virtual' ? debugTranslate(machine, cpu, address) : address;
  return gpa !== undefined && gpa < BigInt(memory.ramSize) ? memory.ramBase + Number(gpa) : -1;
}

/** Calls `part` for each piece that lies in one page, until one is not mapped; returns the bytes covered. */
function forParts(
  machine: Machine,
  cpu: Vcpu,
  space: AddressSpace,
  address: bigint,
  length: number,
  part: (host: number, done: number, count: number) => void,
): number {
  let done = 0;
  while (done < length) {
    const at = BigInt.asUintN(64, address + BigInt(done));
    const host = locate(machine, cpu, space, at);
    if (host < 0) break;
    const count = Math.min(length - done, PAGE - Number(at & 0xfffn));
    part(host, done, count);
    done += count;
  }
  return done;
}

export function readGuest(
  machine: Machine,
  cpu: Vcpu,
  space: AddressSpace,
  address: bigint,
  length: number,
): Uint8Array {
  const out = new Uint8Array(Math.min(length, 16 << 20));
  const { u8 } = machine.memory;
  const done = forParts(machine, cpu, space, address, out.length, (host, at, count) => {
    out.set(u8.subarray(host, Math.min(host + count, u8.length)), at);
  });
  return out.subarray(0, done);
}

/** Writes now and whenever history is replayed over this moment. */
export function writeGuest(
  machine: Machine,
  cpu: Vcpu,
  space: AddressSpace,
  address: bigint,
  data: Uint8Array,
): number {
  const copy = data.slice();
  const { memory } = machine;
  let done = 0;
  machine.change(() => {
    done = forParts(machine, cpu, space, address, copy.length, (host, at, count) => {
      const bytes = copy.subarray(at, at + count);
      if (host >= memory.ramBase) machine.writePhysical(host - memory.ramBase, bytes);
      else {
        // Outside of guest RAM only the EPT tables may be edited: the rest is the VMM itself.
        if (host < memory.eptBase || host + count > memory.eptUsedEnd)
          throw new Error(
            `host memory at 0x${host.toString(16)} is the VMM's own: only guest RAM and EPT tables can be written`,
          );
        memory.u8.set(bytes, host);
        machine.mmu.invalidateEpt();
      }
    });
    machine.core.flushAllTranslations();
  });
  return done;
}
