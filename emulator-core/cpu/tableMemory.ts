/**
 * The processor's own accesses to descriptor tables, TSS and handler stacks through the soft TLBs: where the bytes are, if they are in
 * RAM that nobody watches. Whoever is told that they are not takes the slow path, with its faults and exits.
 */
import type { Mmu } from '../mmu/mmu';
import type { MachineMemory } from '../mmu/memory';
import { Access, Translation } from '../mmu/mmu';
import { PAGE, TLB_BYTES, Tlb, VCPU_TLB, tlbEntry } from './layout';
import type { MemoryPath } from './memoryPath';
import { Cr4, Flag, type Vcpu } from './vcpu';

export class TableMemory {
  constructor(
    private readonly memory: MachineMemory,
    private readonly mmu: Mmu,
    private readonly path: MemoryPath,
  ) {}

  /**
   * Address in the machine's memory of `bytes` of a table at a linear address in two halves, to be read with supervisor privilege; -1
   * when they are not to be had so.
   */
  read(cpu: Vcpu, low: number, high: number, bytes: number): number {
    // AC does not suspend SMAP for these accesses.
    const table = tableOf(cpu, cpu.cr4 & Cr4.SMAP ? 1 : 2);
    const found = this.lookUp(table, low, high, bytes, Tlb.tagRead);
    if (found >= 0 || !cpu.canonicalHigh(high)) return found;
    this.mmu.implicit = true;
    const status = this.mmu.translate(cpu, low, high, Access.read, false);
    this.mmu.implicit = false;
    if (status !== Translation.ok || !this.path.learn(cpu, table, low, high)) return -1;
    return this.lookUp(table, low, high, bytes, Tlb.tagRead);
  }

  /** As read(), of what level 0 writes now; never looked up anew. */
  write(cpu: Vcpu, low: number, high: number, bytes: number): number {
    const context = cpu.cr4 & Cr4.SMAP && !(cpu.systemFlags & Flag.AC) ? 1 : 2;
    return this.lookUp(tableOf(cpu, context), low, high, bytes, Tlb.tagWrite);
  }

  private lookUp(table: number, low: number, high: number, bytes: number, tag: number): number {
    const offset = low & (PAGE - 1);
    if (offset + bytes > PAGE) return -1;
    const { i32 } = this.memory;
    const entry = tlbEntry(table, low);
    if (i32[(entry + tag) >> 2] !== low - offset || i32[((entry + tag) >> 2) + 1] !== high) return -1;
    return (low + i32[(entry + Tlb.addend) >> 2]) >>> 0;
  }
}

const tableOf = (cpu: Vcpu, context: number): number => cpu.base + VCPU_TLB + context * TLB_BYTES;
