/**
 * The memory slow path behind the soft TLB: what a handler's or an assist's access takes when no entry lets it through. Page walk
 * and EPT, then RAM, a device, decoded code, a watched page or a page not saved since the last checkpoint.
 */
import { Mmu, Access, Translation } from '../mmu/mmu';
import type { MachineMemory } from '../mmu/memory';
import { Slow, SlowResult } from '../translate/abi';
import { EptAccess } from '../virt/vmx/ept';
import type { CodeCache } from '../x86/codeCache';
import { abortInstruction } from './instructionEnd';
import { PAGE, Segment, SegmentIndex, State, TLB_BYTES, Tlb, Uop, UopFlag, VCPU_TLB, segmentOffset } from './layout';
import { Vector, type Vcpu } from './vcpu';

/** Why a guest page may not be written (or read) on the fast path. */
export const PageState = { code: 1, watchWrite: 2, watchRead: 4, clean: 8, monitored: 16 } as const;

/** What memory accesses need from the machine around the core. */
export interface MemoryHost {
  /** Access to guest-physical memory that EPT does not map (or forbids). False: abandon the instruction. Value in mmioLow/High. */
  eptExit(cpu: Vcpu, gpa: number, linear: bigint, size: number, write: boolean): boolean;
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
  /** Accesses that took this path. */
  tlbMisses = 0;
  /** Value of a device access (two 32-bit halves). */
  mmioLow = 0;
  mmioHigh = 0;
  /** vCPU that runs now or ran last; undefined before the first run. */
  running?: Vcpu;
  /** Of a bounced read-modify-write: from its beginning to its commit no other begins. */
  private modifyLinear = 0n;
  private modifySize = 0;

  constructor(
    private readonly memory: MachineMemory,
    private readonly mmu: Mmu,
    private readonly vcpus: readonly Vcpu[],
    private readonly code: CodeCache,
    private readonly host: MemoryHost,
  ) {
    this.pageState = new Uint8Array(memory.ramSize / PAGE);
    mmu.beforeWrite = (gpa) => this.beforeWrite(Math.floor(gpa / PAGE), gpa % PAGE, 8);
  }

  /** Entry from handlers: State.slowAddress holds the linear address, State.slowValue the value (or gets it). */
  slow(cpu: Vcpu, uop: number, kind: number): number {
    const stack = (kind & Slow.stack) !== 0;
    if (kind & Slow.limit) {
      cpu.pending = { vector: stack ? Vector.SS : Vector.GP, error: 0 };
      return abortInstruction(cpu, uop);
    }
    if (kind & Slow.target) {
      if (cpu.canonical(cpu.get64(State.slowAddress))) return SlowResult.ok;
      cpu.pending = { vector: Vector.GP, error: 0 };
      return abortInstruction(cpu, uop);
    }
    const size = 1 << (kind & Slow.sizeMask);
    const operation = kind & Slow.operation;
    if (operation === Slow.commit) return this.commitModify(cpu);
    const linear = cpu.get64(State.slowAddress);
    if (cpu.bitness === 64 && !canonical(cpu, linear, size)) {
      const throughStack = stack || (this.memory.u8[uop + Uop.flags] & UopFlag.stack) !== 0;
      cpu.pending = { vector: throughStack ? Vector.SS : Vector.GP, error: 0 };
      return abortInstruction(cpu, uop);
    }
    if (cpu.bitness !== 64 && linear + BigInt(size) > 0x100000000n && this.beyondLimit(cpu, uop, stack)) {
      return abortInstruction(cpu, uop);
    }
    // Checked before the page is looked at, as processors do.
    if (cpu.checksAlignment && Number(linear & 0xfffn) & (size - 1)) {
      cpu.pending = { vector: Vector.AC, error: 0 };
      return abortInstruction(cpu, uop);
    }
    const user = cpu.cpl === 3;
    if (kind & Slow.probe) return this.probeWrite(cpu, linear, size, user) ? SlowResult.ok : abortInstruction(cpu, uop);
    if (operation === Slow.modify) return this.beginModify(cpu, uop, linear, size, user);
    const write = operation === Slow.write;
    if (size > 8) return this.slowVector(cpu, uop, linear, size, write, user);
    const status = write
      ? this.writeLinear(cpu, linear, size, cpu.get64(State.slowValue), user, true)
      : this.readLinear(cpu, linear, size, user, true);
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
  private slowVector(cpu: Vcpu, uop: number, linear: bigint, size: number, write: boolean, user: boolean): number {
    const access = write ? Access.write : Access.read;
    const last = BigInt.asUintN(64, linear + BigInt(size - 1));
    if (last >> 12n !== linear >> 12n) {
      if (!this.resolve(cpu, linear, access, user)) return abortInstruction(cpu, uop);
      if (!this.resolve(cpu, (last >> 12n) << 12n, access, user)) return abortInstruction(cpu, uop);
    }
    let result: number = SlowResult.ok;
    for (let i = 0; i < size; i += 8) {
      const at = BigInt.asUintN(64, linear + BigInt(i));
      const status = write
        ? this.writeLinear(cpu, at, 8, cpu.get64(State.bounce + i), user, true)
        : this.readLinear(cpu, at, 8, user, true);
      if (status === SlowResult.abort) return abortInstruction(cpu, uop);
      if (status === SlowResult.again) result = status;
      if (!write) cpu.set64(State.bounce + i, cpu.get64(State.slowValue));
    }
    return result;
  }

  private beginModify(cpu: Vcpu, uop: number, linear: bigint, size: number, user: boolean): number {
    const low = Number(linear & 0xffffffffn) >>> 0;
    const single = (low & 0xfff) + size <= PAGE;
    if (!this.probeWrite(cpu, linear, size, user)) return abortInstruction(cpu, uop);
    if (single) {
      const gpa = this.mmu.gpa;
      const host = this.mmu.host(gpa, EptAccess.read | EptAccess.write);
      const page = Math.floor(gpa / PAGE);
      if (host >= 0 && page < this.pageState.length) {
        this.fill(cpu, linear, gpa, host, true);
        if (!(this.pageState[page] & ~PageState.clean) && !this.watches(cpu, linear)) {
          this.beforeWrite(page, gpa % PAGE, size);
          this.fill(cpu, linear, gpa, host, true);
          cpu.set64(State.slowValue, BigInt(host));
          return SlowResult.ok;
        }
      }
    }
    const status = this.readLinear(cpu, linear, size, user, false);
    if (status === SlowResult.abort) return abortInstruction(cpu, uop);
    cpu.set64(State.bounce, cpu.get64(State.slowValue));
    cpu.set64(State.slowValue, BigInt(cpu.base + State.bounce));
    this.modifyLinear = linear;
    this.modifySize = size;
    return SlowResult.again;
  }

  private commitModify(cpu: Vcpu): number {
    const { modifyLinear, modifySize } = this;
    const value = cpu.get64(State.bounce);
    const status = this.writeLinear(cpu, modifyLinear, modifySize, value, cpu.cpl === 3, false);
    // The address was probed: only an exit that wants to stop can refuse, and then after the instruction.
    return status === SlowResult.abort ? SlowResult.again : status;
  }

  /** Translates for writing: true with mmu.gpa at the last page; false: exception pending or abandoned. */
  probeWrite(cpu: Vcpu, linear: bigint, size: number, user: boolean): boolean {
    const first = this.resolve(cpu, linear, Access.write, user);
    if (!first) return false;
    const end = linear + BigInt(size - 1);
    if (end >> 12n === linear >> 12n) return true;
    return this.resolve(cpu, (end >> 12n) << 12n, Access.write, user);
  }

  /** Translates a byte for reading; as probeWrite. */
  probeRead(cpu: Vcpu, linear: bigint, user: boolean): boolean {
    return this.resolve(cpu, linear, Access.read, user);
  }

  /** Guest paging for one page; true with mmu.gpa. */
  private resolve(cpu: Vcpu, linear: bigint, access: number, user: boolean): boolean {
    const low = Number(linear & 0xffffffffn);
    const high = Number((linear >> 32n) & 0xffffffffn);
    for (;;) {
      const status = this.mmu.translate(cpu, low, high, access, user);
      if (status === Translation.ok) return true;
      if (status === Translation.pageFault) {
        cpu.pending = { vector: Vector.PF, error: this.mmu.errorCode, address: linear };
        return false;
      }
      if (!this.host.eptWalkExit(cpu, linear, 1 << access)) return false;
    }
  }

  /** Reads `size` (1, 2, 4, 8) bytes into State.slowValue, zero-extended. `fill`: the soft TLB may learn. */
  readLinear(cpu: Vcpu, linear: bigint, size: number, user: boolean, fill: boolean): number {
    const low = Number(linear & 0xffffffffn) >>> 0;
    if ((low & 0xfff) + size > PAGE) return this.readSplit(cpu, linear, size, user);
    this.tlbMisses++;
    if (!this.resolve(cpu, linear, Access.read, user)) return SlowResult.abort;
    const gpa = this.mmu.gpa;
    const host = this.mmu.host(gpa, EptAccess.read);
    if (host < 0 || host - this.memory.ramBase !== gpa) return this.readDevice(cpu, gpa, linear, size);
    if (fill) this.fill(cpu, linear, gpa, host, this.mmu.writable);
    cpu.set64(State.slowValue, this.readHost(host, size));
    const page = Math.floor(gpa / PAGE);
    const watched = this.pageState[page] & PageState.watchRead || this.watches(cpu, linear);
    if (watched && this.host.watchHit(cpu, linear, gpa, size, false)) {
      cpu.attention = true;
      return SlowResult.again;
    }
    return SlowResult.ok;
  }

  private readHost(host: number, size: number): bigint {
    const { view } = this.memory;
    if (size === 8) return view.getBigUint64(host, true);
    return BigInt(
      size === 4 ? view.getUint32(host, true) : size === 2 ? view.getUint16(host, true) : view.getUint8(host),
    );
  }

  private readDevice(cpu: Vcpu, gpa: number, linear: bigint, size: number): number {
    if (!this.host.eptExit(cpu, gpa, linear, size, false)) return SlowResult.abort;
    cpu.set64(State.slowValue, (BigInt(this.mmioHigh >>> 0) << 32n) | BigInt(this.mmioLow >>> 0));
    return cpu.attention ? SlowResult.again : SlowResult.ok;
  }

  /** Both pages are translated before anything is read, so a fault on the second leaves no device touched. */
  private readSplit(cpu: Vcpu, linear: bigint, size: number, user: boolean): number {
    const second = ((linear >> 12n) + 1n) << 12n;
    if (!this.resolve(cpu, linear, Access.read, user)) return SlowResult.abort;
    if (!this.resolve(cpu, BigInt.asUintN(64, second), Access.read, user)) return SlowResult.abort;
    let value = 0n;
    let result: number = SlowResult.ok;
    for (let i = 0; i < size; i++) {
      const status = this.readLinear(cpu, BigInt.asUintN(64, linear + BigInt(i)), 1, user, true);
      if (status === SlowResult.abort) return status;
      if (status === SlowResult.again) result = status;
      value |= cpu.get64(State.slowValue) << BigInt(8 * i);
    }
    cpu.set64(State.slowValue, value);
    return result;
  }

  /** Writes `size` bytes. */
  writeLinear(cpu: Vcpu, linear: bigint, size: number, value: bigint, user: boolean, fill: boolean): number {
    const low = Number(linear & 0xffffffffn) >>> 0;
    if ((low & 0xfff) + size > PAGE) return this.writeSplit(cpu, linear, size, value, user);
    this.tlbMisses++;
    if (!this.resolve(cpu, linear, Access.write, user)) return SlowResult.abort;
    const gpa = this.mmu.gpa;
    const host = this.mmu.host(gpa, EptAccess.write);
    if (host < 0 || host - this.memory.ramBase !== gpa) return this.writeDevice(cpu, gpa, linear, size, value);
    const page = Math.floor(gpa / PAGE);
    const before = this.pageState[page];
    const hitCode = before ? this.beforeWrite(page, gpa & 0xfff, size) : false;
    const { view } = this.memory;
    if (size === 8) view.setBigUint64(host, value, true);
    else if (size === 4) view.setUint32(host, Number(value & 0xffffffffn), true);
    else if (size === 2) view.setUint16(host, Number(value & 0xffffn), true);
    else view.setUint8(host, Number(value & 0xffn));
    if (fill) this.fill(cpu, linear, gpa, host, true);
    const watched = before & PageState.watchWrite || this.watches(cpu, linear);
    if (watched && this.host.watchHit(cpu, linear, gpa, size, true)) {
      cpu.attention = true;
      return SlowResult.again;
    }
    return hitCode ? SlowResult.again : SlowResult.ok;
  }

  private writeDevice(cpu: Vcpu, gpa: number, linear: bigint, size: number, value: bigint): number {
    this.mmioLow = Number(value & 0xffffffffn);
    this.mmioHigh = Number((value >> 32n) & 0xffffffffn);
    if (!this.host.eptExit(cpu, gpa, linear, size, true)) return SlowResult.abort;
    return cpu.attention ? SlowResult.again : SlowResult.ok;
  }

  private writeSplit(cpu: Vcpu, linear: bigint, size: number, value: bigint, user: boolean): number {
    if (!this.probeWrite(cpu, linear, size, user)) return SlowResult.abort;
    let result: number = SlowResult.ok;
    for (let i = 0; i < size; i++) {
      const at = BigInt.asUintN(64, linear + BigInt(i));
      const status = this.writeLinear(cpu, at, 1, (value >> BigInt(8 * i)) & 0xffn, user, true);
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

  /** Puts a translation into the soft TLB in use. */
  private fill(cpu: Vcpu, linear: bigint, gpa: number, host: number, writable: boolean): void {
    const low = Number(linear & 0xffffffffn);
    const entry = cpu.get32(State.tlb) + ((low >>> 12) & (Tlb.entries - 1)) * Tlb.entrySize;
    const page = BigInt.asIntN(64, linear & ~0xfffn);
    const state = this.pageState[Math.floor(gpa / PAGE)];
    const { i64, i32 } = this.memory;
    if (cpu.checksAlignment || this.watches(cpu, linear)) return;
    i64[(entry + Tlb.tagRead) >> 3] = state & PageState.watchRead ? -1n : page;
    i64[(entry + Tlb.tagWrite) >> 3] = writable && !(state & ~PageState.watchRead) ? page : -1n;
    i32[(entry + Tlb.addend) >> 2] = (host - low) | 0;
  }

  /** The page has data breakpoints: the debugger's, or the guest's own. */
  private watches(cpu: Vcpu, linear: bigint): boolean {
    const own = cpu.debug.dataPages;
    if (this.watchedLinear.size === 0 && own.size === 0) return false;
    const page = linearPage(linear);
    return this.watchedLinear.has(page) || own.has(page);
  }

  /** Sets or clears a PageState bit; fast-path entries for the page are dropped where it restricts them. */
  setPageState(page: number, bit: number, on: boolean): void {
    if (page >= this.pageState.length) return;
    const before = this.pageState[page];
    this.pageState[page] = on ? before | bit : before & ~bit;
    if (on && !(before & bit)) this.evict(page);
  }

  private evict(page: number): void {
    const { i64, i32 } = this.memory;
    const host = (this.memory.ramBase + page * PAGE) | 0;
    for (const cpu of this.vcpus) {
      const start = cpu.base + VCPU_TLB;
      for (let e = start; e < start + TLB_BYTES * Tlb.filled; e += Tlb.entrySize) {
        // Low halves of the tags: those of pages end in zeros, so -1 is an entry that does not hit.
        const read = i32[(e + Tlb.tagRead) >> 2];
        const low = read === -1 ? i32[(e + Tlb.tagWrite) >> 2] : read;
        if (low !== -1 && ((low + i32[(e + Tlb.addend) >> 2]) | 0) === host) {
          i64[(e + Tlb.tagRead) >> 3] = -1n;
          i64[(e + Tlb.tagWrite) >> 3] = -1n;
        }
      }
    }
  }
}

/** A linear page as a number: address bits 63..12. */
export function linearPage(linear: bigint): number {
  return Number(BigInt.asUintN(64, linear) >> 12n);
}

function canonical(cpu: Vcpu, linear: bigint, size: number): boolean {
  return cpu.canonical(linear) && cpu.canonical(linear + BigInt(size - 1));
}
