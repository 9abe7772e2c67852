/**
 * The guest's paging structures for the debugger: reads entries, never changes accessed or dirty bits.
 * Source: Intel SDM Vol. 3A, chapter "Paging": "32-Bit Paging", "PAE Paging", "4-Level Paging and 5-Level Paging".
 */

/** One entry of a paging structure, guest's or second-level. Equal in structure to what the debug adapter shows. */
export interface PagingEntry {
  /** 'PML4E' | 'PDPTE' | 'PDE' | 'PTE' and for EPT 'EPT PML4E' ... */
  level: string;
  index: number;
  /** Lowest input address (linear or guest-physical) that this entry maps. */
  address: bigint;
  /** Bytes of input address space that one entry covers. */
  span: bigint;
  /** Physical address of the entry itself. */
  entryAddress: bigint;
  raw: bigint;
  present: boolean;
  /** Maps a page and does not refer to a table. */
  leaf: boolean;
  /** Physical address of the page or the next table. */
  target: bigint;
  /** 'rwx', 'r--' ... in effect for the addresses below this entry: combined with the entries above it. */
  permissions: string;
  /** 'WB', 'UC' ... where the entry decides it. */
  memoryType?: string;
  accessed: boolean;
  dirty: boolean;
  /** Other set flags of this entry by their manual names: 'U', 'G', 'PS', 'PWT', 'PCD', 'PAT', 'XD', 'PK=3', 'PK=3 AD'. */
  flags: string[];
}

/** A walk from an input address to where it ends. */
export interface PagingWalk {
  input: bigint;
  entries: PagingEntry[];
  /** Resulting address, or undefined when the walk ends in a fault. */
  result?: bigint;
  fault?: string;
}

/** A table below the root: its physical address, its level (1 = page table) and the lowest input address it maps. */
export interface TableReference {
  address: bigint;
  level: number;
  base: bigint;
}

export interface PagingRegisters {
  cr0: bigint;
  cr3: bigint;
  cr4: bigint;
  efer: bigint;
  /** IA32_PAT; with it, entries that map pages show their memory type. */
  pat?: bigint;
  /** PKRU and IA32_PKRS; with them, protection keys show what they deny, to user and to supervisor pages. */
  pkru?: bigint;
  pkrs?: bigint;
  /** The page-directory-pointer registers of PAE paging; absent: the table in memory is shown. */
  pointers?: readonly bigint[];
  /** Physical-address width in bits; absent: 52. */
  maxPhysicalAddress?: number;
  /** False: the processor has no 1-GByte pages, no PSE-36. */
  hugePages?: boolean;
  pse36?: boolean;
}

/** Little-endian 64 bits of guest-physical memory, undefined where there is none. */
export type ReadPhysical64 = (gpa: bigint) => bigint | undefined;

const CR0_PG = 1n << 31n;
const CR4_PSE = 1n << 4n;
const CR4_PAE = 1n << 5n;
const CR4_LA57 = 1n << 12n;
const CR4_PKE = (1n << 22n) | (1n << 24n);
const EFER_LMA = 1n << 10n;
const EFER_NXE = 1n << 11n;
const ADDRESS = 0x000ffffffffff000n;
const NO_EXECUTE = 1n << 63n;

type ModeName = '32-bit' | 'PAE' | '4-level' | '5-level';
interface Mode {
  name: ModeName;
  /** Levels from the root down to 1. */
  levels: number;
  entrySize: number;
  /** Bits of the linear address that one level takes; the PAE root takes 2. */
  indexBits: bigint;
  linearBits: bigint;
}

const MODES: { readonly [name in ModeName]: Mode } = {
  '32-bit': { name: '32-bit', levels: 2, entrySize: 4, indexBits: 10n, linearBits: 32n },
  PAE: { name: 'PAE', levels: 3, entrySize: 8, indexBits: 9n, linearBits: 32n },
  '4-level': { name: '4-level', levels: 4, entrySize: 8, indexBits: 9n, linearBits: 48n },
  '5-level': { name: '5-level', levels: 5, entrySize: 8, indexBits: 9n, linearBits: 57n },
};
const LEVEL_NAMES = ['', 'PTE', 'PDE', 'PDPTE', 'PML4E', 'PML5E'];

/** The paging mode in use, undefined while paging is off. SDM Vol. 3A, "Paging Modes and Control Bits". */
export function pagingMode(regs: PagingRegisters): ModeName | undefined {
  if ((regs.cr0 & CR0_PG) === 0n) return undefined;
  if ((regs.cr4 & CR4_PAE) === 0n) return '32-bit';
  if ((regs.efer & EFER_LMA) === 0n) return 'PAE';
  return (regs.cr4 & CR4_LA57) !== 0n ? '5-level' : '4-level';
}

/** Bytes of linear address space that an entry of `level` covers, as a shift. */
function shiftOf(mode: Mode, level: number): bigint {
  return 12n + mode.indexBits * BigInt(level - 1);
}

function entryCount(mode: Mode, level: number): number {
  return mode.name === 'PAE' && level === 3 ? 4 : 1 << Number(mode.indexBits);
}

/** Physical address of the root table. A PAE root is 32 bytes in size and alignment. */
function rootOf(mode: Mode, cr3: bigint): bigint {
  if (mode.name === 'PAE') return cr3 & 0xffffffe0n;
  return mode.name === '32-bit' ? cr3 & 0xfffff000n : cr3 & ADDRESS;
}

function readEntry(mode: Mode, readPhys: ReadPhysical64, address: bigint): bigint | undefined {
  if (mode.entrySize === 8) return readPhys(address);
  // Aligned down to 8 bytes, so that the last entry before the end of memory can be read too.
  const pair = readPhys(address & ~7n);
  return pair === undefined ? undefined : BigInt.asUintN(32, pair >> ((address & 4n) * 8n));
}

/** A PAE root entry as the processor loaded it, where that is known: memory may have changed since. */
function rootPointer(mode: Mode, regs: PagingRegisters, level: number, index: number): bigint | undefined {
  return mode.name === 'PAE' && level === 3 ? regs.pointers?.[index] : undefined;
}

/** What an entry allows: combined while walking down. */
interface Rights {
  write: boolean;
  execute: boolean;
}
const ALL: Rights = { write: true, execute: true };

/** A PAE PDPTE has no rights of its own. */
function combine(mode: Mode, level: number, raw: bigint, above: Rights, regs: PagingRegisters): Rights {
  if (mode.name === 'PAE' && level === 3) return above;
  const disabled = mode.entrySize === 8 && (regs.efer & EFER_NXE) !== 0n && (raw & NO_EXECUTE) !== 0n;
  return { write: above.write && (raw & 2n) !== 0n, execute: above.execute && !disabled };
}

function isLeaf(mode: Mode, level: number, raw: bigint, regs: PagingRegisters): boolean {
  if (level === 1) return true;
  if ((raw & 0x80n) === 0n) return false;
  if (mode.name === '32-bit') return (regs.cr4 & CR4_PSE) !== 0n;
  return level === 2 || (level === 3 && mode.name !== 'PAE');
}

function targetOf(mode: Mode, level: number, raw: bigint, leaf: boolean): bigint {
  if (mode.name === '32-bit') {
    // PSE-36: bits 20:13 of a 4 MiB entry are address bits 39:32.
    if (leaf && level === 2) return (raw & 0xffc00000n) | (((raw >> 13n) & 0xffn) << 32n);
    return raw & 0xfffff000n;
  }
  return leaf ? raw & ADDRESS & ~((1n << shiftOf(mode, level)) - 1n) : raw & ADDRESS;
}

const PAT_NAMES: { readonly [type: number]: string } = { 0: 'UC', 1: 'WC', 4: 'WT', 5: 'WP', 6: 'WB', 7: 'UC-' };

/** The PAT entry that a leaf's PAT, PCD and PWT bits select. SDM Vol. 3A, "Paging and Memory Typing When the PAT Is Supported". */
function patType(level: number, raw: bigint, pat: bigint): string | undefined {
  const patBit = level === 1 ? (raw >> 7n) & 1n : (raw >> 12n) & 1n;
  const index = (patBit << 2n) | ((raw >> 3n) & 3n);
  return PAT_NAMES[Number((pat >> (index * 8n)) & 0xffn)];
}

interface Place {
  level: number;
  index: number;
  entryAddress: bigint;
  address: bigint;
}

function decode(mode: Mode, regs: PagingRegisters, place: Place, raw: bigint, above: Rights): PagingEntry {
  const { level, index, entryAddress, address } = place;
  const leaf = isLeaf(mode, level, raw, regs);
  const root3 = mode.name === 'PAE' && level === 3;
  const { write, execute } = combine(mode, level, raw, above, regs);
  const present = (raw & 1n) !== 0n;
  const flags: string[] = [];
  const flag = (bit: bigint, name: string) => {
    if ((raw >> bit) & 1n) flags.push(name);
  };
  if (!root3) flag(2n, 'U');
  flag(3n, 'PWT');
  flag(4n, 'PCD');
  if (leaf && level > 1) flag(7n, 'PS');
  if (leaf) flag(level === 1 ? 7n : 12n, 'PAT');
  if (leaf) flag(8n, 'G');
  if (mode.entrySize === 8 && !root3) flag(63n, 'XD');
  const key = (raw >> 59n) & 15n;
  const keyed = leaf && mode.levels >= 4 && (regs.cr4 & CR4_PKE) !== 0n;
  const denied = (((raw & 4n ? regs.pkru : regs.pkrs) ?? 0n) >> (2n * key)) & 3n;
  if (keyed && (key !== 0n || denied)) flags.push(`PK=${key}${denied & 1n ? ' AD' : ''}${denied & 2n ? ' WD' : ''}`);
  const type = leaf && regs.pat !== undefined ? patType(level, raw, regs.pat) : undefined;
  return {
    level: LEVEL_NAMES[level],
    index,
    address,
    span: 1n << shiftOf(mode, level),
    entryAddress,
    raw,
    present,
    leaf,
    target: targetOf(mode, level, raw, leaf),
    permissions: present ? `r${write ? 'w' : '-'}${execute ? 'x' : '-'}` : '---',
    ...(type ? { memoryType: type } : {}),
    accessed: !root3 && (raw & 0x20n) !== 0n,
    dirty: leaf && (raw & 0x40n) !== 0n,
    flags,
  };
}

/** Sign-extends in the modes with more than 32 linear bits. */
function canonical(mode: Mode, address: bigint): bigint {
  return mode.linearBits === 32n ? address : BigInt.asUintN(64, BigInt.asIntN(Number(mode.linearBits), address));
}

/** Bits that must be zero in a leaf or a table entry and are not: a page fault with RSVD set. */
function reserved(mode: Mode, regs: PagingRegisters, level: number, raw: bigint, leaf: boolean): boolean {
  const width = BigInt(regs.maxPhysicalAddress ?? 52);
  if (mode.name === '32-bit') {
    // Bits 21:13, but for the address bits that PSE-36 has there.
    const address = regs.pse36 === false ? 0n : width < 40n ? (1n << (width - 32n)) - 1n : 0xffn;
    return leaf && level === 2 && ((raw >> 13n) & 0x1ffn & ~address) !== 0n;
  }
  if ((raw & ADDRESS) >> width !== 0n) return true;
  if ((raw & NO_EXECUTE) !== 0n && ((regs.efer & EFER_NXE) === 0n || (mode.name === 'PAE' && level === 3))) return true;
  if (mode.name === 'PAE' && level === 3) return (raw & 0x1e6n) !== 0n;
  if (level >= 4) return (raw & 0x80n) !== 0n;
  if (leaf && level === 3 && regs.hugePages === false) return true;
  if (mode.name === 'PAE' && (raw & 0x7ff0000000000000n) !== 0n) return true;
  return leaf && level > 1 && (raw & ((1n << shiftOf(mode, level)) - 0x2000n)) !== 0n;
}

/**
 * The walk from linear address `gva`, with why it ends if it does not arrive. While paging is off the result is the address itself
 * (32 bits), no entries, and `fault` says so.
 */
export function walk(regs: PagingRegisters, readPhys: ReadPhysical64, gva: bigint): PagingWalk {
  const input = BigInt.asUintN(64, gva);
  const name = pagingMode(regs);
  if (!name) return { input, entries: [], result: BigInt.asUintN(32, input), fault: 'paging is off' };
  const mode = MODES[name];
  if (mode.linearBits === 32n ? input >> 32n !== 0n : canonical(mode, input) !== input) {
    const fault = mode.linearBits === 32n ? 'beyond 32 bits' : 'non-canonical address';
    return { input, entries: [], fault };
  }
  const entries: PagingEntry[] = [];
  let table = rootOf(mode, regs.cr3);
  let rights = ALL;
  for (let level = mode.levels; ; level--) {
    const shift = shiftOf(mode, level);
    const index = Number(input >> shift) & (entryCount(mode, level) - 1);
    const entryAddress = table + BigInt(index * mode.entrySize);
    const raw = rootPointer(mode, regs, level, index) ?? readEntry(mode, readPhys, entryAddress);
    if (raw === undefined) {
      return { input, entries, fault: `${LEVEL_NAMES[level]} at 0x${entryAddress.toString(16)} is outside memory` };
    }
    const entry = decode(mode, regs, { level, index, entryAddress, address: (input >> shift) << shift }, raw, rights);
    entries.push(entry);
    if (!entry.present) return { input, entries, fault: `${entry.level} not present` };
    if (reserved(mode, regs, level, raw, entry.leaf)) {
      return { input, entries, fault: `${entry.level} has reserved bits set` };
    }
    if (entry.leaf) return { input, entries, result: entry.target + (input & ((1n << shift) - 1n)) };
    rights = combine(mode, level, raw, rights, regs);
    table = entry.target;
  }
}

/**
 * The present entries of one table; absent: the root. Permissions are combined with the entries above when the table is the one that
 * the registers lead to. Empty while paging is off, and where the table is not in memory.
 */
export function tableEntries(regs: PagingRegisters, readPhys: ReadPhysical64, table?: TableReference): PagingEntry[] {
  const name = pagingMode(regs);
  if (!name) return [];
  const mode = MODES[name];
  const { address, level, base } = table ?? { address: rootOf(mode, regs.cr3), level: mode.levels, base: 0n };
  if (!(level >= 1 && level <= mode.levels)) return [];
  let rights = ALL;
  if (level < mode.levels) {
    const above = walk(regs, readPhys, base).entries.slice(0, mode.levels - level);
    const last = above[above.length - 1];
    if (above.length === mode.levels - level && !last.leaf && last.target === address) {
      rights = { write: last.permissions.includes('w'), execute: last.permissions.includes('x') };
    }
  }
  const shift = shiftOf(mode, level);
  const list: PagingEntry[] = [];
  for (let index = 0; index < entryCount(mode, level); index++) {
    const entryAddress = address + BigInt(index * mode.entrySize);
    const raw = rootPointer(mode, regs, level, index) ?? readEntry(mode, readPhys, entryAddress);
    if (raw === undefined || (raw & 1n) === 0n) continue;
    const input = canonical(mode, base + (BigInt(index) << shift));
    list.push(decode(mode, regs, { level, index, entryAddress, address: input }, raw, rights));
  }
  return list;
}
