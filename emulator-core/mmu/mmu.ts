/**
 * Address translation: guest paging (32-bit, PAE, 4-level, 5-level) with accessed and dirty flags, protection keys and every #PF
 * error-code bit, then EPT. Results go into fields of the object: no allocation on this path.
 * SDM Vol. 3A, chapter "Paging"; Vol. 3C, "The Extended Page Table Mechanism (EPT)".
 */
import { PAGE, State } from '../cpu/layout';
import { Cr0, Cr4, Efer, Flag, type Vcpu } from '../cpu/vcpu';
import { EptAccess, EptStatus, type Ept } from '../virt/vmx/ept';
import type { MachineMemory } from './memory';

export const Access = { read: 0, write: 1, execute: 2 } as const;

/** What translate() came to. */
export const Translation = { ok: 0, pageFault: 1, ept: 2 } as const;

/** What loadPointers() came to. `malformed`: #GP(0). */
export const PointerLoad = { ok: 0, malformed: 1, ept: 2 } as const;

/** #PF error code. SDM Vol. 3A, "Page-Fault Exceptions". */
export const PageFault = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16, key: 32 } as const;

/** What paging depends on besides the control registers. */
export interface PagingModel {
  /** Names as CPUID's features have them: pdpe1gb and pse36 count here. */
  readonly features: ReadonlySet<string>;
  /** Physical-address width in bits, 36 .. 52: the address bits above it are reserved. */
  readonly maxPhysicalAddress: number;
}

const PRESENT = 1;
const WRITABLE = 2;
const USER = 4;
const ACCESSED = 0x20;
const DIRTY = 0x40;
const LARGE = 0x80;
const GLOBAL = 0x100;
const NX_HIGH = 0x80000000 | 0;
/** Protection key: bits 62:59 of a leaf, here in the entry's high half. */
const KEY_SHIFT = 27;
/** Reserved in a PAE page-directory-pointer entry: bits 2:1 and 8:5. */
const POINTER_RESERVED = 0x1e6;
/** PAE paging has no ignored bits at the top: 62..52 are reserved, too. */
const PAE_RESERVED_HIGH = 0x7ff00000;

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
  /**
   * The access under way is the processor's own, to a descriptor table or a TSS: with SMAP it may not touch user pages whatever
   * RFLAGS.AC says. SDM Vol. 3A, "Determination of Access Rights".
   */
  implicit = false;

  private readonly eptCache: Uint8Array;
  /** In an entry's high half: which address bits there are, and which are reserved (of bits 51:32). */
  private readonly addressHigh: number;
  private readonly reservedHigh: number;
  private readonly hugePages: boolean;
  /** Address bits 39:32 of a 4-MByte page that are there, in the entry's bits 20:13; the rest of 21:13 is reserved. */
  private readonly pse36Mask: number;

  // Of the translation under way.
  private cpu!: Vcpu;
  private low = 0;
  private access = 0;
  private user = false;

  constructor(
    private readonly memory: MachineMemory,
    private readonly ept: Ept,
    model: PagingModel,
  ) {
    this.eptCache = new Uint8Array(memory.ramSize / PAGE);
    const width = model.maxPhysicalAddress - 32;
    this.addressHigh = 2 ** width - 1;
    this.reservedHigh = 0xfffff & ~this.addressHigh;
    this.hugePages = model.features.has('pdpe1gb');
    this.pse36Mask = model.features.has('pse36') ? this.addressHigh & 0xff : 0;
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
    if (!(cpu.cr0 & Cr0.PG)) {
      this.gpa = low >>> 0;
      this.writable = true;
      this.pageSize = PAGE;
      this.global = false;
      return Translation.ok;
    }
    this.cpu = cpu;
    this.low = low >>> 0;
    this.access = access;
    this.user = user;
    if (!(cpu.cr4 & Cr4.PAE)) return this.walk32();
    if (cpu.longMode) return this.walk64(high);
    const pointer = State.pdpte + (low >>> 30) * 8;
    const lo = cpu.get32(pointer);
    if (!(lo & PRESENT)) return this.fault(0);
    const table = (cpu.get32(pointer + 4) & this.addressHigh) * 0x100000000 + ((lo & ~0xfff) >>> 0);
    return this.walkTables(table, 2, 0, PAE_RESERVED_HIGH);
  }

  private walk64(high: number): number {
    const { cpu } = this;
    const cr3 = cpu.get32(State.cr3);
    const table = (cpu.get32(State.cr3 + 4) & this.addressHigh) * 0x100000000 + ((cr3 & ~0xfff) >>> 0);
    return this.walkTables(table, cpu.cr4 & Cr4.LA57 ? 5 : 4, high, 0);
  }

  /** From the table of `level` down, with 8-byte entries. `alsoReserved`: bits of the high half, besides the address's. */
  private walkTables(table: number, level: number, high: number, alsoReserved: number): number {
    const { cpu, low } = this;
    let reservedHigh = this.reservedHigh | alsoReserved;
    if (!(cpu.efer & Efer.NXE)) reservedHigh |= NX_HIGH;
    let combined = WRITABLE | USER;
    let noExecute = false;
    for (; ; level--) {
      let index: number;
      if (level === 5) index = (high >>> 16) & 511;
      else if (level === 4) index = (high >>> 7) & 511;
      else if (level === 3) index = ((high << 2) | (low >>> 30)) & 511;
      else if (level === 2) index = (low >>> 21) & 511;
      else index = (low >>> 12) & 511;
      const entryGpa = table + index * 8;
      // With EPT accessed/dirty flags on, a paging-structure access counts as a write for EPT.
      const host = this.host(entryGpa, EptAccess.read | EptAccess.write, true);
      if (host < 0) return Translation.ept;
      const u32 = this.memory.u32;
      const lo = u32[host >> 2];
      const hi = u32[(host >> 2) + 1];
      if (!(lo & PRESENT)) return this.fault(0);
      const large = (lo & LARGE) !== 0 && level > 1;
      if (hi & reservedHigh || (large && (level > 3 || (level === 3 && !this.hugePages)))) {
        return this.fault(PageFault.reserved | PageFault.present);
      }
      combined &= lo;
      if (hi & NX_HIGH) noExecute = true;
      const target = (hi & this.addressHigh) * 0x100000000 + ((lo & ~0xfff) >>> 0);
      if (level > 1 && !large) {
        if (!(lo & ACCESSED)) this.setEntryBits(host, entryGpa, lo | ACCESSED);
        table = target;
        continue;
      }
      const size = level === 1 ? PAGE : level === 2 ? 0x200000 : 0x40000000;
      // Between the PAT bit and the address.
      if (large && lo & (size - 1) & ~0x1fff) return this.fault(PageFault.reserved | PageFault.present);
      // Protection keys are IA-32e mode's; PAE paging has no room for them.
      const key = cpu.cr4 & (Cr4.PKE | Cr4.PKS) && cpu.longMode ? (hi >>> KEY_SHIFT) & 15 : -1;
      return this.finishLeaf(host, entryGpa, lo, target - (target % size), size, combined, noExecute, key);
    }
  }

  /**
   * Loads the four PAE page-directory-pointer registers from the table that `cr3` points to, as MOV to CR3 in PAE paging does, and
   * whatever turns PAE paging on. Malformed entries leave the registers as they were. SDM Vol. 3A, "PDPTE Registers".
   */
  loadPointers(cpu: Vcpu, cr3: number): number {
    const loaded: bigint[] = [];
    for (let i = 0; i < 4; i++) {
      const host = this.host(((cr3 & ~0x1f) >>> 0) + i * 8, EptAccess.read | EptAccess.write, true);
      if (host < 0) return PointerLoad.ept;
      const lo = this.memory.u32[host >> 2];
      const hi = this.memory.u32[(host >> 2) + 1];
      if (lo & PRESENT && (lo & POINTER_RESERVED || hi & ~this.addressHigh)) return PointerLoad.malformed;
      loaded.push(this.memory.u64[host >> 3]);
    }
    loaded.forEach((value, i) => cpu.set64(State.pdpte + i * 8, value));
    return PointerLoad.ok;
  }

  private walk32(): number {
    const { cpu, low } = this;
    const directory = ((cpu.get32(State.cr3) & ~0xfff) >>> 0) + (low >>> 22) * 4;
    let host = this.host(directory, EptAccess.read | EptAccess.write, true);
    if (host < 0) return Translation.ept;
    const pde = this.memory.u32[host >> 2];
    if (!(pde & PRESENT)) return this.fault(0);
    if (pde & LARGE && cpu.cr4 & Cr4.PSE) {
      // PSE-36: bits 20:13 hold physical-address bits 39:32, as many as there are; the rest of bits 21:13 is reserved.
      const upper = (pde >>> 13) & 0x1ff;
      if (upper & ~this.pse36Mask) return this.fault(PageFault.reserved | PageFault.present);
      const base = upper * 0x100000000 + ((pde & 0xffc00000) >>> 0);
      return this.finishLeaf(host, directory, pde, base, 0x400000, pde, false, -1);
    }
    if (!(pde & ACCESSED)) this.setEntryBits(host, directory, pde | ACCESSED);
    const entry = ((pde & ~0xfff) >>> 0) + ((low >>> 12) & 1023) * 4;
    host = this.host(entry, EptAccess.read | EptAccess.write, true);
    if (host < 0) return Translation.ept;
    const pte = this.memory.u32[host >> 2];
    if (!(pte & PRESENT)) return this.fault(0);
    return this.finishLeaf(host, entry, pte, (pte & ~0xfff) >>> 0, PAGE, pde & pte, false, -1);
  }

  /**
   * Access rights, then the leaf's accessed and dirty flags. `combined`: R/W and U/S bits of all entries together; `key`: the
   * protection key, -1 without. SDM Vol. 3A, "Determination of Access Rights" and "Protection Keys".
   */
  private finishLeaf(
    host: number,
    entryGpa: number,
    entry: number,
    base: number,
    size: number,
    combined: number,
    noExecute: boolean,
    key: number,
  ): number {
    const { cpu, access, user } = this;
    const userPage = (combined & USER) !== 0;
    const writesChecked = user || (cpu.cr0 & Cr0.WP) !== 0;
    let writable = !writesChecked || (combined & WRITABLE) !== 0;
    let allowed = true;
    if (user) allowed = userPage;
    else if (userPage) {
      if (access === Access.execute) allowed = !(cpu.cr4 & Cr4.SMEP);
      else if (cpu.cr4 & Cr4.SMAP) allowed = !this.implicit && (cpu.systemFlags & Flag.AC) !== 0;
    }
    if (access === Access.write && !writable) allowed = false;
    if (access === Access.execute && noExecute) allowed = false;
    let keyed = 0;
    if (key >= 0 && access !== Access.execute && cpu.cr4 & (userPage ? Cr4.PKE : Cr4.PKS)) {
      // PKRU and IA32_PKRS: AD (no access) and WD (no writes) of each key.
      const rights = cpu.get32(userPage ? State.pkru : State.pkrs) >>> (2 * key);
      const writeDisabled = (rights & 2) !== 0 && writesChecked;
      if (writeDisabled) writable = false;
      if (rights & 1 || (writeDisabled && access === Access.write)) keyed = PageFault.key;
    }
    if (!allowed || keyed) return this.fault(PageFault.present | keyed);
    let wanted = entry | ACCESSED;
    if (access === Access.write) wanted |= DIRTY;
    if (wanted !== entry) this.setEntryBits(host, entryGpa, wanted);
    this.gpa = base + (this.low & (size - 1));
    this.writable = writable && (wanted & DIRTY) !== 0;
    this.pageSize = size;
    this.global = (entry & GLOBAL) !== 0 && (cpu.cr4 & Cr4.PGE) !== 0;
    return Translation.ok;
  }

  /** `code`: the bits that say why; what kind of access it was is added. */
  private fault(code: number): number {
    const { cpu, access } = this;
    if (access === Access.write) code |= PageFault.write;
    if (this.user) code |= PageFault.user;
    if (access === Access.execute) {
      const nx = cpu.efer & Efer.NXE && cpu.cr4 & Cr4.PAE;
      if (nx || cpu.cr4 & Cr4.SMEP) code |= PageFault.fetch;
    }
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
