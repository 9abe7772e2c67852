/**
 * The memory slow path behind the soft TLB: what a handler's or an assist's access takes when no entry lets it through. Page walk
 * and EPT, then RAM, a device, decoded code, a watched page or a page not saved since the last checkpoint.
 * Linear addresses and values are pairs of signed 32-bit halves here: BigInts would be allocated at every miss.
 */
import { Mmu, Access, Translation } from '../mmu/mmu';
import type { MachineMemory } from '../mmu/memory';
import { Slow, SlowResult } from '../translate/abi';
import { EptAccess } from '../virt/vmx/ept';
import type { CodeCache } from '../x86/codeCache';
import { carry, highOf, join, lowOf } from './halves';
import { abortInstruction } from './instructionEnd';
import { PAGE, Segment, SegmentIndex, State, Tlb, Uop, UopFlag, segmentOffset } from './layout';
import { Vector, type Vcpu } from './vcpu';

/** Why a guest page may not be written (or read) on the fast path. */
export const PageState = { code: 1, watchWrite: 2, watchRead: 4, clean: 8, monitored: 16 } as const;

/** What memory accesses need from the machine around the core. */
export interface MemoryHost {
  /**
   * Access to a guest-physical page that EPT does not map (or forbids). False: abandon the instruction. Value in mmioLow/High.
   * @param low the linear address's halves
   */
  eptExit(cpu: Vcpu, page: number, low: number, high: number, size: number, write: boolean): boolean;
  /** EPT refused during a page walk or an instruction fetch. False: abandon. True: try again. */
  eptWalkExit(cpu: Vcpu, linear: bigint, access: number): boolean;
  /** A watched page was accessed; called after the access. True: stop after the instruction. */
  watchHit(cpu: Vcpu, linear: bigint, gpa: number, size: number, write: boolean): boolean;
  /** First write to a page since the last checkpoint; called before it. */
  pageDirtied(physicalPage: number): void;
  /** A write to a page with PageState.monitored. */
  monitoredWrite(physicalPage: number, offset: number, size: number): void;
}

export class MemoryPath {
  /** Per physical RAM page: PageState bits. */
  readonly pageState: Uint8Array;
  /** Linear pages with data breakpoints (Mmu-independent: whatever they map to). Keys as linearPage() makes them. */
  readonly watchedLinear = new Set<number>();
  /** Accesses that took this path; those to two pages that also have to go byte by byte count for each. */
  tlbMisses = 0;
  /** Value of a device access (two 32-bit halves). */
  mmioLow = 0;
  mmioHigh = 0;
  /** vCPU that runs now or ran last; undefined before the first run. */
  running?: Vcpu;
  /** Of a bounced read-modify-write: from its beginning to its commit no other begins. */
  private modifyLow = 0;
  private modifyHigh = 0;
  private modifySize = 0;

  constructor(
    private readonly memory: MachineMemory,
    private readonly mmu: Mmu,
    private readonly vcpus: readonly Vcpu[],
    private readonly code: CodeCache,
    private readonly host: MemoryHost,
  ) {
    this.pageState = new Uint8Array(memory.ramSize / PAGE);
    mmu.beforeWrite = (page, offset) => void this.beforeWrite(page, offset, 8);
  }

  /** Entry from handlers: State.slowAddress holds the linear address, State.slowValue the value (or gets it). */
  slow(cpu: Vcpu, uop: number, kind: number): number {
    const stack = (kind & Slow.stack) !== 0;
    if (kind & Slow.limit) {
      cpu.pending = { vector: stack ? Vector.SS : Vector.GP, error: 0 };
      return abortInstruction(cpu, uop);
    }
    const size = 1 << (kind & Slow.sizeMask);
    const operation = kind & Slow.operation;
    if (operation === Slow.commit) return this.commitModify(cpu);
    const low = cpu.get32(State.slowAddress);
    const high = cpu.get32(State.slowAddress + 4);
    if (operation !== Slow.modify && size <= 8) {
      const page = this.knownDevice(cpu, low, high, size, operation === Slow.write);
      if (page >= 0) {
        this.tlbMisses++;
        const status =
          operation === Slow.write
            ? this.writeDevice(cpu, page, low, high, size, cpu.get32(State.slowValue), cpu.get32(State.slowValue + 4))
            : this.readDevice(cpu, page, low, high, size);
        return status === SlowResult.abort ? abortInstruction(cpu, uop) : status;
      }
    }
    if (cpu.bitness === 64) {
      if (!canonical(cpu, low, high, size)) {
        const throughStack = stack || (this.memory.u8[uop + Uop.flags] & UopFlag.stack) !== 0;
        cpu.pending = { vector: throughStack ? Vector.SS : Vector.GP, error: 0 };
        return abortInstruction(cpu, uop);
      }
    } else if ((high !== 0 || (low >>> 0) + size > 0x100000000) && this.beyondLimit(cpu, uop, stack)) {
      return abortInstruction(cpu, uop);
    }
    // Checked before the page is looked at, as processors do.
    if (cpu.checksAlignment && low & (size - 1)) {
      cpu.pending = { vector: Vector.AC, error: 0 };
      return abortInstruction(cpu, uop);
    }
    const user = cpu.cpl === 3;
    if (operation === Slow.modify) return this.beginModify(cpu, uop, low, high, size, user);
    const write = operation === Slow.write;
    if (size > 8) return this.slowVector(cpu, uop, low, high, size, write, user);
    const status = write
      ? this.write(cpu, low, high, size, cpu.get32(State.slowValue), cpu.get32(State.slowValue + 4), user, true)
      : this.read(cpu, low, high, size, user, true);
    return status === SlowResult.abort ? abortInstruction(cpu, uop) : status;
  }

  /**
   * An access around the end of 4 GiB exceeds the limit of a segment with base 0, which flat accesses do not check; in others
   * linear addresses wrap. SDM Vol. 3A, "Limit Checking".
   */
  private beyondLimit(cpu: Vcpu, uop: number, stack: boolean): boolean {
    const segment = stack ? segmentOffset(SegmentIndex.ss) : this.memory.i32[(uop + Uop.segment) >> 2];
    if (cpu.get64(segment + Segment.base) !== 0n) return false;
    cpu.pending = { vector: segment === segmentOffset(SegmentIndex.ss) ? Vector.SS : Vector.GP, error: 0 };
    return true;
  }

  /** 16 or 32 bytes between memory and State.bounce. Both pages are translated before anything is read or written. */
  private slowVector(
    cpu: Vcpu,
    uop: number,
    low: number,
    high: number,
    size: number,
    write: boolean,
    user: boolean,
  ): number {
    const access = write ? Access.write : Access.read;
    if (crossesPage(low, size)) {
      if (!this.resolveBoth(cpu, low, high, access, user, false)) return abortInstruction(cpu, uop);
    }
    let result: number = SlowResult.ok;
    for (let i = 0; i < size; i += 8) {
      const at = (low + i) | 0;
      const atHigh = highBehind(cpu, low, high, at, user);
      const slot = State.bounce + i;
      const status = write
        ? this.write(cpu, at, atHigh, 8, cpu.get32(slot), cpu.get32(slot + 4), user, true)
        : this.read(cpu, at, atHigh, 8, user, true);
      if (status === SlowResult.abort) return abortInstruction(cpu, uop);
      if (status === SlowResult.again) result = status;
      if (!write) {
        cpu.set32(slot, cpu.get32(State.slowValue));
        cpu.set32(slot + 4, cpu.get32(State.slowValue + 4));
      }
    }
    return result;
  }

  private beginModify(cpu: Vcpu, uop: number, low: number, high: number, size: number, user: boolean): number {
    if (!this.probe(cpu, low, high, size, user)) return abortInstruction(cpu, uop);
    if (!crossesPage(low, size)) {
      const { page } = this.mmu;
      if (this.isRam(page, EptAccess.read | EptAccess.write)) {
        const clear = !(this.pageState[page] & ~PageState.clean) && !this.watches(cpu, low, high);
        if (clear && this.pageState[page]) this.beforeWrite(page, low & OFFSET, size);
        this.fill(cpu, low, high, page, true);
        if (clear) {
          this.setValue(cpu, this.memory.ramBase + page * PAGE + (low & OFFSET), 0);
          return SlowResult.ok;
        }
      }
    }
    const status = this.read(cpu, low, high, size, user, false);
    if (status === SlowResult.abort) return abortInstruction(cpu, uop);
    cpu.set32(State.bounce, cpu.get32(State.slowValue));
    cpu.set32(State.bounce + 4, cpu.get32(State.slowValue + 4));
    this.setValue(cpu, cpu.base + State.bounce, 0);
    this.modifyLow = low;
    this.modifyHigh = high;
    this.modifySize = size;
    return SlowResult.again;
  }

  private commitModify(cpu: Vcpu): number {
    const { modifyLow, modifyHigh, modifySize } = this;
    const [value, upper] = [cpu.get32(State.bounce), cpu.get32(State.bounce + 4)];
    const status = this.write(cpu, modifyLow, modifyHigh, modifySize, value, upper, cpu.cpl === 3, false);
    // The address was probed: only an exit that wants to stop can refuse, and then after the instruction.
    return status === SlowResult.abort ? SlowResult.again : status;
  }

  private setValue(cpu: Vcpu, low: number, high: number): void {
    cpu.set32(State.slowValue, low);
    cpu.set32(State.slowValue + 4, high);
  }

  /** Translates for writing: true with mmu.page the last page; false: exception pending or abandoned. */
  probeWrite(cpu: Vcpu, linear: bigint, size: number, user: boolean): boolean {
    return this.probe(cpu, lowOf(linear), highOf(linear), size, user);
  }

  private probe(cpu: Vcpu, low: number, high: number, size: number, user: boolean): boolean {
    if (!this.resolve(cpu, low, high, Access.write, user)) return false;
    return !crossesPage(low, size) || this.resolveNext(cpu, low, high, Access.write, user);
  }

  /** Translates a byte for reading; as probeWrite. */
  probeRead(cpu: Vcpu, linear: bigint, user: boolean): boolean {
    return this.resolve(cpu, lowOf(linear), highOf(linear), Access.read, user);
  }

  /** Guest paging for one page; true with mmu.page. */
  private resolve(cpu: Vcpu, low: number, high: number, access: number, user: boolean): boolean {
    for (;;) {
      const status = this.mmu.translate(cpu, low, high, access, user);
      if (status === Translation.ok) return true;
      const linear = join(low, high);
      if (status === Translation.pageFault) {
        cpu.pending = { vector: Vector.PF, error: this.mmu.errorCode, address: linear };
        return false;
      }
      if (!this.host.eptWalkExit(cpu, linear, 1 << access)) return false;
    }
  }

  /** As resolve(), for the page behind the one that the address is in. */
  private resolveNext(cpu: Vcpu, low: number, high: number, access: number, user: boolean): boolean {
    const next = ((low & ~OFFSET) + PAGE) | 0;
    return this.resolve(cpu, next, highBehind(cpu, low, high, next, user), access, user);
  }

  /** Whether the address just translated, in guest-physical `page`, is RAM that EPT maps and lets through. */
  private isRam(page: number, access: number): boolean {
    if (this.mmu.direct(page, access)) return true;
    const { gpa } = this.mmu;
    return this.mmu.host(gpa, access) - this.memory.ramBase === gpa;
  }

  /** CpuContext.ordinaryPage. For writing, the page is saved and then no longer clean. */
  ordinaryPage(cpu: Vcpu, linear: bigint, write: boolean, user: boolean): number {
    const [low, high] = [lowOf(linear), highOf(linear)];
    if (this.watches(cpu, low, high)) return -1;
    if (this.mmu.translate(cpu, low, high, write ? Access.write : Access.read, user) !== Translation.ok) return -1;
    const { page } = this.mmu;
    if (!this.mmu.direct(page, write ? EptAccess.write : EptAccess.read)) return -1;
    const state = this.pageState[page];
    if (state & (write ? ~PageState.clean : PageState.watchRead)) return -1;
    if (write && state) this.beforeWrite(page, 0, PAGE);
    return this.memory.ramBase + page * PAGE;
  }

  /** Reads `size` (1, 2, 4, 8) bytes into State.slowValue, zero-extended. `fill`: the soft TLB may learn. */
  readLinear(cpu: Vcpu, linear: bigint, size: number, user: boolean, fill: boolean): number {
    return this.read(cpu, lowOf(linear), highOf(linear), size, user, fill);
  }

  private read(cpu: Vcpu, low: number, high: number, size: number, user: boolean, fill: boolean): number {
    if (crossesPage(low, size)) return this.readSplit(cpu, low, high, size, user, fill);
    this.tlbMisses++;
    if (!this.resolve(cpu, low, high, Access.read, user)) return SlowResult.abort;
    const { page, writable } = this.mmu;
    if (!this.isRam(page, EptAccess.read)) {
      if (fill) this.fillDevice(cpu, low, high, page, writable);
      return this.readDevice(cpu, page, low, high, size);
    }
    if (fill) this.fill(cpu, low, high, page, writable);
    const at = this.memory.ramBase + page * PAGE + (low & OFFSET);
    const { view } = this.memory;
    if (size === 8) this.setValue(cpu, view.getInt32(at, true), view.getInt32(at + 4, true));
    else
      this.setValue(
        cpu,
        size === 4 ? view.getInt32(at, true) : size === 2 ? view.getUint16(at, true) : view.getUint8(at),
        0,
      );
    const watched = this.pageState[page] & PageState.watchRead || this.watches(cpu, low, high);
    if (watched && this.host.watchHit(cpu, join(low, high), page * PAGE + (low & OFFSET), size, false)) {
      cpu.attention = true;
      return SlowResult.again;
    }
    return SlowResult.ok;
  }

  private readDevice(cpu: Vcpu, page: number, low: number, high: number, size: number): number {
    if (!this.host.eptExit(cpu, page, low, high, size, false)) return SlowResult.abort;
    this.setValue(cpu, this.mmioLow, this.mmioHigh);
    return cpu.attention ? SlowResult.again : SlowResult.ok;
  }

  /** Where the bytes of an access to two pages begin in each: host addresses. */
  private splitFirst = 0;
  private splitNext = 0;

  /** Whether the soft TLB lets an access to two pages through; then splitFirst and splitNext are known. */
  private splitHits(cpu: Vcpu, low: number, high: number, tag: number, user: boolean): boolean {
    const next = ((low & ~OFFSET) + PAGE) | 0;
    const table = cpu.get32(State.tlb);
    this.splitFirst = cpu.softTlb.hit(table, low, high, tag);
    this.splitNext = cpu.softTlb.hit(table, next, highBehind(cpu, low, high, next, user), tag);
    return this.splitFirst >= 0 && this.splitNext >= 0;
  }

  /** Translates both pages of an access, before anything is read or written; false: exception pending or abandoned. */
  private resolveBoth(cpu: Vcpu, low: number, high: number, access: number, user: boolean, fill: boolean): boolean {
    const right = access === Access.write ? EptAccess.write : EptAccess.read;
    const learn = (at: number, atHigh: number): void => {
      const { page, writable } = this.mmu;
      if (fill && this.isRam(page, right)) this.fill(cpu, at, atHigh, page, writable);
    };
    if (!this.resolve(cpu, low, high, access, user)) return false;
    learn(low, high);
    const next = ((low & ~OFFSET) + PAGE) | 0;
    const nextHigh = highBehind(cpu, low, high, next, user);
    if (!this.resolve(cpu, next, nextHigh, access, user)) return false;
    learn(next, nextHigh);
    return true;
  }

  /**
   * How an access to two pages is done: by splitFirst and splitNext, byte by byte, or not at all, with an exception pending or
   * abandoned. A fault on the second page leaves no device of the first touched.
   */
  private enterSplit(
    cpu: Vcpu,
    low: number,
    high: number,
    access: number,
    user: boolean,
    fill: boolean,
  ): 'direct' | 'bytes' | 'abort' {
    const tag = access === Access.write ? Tlb.tagWrite : Tlb.tagRead;
    if (!fill || !this.splitHits(cpu, low, high, tag, user)) {
      if (!this.resolveBoth(cpu, low, high, access, user, fill)) return 'abort';
      if (!fill || !this.splitHits(cpu, low, high, tag, user)) return 'bytes';
    }
    this.tlbMisses++;
    return 'direct';
  }

  /** Host address of byte `i` of an access to two pages that is done directly. */
  private splitAt(low: number, i: number): number {
    const first = PAGE - (low & OFFSET);
    return i < first ? this.splitFirst + i : this.splitNext + i - first;
  }

  private readSplit(cpu: Vcpu, low: number, high: number, size: number, user: boolean, fill: boolean): number {
    const way = this.enterSplit(cpu, low, high, Access.read, user, fill);
    if (way === 'abort') return SlowResult.abort;
    let [value, upper] = [0, 0];
    let result: number = SlowResult.ok;
    for (let i = 0; i < size; i++) {
      let byte: number;
      if (way === 'direct') byte = this.memory.u8[this.splitAt(low, i)];
      else {
        const at = (low + i) | 0;
        const status = this.read(cpu, at, highBehind(cpu, low, high, at, user), 1, user, fill);
        if (status === SlowResult.abort) return status;
        if (status === SlowResult.again) result = status;
        byte = cpu.get32(State.slowValue);
      }
      if (i < 4) value |= byte << (8 * i);
      else upper |= byte << (8 * i - 32);
    }
    this.setValue(cpu, value, upper);
    return result;
  }

  /** Writes `size` (1, 2, 4, 8) bytes. */
  writeLinear(cpu: Vcpu, linear: bigint, size: number, value: bigint, user: boolean, fill: boolean): number {
    return this.write(cpu, lowOf(linear), highOf(linear), size, lowOf(value), highOf(value), user, fill);
  }

  private write(
    cpu: Vcpu,
    low: number,
    high: number,
    size: number,
    value: number,
    upper: number,
    user: boolean,
    fill: boolean,
  ): number {
    if (crossesPage(low, size)) return this.writeSplit(cpu, low, high, size, value, upper, user, fill);
    this.tlbMisses++;
    if (!this.resolve(cpu, low, high, Access.write, user)) return SlowResult.abort;
    const { page } = this.mmu;
    if (!this.isRam(page, EptAccess.write)) {
      if (fill) this.fillDevice(cpu, low, high, page, true);
      return this.writeDevice(cpu, page, low, high, size, value, upper);
    }
    const before = this.pageState[page];
    const hitCode = before ? this.beforeWrite(page, low & OFFSET, size) : false;
    const at = this.memory.ramBase + page * PAGE + (low & OFFSET);
    const { view } = this.memory;
    if (size === 8) {
      view.setInt32(at, value, true);
      view.setInt32(at + 4, upper, true);
    } else if (size === 4) view.setInt32(at, value, true);
    else if (size === 2) view.setInt16(at, value, true);
    else view.setInt8(at, value);
    if (fill) this.fill(cpu, low, high, page, true);
    const watched = before & PageState.watchWrite || this.watches(cpu, low, high);
    if (watched && this.host.watchHit(cpu, join(low, high), page * PAGE + (low & OFFSET), size, true)) {
      cpu.attention = true;
      return SlowResult.again;
    }
    return hitCode ? SlowResult.again : SlowResult.ok;
  }

  private writeDevice(
    cpu: Vcpu,
    page: number,
    low: number,
    high: number,
    size: number,
    value: number,
    upper: number,
  ): number {
    this.mmioLow = value >>> 0;
    this.mmioHigh = upper >>> 0;
    if (!this.host.eptExit(cpu, page, low, high, size, true)) return SlowResult.abort;
    return cpu.attention ? SlowResult.again : SlowResult.ok;
  }

  private writeSplit(
    cpu: Vcpu,
    low: number,
    high: number,
    size: number,
    value: number,
    upper: number,
    user: boolean,
    fill: boolean,
  ): number {
    const way = this.enterSplit(cpu, low, high, Access.write, user, fill);
    if (way === 'abort') return SlowResult.abort;
    let result: number = SlowResult.ok;
    for (let i = 0; i < size; i++) {
      const byte = (i < 4 ? value >>> (8 * i) : upper >>> (8 * i - 32)) & 0xff;
      if (way === 'direct') {
        this.memory.u8[this.splitAt(low, i)] = byte;
        continue;
      }
      const at = (low + i) | 0;
      const status = this.write(cpu, at, highBehind(cpu, low, high, at, user), 1, byte, 0, user, fill);
      if (status === SlowResult.abort) return status;
      if (status === SlowResult.again) result = status;
    }
    return result;
  }

  /** Whatever must happen before RAM changes: dirty tracking and decoded code. True when decoded code was hit. */
  beforeWrite(page: number, offset: number, size: number): boolean {
    const state = this.pageState[page];
    if (state & PageState.clean) {
      this.host.pageDirtied(page);
      this.pageState[page] &= ~PageState.clean;
    }
    if (state & PageState.monitored) this.host.monitoredWrite(page, offset, size);
    if (!(state & PageState.code)) return false;
    const hit = this.code.written(page, offset, size);
    if (hit && this.running) this.running.attention = true;
    return hit;
  }

  /** Puts the translation to a page of RAM into the soft TLB in use. */
  private fill(cpu: Vcpu, low: number, high: number, page: number, writable: boolean): void {
    if (cpu.checksAlignment || this.watches(cpu, low, high)) return;
    this.put(cpu, cpu.get32(State.tlb), low, high, page, writable);
  }

  /** After a translation for reading: the soft TLB at `table` learns it, if it leads to RAM and nobody watches. */
  learn(cpu: Vcpu, table: number, low: number, high: number): boolean {
    this.tlbMisses++;
    const { page, writable } = this.mmu;
    if (!this.isRam(page, EptAccess.read) || this.watches(cpu, low, high)) return false;
    this.put(cpu, table, low, high, page, writable);
    return true;
  }

  private put(cpu: Vcpu, table: number, low: number, high: number, page: number, writable: boolean): void {
    const state = this.pageState[page];
    const readable = !(state & PageState.watchRead);
    const direct = writable && !(state & ~PageState.watchRead);
    cpu.softTlb.put(table, low, high, this.memory.ramBase + page * PAGE, readable, direct, this.mmu.global);
    this.noteLarge(cpu, low, high);
  }

  private noteLarge(cpu: Vcpu, low: number, high: number): void {
    if (this.mmu.pageSize > PAGE) cpu.largePages.note(low, high, this.mmu.pageSize);
  }

  /** As fill(), to a page that is no RAM. */
  private fillDevice(cpu: Vcpu, low: number, high: number, page: number, writable: boolean): void {
    if (cpu.checksAlignment || page < this.pageState.length) return;
    const { global } = this.mmu;
    if (cpu.softTlb.putDevice(cpu.get32(State.tlb), low, high, page, writable, global)) this.noteLarge(cpu, low, high);
  }

  /** Guest-physical page of an access in one that fillDevice() knows, else -1. */
  private knownDevice(cpu: Vcpu, low: number, high: number, size: number, write: boolean): number {
    return crossesPage(low, size) ? -1 : cpu.softTlb.device(cpu.get32(State.tlb), low, high, write);
  }

  /** The page has data breakpoints: the debugger's, or the guest's own. */
  private watches(cpu: Vcpu, low: number, high: number): boolean {
    const own = cpu.debug.dataPages;
    if (this.watchedLinear.size === 0 && own.size === 0) return false;
    const page = (high >>> 0) * 0x100000 + (low >>> 12);
    return this.watchedLinear.has(page) || own.has(page);
  }

  /** Sets or clears a PageState bit; fast-path entries for the page are dropped where it restricts them. */
  setPageState(page: number, bit: number, on: boolean): void {
    if (page >= this.pageState.length) return;
    const before = this.pageState[page];
    this.pageState[page] = on ? before | bit : before & ~bit;
    if (!on || before & bit) return;
    const host = this.memory.ramBase + page * PAGE;
    for (const cpu of this.vcpus) cpu.softTlb.evict(host);
  }
}

/** A linear page as a number: address bits 63..12. */
export function linearPage(linear: bigint): number {
  return Number(BigInt.asUintN(64, linear) >> 12n);
}

const OFFSET = PAGE - 1;

function crossesPage(low: number, size: number): boolean {
  return (low & OFFSET) + size > PAGE;
}

/** High half of an address behind another of an access: those of programs outside 64-bit mode wrap at 4 GiB, as all do outside long mode. */
function highBehind(cpu: Vcpu, low: number, high: number, at: number, user: boolean): number {
  const wraps = !cpu.longMode || (user && high === 0 && cpu.bitness !== 64);
  return wraps ? high : carry(low, high, at);
}

function canonical(cpu: Vcpu, low: number, high: number, size: number): boolean {
  if (!cpu.canonicalHigh(high)) return false;
  const last = (low + size - 1) | 0;
  return !crossesPage(low, size) || cpu.canonicalHigh(carry(low, high, last));
}
