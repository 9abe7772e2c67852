/**
 * Address translation: guest paging (32-bit, PAE, 4-level, 5-level) with accessed and dirty flags, protection keys and every #PF
 * error-code bit, then EPT. Results go into fields of the object, and addresses are kept as page numbers and 32-bit halves, which
 * are small integers to JavaScript: no allocation on this path.
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
  /** Guest-physical page of the byte, after translate(): its address divided by the page size. */
  page = 0;
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
  /** Index of guest RAM's first 32-bit word. */
  private readonly ramWord: number;
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
    this.ramWord = memory.ramBase >>> 2;
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

  /** Guest-physical address of the byte, after translate(). */
  get gpa(): number {
    return this.page * PAGE + (this.low & (PAGE - 1));
  }

  /** Whether a guest-physical page is known to be RAM in its place that EPT lets through to an access (EptAccess bits). */
  direct(page: number, access: number): boolean {
    if (page >= this.eptCache.length) return false;
    const cached = this.eptCache[page];
    return (
      (cached & EPT_KNOWN) !== 0 &&
      (cached & access) === access &&
      (!(access & EptAccess.write) || (cached & EPT_DIRTY) !== 0)
    );
  }

  /** Host-physical address of a guest-physical one for an access (EptAccess bits), or -1 with ept* fields set. */
  host(gpa: number, access: number, duringWalk = false): number {
    const page = Math.floor(gpa / PAGE);
    if (this.direct(page, access)) return this.memory.ramBase + gpa;
    const cached = page < this.eptCache.length ? this.eptCache[page] : 0;
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
   * Translates linear address high:low (two 32-bit halves, signed or not, canonical) for an access with the privilege given.
   * Sets accessed and dirty flags as the processor does.
   */
  translate(cpu: Vcpu, low: number, high: number, access: number, user: boolean): number {
    this.low = low | 0;
    if (!(cpu.cr0 & Cr0.PG)) {
      this.page = low >>> 12;
      this.writable = true;
      this.pageSize = PAGE;
      this.global = false;
      return Translation.ok;
    }
    this.cpu = cpu;
    this.access = access;
    this.user = user;
    if (!(cpu.cr4 & Cr4.PAE)) return this.walk32();
    if (cpu.longMode) return this.walk64(high);
    const pointer = State.pdpte + (low >>> 30) * 8;
    const lo = cpu.get32(pointer);
    if (!(lo & PRESENT)) return this.fault(0);
    return this.walkTables(this.pageOf(lo, cpu.get32(pointer + 4)), 2, 0, PAE_RESERVED_HIGH);
  }

  /** The page number in an entry's halves. */
  private pageOf(lo: number, hi: number): number {
    return (hi & this.addressHigh) * 0x100000 + (lo >>> 12);
  }

  /** Index of the 32-bit word of a paging-structure entry in the machine's memory, or -1 when EPT refuses. */
  private entryWord(page: number, offset: number): number {
    // With EPT accessed/dirty flags on, a paging-structure access counts as a write for EPT.
    if (this.direct(page, EptAccess.read | EptAccess.write)) return this.ramWord + page * (PAGE >> 2) + (offset >> 2);
    const host = this.host(page * PAGE + offset, EptAccess.read | EptAccess.write, true);
    return host < 0 ? -1 : host >>> 2;
  }

  private walk64(high: number): number {
    const { cpu } = this;
    const cr3 = cpu.get32(State.cr3);
    return this.walkTables(this.pageOf(cr3, cpu.get32(State.cr3 + 4)), cpu.cr4 & Cr4.LA57 ? 5 : 4, high, 0);
  }

  /** From the table (a page number) of `level` down, with 8-byte entries. `alsoReserved`: bits of the high half, besides the address's. */
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
      const word = this.entryWord(table, index * 8);
      if (word < 0) return Translation.ept;
      const { i32 } = this.memory;
      const lo = i32[word];
      const hi = i32[word + 1];
      if (!(lo & PRESENT)) return this.fault(0);
      const large = (lo & LARGE) !== 0 && level > 1;
      if (hi & reservedHigh || (large && (level > 3 || (level === 3 && !this.hugePages)))) {
        return this.fault(PageFault.reserved | PageFault.present);
      }
      combined &= lo;
      if (hi & NX_HIGH) noExecute = true;
      const target = this.pageOf(lo, hi);
      if (level > 1 && !large) {
        if (!(lo & ACCESSED)) this.setEntryBits(word, table, index * 8, lo | ACCESSED);
        table = target;
        continue;
      }
      const size = level === 1 ? PAGE : level === 2 ? 0x200000 : 0x40000000;
      // Between the PAT bit and the address.
      if (large && lo & (size - 1) & ~0x1fff) return this.fault(PageFault.reserved | PageFault.present);
      // Protection keys are IA-32e mode's; PAE paging has no room for them.
      const key = cpu.cr4 & (Cr4.PKE | Cr4.PKS) && cpu.longMode ? (hi >>> KEY_SHIFT) & 15 : -1;
      return this.finishLeaf(word, table, index * 8, lo, target, size, combined, noExecute, key);
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
      const lo = this.memory.u32[host >>> 2];
      const hi = this.memory.u32[(host >>> 2) + 1];
      if (lo & PRESENT && (lo & POINTER_RESERVED || hi & ~this.addressHigh)) return PointerLoad.malformed;
      loaded.push(this.memory.u64[host >>> 3]);
    }
    loaded.forEach((value, i) => cpu.set64(State.pdpte + i * 8, value));
    return PointerLoad.ok;
  }

  private walk32(): number {
    const { cpu, low } = this;
    const directory = cpu.get32(State.cr3) >>> 12;
    const first = (low >>> 22) * 4;
    let word = this.entryWord(directory, first);
    if (word < 0) return Translation.ept;
    const pde = this.memory.i32[word];
    if (!(pde & PRESENT)) return this.fault(0);
    if (pde & LARGE && cpu.cr4 & Cr4.PSE) {
      // PSE-36: bits 20:13 hold physical-address bits 39:32, as many as there are; the rest of bits 21:13 is reserved.
      const upper = (pde >>> 13) & 0x1ff;
      if (upper & ~this.pse36Mask) return this.fault(PageFault.reserved | PageFault.present);
      const base = upper * 0x100000 + ((pde & 0xffc00000) >>> 12);
      return this.finishLeaf(word, directory, first, pde, base, 0x400000, pde, false, -1);
    }
    if (!(pde & ACCESSED)) this.setEntryBits(word, directory, first, pde | ACCESSED);
    const table = pde >>> 12;
    const second = ((low >>> 12) & 1023) * 4;
    word = this.entryWord(table, second);
    if (word < 0) return Translation.ept;
    const pte = this.memory.i32[word];
    if (!(pte & PRESENT)) return this.fault(0);
    return this.finishLeaf(word, table, second, pte, pte >>> 12, PAGE, pde & pte, false, -1);
  }

  /**
   * Access rights, then the leaf's accessed and dirty flags. `word`: where the entry is, at `offset` in page `table`; `base`: the
   * page number in it; `combined`: R/W and U/S bits of all entries together; `key`: the protection key, -1 without. SDM Vol. 3A, "Determination of Access Rights" and "Protection Keys".
   */
  private finishLeaf(
    word: number,
    table: number,
    offset: number,
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
    if (wanted !== entry) this.setEntryBits(word, table, offset, wanted);
    // The entry's bits below the page's size are no address.
    this.page = size === PAGE ? base : base - (base % (size / PAGE)) + ((this.low & (size - 1)) >>> 12);
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

  /** Called before 8 bytes at `offset` in a guest-physical page change behind the soft TLB's back (dirty tracking, decoded code). */
  beforeWrite: (page: number, offset: number) => void = () => {};

  private setEntryBits(word: number, page: number, offset: number, value: number): void {
    this.beforeWrite(page, offset);
    this.memory.i32[word] = value;
  }
}
