/**
 * One vCPU's architectural state, as TypeScript sees it: named access to the slots of layout.ts, and what derives from them
 * (mode, code context, which soft TLB is in use). The slots are the only copy of the state; handlers work on them directly.
 */
import type { MachineMemory } from '../mmu/memory';
import { DebugRegisters } from './debugRegisters';
import { LargePages } from './largePages';
import { Segment, SegmentIndex, State, segmentOffset } from './layout';
import { SoftTlb } from './softTlb';

export const Flag = {
  CF: 1 << 0,
  PF: 1 << 2,
  AF: 1 << 4,
  ZF: 1 << 6,
  SF: 1 << 7,
  TF: 1 << 8,
  IF: 1 << 9,
  DF: 1 << 10,
  OF: 1 << 11,
  IOPL: 3 << 12,
  NT: 1 << 14,
  RF: 1 << 16,
  VM: 1 << 17,
  AC: 1 << 18,
  VIF: 1 << 19,
  VIP: 1 << 20,
  ID: 1 << 21,
} as const;
export const ARITHMETIC = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.OF;
/** Bits of RFLAGS that exist; bit 1 always reads as 1. */
export const FLAGS_MASK = 0x3f7fd7;

export const Cr0 = {
  PE: 1,
  MP: 2,
  EM: 4,
  TS: 8,
  ET: 16,
  NE: 32,
  WP: 1 << 16,
  AM: 1 << 18,
  NW: 1 << 29,
  CD: 1 << 30,
  PG: 1 << 31,
} as const;
export const Cr4 = {
  VME: 1, PVI: 2, TSD: 4, DE: 8, PSE: 16, PAE: 32, MCE: 64, PGE: 128, PCE: 256, OSFXSR: 512, OSXMMEXCPT: 1024, UMIP: 2048,
  LA57: 4096, VMXE: 1 << 13, SMXE: 1 << 14, FSGSBASE: 1 << 16, PCIDE: 1 << 17, OSXSAVE: 1 << 18, SMEP: 1 << 20, SMAP: 1 << 21, PKE: 1 << 22,
  PKS: 1 << 24,
} as const; // prettier-ignore
export const Efer = { SCE: 1, LME: 1 << 8, LMA: 1 << 10, NXE: 1 << 11 } as const;

/** Access-rights format: SDM Vol. 3C, "Guest Register State", Table "Format of Access Rights". */
export const Rights = {
  typeMask: 15,
  S: 1 << 4,
  dplShift: 5,
  P: 1 << 7,
  L: 1 << 13,
  DB: 1 << 14,
  G: 1 << 15,
  unusable: 1 << 16,
} as const;

/** Exceptions by vector. SDM Vol. 3A, "Exception and Interrupt Vectors". */
export const Vector = {
  DE: 0,
  DB: 1,
  NMI: 2,
  BP: 3,
  OF: 4,
  BR: 5,
  UD: 6,
  NM: 7,
  DF: 8,
  TS: 10,
  NP: 11,
  SS: 12,
  GP: 13,
  PF: 14,
  MF: 16,
  AC: 17,
  MC: 18,
  XM: 19,
} as const;

/** An exception on its way to the guest; `error` undefined where the vector has none. */
export interface PendingException {
  vector: number;
  error?: number;
  /** CR2 for #PF. */
  address?: bigint;
  /** #DB: the bits that DR6 gets. */
  debug?: number;
}

/** Thrown by assists (TypeScript only, never through WebAssembly frames): the instruction faults. */
export class GuestFault extends Error {
  constructor(
    readonly vector: number,
    readonly error?: number,
    readonly address?: bigint,
    /**
     * `afterwards`: the instruction has happened, and rip is where it led (a task switch whose new task faults). `debug`: what DR6
     * gets from a #DB.
     */
    readonly facts: { afterwards?: boolean; debug?: number } = {},
  ) {
    super(`guest exception ${vector}`);
  }
}

/** The exception that a fault thrown by an assist makes. */
export function pendingOf(fault: GuestFault): PendingException {
  return { vector: fault.vector, error: fault.error, address: fault.address, debug: fault.facts.debug };
}

/** Thrown by assists: leave the instruction undone (the debugger stops at it). */
export class Abandon extends Error {}

export type Activity = 'active' | 'halted' | 'wait-for-sipi' | 'shutdown';

const ONES = 0xffffffffffffffffn;

/** Slots from `first` up to and without `end`. */
const slots = (first: number, end: number): number[] =>
  Array.from({ length: (end - first) >> 3 }, (_, i) => first + i * 8);
/** Slots that INIT does not change: MSRs but for EFER, and x87, SSE, AVX and PKRU state. */
const KEPT_BY_INIT = [
  ...[State.star, State.lstar, State.cstar, State.fmask, State.kernelGsBase, State.tscAux, State.apicBase, State.pat],
  ...[State.sysenterCs, State.sysenterEsp, State.sysenterEip, State.tscAdjust, State.xcr0, State.xss],
  ...slots(State.fpr, State.mxcsr + 8),
  ...[State.pkru, State.pkrs],
  ...slots(State.ymm, State.ymm + 16 * 32),
];

/** Halves of the slots that say which offsets a segment lets through in 64-bit mode: all. */
const LIMITS_64 = [
  [Segment.loRead, 0],
  [Segment.loRead + 4, 0],
  [Segment.hiRead, -1],
  [Segment.hiRead + 4, -1],
  [Segment.loWrite, 0],
  [Segment.loWrite + 4, 0],
  [Segment.hiWrite, -1],
  [Segment.hiWrite + 4, -1],
] as const;

export class Vcpu {
  readonly softTlb: SoftTlb;
  readonly largePages = new LargePages();
  readonly base: number;
  private readonly q: number;
  activity: Activity = 'active';
  /** Width of the code being executed. */
  bitness: 16 | 32 | 64 = 16;
  /** IA-32e mode (EFER.LMA), also in compatibility mode. */
  longMode = false;
  /** Width of canonical linear addresses: 57 with 5-level paging, else 48. SDM Vol. 1, "Canonical Addressing". */
  linearBits = 48;
  /**
   * The processor's own linear-address width, 48 or 57. What WRMSR and the loads of descriptor-table and segment bases take is
   * canonical to it whatever CR4.LA57 says.
   */
  maxLinearBits = 48;
  /** Identifies how code bytes decode now (CodeCache context). */
  contextKey = '';
  pending?: PendingException;
  /** Something wants control after the current instruction: interrupt, stop, flush. */
  attention = false;
  /** Interrupts are held off until this many instructions have retired (STI and MOV SS shadow). */
  shadowUntil = -1;
  /** Instructions of this vCPU that the shadow still covers when another vCPU gets its turn. */
  shadowLeft = 0;
  /** The instruction just run delays or drops its single-step trap: MOV SS and POP SS, and INT n, which clears TF. */
  trapSuppressed = false;
  /** The shadow is that of MOV SS or POP SS, which also holds off debug traps and NMIs. */
  shadowsTraps = false;
  /** Breakpoints of DR0-DR3. */
  readonly debug: DebugRegisters;
  /** DR6 bits of the debug traps that are due after the present instruction, and of those that it has caused so far. */
  debugTraps = 0;
  debugHits = 0;
  /** Instruction breakpoints do not count at this instruction count: RFLAGS.RF was set. */
  resumeAt = -1;
  /** An NMI is being handled: the next one waits for IRET. */
  nmiBlocked = false;
  /** Exceptions since an instruction retired, and the instruction count then. */
  faultsInRow = { icount: -1, count: 0 };
  /** Family, model and stepping as CPUID leaf 1 has them in EAX: EDX after reset and INIT. */
  signature = 0;
  /** Unaligned accesses are #AC: CPL 3, CR0.AM, RFLAGS.AC. */
  checksAlignment = false;
  /** MSRs that have no slot of their own. */
  readonly msrs = new Map<number, bigint>();

  constructor(
    readonly index: number,
    readonly memory: MachineMemory,
  ) {
    this.base = memory.vcpuBase(index);
    this.softTlb = new SoftTlb(memory, this.base);
    this.q = this.base >> 3;
    memory.u64[this.q + (State.zero >> 3)] = 0n;
    this.debug = new DebugRegisters(this);
  }

  /** Whose processor it is: SYSCALL, SYSENTER and their returns differ. */
  get vendor(): 'intel' | 'amd' {
    return this.get32(State.amd) ? 'amd' : 'intel';
  }
  set vendor(vendor: 'intel' | 'amd') {
    this.set32(State.amd, vendor === 'amd' ? 1 : 0);
  }

  /** Any 64-bit slot. */
  get64(offset: number): bigint {
    return this.memory.u64[this.q + (offset >> 3)];
  }
  set64(offset: number, value: bigint): void {
    this.memory.u64[this.q + (offset >> 3)] = value;
  }
  /** Low 32 bits of a slot, signed. */
  get32(offset: number): number {
    return this.memory.i32[(this.base + offset) >> 2];
  }
  set32(offset: number, value: number): void {
    this.memory.i32[(this.base + offset) >> 2] = value;
  }

  gpr(n: number): bigint {
    return this.memory.u64[this.q + n];
  }
  setGpr(n: number, value: bigint): void {
    this.memory.u64[this.q + n] = value;
  }
  /** Low 32 bits, unsigned. */
  gpr32(n: number): number {
    return this.memory.u32[(this.base >> 2) + n * 2];
  }
  /** Writes as a 32-bit operand does: zero-extends. */
  setGpr32(n: number, value: number): void {
    this.memory.u32[(this.base >> 2) + n * 2] = value;
    this.memory.u32[(this.base >> 2) + n * 2 + 1] = 0;
  }
  /** Writes `bytes` wide with the merge rules of operand sizes. */
  setGprSized(n: number, value: bigint, bytes: number): void {
    if (bytes === 8) this.setGpr(n, BigInt.asUintN(64, value));
    else if (bytes === 4) this.setGpr(n, value & 0xffffffffn);
    else {
      const mask = bytes === 2 ? 0xffffn : 0xffn;
      this.setGpr(n, (this.gpr(n) & ~mask & ONES) | (value & mask));
    }
  }

  get rip(): bigint {
    return this.get64(State.rip);
  }
  set rip(value: bigint) {
    this.set64(State.rip, value);
  }
  get cpl(): number {
    return this.get32(State.cpl);
  }
  get cr0(): number {
    return this.get32(State.cr0);
  }
  get cr4(): number {
    return this.get32(State.cr4);
  }
  get efer(): number {
    return this.get32(State.efer);
  }
  get protectedMode(): boolean {
    return (this.cr0 & Cr0.PE) !== 0;
  }
  get v8086(): boolean {
    return (this.get32(State.flags) & Flag.VM) !== 0;
  }
  /** Real-address or virtual-8086 mode: selectors are paragraphs. */
  get realOrV8086(): boolean {
    return !this.protectedMode || this.v8086;
  }
  get iopl(): number {
    return (this.get32(State.flags) >> 12) & 3;
  }
  /** True when `address` is canonical in the paging mode in use. */
  canonical(address: bigint): boolean {
    return BigInt.asIntN(this.linearBits, address) === BigInt.asIntN(64, address);
  }
  /** canonical() of an address by its signed high half. */
  canonicalHigh(high: number): boolean {
    const top = high >> (this.linearBits - 33);
    return top === 0 || top === -1;
  }
  /** True when `address` may be the base of a segment or descriptor table. */
  canonicalBase(address: bigint): boolean {
    return BigInt.asIntN(this.maxLinearBits, address) === BigInt.asIntN(64, address);
  }
  /** Loads PKRU. Translations made under the old rights are forgotten. */
  setPkru(value: number): void {
    const before = this.get32(State.pkru);
    this.set32(State.pkru, value);
    if (before !== (value | 0) && this.cr4 & Cr4.PKE) this.softTlb.flush();
  }
  /** Loads IA32_PKRS, as setPkru() loads PKRU. */
  setPkrs(value: number): void {
    const before = this.get32(State.pkrs);
    this.set32(State.pkrs, value);
    if (before !== (value | 0) && this.cr4 & Cr4.PKS) this.softTlb.flush();
  }
  get interruptsEnabled(): boolean {
    return (this.get32(State.flags) & Flag.IF) !== 0;
  }
  /** System flags only (no arithmetic flags): cheap. */
  get systemFlags(): number {
    return this.get32(State.flags);
  }

  get rflags(): number {
    const fz = this.get32(State.fz) | this.get32(State.fz + 4);
    const fsLow = this.get32(State.fs);
    const fsHigh = this.get32(State.fs + 4);
    const fcLow = this.get32(State.fc);
    const fcHigh = this.get32(State.fc + 4);
    let flags = (this.get32(State.flags) & ~ARITHMETIC) | 2;
    if (fcHigh < 0) flags |= Flag.CF;
    if ((fcHigh ^ (fcHigh << 1)) < 0) flags |= Flag.OF;
    if (fcLow & 8) flags |= Flag.AF;
    if (fz === 0) flags |= Flag.ZF;
    if (fsHigh < 0) flags |= Flag.SF;
    let parity = fsLow & 0xff;
    parity ^= parity >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    if (!(parity & 1)) flags |= Flag.PF;
    return flags;
  }
  /** Sets all flags. Callers mask what may not change, and call modeChanged() when VM or AC may have. */
  set rflags(value: number) {
    const cf = value & Flag.CF ? 1 : 0;
    const of = value & Flag.OF ? 1 : 0;
    this.set32(State.fc, value & Flag.AF ? 8 : 0);
    this.set32(State.fc + 4, (cf << 31) | ((cf ^ of) << 30));
    this.set64(State.fz, value & Flag.ZF ? 0n : 1n);
    this.set32(State.fs, value & Flag.PF ? 0 : 1);
    this.set32(State.fs + 4, value & Flag.SF ? 1 << 31 : 0);
    this.set32(State.flags, (value & FLAGS_MASK & ~ARITHMETIC) | 2);
    this.set64(State.direction, value & Flag.DF ? ONES : 1n);
  }
  setCarry(on: boolean): void {
    this.rflags = on ? this.rflags | Flag.CF : this.rflags & ~Flag.CF;
  }
  setSystemFlag(flag: number, on: boolean): void {
    const flags = this.get32(State.flags);
    this.set32(State.flags, on ? flags | flag : flags & ~flag);
    if (flag === Flag.DF) this.set64(State.direction, on ? ONES : 1n);
  }

  selector(segment: number): number {
    return this.get32(segmentOffset(segment) + Segment.selector) & 0xffff;
  }
  segmentBase(segment: number): bigint {
    return this.get64(segmentOffset(segment) + Segment.base);
  }
  setSegmentBase(segment: number, base: bigint): void {
    this.set64(segmentOffset(segment) + Segment.base, base);
  }
  segmentLimit(segment: number): number {
    return this.get32(segmentOffset(segment) + Segment.limit) >>> 0;
  }
  rights(segment: number): number {
    return this.get32(segmentOffset(segment) + Segment.attributes);
  }
  /** Loads a segment register with its hidden part; modeChanged() must follow for CS and SS, and refreshLimits is done here. */
  setSegment(segment: number, selector: number, base: bigint, limit: number, rights: number): void {
    const o = segmentOffset(segment);
    this.set32(o + Segment.selector, selector & 0xffff);
    this.set32(o + Segment.attributes, rights);
    this.set32(o + Segment.limit, limit | 0);
    this.set64(o + Segment.base, base);
    this.refreshLimits(segment);
  }
  /** Recomputes which offsets the fast path lets through. */
  private refreshLimits(segment: number): void {
    const o = segmentOffset(segment);
    if (this.bitness === 64) {
      for (const [slot, half] of LIMITS_64) this.set32(o + slot, half);
      return;
    }
    const rights = this.rights(segment);
    const limit = BigInt(this.segmentLimit(segment));
    const type = rights & Rights.typeMask;
    let lo = 0n;
    let hi = limit;
    let readable = true;
    let writable = true;
    if (rights & Rights.unusable) {
      lo = ONES;
      hi = 0n;
    } else if (this.protectedMode && !this.v8086) {
      if (type & 8) {
        readable = (type & 2) !== 0;
        writable = false;
      } else {
        writable = (type & 2) !== 0;
        if (type & 4) {
          lo = limit + 1n;
          hi = rights & Rights.DB ? 0xffffffffn : 0xffffn;
        }
      }
    }
    this.set64(o + Segment.loRead, readable ? lo : ONES);
    this.set64(o + Segment.hiRead, readable ? hi : 0n);
    this.set64(o + Segment.loWrite, writable ? lo : ONES);
    this.set64(o + Segment.hiWrite, writable ? hi : 0n);
  }

  /** True when addresses in this segment need neither base nor limit check (32-bit flat model). */
  flat(segment: number): boolean {
    const o = segmentOffset(segment);
    return (
      this.get64(o + Segment.base) === 0n &&
      this.get64(o + Segment.loRead) === 0n &&
      this.get64(o + Segment.hiRead) === 0xffffffffn &&
      this.get64(o + Segment.hiWrite) === 0xffffffffn
    );
  }

  /** Everything that follows from CR0, CR4, EFER, CS, SS and RFLAGS.VM/AC. Call after any of them changed. */
  modeChanged(): void {
    const rights = this.rights(SegmentIndex.cs);
    const before = this.bitness;
    this.longMode = (this.efer & Efer.LMA) !== 0;
    this.linearBits = this.cr4 & Cr4.LA57 ? 57 : 48;
    if (this.longMode && rights & Rights.L) this.bitness = 64;
    else this.bitness = rights & Rights.DB ? 32 : 16;
    const cpl = !this.protectedMode ? 0 : this.v8086 ? 3 : (this.rights(SegmentIndex.ss) >> Rights.dplShift) & 3;
    this.set32(State.cpl, cpl);
    if (before === 64 && this.bitness === 64) {
      // Segments have no limits, and the masks are as they were.
      const { cr0, cr4 } = this;
      const xcr0 = this.get32(State.xcr0);
      if (cr0 !== this.keyed.cr0 || cr4 !== this.keyed.cr4 || xcr0 !== this.keyed.xcr0 || !this.keyed.wide) {
        this.keyed = { cr0, cr4, xcr0, wide: true };
        this.contextKey = this.key64();
      }
      this.selectTlb();
      return;
    }
    this.keyed.wide = false;
    const real = this.realOrV8086;
    for (let s = 0; s < 6; s++) this.refreshLimits(s);
    const wide = this.bitness === 64;
    const big = this.rights(SegmentIndex.ss) & Rights.DB;
    this.set64(State.stackMask, wide ? ONES : big ? 0xffffffffn : 0xffffn);
    this.set64(State.linearMask, wide ? ONES : 0xffffffffn);
    if (wide) this.contextKey = this.key64();
    else {
      const flat = [SegmentIndex.ds, SegmentIndex.es, SegmentIndex.ss, SegmentIndex.cs].map((s) =>
        this.flat(s) ? 1 : 0,
      );
      const base = this.segmentBase(SegmentIndex.cs);
      const limit = this.segmentLimit(SegmentIndex.cs);
      this.contextKey = `${this.bitness}${real ? 'r' : ''} ${flat.join('')} ${base.toString(16)} ${limit.toString(16)}`;
      const { mmx, sse, avx } = this.units;
      this.contextKey += ` ${mmx}${sse}${avx}`;
    }
    this.selectTlb();
    if (before !== this.bitness) this.contextSwitches++;
  }
  /**
   * Whether MMX, SSE and AVX instructions may run: 0, or the exception they raise. SDM Vol. 3A, 2.5 "Control Registers" (EM, TS,
   * OSFXSR, OSXSAVE) and Vol. 1, 14.3 "Detection of Intel AVX Instructions" (XCR0).
   */
  get units(): { mmx: 0 | 6 | 7; sse: 0 | 6 | 7; avx: 0 | 6 | 7 } {
    const { cr0, cr4 } = this;
    const switched = cr0 & Cr0.TS ? 7 : 0;
    const xstate = cr4 & Cr4.OSXSAVE && (this.get32(State.xcr0) & 6) === 6 && !this.realOrV8086;
    return {
      mmx: cr0 & Cr0.EM ? 6 : switched,
      sse: cr0 & Cr0.EM || !(cr4 & Cr4.OSFXSR) ? 6 : switched,
      avx: xstate ? switched : 6,
    };
  }
  /** What contextKey was made from, when it is that of 64-bit code. */
  private keyed = { cr0: 0, cr4: 0, xcr0: 0, wide: false };
  private readonly keys64: string[] = [];
  /** contextKey of 64-bit code, whose strings are made once. */
  private key64(): string {
    const { mmx, sse, avx } = this.units;
    const at = (mmx << 6) | (sse << 3) | avx;
    return (this.keys64[at] ??= `64 ${mmx}${sse}${avx}`);
  }
  /** Counts mode changes, for whoever caches by mode. */
  contextSwitches = 0;

  /**
   * User accesses, supervisor accesses, and supervisor accesses while SMAP is off have a soft TLB each. With alignment checks on, all
   * accesses go through one that is never filled, so that each takes the slow path, which checks.
   */
  selectTlb(): void {
    let context = 2;
    const user = this.cpl === 3;
    this.checksAlignment = user && (this.get32(State.flags) & Flag.AC) !== 0 && (this.cr0 & Cr0.AM) !== 0;
    if (this.checksAlignment) context = 3;
    else if (user) context = 0;
    else if (this.cr4 & Cr4.SMAP && !(this.get32(State.flags) & Flag.AC)) context = 1;
    this.set32(State.tlb, this.softTlb.table(context));
  }

  /** The state after INIT: as after power-on, but for what INIT leaves alone. SDM Vol. 3A, "Processor State After Reset". */
  init(): void {
    const kept = KEPT_BY_INIT.map((offset) => this.get64(offset));
    const msrs = [...this.msrs];
    const cacheControl = this.get64(State.cr0) & BigInt(Cr0.CD | Cr0.NW);
    this.reset();
    KEPT_BY_INIT.forEach((offset, i) => this.set64(offset, kept[i]));
    for (const [index, value] of msrs) this.msrs.set(index, value);
    this.set64(State.cr0, BigInt(Cr0.ET) | cacheControl);
  }

  /** The state after power-on. SDM Vol. 3A, "Processor State After Reset". */
  reset(): void {
    this.bitness = 16;
    const start = this.base >> 3;
    this.memory.u64.fill(0n, start, start + (State.scratch >> 3));
    this.msrs.clear();
    this.pending = undefined;
    this.attention = false;
    this.shadowUntil = -1;
    this.shadowLeft = 0;
    this.shadowsTraps = false;
    this.debugTraps = 0;
    this.debugHits = 0;
    this.resumeAt = -1;
    this.nmiBlocked = false;
    this.set64(State.cr0, 0x60000010n);
    this.setGpr(2, BigInt(this.signature));
    this.set64(State.dr + 6 * 8, 0xffff0ff0n);
    this.set64(State.dr + 7 * 8, 0x400n);
    this.set64(State.pat, 0x0007040600070406n);
    this.set64(State.xcr0, 1n);
    // x87 after reset (not FNINIT): SDM Vol. 3A, "Processor State After Reset".
    this.set64(State.fcw, 0x40n);
    this.set64(State.ftw, 0x5555n);
    this.set64(State.mxcsr, 0x1f80n);
    this.rflags = 2;
    this.rip = 0xfff0n;
    for (const s of [0, 2, 3, 4, 5]) this.setSegment(s, 0, 0n, 0xffff, 0x93);
    this.setSegment(SegmentIndex.cs, 0xf000, 0xffff0000n, 0xffff, 0x9b);
    this.setSegment(SegmentIndex.ldtr, 0, 0n, 0xffff, 0x82 | Rights.unusable);
    this.setSegment(SegmentIndex.tr, 0, 0n, 0xffff, 0x8b);
    this.set64(State.flatSegment + Segment.hiRead, ONES);
    this.set64(State.flatSegment + Segment.hiWrite, ONES);
    this.set64(State.gdtrLimit, 0xffffn);
    this.set64(State.idtrLimit, 0xffffn);
    this.set64(State.apicBase, this.index === 0 ? 0xfee00900n : 0xfee00800n);
    this.softTlb.reset();
    this.modeChanged();
  }
}
