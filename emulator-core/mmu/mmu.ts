/**
 * Address translation: guest paging (32-bit, PAE, 4-level) with accessed and dirty flags and every #PF error-code bit, then EPT.
 * Results go into fields of the object: no allocation on this path.
 * SDM Vol. 3A, chapter "Paging"; Vol. 3C, "The Extended Page Table Mechanism (EPT)".
 */
import { PAGE, State } from '../cpu/layout';
import { Cr0, Cr4, Efer, Flag, type Vcpu } from '../cpu/vcpu';
import { EptAccess, EptStatus, type Ept } from '../virt/vmx/ept';
import type { MachineMemory } from './memory';

export const Access = { read: 0, write: 1, execute: 2 } as const;

/** What translate() came to. */
export const Translation = { ok: 0, pageFault: 1, ept: 2 } as const;

/** #PF error code. SDM Vol. 3A, "Page-Fault Exceptions". */
export const PageFault = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

const PRESENT = 1;
const WRITABLE = 2;
const USER = 4;
const ACCESSED = 0x20;
const DIRTY = 0x40;
const LARGE = 0x80;
const GLOBAL = 0x100;
/** Address bits 51..40 of a 64-bit entry's high half are reserved with 40 physical-address bits. */
const RESERVED_HIGH = 0x000fff00;
const NX_HIGH = 0x80000000 | 0;

/** Bits of the per-page EPT cache: permissions 0..2, then whether the EPT dirty flag is set. */
const EPT_DIRTY = 8;
const EPT_KNOWN = 16;

export class Mmu {
  /** Guest-physical address of the byte, after translate(). */
  gpa = 0;
  /** Whether a write may use the same translation (writable for this privilege, dirty flags already set). */
  writable = false;
  /** Bytes that the guest's leaf maps, and whether it is global. */
  pageSize: number = PAGE;
  global = false;
  errorCode = 0;
  /** After Translation.ept: where and how the EPT refused. */
  eptGpa = 0;
  eptAccess = 0;
  eptMisconfiguration = false;
  /** The refused access was to a guest paging structure, not to the final address. */
  eptDuringWalk = false;

  private readonly eptCache: Uint8Array;

  constructor(
    private readonly memory: MachineMemory,
    private readonly ept: Ept,
  ) {
    this.eptCache = new Uint8Array(memory.ramSize / PAGE);
  }

  /** EPT entries changed: INVEPT. */
  invalidateEpt(): void {
    this.eptCache.fill(0);
  }

  /** Host-physical address of a guest-physical one for an access (EptAccess bits), or -1 with ept* fields set. */
  host(gpa: number, access: number, duringWalk = false): number {
    const page = Math.floor(gpa / PAGE);
    const cached = page < this.eptCache.length ? this.eptCache[page] : 0;
    if (cached & EPT_KNOWN && (cached & access) === access && (!(access & EptAccess.write) || cached & EPT_DIRTY)) {
      return this.memory.ramBase + gpa;
    }
    const status = this.ept.translate(gpa, access);
    if (status === EptStatus.ok) {
      const { hpa, permissions } = this.ept.result;
      // RAM lies in one piece; only such mappings are cached.
      if (page < this.eptCache.length && hpa === this.memory.ramBase + gpa) {
        const dirty = access & EptAccess.write ? EPT_DIRTY : cached & EPT_DIRTY;
        this.eptCache[page] = EPT_KNOWN | permissions | dirty;
      }
      return hpa;
    }
    this.eptGpa = gpa;
    this.eptAccess = access;
    this.eptMisconfiguration = status === EptStatus.misconfig;
    this.eptDuringWalk = duringWalk;
    return -1;
  }

  /**
   * Translates linear address high:low (two unsigned 32-bit halves, canonical) for an access with the privilege given.
   * Sets accessed and dirty flags as the processor does.
   */
  translate(cpu: Vcpu, low: number, high: number, access: number, user: boolean): number {
    const cr0 = cpu.cr0;
    if (!(cr0 & Cr0.PG)) {
      this.gpa = low >>> 0;
      this.writable = true;
      this.pageSize = PAGE;
      this.global = false;
      return Translation.ok;
    }
    const cr4 = cpu.cr4;
    if (!(cr4 & Cr4.PAE)) return this.walk32(cpu, low, access, user);
    const long = cpu.longMode;
    const nx = (cpu.efer & Efer.NXE) !== 0;
    let table: number;
    let level: number;
    if (long) {
      table = (cpu.get32(State.cr3 + 4) & 0xff) * 0x100000000 + ((cpu.get32(State.cr3) & ~0xfff) >>> 0);
      level = cr4 & Cr4.LA57 ? 5 : 4;
    } else {
      table = (cpu.get32(State.cr3) & ~0x1f) >>> 0;
      level = 3;
    }
    let combined = WRITABLE | USER;
    let noExecute = false;
    for (; ; level--) {
      let index: number;
      if (level === 5) index = (high >>> 16) & 511;
      else if (level === 4) index = (high >>> 7) & 511;
      else if (level === 3) index = long ? ((high << 2) | (low >>> 30)) & 511 : low >>> 30;
      else if (level === 2) index = (low >>> 21) & 511;
      else index = (low >>> 12) & 511;
      const entryGpa = table + index * 8;
      // With EPT accessed/dirty flags on, a paging-structure access counts as a write for EPT.
      const host = this.host(entryGpa, EptAccess.read | EptAccess.write, true);
      if (host < 0) return Translation.ept;
      const u32 = this.memory.u32;
      const lo = u32[host >> 2];
      const hi = u32[(host >> 2) + 1];
      const pointer = !long && level === 3;
      if (!(lo & PRESENT)) return this.fault(0, access, user, cpu, nx);
      // PAE paging has no ignored bits at the top: 62..52 are reserved, too.
      const reservedHigh = long ? RESERVED_HIGH : RESERVED_HIGH | 0x7ff00000;
      const reserved = hi & reservedHigh || (!nx && hi & NX_HIGH) || (pointer && (lo & 0x1e6 || hi & 0xffffff00));
      if (reserved || (level >= 4 && lo & LARGE)) return this.fault(PageFault.reserved, access, user, cpu, nx);
      if (!pointer) combined &= lo;
      if (hi & NX_HIGH) noExecute = true;
      const leaf = level === 1 || (level <= 3 && !pointer && (lo & LARGE) !== 0);
      const target = (hi & 0xff) * 0x100000000 + ((lo & ~0xfff) >>> 0);
      if (!leaf) {
        if (!pointer && !(lo & ACCESSED)) this.setEntryBits(host, entryGpa, lo | ACCESSED);
        table = target;
        continue;
      }
      const size = level === 1 ? PAGE : level === 2 ? 0x200000 : 0x40000000;
      if (level > 1 && lo & (size - 1) & ~0x1fff) return this.fault(PageFault.reserved, access, user, cpu, nx);
      return this.finishLeaf(
        cpu,
        host,
        entryGpa,
        lo,
        target - (target % size),
        size,
        low,
        combined,
        noExecute,
        access,
        user,
        nx,
      );
    }
  }

  /**
   * The check of the four PAE page-directory-pointer entries that loading CR3 (or turning PAE paging on) makes: false is #GP(0).
   * SDM Vol. 3A, "PDPTE Registers".
   */
  validPointers(cr3: number): boolean {
    for (let i = 0; i < 4; i++) {
      const host = this.host(((cr3 & ~0x1f) >>> 0) + i * 8, EptAccess.read | EptAccess.write, true);
      if (host < 0) return true; // the walk that follows exits
      const lo = this.memory.u32[host >> 2];
      const hi = this.memory.u32[(host >> 2) + 1];
      if (lo & PRESENT && (lo & 0x1e6 || hi & 0xffffff00)) return false;
    }
    return true;
  }

  private walk32(cpu: Vcpu, low: number, access: number, user: boolean): number {
    const directory = ((cpu.get32(State.cr3) & ~0xfff) >>> 0) + (low >>> 22) * 4;
    let host = this.host(directory, EptAccess.read | EptAccess.write, true);
    if (host < 0) return Translation.ept;
    const pde = this.memory.u32[host >> 2];
    if (!(pde & PRESENT)) return this.fault(0, access, user, cpu, false);
    if (pde & LARGE && cpu.cr4 & Cr4.PSE) {
      // PSE-36: bits 20..13 hold physical address bits 39..32; bit 21 is reserved.
      if (pde & 0x200000) return this.fault(PageFault.reserved, access, user, cpu, false);
      const base = ((pde >>> 13) & 0xff) * 0x100000000 + ((pde & 0xffc00000) >>> 0);
      return this.finishLeaf(cpu, host, directory, pde, base, 0x400000, low, pde, false, access, user, false);
    }
    if (!(pde & ACCESSED)) this.setEntryBits(host, directory, pde | ACCESSED);
    const entry = ((pde & ~0xfff) >>> 0) + ((low >>> 12) & 1023) * 4;
    host = this.host(entry, EptAccess.read | EptAccess.write, true);
    if (host < 0) return Translation.ept;
    const pte = this.memory.u32[host >> 2];
    if (!(pte & PRESENT)) return this.fault(0, access, user, cpu, false);
    return this.finishLeaf(
      cpu,
      host,
      entry,
      pte,
      (pte & ~0xfff) >>> 0,
      PAGE,
      low,
      pde & pte,
      false,
      access,
      user,
      false,
    );
  }

  private finishLeaf(
    cpu: Vcpu,
    host: number,
    entryGpa: number,
    entry: number,
    base: number,
    size: number,
    low: number,
    combined: number,
    noExecute: boolean,
    access: number,
    user: boolean,
    nx: boolean,
  ): number {
    const userPage = (combined & USER) !== 0;
    let writable = (combined & WRITABLE) !== 0;
    if (user) {
      if (!userPage) return this.fault(PageFault.present, access, user, cpu, nx);
    } else {
      if (!(cpu.cr0 & Cr0.WP)) writable = true;
      if (userPage && access === Access.execute && cpu.cr4 & Cr4.SMEP)
        return this.fault(PageFault.present, access, user, cpu, nx);
      const smap = userPage && access !== Access.execute && (cpu.cr4 & Cr4.SMAP) !== 0;
      if (smap && !(cpu.systemFlags & Flag.AC)) return this.fault(PageFault.present, access, user, cpu, nx);
    }
    if (access === Access.write && !writable) return this.fault(PageFault.present, access, user, cpu, nx);
    if (access === Access.execute && noExecute) return this.fault(PageFault.present, access, user, cpu, nx);
    let wanted = entry | ACCESSED;
    if (access === Access.write) wanted |= DIRTY;
    if (wanted !== entry) this.setEntryBits(host, entryGpa, wanted);
    this.gpa = base + ((low >>> 0) & (size - 1));
    this.writable = writable && (wanted & DIRTY) !== 0;
    this.pageSize = size;
    this.global = (entry & GLOBAL) !== 0 && (cpu.cr4 & Cr4.PGE) !== 0;
    return Translation.ok;
  }

  private fault(bits: number, access: number, user: boolean, cpu: Vcpu, nx: boolean): number {
    let code = bits === PageFault.reserved ? PageFault.reserved | PageFault.present : bits;
    if (access === Access.write) code |= PageFault.write;
    if (user) code |= PageFault.user;
    if (access === Access.execute && (nx || cpu.cr4 & Cr4.SMEP)) code |= PageFault.fetch;
    this.errorCode = code;
    return Translation.pageFault;
  }

  /** Called before guest memory at `gpa` changes behind the soft TLB's back (dirty tracking, decoded code). */
  beforeWrite: (gpa: number) => void = () => {};

  private setEntryBits(host: number, gpa: number, value: number): void {
    this.beforeWrite(gpa);
    this.memory.u32[host >> 2] = value;
  }
}
