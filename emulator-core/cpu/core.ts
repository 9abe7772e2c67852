/**
 * The execution engine of a machine: the handler module's instance, the memory slow path behind the soft TLB, and the loop that
 * runs one vCPU for an exact number of instructions. What the architecture does beyond that (exceptions, exits, devices) comes
 * in through CoreHost.
 */
import { Mmu, Access, Translation } from '../mmu/mmu';
import type { MachineMemory } from '../mmu/memory';
import { IMPORTS, Slow, SlowResult } from '../translate/abi';
import { handlerModule } from '../translate/handlerModule';
import { EptAccess } from '../virt/vmx/ept';
import { CodeCache, type CodeContext, type CodePage } from '../x86/codeCache';
import { InstructionDecoder, Pseudo, SpecialCode, type DecodeContext } from '../x86/decode';
import { DebugStatus } from './debugRegisters';
import { ExecutionObserver } from './executionObserver';
import {
  Jump,
  PAGE,
  SegmentIndex,
  State,
  Tlb,
  Uop,
  UopFlag,
  VCPU_JUMPS,
  VCPU_TLB,
  TLB_BYTES,
  Segment,
  segmentOffset,
} from './layout';
import { undoneBranch } from './nearBranches';
import { Cr4, Flag, Vector, type PendingException, type Vcpu } from './vcpu';
import { VECTOR_OPERATIONS } from './vector/operations';

/** Why a guest page may not be written (or read) on the fast path. */
export const PageState = { code: 1, watchWrite: 2, watchRead: 4, clean: 8, monitored: 16 } as const;

/** What the core needs from the machine around it. */
export interface CoreHost {
  /** Runs the assist of the micro-op; 0: go on with the next micro-op, 1: return to the run loop (State.rip is set). */
  assist(cpu: Vcpu, uop: number): number;
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
  /** A breakpoint micro-op. True: stop here. */
  breakpointHit(cpu: Vcpu, linear: bigint): boolean;
  /** Page offsets with breakpoints for a linear page (address >> 12), if any. */
  breakpointsOn(cpu: Vcpu, linearPage: bigint): { key: string; offsets: ReadonlySet<number> } | undefined;
  /** Delivers cpu.pending. */
  deliver(cpu: Vcpu): void;
  /** Called when a vCPU wants attention between instructions; true: leave the run loop. */
  service(cpu: Vcpu): boolean;
}

const FETCH_ENTRIES = 256;
/** Exceptions without an instruction between them that count as none themselves. */
const FAULTS_IN_ROW = 4096;

/** What the core remembers per vCPU beyond the architectural state. */
class Execution {
  generation = 1;
  context?: CodeContext;
  contextKey = '';
  contextEpoch = -1;
  /** Instruction-fetch translations: linear page number * 2 + user -> physical page. */
  readonly fetchTag = new Float64Array(FETCH_ENTRIES).fill(-1);
  readonly fetchPage = new Float64Array(FETCH_ENTRIES);
  /** Of a bounced read-modify-write. */
  modifyLinear = 0n;
  modifySize = 0;
}

export class Core {
  /**
   * For measuring what tests reach: machines made from now on tell it the iced-x86 Code of every instruction executed, at least
   * once a place in memory, and whether it retired (else it faulted). They run slower.
   */
  static observer?: (code: number, retired: boolean) => void;

  readonly code: CodeCache;
  readonly mmu: Mmu;
  readonly decoder: InstructionDecoder;
  /** Per physical RAM page: PageState bits. */
  readonly pageState: Uint8Array;
  private readonly run_: (uop: number, cpu: number) => number;
  private readonly executions: Execution[];
  /** Running now or last; undefined before the first run. */
  private cpu!: Vcpu;
  private execution!: Execution;
  /** Value of a device access (two 32-bit halves). */
  mmioLow = 0;
  mmioHigh = 0;
  /** Instructions granted to the current run and the count before it. */
  private granted = 0;
  private icountBase = 0;
  /** icount of the machine: instructions retired by all vCPUs. */
  retired = 0;
  private epoch = 0;
  tlbMisses = 0;
  /** Linear pages with data breakpoints (Mmu-independent: whatever they map to). Keys as linearPage() makes them. */
  readonly watchedLinear = new Set<number>();

  constructor(
    readonly memory: MachineMemory,
    mmu: Mmu,
    private readonly vcpus: readonly Vcpu[],
    features: ReadonlySet<string>,
    private readonly host: CoreHost,
  ) {
    this.mmu = mmu;
    const module = handlerModule();
    const table = new WebAssembly.Table({ initial: module.tableSize, element: 'anyfunc' });
    const functions: Record<(typeof IMPORTS)[number]['name'], (a: number, b: number, c: number) => number> = {
      slow: (uop, _cpu, kind) => this.slow(uop, kind),
      assist: (uop) => this.assist(uop),
      fault: (uop, _cpu, vector) => this.raise(uop, { vector }),
      divide: (_uop, _cpu, signed) => this.divide(signed !== 0),
      vector: (uop, _cpu, request) => this.vector(uop, request),
    };
    const env = { memory: memory.wasm, table, ...functions };
    const instance = new WebAssembly.Instance(compiled(module.bytes), { env });
    this.run_ = instance.exports.run as (uop: number, cpu: number) => number;
    this.decoder = new InstructionDecoder(memory, module.handlers, features);
    this.code = new CodeCache(memory, this.decoder);
    this.observer = Core.observer && new ExecutionObserver(this.memory, this.decoder, this.code, Core.observer);
    this.code.onFlush = () => this.invalidateJumps();
    this.code.onCodePage = (page, holds) => this.setPageState(page, PageState.code, holds);
    this.pageState = new Uint8Array(memory.ramSize / PAGE);
    this.executions = vcpus.map(() => new Execution());
    mmu.beforeWrite = (gpa) => this.beforeWrite(Math.floor(gpa / PAGE), gpa % PAGE, 8);
  }

  private readonly observer?: ExecutionObserver;

  /** Part of the grant that the block now running may not touch. */
  private spare = 0;
  /** Micro-op whose assist or slow path is running, 0 outside of handlers. */
  private current = 0;

  /** Instructions retired before the one being executed (or about to be). Blocks are charged when they are entered. */
  get icount(): number {
    if (!this.granted) return this.retired;
    const ahead = this.current ? this.memory.i32[(this.current + Uop.left) >> 2] : 0;
    return this.icountBase + this.granted - this.spare - this.cpu.get32(State.budget) - ahead;
  }

  /** rip of the instruction being executed, or the next one between instructions. */
  instructionRip(cpu: Vcpu): bigint {
    if (!this.current) return cpu.rip;
    return BigInt.asUintN(64, cpu.get64(State.ripBase) + BigInt(this.memory.i32[(this.current + Uop.ip) >> 2]));
  }

  // ---- code lookup -----------------------------------------------------------------------------------------------

  /** All jump caches and contexts are looked up anew: code or breakpoints changed. */
  invalidateJumps(): void {
    this.epoch++;
    for (const [i, execution] of this.executions.entries()) this.bumpGeneration(this.vcpus[i], execution);
  }

  private bumpGeneration(cpu: Vcpu, execution: Execution): void {
    execution.generation++;
    if (execution.generation >= 0x1fffff) {
      execution.generation = 1;
      const start = cpu.base + VCPU_JUMPS;
      this.memory.u8.fill(0, start, start + Jump.entries * Jump.entrySize);
    }
    this.updateTag(cpu, execution);
  }

  private updateTag(cpu: Vcpu, execution: Execution): void {
    const user = cpu.cpl === 3 ? 1 : 0;
    const id = execution.context?.id ?? 0;
    cpu.set32(State.codeTag, (execution.generation << 10) | (id << 1) | user);
  }

  /** Soft TLB, fetch cache and jump cache of a vCPU are forgotten. */
  flushTranslations(cpu: Vcpu): void {
    const execution = this.executions[cpu.index];
    cpu.flushTlb();
    execution.fetchTag.fill(-1);
    cpu.debug.update();
    this.bumpGeneration(cpu, execution);
  }

  flushAllTranslations(): void {
    for (const cpu of this.vcpus) this.flushTranslations(cpu);
  }

  flushPage(cpu: Vcpu, linear: bigint): void {
    // A large page may have filled many entries: forgetting all is always right, and INVLPG is rare.
    void linear;
    this.flushTranslations(cpu);
  }

  private useContext(cpu: Vcpu, execution: Execution): CodeContext {
    if (execution.contextKey !== cpu.contextKey || execution.contextEpoch !== this.epoch) {
      execution.context = this.code.context(cpu.contextKey, () => ({ decode: decodeContext(cpu) }));
      execution.contextKey = cpu.contextKey;
      execution.contextEpoch = this.epoch;
    }
    this.updateTag(cpu, execution);
    return execution.context!;
  }

  /** Guest-physical address of the code byte, or -1 (exception pending, or abandoned with stop). */
  private fetchAddress(cpu: Vcpu, linear: bigint): number {
    const low = Number(linear & 0xffffffffn);
    const high = Number((linear >> 32n) & 0xffffffffn);
    const user = cpu.cpl === 3;
    const page = (high & 0xfffff) * 0x100000 + (low >>> 12);
    const tag = page * 2 + (user ? 1 : 0);
    const execution = this.executions[cpu.index];
    const slot = page & (FETCH_ENTRIES - 1);
    if (execution.fetchTag[slot] === tag) return execution.fetchPage[slot] * PAGE + (low & 0xfff);
    for (;;) {
      const status = this.mmu.translate(cpu, low, high, Access.execute, user);
      if (status === Translation.ok) break;
      if (status === Translation.pageFault) {
        cpu.pending = { vector: Vector.PF, error: this.mmu.errorCode, address: linear };
        return -1;
      }
      if (!this.host.eptWalkExit(cpu, linear, EptAccess.execute)) return -1;
    }
    const gpa = this.mmu.gpa;
    while (this.mmu.host(gpa, EptAccess.execute) < 0) {
      if (!this.host.eptWalkExit(cpu, linear, EptAccess.execute)) return -1;
    }
    execution.fetchTag[slot] = tag;
    execution.fetchPage[slot] = Math.floor(gpa / PAGE);
    return gpa;
  }

  /** rip -> linear address of the code, or -1n with an exception pending. */
  private codeLinear(cpu: Vcpu): bigint {
    const rip = cpu.rip;
    if (cpu.bitness === 64) {
      if (cpu.canonical(rip)) return rip;
    } else if (rip <= BigInt(cpu.segmentLimit(SegmentIndex.cs))) {
      return (rip + cpu.segmentBase(SegmentIndex.cs)) & 0xffffffffn;
    }
    cpu.pending = { vector: Vector.GP, error: 0 };
    return -1n;
  }

  /** Micro-op at rip, with ripBase and the jump cache set; 0 when an exception is pending or a stop wanted. */
  private find(cpu: Vcpu): number {
    const execution = this.executions[cpu.index];
    if (cpu.bitness !== 64) cpu.rip &= 0xffffffffn;
    const linear = this.codeLinear(cpu);
    if (cpu.pending) return 0;
    const gpa = this.fetchAddress(cpu, linear);
    if (gpa < 0) return 0;
    let context = this.useContext(cpu, execution);
    const offset = gpa % PAGE;
    const breakpoints = this.host.breakpointsOn(cpu, linear >> 12n);
    const end = cpu.bitness === 64 ? undefined : codeEnd(cpu, offset);
    if (breakpoints || end !== undefined) {
      context = this.code.context(`${cpu.contextKey} ${breakpoints?.key ?? ''} ${end ?? ''}`, () => ({
        decode: { ...decodeContext(cpu), end },
        breakpoints: breakpoints?.offsets,
      }));
    }
    const host = this.mmu.host(gpa - offset, EptAccess.execute);
    const page: CodePage = this.code.page(context, Math.floor(gpa / PAGE));
    const uop = this.code.find(page, offset, host);
    if (execution.contextEpoch !== this.epoch) this.useContext(cpu, execution);
    cpu.set64(State.ripBase, cpu.rip - BigInt(offset));
    const entry = cpu.base + VCPU_JUMPS + (cpu.get32(State.rip) & (Jump.entries - 1)) * Jump.entrySize;
    this.memory.u64[(entry + Jump.rip) >> 3] = cpu.rip;
    this.memory.i32[(entry + Jump.uop) >> 2] = uop;
    this.memory.i32[(entry + Jump.tag) >> 2] = cpu.get32(State.codeTag);
    return uop;
  }

  // ---- running ---------------------------------------------------------------------------------------------------

  /**
   * Runs a vCPU for at most `count` instructions (1 .. 2^30); returns how many retired. Returns early when the vCPU stops being
   * active or host.service says so.
   */
  run(cpu: Vcpu, count: number): number {
    this.cpu = cpu;
    this.execution = this.executions[cpu.index];
    this.granted = count;
    this.icountBase = this.retired;
    // The shadow counts this vCPU's instructions, and others may have run since.
    if (cpu.shadowLeft) cpu.shadowUntil = this.retired + cpu.shadowLeft;
    cpu.set32(State.budget, count);
    cpu.attention = true;
    let linkFrom = 0;
    for (;;) {
      if (cpu.pending) this.deliver(cpu);
      if (cpu.attention && this.host.service(cpu)) break;
      if (cpu.activity !== 'active') break;
      if (cpu.pending) continue;
      const budget = cpu.get32(State.budget);
      if (budget <= 0) break;
      const uop = this.find(cpu);
      if (!uop) {
        linkFrom = 0;
        continue;
      }
      if (linkFrom) this.link(linkFrom, uop);
      // An interrupt shadow ends after one instruction: whatever waits must get its turn then.
      const flags = cpu.systemFlags;
      const trap = (flags & Flag.TF) !== 0;
      const before = this.icount;
      if (flags & Flag.RF) this.beginResumed(cpu, before);
      const observed = this.observer?.wants(uop);
      const limit = trap || observed || cpu.shadowUntil > before ? 1 : budget;
      cpu.trapSuppressed = false;
      this.enter(cpu, uop, limit);
      if (observed) this.observer!.executed(uop, this.icount > before);
      linkFrom = this.branched(cpu);
      if (flags & Flag.RF && this.icount === before && !cpu.pending) cpu.setSystemFlag(Flag.RF, true);
      if (trap && this.icount > before && !cpu.pending && !cpu.trapSuppressed) {
        cpu.debugTraps |= DebugStatus.BS;
        cpu.attention = true;
      }
      if (cpu.shadowUntil >= 0 && cpu.shadowUntil <= this.icount) {
        cpu.shadowUntil = -1;
        cpu.shadowsTraps = false;
        cpu.attention = true;
      }
    }
    const done = count - cpu.get32(State.budget);
    this.granted = 0;
    this.retired = this.icountBase + done;
    cpu.shadowLeft = Math.max(0, cpu.shadowUntil - this.retired);
    return done;
  }

  /**
   * Delivers cpu.pending. Exceptions whose handlers cannot run one instruction would go on for ever: of a long row of them each
   * counts as an instruction, so that time passes and the run ends.
   */
  private deliver(cpu: Vcpu): void {
    const row = cpu.faultsInRow;
    const { icount } = this;
    if (row.icount !== icount) {
      row.icount = icount;
      row.count = 0;
    }
    if (++row.count > FAULTS_IN_ROW) cpu.set32(State.budget, cpu.get32(State.budget) - 1);
    this.host.deliver(cpu);
  }

  /** RFLAGS.RF holds for one instruction: it passes instruction breakpoints. SDM Vol. 3B, "Instruction-Breakpoint Exception Condition". */
  private beginResumed(cpu: Vcpu, icount: number): void {
    cpu.resumeAt = icount;
    cpu.setSystemFlag(Flag.RF, false);
  }

  /** After a run of handlers: the direct branch that wants to be linked to where it went, 0 when there is none. */
  private branched(cpu: Vcpu): number {
    const linkFrom = cpu.get32(State.linkFrom);
    const from = linkFrom || cpu.get32(State.branchFrom);
    if (!from) return 0;
    cpu.set32(State.linkFrom, 0);
    cpu.set32(State.branchFrom, 0);
    if (this.reachable(cpu)) return linkFrom;
    // The target cannot be fetched: the branch has not happened.
    undoneBranch(cpu, from, this.memory);
    cpu.rip = BigInt.asUintN(64, cpu.get64(State.ripBase) + BigInt(this.memory.i32[(from + Uop.ip) >> 2]));
    cpu.set32(State.budget, cpu.get32(State.budget) + 1);
    cpu.debugHits = 0;
    cpu.pending = { vector: Vector.GP, error: 0 };
    return 0;
  }

  /** rip is canonical, or within CS. */
  private reachable(cpu: Vcpu): boolean {
    if (cpu.bitness === 64) {
      const top = cpu.get32(State.rip + 4) >> 15;
      return top === 0 || top === -1 || cpu.canonical(cpu.rip);
    }
    return cpu.get32(State.rip) >>> 0 <= cpu.segmentLimit(SegmentIndex.cs);
  }

  /** The budget of the current run shrinks to nothing: the run loop gets control after the current block. */
  interrupt(cpu: Vcpu): void {
    cpu.attention = true;
  }

  private link(from: number, to: number): void {
    // Only inside one page's micro-ops, while the branch is still where it was.
    if (this.memory.i32[(from + Uop.target) >> 2] === 0) this.memory.i32[(from + Uop.target) >> 2] = to;
  }

  private enter(cpu: Vcpu, uop: number, limit: number): void {
    const left = this.memory.i32[(uop + Uop.left) >> 2];
    if (this.memory.u16[(uop + Uop.code) >> 1] === SpecialCode.crossPage) {
      this.runCrossPage(cpu);
      return;
    }
    const budget = cpu.get32(State.budget);
    if (limit >= left && (limit === budget || limit === left)) {
      // A limit below the budget must not chain into further blocks.
      this.execute(cpu, uop, limit - left, budget - limit);
    } else this.runPart(cpu, uop, Math.min(limit, left), budget);
  }

  /** Runs the first `count` instructions of a block: copies them, with a stop behind them. */
  private runPart(cpu: Vcpu, uop: number, count: number, budget: number): void {
    const { u32, i32, u16 } = this.memory;
    const words = Uop.bytes / 4;
    let to = cpu.base + State.scratch;
    let from = uop;
    for (let left = count; left > 0;) {
      u32.copyWithin(to >> 2, from >> 2, (from >> 2) + words);
      i32[(to + Uop.left) >> 2] = left;
      if (u16[(from + Uop.code) >> 1] !== SpecialCode.breakpoint) left--;
      from += Uop.bytes;
      to += Uop.bytes;
    }
    this.decoder.writePseudo(to, Pseudo.stop, i32[(from + Uop.ip) >> 2]);
    this.execute(cpu, cpu.base + State.scratch, 0, budget - count);
  }

  /** Enters handlers with `budget` left after the block's charge, and `spare` put aside. */
  private execute(cpu: Vcpu, uop: number, budget: number, spare: number): void {
    this.spare = spare;
    cpu.set32(State.budget, budget);
    this.run_(uop, cpu.base);
    this.current = 0;
    this.spare = 0;
    if (spare) cpu.set32(State.budget, cpu.get32(State.budget) + spare);
  }

  /** An instruction whose bytes lie in two pages: fetched with the mappings of now, decoded, run alone. */
  private runCrossPage(cpu: Vcpu): void {
    const linear = this.codeLinear(cpu);
    if (cpu.pending) return;
    const first = PAGE - Number(linear & 0xfffn);
    const bytes = new Uint8Array(first + 15);
    const low = this.fetchAddress(cpu, linear);
    if (low < 0) return;
    bytes.set(this.memory.u8.subarray(this.memory.ramBase + low, this.memory.ramBase + low + first));
    const next =
      cpu.bitness === 64 ? BigInt.asUintN(64, linear + BigInt(first)) : (linear + BigInt(first)) & 0xffffffffn;
    const high = this.fetchAddress(cpu, next);
    if (high < 0) return;
    bytes.set(this.memory.u8.subarray(this.memory.ramBase + high, this.memory.ramBase + high + 15), first);
    const ip = Number(linear & 0xfffn);
    this.decoder.begin(cpu.bitness, bytes, ip);
    this.decoder.next();
    const last = cpu.rip + BigInt(this.decoder.length - 1);
    if (cpu.bitness !== 64 && last > BigInt(cpu.segmentLimit(SegmentIndex.cs)))
      this.decoder.refuse(SpecialCode.unfetchable);
    cpu.set64(State.ripBase, cpu.rip - BigInt(ip));
    if (this.host.breakpointHit(cpu, linear)) return;
    let at = cpu.base + State.scratch;
    this.decoder.write(at, ip, decodeContext(cpu));
    this.memory.i32[(at + Uop.left) >> 2] = 1;
    if (this.memory.i32[(at + Uop.target) >> 2] === 0) this.memory.i32[(at + Uop.target) >> 2] = -1;
    at += Uop.bytes;
    this.decoder.writePseudo(at, Pseudo.stop, ip + this.decoder.length);
    this.execute(cpu, cpu.base + State.scratch, 0, cpu.get32(State.budget) - 1);
  }

  /** The instruction at `uop` has not happened: rip points at it and it is not counted. */
  abort(uop: number): number {
    const cpu = this.cpu;
    const { i32 } = this.memory;
    cpu.rip = cpu.get64(State.ripBase) + BigInt(i32[(uop + Uop.ip) >> 2]);
    cpu.set32(State.budget, cpu.get32(State.budget) + i32[(uop + Uop.left) >> 2]);
    cpu.debugHits = 0;
    return SlowResult.abort;
  }

  /** The instruction at `uop` is done, and control goes back to the run loop with rip behind it (or where the assist put it). */
  complete(uop: number, rip?: bigint): number {
    const cpu = this.cpu;
    const { i32 } = this.memory;
    const next = i32[(uop + Uop.ip) >> 2] + i32[(uop + Uop.length) >> 2];
    cpu.rip = rip ?? BigInt.asUintN(64, cpu.get64(State.ripBase) + BigInt(next));
    cpu.set32(State.budget, cpu.get32(State.budget) + i32[(uop + Uop.left) >> 2] - 1);
    return 1;
  }

  private raise(uop: number, exception: PendingException): number {
    this.current = 0;
    this.cpu.pending = exception;
    this.abort(uop);
    return 0;
  }

  private assist(uop: number): number {
    const cpu = this.cpu;
    this.current = uop;
    const code = this.memory.u16[(uop + Uop.code) >> 1];
    if (code === SpecialCode.crossPage) {
      // Reached from other code (jump cache, linked branch): the run loop fetches both pages.
      this.abort(uop);
      return 1;
    }
    if (code === SpecialCode.breakpoint) {
      const linear = this.linearOf(cpu, uop);
      if (!this.host.breakpointHit(cpu, linear)) return 0;
      this.abort(uop);
      return 1;
    }
    if (code === SpecialCode.deviceNotAvailable) {
      this.raise(uop, { vector: Vector.NM });
      return 1;
    }
    if (code === SpecialCode.unfetchable) {
      this.raise(uop, { vector: Vector.GP, error: 0 });
      return 1;
    }
    return this.host.assist(cpu, uop);
  }

  private linearOf(cpu: Vcpu, uop: number): bigint {
    const rip = cpu.get64(State.ripBase) + BigInt(this.memory.i32[(uop + Uop.ip) >> 2]);
    return cpu.bitness === 64 ? BigInt.asUintN(64, rip) : (rip + cpu.segmentBase(SegmentIndex.cs)) & 0xffffffffn;
  }

  private divide(signed: boolean): number {
    const cpu = this.cpu;
    const divisor = cpu.get64(State.divisor);
    const joined = (cpu.get64(State.slowAddress) << 64n) | cpu.get64(State.slowValue);
    const dividend = signed ? BigInt.asIntN(128, joined) : joined;
    const by = signed ? BigInt.asIntN(64, divisor) : divisor;
    if (by === 0n) return 1;
    const quotient = dividend / by;
    if (quotient !== (signed ? BigInt.asIntN(64, quotient) : BigInt.asUintN(64, quotient))) return 1;
    cpu.set64(State.slowValue, BigInt.asUintN(64, quotient));
    cpu.set64(State.slowAddress, BigInt.asUintN(64, dividend % by));
    return 0;
  }

  /** Runs the vector operation whose number is in the low half of `request`. */
  private vector(uop: number, request: number): number {
    const cpu = this.cpu;
    this.current = uop;
    const vector = VECTOR_OPERATIONS[request & 0xffff](this.memory, cpu.base, request >>> 16);
    if (!vector) return 0;
    // Without OSXMMEXCPT the operating system knows nothing of #XM. SDM Vol. 3A, 2.5 "Control Registers".
    this.raise(uop, { vector: vector === Vector.XM && !(cpu.cr4 & Cr4.OSXMMEXCPT) ? Vector.UD : vector });
    return 1;
  }

  // ---- memory slow path ------------------------------------------------------------------------------------------

  /** Entry from handlers: State.slowAddress holds the linear address, State.slowValue the value (or gets it). */
  private slow(uop: number, kind: number): number {
    const cpu = this.cpu;
    this.current = uop;
    const stack = (kind & Slow.stack) !== 0;
    if (kind & Slow.limit) {
      cpu.pending = { vector: stack ? Vector.SS : Vector.GP, error: 0 };
      return this.abort(uop);
    }
    if (kind & Slow.target) {
      if (cpu.canonical(cpu.get64(State.slowAddress))) return SlowResult.ok;
      cpu.pending = { vector: Vector.GP, error: 0 };
      return this.abort(uop);
    }
    const size = 1 << (kind & Slow.sizeMask);
    const operation = kind & Slow.operation;
    if (operation === Slow.commit) return this.commitModify(cpu);
    const linear = cpu.get64(State.slowAddress);
    if (cpu.bitness === 64 && !canonical(cpu, linear, size)) {
      const throughStack = stack || (this.memory.u8[uop + Uop.flags] & UopFlag.stack) !== 0;
      cpu.pending = { vector: throughStack ? Vector.SS : Vector.GP, error: 0 };
      return this.abort(uop);
    }
    if (cpu.bitness !== 64 && linear + BigInt(size) > 0x100000000n && this.beyondLimit(cpu, uop, stack)) {
      return this.abort(uop);
    }
    // Checked before the page is looked at, as processors do.
    if (cpu.checksAlignment && Number(linear & 0xfffn) & (size - 1)) {
      cpu.pending = { vector: Vector.AC, error: 0 };
      return this.abort(uop);
    }
    const user = cpu.cpl === 3;
    if (kind & Slow.probe) return this.probeWrite(cpu, linear, size, user) ? SlowResult.ok : this.abort(uop);
    if (operation === Slow.modify) return this.beginModify(cpu, uop, linear, size, user);
    const write = operation === Slow.write;
    if (size > 8) return this.slowVector(cpu, uop, linear, size, write, user);
    const status = write
      ? this.writeLinear(cpu, linear, size, cpu.get64(State.slowValue), user, true)
      : this.readLinear(cpu, linear, size, user, true);
    return status === SlowResult.abort ? this.abort(uop) : status;
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
      if (!this.resolve(cpu, linear, access, user)) return this.abort(uop);
      if (!this.resolve(cpu, (last >> 12n) << 12n, access, user)) return this.abort(uop);
    }
    let result: number = SlowResult.ok;
    for (let i = 0; i < size; i += 8) {
      const at = BigInt.asUintN(64, linear + BigInt(i));
      const status = write
        ? this.writeLinear(cpu, at, 8, cpu.get64(State.bounce + i), user, true)
        : this.readLinear(cpu, at, 8, user, true);
      if (status === SlowResult.abort) return this.abort(uop);
      if (status === SlowResult.again) result = status;
      if (!write) cpu.set64(State.bounce + i, cpu.get64(State.slowValue));
    }
    return result;
  }

  private beginModify(cpu: Vcpu, uop: number, linear: bigint, size: number, user: boolean): number {
    const low = Number(linear & 0xffffffffn) >>> 0;
    const single = (low & 0xfff) + size <= PAGE;
    if (!this.probeWrite(cpu, linear, size, user)) return this.abort(uop);
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
    if (status === SlowResult.abort) return this.abort(uop);
    cpu.set64(State.bounce, cpu.get64(State.slowValue));
    cpu.set64(State.slowValue, BigInt(cpu.base + State.bounce));
    this.execution.modifyLinear = linear;
    this.execution.modifySize = size;
    return SlowResult.again;
  }

  private commitModify(cpu: Vcpu): number {
    const { modifyLinear, modifySize } = this.execution;
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
    if (hit && this.cpu) this.cpu.attention = true;
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
    const host = this.memory.ramBase + page * PAGE;
    for (const cpu of this.vcpus) {
      const start = cpu.base + VCPU_TLB;
      for (let e = start; e < start + TLB_BYTES * Tlb.contexts; e += Tlb.entrySize) {
        const read = i64[(e + Tlb.tagRead) >> 3];
        const write = i64[(e + Tlb.tagWrite) >> 3];
        if (read === -1n && write === -1n) continue;
        const low = Number((read === -1n ? write : read) & 0xffffffffn);
        if ((low + i32[(e + Tlb.addend) >> 2]) >>> 0 === host) {
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

/** Of the page that rip is in: the first offset beyond CS's limit; undefined when that lies in no or in another page. */
function codeEnd(cpu: Vcpu, offset: number): number | undefined {
  const end = cpu.segmentLimit(SegmentIndex.cs) - (cpu.get32(State.rip) >>> 0) + offset + 1;
  return end < PAGE ? end : undefined;
}

function decodeContext(cpu: Vcpu): DecodeContext {
  const flat = [0, 1, 2, 3, 4, 5].map((s) => cpu.flat(s));
  // FS and GS move often and are not part of the context's key: never treated as flat.
  flat[SegmentIndex.fs] = flat[SegmentIndex.gs] = false;
  return { bitness: cpu.bitness, flat: (segment) => flat[segment], units: cpu.units, real: cpu.realOrV8086 };
}

const modules = new WeakMap<Uint8Array, WebAssembly.Module>();
function compiled(bytes: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  let module = modules.get(bytes);
  if (!module) {
    module = new WebAssembly.Module(bytes);
    modules.set(bytes, module);
  }
  return module;
}
