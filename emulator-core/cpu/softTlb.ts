/**
 * The soft TLBs of a vCPU: translations that handlers and regions look at before each access to memory. What is not in them takes
 * MemoryPath, which fills them. Addresses are pairs of 32-bit halves.
 */
import type { MachineMemory } from '../mmu/memory';
import { PAGE, TLB_BYTES, Tlb, VCPU_TLB, tlbEntry } from './layout';

/** Entries filled between two changes of CR3 that are remembered; beyond it all are given up. */
const LOCAL_ENTRIES = 4096;
/** The highest guest-physical page that an entry can name. */
const MAX_DEVICE_PAGE = 0x3fffffff;
const OFFSET = PAGE - 1;
/** Places in an entry, in 32-bit words. */
const [READ, WRITE, ADDEND] = [Tlb.tagRead >> 2, Tlb.tagWrite >> 2, Tlb.addend >> 2];

export class SoftTlb {
  private readonly localEntries = new Int32Array(LOCAL_ENTRIES);
  private localCount = 0;
  private readonly start: number;

  /** @param base address of the vCPU's area */
  constructor(
    private readonly memory: Pick<MachineMemory, 'u8' | 'i32'>,
    base: number,
  ) {
    this.start = base + VCPU_TLB;
  }

  /** Address of the soft TLB of a context: see Tlb.contexts. */
  table(context: number): number {
    return this.start + context * TLB_BYTES;
  }

  /** At power-on and INIT: makes the one that is never filled as well. */
  reset(): void {
    const neverFilled = this.table(Tlb.filled);
    this.memory.u8.fill(0xff, neverFilled, neverFilled + TLB_BYTES);
    this.flush();
  }

  /** Forgets all translations. */
  flush(): void {
    this.memory.u8.fill(0xff, this.start, this.table(Tlb.filled));
    this.localCount = 0;
  }

  /** Forgets the 4-KByte page of an address. */
  flushPage(low: number, high: number): void {
    const { i32 } = this.memory;
    const page = low & ~OFFSET;
    for (let context = 0; context < Tlb.filled; context++) {
      const entry = tlbEntry(this.table(context), low) >> 2;
      for (const tag of [entry + READ, entry + WRITE]) {
        if ((i32[tag] & ~Tlb.device) === page && i32[tag + 1] === high) i32[tag] = i32[tag + 1] = -1;
      }
    }
  }

  /** Forgets translations but for global ones. SDM Vol. 3A, "Global Pages". */
  flushLocal(): void {
    if (this.localCount > LOCAL_ENTRIES) {
      this.flush();
      return;
    }
    for (let i = 0; i < this.localCount; i++) this.setTags(this.localEntries[i], -1, -1, -1, -1);
    this.localCount = 0;
  }

  /** Forgets all translations to the page of RAM at `host`. */
  evict(host: number): void {
    const signed = host | 0;
    const { i32 } = this.memory;
    const end = this.table(Tlb.filled) >> 2;
    for (let entry = this.start >> 2; entry < end; entry += Tlb.entrySize >> 2) {
      // Low halves of the tags: those of pages end in zeros, so -1 is an entry that does not hit.
      const read = i32[entry + READ];
      const low = read === -1 ? i32[entry + WRITE] : read;
      if (low !== -1 && ((low + i32[entry + ADDEND]) | 0) === signed) this.setTags(entry, -1, -1, -1, -1);
    }
  }

  /** Host address of a byte that the soft TLB at `table` lets through, else -1. `tag`: Tlb.tagRead or Tlb.tagWrite. */
  hit(table: number, low: number, high: number, tag: number): number {
    const { i32 } = this.memory;
    const entry = tlbEntry(table, low) >> 2;
    const at = entry + (tag >> 2);
    if (i32[at] !== (low & ~OFFSET) || i32[at + 1] !== high) return -1;
    return (low + i32[entry + ADDEND]) >>> 0;
  }

  /** Puts the translation to the page of RAM at `host` into the soft TLB at `table`. */
  put(
    table: number,
    low: number,
    high: number,
    host: number,
    readable: boolean,
    writable: boolean,
    global: boolean,
  ): void {
    const entry = tlbEntry(table, low) >> 2;
    const page = low & ~OFFSET;
    this.setTags(entry, readable ? page : -1, readable ? high : -1, writable ? page : -1, writable ? high : -1);
    this.memory.i32[entry + ADDEND] = (host - page) | 0;
    if (!global) this.noteLocal(entry);
  }

  /**
   * Puts the translation to a guest-physical page that is no RAM into the soft TLB at `table`: with tags that no handler takes for its
   * own, and the page in the addend's place. False: no entry can name it.
   */
  putDevice(table: number, low: number, high: number, page: number, writable: boolean, global: boolean): boolean {
    if (page > MAX_DEVICE_PAGE) return false;
    const entry = tlbEntry(table, low) >> 2;
    const tag = (low & ~OFFSET) | Tlb.device;
    this.setTags(entry, tag, high, writable ? tag : -1, writable ? high : -1);
    this.memory.i32[entry + ADDEND] = page;
    if (!global) this.noteLocal(entry);
    return true;
  }

  /** Guest-physical page of an address in one that putDevice() knows, else -1. */
  device(table: number, low: number, high: number, write: boolean): number {
    const { i32 } = this.memory;
    const entry = tlbEntry(table, low) >> 2;
    const tag = entry + (write ? WRITE : READ);
    if (i32[tag] !== ((low & ~OFFSET) | Tlb.device) || i32[tag + 1] !== high) return -1;
    return i32[entry + ADDEND];
  }

  private setTags(entry: number, read: number, readHigh: number, write: number, writeHigh: number): void {
    const { i32 } = this.memory;
    i32[entry + READ] = read;
    i32[entry + READ + 1] = readHigh;
    i32[entry + WRITE] = write;
    i32[entry + WRITE + 1] = writeHigh;
  }

  /** An entry was filled with a translation that is not global. */
  private noteLocal(entry: number): void {
    if (this.localCount < LOCAL_ENTRIES) this.localEntries[this.localCount] = entry;
    // One more than fit: they are not all known.
    if (this.localCount <= LOCAL_ENTRIES) this.localCount++;
  }
}
