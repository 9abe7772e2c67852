/**
 * Extended page tables as real paging structures in host memory: built here, walked here, shown as they are.
 * Source: Intel SDM Vol. 3C, chapter "VMX Support for Address Translation", "The Extended Page Table Mechanism (EPT)".
 *
 * Addresses are numbers below 2^52 and page aligned where a page is meant. Whoever changes a mapping drops the cached
 * translations of it (INVEPT's duty); nothing is cached here.
 */
import type { PagingEntry, PagingWalk, TableReference } from '../../mmu/pagingView';
import { hex } from '../../fields';

/** Access kinds and permissions: the bits 2:0 of an entry and of the exit qualification. */
export const EptAccess = { read: 1, write: 2, execute: 4, all: 7 } as const;

/** Memory types in bits 5:3 of a leaf. SDM Vol. 3A, "Memory Types That Can Be Encoded With PAT" (same numbers). */
export const MemoryType = { UC: 0, WC: 1, WT: 4, WP: 5, WB: 6 } as const;
export const MEMORY_TYPE_NAMES: { readonly [type: number]: string } = { 0: 'UC', 1: 'WC', 4: 'WT', 5: 'WP', 6: 'WB' };

export const EptStatus = { ok: 0, violation: 1, misconfig: 2 } as const;

/** Host-physical memory: offset = host-physical address. A DataView over all of it serves. */
export interface HostMemory {
  readonly byteLength: number;
  getUint32(offset: number, littleEndian?: boolean): number;
  setUint32(offset: number, value: number, littleEndian?: boolean): void;
}

/** What translate() found; one object, overwritten by the next call. */
export interface EptTranslation {
  /** Host-physical address of the byte asked for. */
  hpa: number;
  /** Read, write, execute in bits 2:0: what all entries used allow together (0 where one is not present). */
  permissions: number;
  memoryType: number;
  /** The guest's PAT is ignored: the EPT memory type alone counts. */
  ignorePat: boolean;
  /** Bytes the leaf maps: 4 KiB, 2 MiB or 1 GiB. */
  leafSize: number;
  /** Host-physical address of the entry that ended the walk. */
  entryAddress: number;
}

export type EptWalkResult =
  | ({ kind: 'ok' } & EptTranslation)
  /** `permissions`: bits 5:3 of the exit qualification. */
  | { kind: 'violation'; permissions: number; entryAddress: number }
  | { kind: 'misconfig'; entryAddress: number; reason: string };

export const EPT_PAGE = 0x1000;
const PAGE = EPT_PAGE;
const LARGE = 0x200000;
const HUGE = 0x40000000;
const INPUT_LIMIT = 2 ** 48;
export const LEVEL_NAMES = ['', 'EPT PTE', 'EPT PDE', 'EPT PDPTE', 'EPT PML4E'];
/** Bytes that one entry covers, by level. */
export const SPANS = [0, PAGE, LARGE, HUGE, HUGE * 512];

const LEAF = 1 << 7;
const IGNORE_PAT = 1 << 6;
const ACCESSED = 1 << 8;
const DIRTY = 1 << 9;
/** Bit 52 (ignored by the processor): a page is mapped here, whatever its permissions are now. In the high half. */
const MAPPED_HIGH = 1 << 20;

/** Executable without being readable is allowed: bit 0 of IA32_VMX_EPT_VPID_CAP, which capabilities.ts sets. */
const EXECUTE_ONLY = true;

/** Index of `gpa` in a table of `level`. */
function indexOf(gpa: number, level: number): number {
  return Math.floor(gpa / SPANS[level]) % 512;
}

export class Ept {
  /** Extended-page-table pointer: write-back structures, 4-level walk, accessed and dirty flags on. */
  readonly eptp: bigint;
  /** Of the newest translate(). */
  readonly result: EptTranslation = {
    hpa: 0,
    permissions: 0,
    memoryType: 0,
    ignorePat: false,
    leafSize: 0,
    entryAddress: 0,
  };
  private readonly root: number;
  /** Physical-address bits of the high half that must be zero. */
  private readonly reservedHigh: number;

  /**
   * @param memory host-physical memory
   * @param allocate gives a zeroed 4 KiB page's host-physical address; throws when there is none left
   * @param maxPhysicalAddress physical-address width, 32..52: entry bits from it to 51 are reserved
   * @param root an existing EPT PML4 table to go on with; absent: a new one
   */
  constructor(
    private memory: HostMemory,
    private readonly allocate: () => number,
    maxPhysicalAddress = 40,
    root?: number,
  ) {
    this.root = root ?? allocate();
    this.reservedHigh = 0xfffff & ~((1 << (maxPhysicalAddress - 32)) - 1);
    this.eptp = BigInt(this.root) | 0x5en;
  }

  /** Takes another view of the same memory: needed after WebAssembly memory has grown. */
  setMemory(memory: HostMemory): void {
    this.memory = memory;
  }

  /**
   * Maps guest-physical [gpa, gpa + length) to host-physical memory at `hpa`, over whatever was mapped. 2 MiB leaves
   * where both addresses are aligned and no page table exists yet, 4 KiB pages elsewhere.
   * RangeError when an address or the length is not page aligned or out of range.
   */
  map(
    gpa: number,
    hpa: number,
    length: number,
    permissions: number = EptAccess.all,
    memoryType: number = MemoryType.WB,
  ): void {
    this.checkRange(gpa, length);
    if (hpa % PAGE !== 0 || hpa < 0 || hpa + length > this.memory.byteLength) {
      throw new RangeError(
        `EPT: host memory at 0x${hpa.toString(16)}, 0x${length.toString(16)} bytes, is not a range of pages`,
      );
    }
    if (MEMORY_TYPE_NAMES[memoryType] === undefined) throw new RangeError(`EPT: no memory type ${memoryType}`);
    const low = (permissions & 7) | (memoryType << 3);
    for (let offset = 0; offset < length;) {
      const to = hpa + offset;
      const large = (gpa + offset) % LARGE === 0 && to % LARGE === 0 && length - offset >= LARGE;
      const table = this.table(gpa + offset, 2);
      const entry = table + indexOf(gpa + offset, 2) * 8;
      if (large && !this.isTable(entry)) {
        this.writeEntry(entry, to, low | LEAF, MAPPED_HIGH);
        offset += LARGE;
        continue;
      }
      const leaf = this.table(gpa + offset, 1) + indexOf(gpa + offset, 1) * 8;
      this.writeEntry(leaf, to, low, MAPPED_HIGH);
      offset += PAGE;
    }
  }

  /** Removes all mappings of [gpa, gpa + length), both page aligned. */
  unmap(gpa: number, length: number): void {
    this.forLeaves(gpa, length, (entry) => {
      this.memory.setUint32(entry, 0, true);
      this.memory.setUint32(entry + 4, 0, true);
    });
  }

  /**
   * Sets what [gpa, gpa + length) allows: bits 2:0 read, write, execute. Large leaves that reach outside are split. Address and
   * memory type stay, also with 0, so permissions can be given back. What is not mapped stays unmapped.
   * Write without read is stored as asked, and is an EPT misconfiguration.
   */
  setPermissions(gpa: number, length: number, permissions: number): void {
    this.forLeaves(gpa, length, (entry) => {
      const low = this.memory.getUint32(entry, true);
      this.memory.setUint32(entry, (low & ~7) | (permissions & 7), true);
    });
  }

  /**
   * Translates for an access (EptAccess bits) as the processor does: EptStatus.ok, .violation or .misconfig, details in
   * `result`. Sets accessed flags of the entries used, and the leaf's dirty flag for a write, when the access is allowed.
   * A guest paging-structure access counts as a write, since accessed and dirty flags are on. Allocates nothing.
   */
  translate(gpa: number, access: number): number {
    const memory = this.memory;
    const result = this.result;
    const low = gpa >>> 0;
    const high = Math.floor(gpa / 0x100000000);
    let permissions = 7;
    let table = this.root;
    let e4 = 0;
    let e3 = 0;
    let e2 = 0;
    result.memoryType = 0;
    result.ignorePat = false;
    result.leafSize = 0;
    if (gpa >= INPUT_LIMIT) {
      result.permissions = 0;
      result.entryAddress = table;
      return EptStatus.violation;
    }
    for (let level = 4; ; level--) {
      let index: number;
      if (level === 4) index = (high >>> 7) & 511;
      else if (level === 3) index = ((high << 2) | (low >>> 30)) & 511;
      else if (level === 2) index = (low >>> 21) & 511;
      else index = (low >>> 12) & 511;
      const entry = table + index * 8;
      result.entryAddress = entry;
      if (entry + 8 > memory.byteLength) {
        result.permissions = 0;
        return EptStatus.misconfig;
      }
      const lo = memory.getUint32(entry, true);
      const hi = memory.getUint32(entry + 4, true);
      permissions &= lo;
      if ((lo & 7) === 0) {
        result.permissions = 0;
        return EptStatus.violation;
      }
      result.permissions = permissions;
      if (this.malformed(lo, hi, level)) return EptStatus.misconfig;
      const base = addressOf(lo, hi);
      if (level === 1 || (lo & LEAF) !== 0) {
        const size = SPANS[level];
        const hpa = base + (gpa % size);
        result.leafSize = size;
        result.hpa = hpa;
        result.memoryType = (lo >>> 3) & 7;
        result.ignorePat = (lo & IGNORE_PAT) !== 0;
        if (hpa >= memory.byteLength) return EptStatus.misconfig;
        if ((access & ~permissions) !== 0) return EptStatus.violation;
        if (e4 !== 0) this.markAccessed(e4);
        if (e3 !== 0) this.markAccessed(e3);
        if (e2 !== 0) this.markAccessed(e2);
        const flags = (access & EptAccess.write) !== 0 ? ACCESSED | DIRTY : ACCESSED;
        if ((lo & flags) !== flags) memory.setUint32(entry, lo | flags, true);
        return EptStatus.ok;
      }
      if (level === 4) e4 = entry;
      else if (level === 3) e3 = entry;
      else e2 = entry;
      table = base;
    }
  }

  /** As translate(), for people: a fresh object, and no accessed or dirty flag changes. */
  walk(gpa: number, access: number): EptWalkResult {
    const entries = this.path(gpa);
    if (gpa >= INPUT_LIMIT) return { kind: 'violation', permissions: 0, entryAddress: this.root };
    let permissions = 7;
    for (const { address, lo, hi, level } of entries) {
      permissions &= lo;
      if ((lo & 7) === 0) return { kind: 'violation', permissions: 0, entryAddress: address };
      const malformed = this.malformed(lo, hi, level);
      if (malformed) return { kind: 'misconfig', entryAddress: address, reason: malformed };
      if (!isLeaf(lo, level)) continue;
      const hpa = addressOf(lo, hi) + (gpa % SPANS[level]);
      if (hpa >= this.memory.byteLength) {
        return { kind: 'misconfig', entryAddress: address, reason: 'address outside host memory' };
      }
      if ((access & ~permissions) !== 0) return { kind: 'violation', permissions, entryAddress: address };
      return {
        kind: 'ok',
        hpa,
        permissions,
        memoryType: (lo >>> 3) & 7,
        ignorePat: (lo & IGNORE_PAT) !== 0,
        leafSize: SPANS[level],
        entryAddress: address,
      };
    }
    const last = entries[entries.length - 1];
    return { kind: 'misconfig', entryAddress: last.address, reason: 'next table outside host memory' };
  }

  /** Present entries (and mapped ones without permissions) of one table; absent: the EPT PML4 table. */
  entries(table?: TableReference): PagingEntry[] {
    const { address, level, base } = table ?? { address: BigInt(this.root), level: 4, base: 0n };
    const start = Number(address);
    if (level < 1 || level > 4 || start % PAGE !== 0 || start + PAGE > this.memory.byteLength) return [];
    const above = this.permissionsAbove(base, level, start);
    const list: PagingEntry[] = [];
    for (let index = 0; index < 512; index++) {
      const lo = this.memory.getUint32(start + index * 8, true);
      const hi = this.memory.getUint32(start + index * 8 + 4, true);
      if ((lo & 7) === 0 && (hi & MAPPED_HIGH) === 0) continue;
      const input = Number(base) + index * SPANS[level];
      list.push(this.decode({ address: start + index * 8, lo, hi, level }, input, above));
    }
    return list;
  }

  /** The walk from guest-physical `gpa` for the debugger, with why it ends if it does not arrive. */
  describeWalk(gpa: number | bigint): PagingWalk {
    const input = BigInt(gpa);
    if (input < 0n || input >= BigInt(INPUT_LIMIT)) {
      return { input, entries: [], fault: 'beyond the 48 bits of a 4-level EPT' };
    }
    const from = Number(input);
    let permissions = 7;
    const entries = this.path(from).map((raw) => {
      const entry = this.decode(raw, Math.floor(from / SPANS[raw.level]) * SPANS[raw.level], permissions);
      permissions &= raw.lo;
      return entry;
    });
    const walk = this.walk(from, 0);
    if (walk.kind === 'ok') return { input, entries, result: BigInt(walk.hpa) };
    const last = entries[entries.length - 1].level;
    const fault = walk.kind === 'violation' ? `${last} not present` : `${last} misconfigured: ${walk.reason}`;
    return { input, entries, fault };
  }

  /** Raw entries from the root as far as the walk gets. */
  private path(gpa: number): RawEntry[] {
    const path: RawEntry[] = [];
    let table = this.root;
    for (let level = 4; level >= 1 && table + PAGE <= this.memory.byteLength; level--) {
      const address = table + indexOf(gpa, level) * 8;
      const lo = this.memory.getUint32(address, true);
      const hi = this.memory.getUint32(address + 4, true);
      path.push({ address, lo, hi, level });
      if ((lo & 7) === 0 || isLeaf(lo, level) || this.malformed(lo, hi, level)) break;
      table = addressOf(lo, hi);
    }
    return path;
  }

  /** What the entries above the table at `start` allow together; everything when the table is not reached from the root. */
  private permissionsAbove(base: bigint, level: number, start: number): number {
    if (level === 4 || base < 0n || base >= BigInt(INPUT_LIMIT)) return 7;
    const above = this.path(Number(base)).filter((entry) => entry.level > level);
    const last = above[above.length - 1];
    if (last?.level !== level + 1 || addressOf(last.lo, last.hi) !== start) return 7;
    return above.reduce((permissions, entry) => permissions & entry.lo, 7);
  }

  private decode({ address, lo, hi, level }: RawEntry, input: number, above: number): PagingEntry {
    const leaf = isLeaf(lo, level);
    const own = lo & above;
    const flags: string[] = [];
    if (leaf && level > 1) flags.push('PS');
    if (leaf && (lo & IGNORE_PAT) !== 0) flags.push('IPAT');
    if (hi >>> 31 !== 0) flags.push('SVE');
    const present = (lo & 7) !== 0;
    const malformed = present ? this.malformed(lo, hi, level) : '';
    if (malformed) flags.push(`misconfigured: ${malformed}`);
    return {
      level: LEVEL_NAMES[level],
      index: (address % PAGE) / 8,
      address: BigInt(input),
      span: BigInt(SPANS[level]),
      entryAddress: BigInt(address),
      raw: (BigInt(hi) << 32n) | BigInt(lo),
      present,
      leaf,
      target: BigInt(addressOf(lo, hi)),
      permissions: permissionText(own),
      ...(leaf ? { memoryType: MEMORY_TYPE_NAMES[(lo >>> 3) & 7] ?? hex((lo >>> 3) & 7, 3) } : {}),
      accessed: (lo & ACCESSED) !== 0,
      dirty: leaf && (lo & DIRTY) !== 0,
      flags,
    };
  }

  /** Why a present entry is misconfigured, or ''. SDM Vol. 3C, "EPT Misconfigurations". */
  private malformed(lo: number, hi: number, level: number): string {
    if ((lo & 3) === 2) return 'writable but not readable';
    if (!EXECUTE_ONLY && (lo & 7) === 4) return 'executable but not readable';
    if ((hi & this.reservedHigh) !== 0) return 'address beyond the physical-address width';
    if (level === 1 || (level < 4 && (lo & LEAF) !== 0)) {
      const type = (lo >>> 3) & 7;
      if (type === 2 || type === 3 || type === 7) return `memory type ${type} is reserved`;
      if (level === 2 && (lo & 0x1ff000) !== 0) return 'reserved bits 20:12 set';
      if (level === 3 && (lo & 0x3ffff000) !== 0) return 'reserved bits 29:12 set';
      return '';
    }
    if (level === 4 && (lo & 0xf8) !== 0) return 'reserved bits 7:3 set';
    return (lo & 0x78) !== 0 ? 'reserved bits 6:3 set' : '';
  }

  private markAccessed(entry: number): void {
    const lo = this.memory.getUint32(entry, true);
    if ((lo & ACCESSED) === 0) this.memory.setUint32(entry, lo | ACCESSED, true);
  }

  /** Host-physical address of the table of `level` for `gpa`; tables on the way are made and large leaves split. */
  private table(gpa: number, level: number): number {
    let table = this.root;
    for (let at = 4; at > level; at--) {
      const entry = table + indexOf(gpa, at) * 8;
      if (!this.isTable(entry)) this.makeTable(entry, at);
      table = addressOf(this.memory.getUint32(entry, true), this.memory.getUint32(entry + 4, true));
    }
    return table;
  }

  /** Replaces the empty entry or leaf at `entry` (of `level`) by a table that maps the same. */
  private makeTable(entry: number, level: number): void {
    const lo = this.memory.getUint32(entry, true);
    const hi = this.memory.getUint32(entry + 4, true);
    const table = this.allocate();
    if ((hi & MAPPED_HIGH) !== 0) {
      const from = addressOf(lo, hi);
      const flags = (lo & 0xfff & ~LEAF) | (level - 1 > 1 ? LEAF : 0);
      for (let i = 0; i < 512; i++) this.writeEntry(table + i * 8, from + i * SPANS[level - 1], flags, MAPPED_HIGH);
    }
    this.writeEntry(entry, table, EptAccess.all | (lo & ACCESSED), 0);
  }

  private isTable(entry: number): boolean {
    const lo = this.memory.getUint32(entry, true);
    return (lo & 7) !== 0 && (lo & LEAF) === 0;
  }

  /** Calls `change` with the entry of every leaf in the range, splitting leaves that reach outside of it. */
  private forLeaves(gpa: number, length: number, change: (entry: number) => void): void {
    this.checkRange(gpa, length);
    for (let at = gpa; at < gpa + length;) {
      let table = this.root;
      for (let level = 4; ; level--) {
        const entry = table + indexOf(at, level) * 8;
        const end = (Math.floor(at / SPANS[level]) + 1) * SPANS[level];
        const mapped = (this.memory.getUint32(entry + 4, true) & MAPPED_HIGH) !== 0;
        const next = level > 1 && !mapped && this.isTable(entry);
        if (!mapped && !next) {
          at = end;
          break;
        }
        if (mapped) {
          if (level > 1 && (at % SPANS[level] !== 0 || end > gpa + length)) {
            this.makeTable(entry, level);
          } else {
            change(entry);
            at = end;
            break;
          }
        }
        table = addressOf(this.memory.getUint32(entry, true), this.memory.getUint32(entry + 4, true));
      }
    }
  }

  private writeEntry(entry: number, address: number, low: number, high: number): void {
    this.memory.setUint32(entry, (address % 0x100000000) + low, true);
    this.memory.setUint32(entry + 4, Math.floor(address / 0x100000000) | high, true);
  }

  private checkRange(gpa: number, length: number): void {
    if (!(gpa % PAGE === 0 && length % PAGE === 0 && gpa >= 0 && length >= 0 && gpa + length <= INPUT_LIMIT)) {
      throw new RangeError(
        `EPT: guest-physical range at ${gpa}, ${length} bytes, is not made of 4 KiB pages below 2^48`,
      );
    }
  }
}

interface RawEntry {
  address: number;
  lo: number;
  hi: number;
  level: number;
}

export function isLeaf(lo: number, level: number): boolean {
  return level === 1 || (level < 4 && (lo & LEAF) !== 0);
}

export function addressOf(lo: number, hi: number): number {
  return (hi & 0xfffff) * 0x100000000 + ((lo & 0xfffff000) >>> 0);
}

function permissionText(bits: number): string {
  return (bits & 1 ? 'r' : '-') + (bits & 2 ? 'w' : '-') + (bits & 4 ? 'x' : '-');
}
