/**
 * The processor's own accesses to descriptor tables, TSS and handler stacks through the soft TLBs: where the bytes are, if they are in
 * RAM that nobody watches. Whoever is told that they are not takes the slow path, with its faults and exits.
 */
import type { Mmu } from '../mmu/mmu';
import { Access, Translation } from '../mmu/mmu';
import { PAGE, Tlb } from './layout';
import type { MemoryPath } from './memoryPath';
import { Cr4, Flag, type Vcpu } from './vcpu';

export class TableMemory {
  constructor(
    private readonly mmu: Mmu,
    private readonly path: MemoryPath,
  ) {}

  /**
   * Address in the machine's memory of `bytes` of a table at a linear address in two halves, to be read with supervisor privilege; -1
   * when they are not to be had so.
   */
  read(cpu: Vcpu, low: number, high: number, bytes: number): number {
    // AC does not suspend SMAP for these accesses.
    const table = cpu.softTlb.table(cpu.cr4 & Cr4.SMAP ? 1 : 2);
    const found = lookUp(cpu, table, low, high, bytes, Tlb.tagRead);
    if (found >= 0 || !cpu.canonicalHigh(high)) return found;
    this.mmu.implicit = true;
    const status = this.mmu.translate(cpu, low, high, Access.read, false);
    this.mmu.implicit = false;
    if (status !== Translation.ok || !this.path.learn(cpu, table, low, high)) return -1;
    return lookUp(cpu, table, low, high, bytes, Tlb.tagRead);
  }

  /** As read(), of what level 0 writes now; never looked up anew. */
  write(cpu: Vcpu, low: number, high: number, bytes: number): number {
    const context = cpu.cr4 & Cr4.SMAP && !(cpu.systemFlags & Flag.AC) ? 1 : 2;
    return lookUp(cpu, cpu.softTlb.table(context), low, high, bytes, Tlb.tagWrite);
  }
}

function lookUp(cpu: Vcpu, table: number, low: number, high: number, bytes: number, tag: number): number {
  if ((low & (PAGE - 1)) + bytes > PAGE) return -1;
  return cpu.softTlb.hit(table, low, high, tag);
}
