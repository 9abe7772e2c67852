/**
 * The execution engine of a machine: the handler module's instance, and the loop that runs one vCPU for an exact number of
 * instructions. Code at rip comes from CodeFetch, memory that the soft TLB does not reach from MemoryPath; what the architecture does
 * beyond that (exceptions, exits, devices) comes in through CoreHost.
 */
import type { Mmu } from '../mmu/mmu';
import type { MachineMemory } from '../mmu/memory';
import type { IMPORTS } from '../translate/abi';
import { handlerModule } from '../translate/handlerModule';
import type { RegionCompiler } from '../translate/region/compileJob';
import { CodeCache } from '../x86/codeCache';
import { InstructionDecoder, Pseudo, SpecialCode } from '../x86/decode';
import { CodeFetch, type FetchHost } from './codeFetch';
import { CompiledCode, type CompileMode } from './compiledCode';
import { CrossPageInstructions } from './crossPage';
import { DebugStatus } from './debugRegisters';
import { ExecutionObserver } from './executionObserver';
import { carry } from './halves';
import { abortInstruction } from './instructionEnd';
import { PAGE, SegmentIndex, State, Uop } from './layout';
import { MemoryPath, PageState, type MemoryHost } from './memoryPath';
import { undoneBranch } from './nearBranches';
import { TableMemory } from './tableMemory';
import { Cr4, Flag, Vector, type PendingException, type Vcpu } from './vcpu';
import { VECTOR_OPERATIONS } from './vector/operations';

/** What the core needs from the machine around it. */
export interface CoreHost extends MemoryHost, FetchHost {
  /** Runs the assist of the micro-op; 0: go on with the next micro-op, 1: return to the run loop (State.rip is set). */
  assist(cpu: Vcpu, uop: number): number;
  /** A breakpoint micro-op. True: stop here. */
  breakpointHit(cpu: Vcpu, linear: bigint): boolean;
  /** Delivers cpu.pending. */
  deliver(cpu: Vcpu): void;
  /** Called when a vCPU wants attention between instructions; true: leave the run loop. */
  service(cpu: Vcpu): boolean;
}

export interface CoreOptions {
  /** Default: Core.compile */
  compile?: CompileMode;
  /** Milliseconds, for statistics of compiling and how much of it is done at once. */
  now?: () => number;
  /** Bytes of WebAssembly that compiled code may have. Default: 32 MiB, with 'always' 128 */
  compiledBytes?: number;
  /** Modules that compiled code may have. Default: 8192 */
  compiledModules?: number;
  /** Default: Core.compiler */
  compiler?: () => RegionCompiler;
}

/** Exceptions without an instruction between them that count as none themselves. */
const FAULTS_IN_ROW = 4096;

export class Core {
  /**
   * For measuring what tests reach: machines made from now on tell it the iced-x86 Code of every instruction executed, at least
   * once a place in memory, and whether it retired (else it faulted). They run slower.
   */
  static observer?: (code: number, retired: boolean) => void;

  /** How machines made from now on compile, unless they are told. */
  static compile: CompileMode = 'auto';

  /** Makes a compiler for a machine that compiles in a thread of its own, where there is one. */
  static compiler?: () => RegionCompiler;

  readonly code: CodeCache;
  readonly compiled: CompiledCode;
  readonly mmu: Mmu;
  readonly decoder: InstructionDecoder;
  /** Where accesses go that the soft TLB does not let through, and all accesses of assists. */
  readonly memoryPath: MemoryPath;
  /** Descriptor tables and the like, as the processor itself reads them. */
  readonly tables: TableMemory;
  private readonly fetch: CodeFetch;
  private readonly crossPage: CrossPageInstructions;
  private readonly run_: (uop: number, cpu: number) => number;
  /** Running now or last; undefined before the first run. */
  private cpu!: Vcpu;
  /** Instructions granted to the current run and the count before it. */
  private granted = 0;
  private icountBase = 0;
  /** icount of the machine: instructions retired by all vCPUs. */
  retired = 0;
  private readonly observer?: ExecutionObserver;
  /** Part of the grant that the block now running may not touch. */
  private spare = 0;
  /** Micro-op whose assist or slow path is running, 0 outside of handlers. */
  private current = 0;
  /**
   * Steps left that are slow, a microsecond to some twenty each: out of WebAssembly and back, or an instruction decoded. At 0 a run ends
   * though it has not retired its count: so it takes a bounded time, whatever the guest does.
   */
  patience = Infinity;

  constructor(
    readonly memory: MachineMemory,
    mmu: Mmu,
    private readonly vcpus: readonly Vcpu[],
    features: ReadonlySet<string>,
    private readonly host: CoreHost,
    options: CoreOptions = {},
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
      hot: (uop) => this.hot(uop),
    };
    const env = { memory: memory.wasm, table, ...functions };
    const instance = new WebAssembly.Instance(compiledHandlers(), { env });
    this.run_ = instance.exports.run as (uop: number, cpu: number) => number;
    this.decoder = new InstructionDecoder(memory, module.handlers, features);
    this.code = new CodeCache(memory, this.decoder);
    const mode = options.compile ?? Core.compile;
    this.compiled = new CompiledCode(
      memory,
      this.code,
      module.handlers,
      { table, size: module.tableSize, go: instance.exports.go },
      mode,
      options.now,
      { bytes: options.compiledBytes, modules: options.compiledModules },
      mode === 'auto' ? (options.compiler ?? Core.compiler)?.() : undefined,
    );
    this.observer = Core.observer && new ExecutionObserver(this.memory, this.decoder, this.code, Core.observer);
    this.memoryPath = new MemoryPath(memory, mmu, vcpus, this.code, host);
    this.crossPage = new CrossPageInstructions(memory, this.decoder);
    this.tables = new TableMemory(mmu, this.memoryPath);
    this.fetch = new CodeFetch(memory, mmu, vcpus, this.code, host);
    this.code.onCodePage = (page, holds) => this.memoryPath.setPageState(page, PageState.code, holds);
  }

  /** Instructions retired before the one being executed (or about to be). Blocks are charged when they are entered. */
  get icount(): number {
    if (!this.granted) return this.retired;
    const ahead = this.current ? this.memory.i32[(this.current + Uop.left) >> 2] : 0;
    return this.icountBase + this.granted - this.spare - this.cpu.get32(State.budget) - ahead;
  }

  /** Instructions retired by compiled code, of all vCPUs. */
  get compiledInstructions(): number {
    return this.vcpus.reduce((sum, cpu) => sum + Number(cpu.get64(State.compiled)), 0);
  }

  /** Micro-op of the instruction being executed, 0 between instructions. */
  get currentUop(): number {
    return this.current;
  }

  /** rip of the instruction being executed, or the next one between instructions. */
  instructionRip(cpu: Vcpu): bigint {
    if (!this.current) return cpu.rip;
    return BigInt.asUintN(64, cpu.get64(State.ripBase) + BigInt(this.memory.i32[(this.current + Uop.ip) >> 2]));
  }

  /** All jump caches and contexts are looked up anew: code or breakpoints changed. */
  invalidateJumps(): void {
    this.fetch.invalidateJumps();
  }

  /** Soft TLB, fetch cache and jump cache of a vCPU are forgotten. */
  flushTranslations(cpu: Vcpu): void {
    cpu.softTlb.flush();
    cpu.debug.update();
    this.fetch.flush(cpu);
    cpu.largePages.clear();
  }

  /** As flushTranslations(), but for global pages: CR3 was loaded. */
  flushLocalTranslations(cpu: Vcpu): void {
    cpu.softTlb.flushLocal();
    this.fetch.flushLocal(cpu);
  }

  flushAllTranslations(): void {
    for (const cpu of this.vcpus) this.flushTranslations(cpu);
  }

  /** Forgets the page of a linear address, in two halves, all of it if it is a large one. True: the code that runs has to be looked up anew. */
  flushPage(cpu: Vcpu, low: number, high: number): boolean {
    if (cpu.largePages.cover(low, high)) {
      this.flushTranslations(cpu);
      return true;
    }
    cpu.softTlb.flushPage(low, high);
    return this.fetch.flushPage(cpu, low, high);
  }

  /**
   * Runs a vCPU for at most `count` instructions (1 .. 2^30); returns how many retired. Returns early when the vCPU stops being
   * active, host.service says so, or `patience` is at its end.
   */
  run(cpu: Vcpu, count: number): number {
    this.compiled.compileSome();
    this.cpu = cpu;
    this.memoryPath.running = cpu;
    this.granted = count;
    this.icountBase = this.retired;
    // The shadow counts this vCPU's instructions, and others may have run since.
    if (cpu.shadowLeft) cpu.shadowUntil = this.retired + cpu.shadowLeft;
    cpu.set32(State.budget, count);
    this.setEnd(cpu, 0);
    cpu.attention = true;
    let linkFrom = 0;
    for (;;) {
      // What comes between a branch and its target leads elsewhere.
      if (cpu.pending || cpu.attention) linkFrom = 0;
      if (cpu.pending) this.deliver(cpu);
      if (cpu.attention && this.host.service(cpu)) break;
      if (cpu.activity !== 'active') break;
      if (cpu.pending) continue;
      const budget = cpu.get32(State.budget);
      if (budget <= 0 || --this.patience <= 0) break;
      const decoded = this.code.decoded;
      const uop = this.fetch.find(cpu);
      this.patience -= this.code.decoded - decoded;
      if (!uop) {
        linkFrom = 0;
        continue;
      }
      if (linkFrom) this.link(linkFrom, uop);
      this.compiled.entering(uop, cpu);
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
    const done = this.granted - cpu.get32(State.budget);
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
    if (++row.count > FAULTS_IN_ROW) {
      cpu.set32(State.budget, cpu.get32(State.budget) - 1);
      row.icount++;
    }
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

  private link(from: number, to: number): void {
    // Only inside one page's micro-ops, while the branch is still where it was: with 16 bits of rip it may lead to another.
    const at = (from + Uop.target) >> 2;
    if (this.memory.i32[at] === 0 && this.code.pageOf(from) === this.code.pageOf(to)) this.memory.i32[at] = to;
  }

  private enter(cpu: Vcpu, uop: number, limit: number): void {
    if (this.memory.u16[(uop + Uop.code) >> 1] === SpecialCode.crossPage) {
      if (!this.fetchCrossPage(cpu) || this.host.breakpointHit(cpu, this.linearOf(cpu, uop))) return;
      uop = cpu.base + State.scratch;
    }
    const left = this.memory.i32[(uop + Uop.left) >> 2];
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
      i32[(to + Uop.handler) >> 2] = this.compiled.handler(from);
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
    if (spare) this.setEnd(cpu, spare);
    cpu.set32(State.budget, budget);
    cpu.set32(State.resumed, -1);
    this.run_(uop, cpu.base);
    this.current = 0;
    // The instruction behind an IRET that set RF has not happened.
    if (cpu.get32(State.resumed) === cpu.get32(State.budget) && !cpu.pending) cpu.setSystemFlag(Flag.RF, true);
    if (!spare) return;
    this.setEnd(cpu, 0);
    cpu.set32(State.budget, cpu.get32(State.budget) + spare);
  }

  /**
   * Fetches the instruction at rip, whose bytes lie in two pages, into the vCPU's scratch, as a block of its own; ripBase is that of the
   * first page. False: an exception is pending or a stop wanted.
   */
  private fetchCrossPage(cpu: Vcpu): boolean {
    const wide = cpu.bitness === 64;
    const low = this.fetch.linearLow(cpu);
    const high = wide ? cpu.get32(State.rip + 4) : 0;
    const first = this.fetch.address(cpu, low, high);
    if (first < 0) return false;
    const ip = first % PAGE;
    const behind = (low + PAGE - ip) | 0;
    const second = this.fetch.address(cpu, behind, wide ? carry(low, high, behind) : 0);
    if (second < 0) return false;
    const at = cpu.base + State.scratch;
    const length = this.crossPage.write(cpu, at, first, second);
    this.decoder.writePseudo(at + Uop.bytes, Pseudo.pageEnd, ip + length);
    return true;
  }

  /** Handlers know the instruction count by State.icountEnd, of which `spare` instructions are not in the budget. */
  private setEnd(cpu: Vcpu, spare: number): void {
    this.spare = spare;
    const end = this.icountBase + this.granted - spare;
    cpu.set32(State.icountEnd, end >>> 0);
    cpu.set32(State.icountEnd + 4, Math.floor(end / 0x100000000));
  }

  /**
   * Lets the run under way go on for at most `count` instructions, the present one included. False: they are fewer than what the
   * block at hand has been charged, and nothing has changed.
   */
  shorten(count: number): boolean {
    const { cpu } = this;
    if (!this.current || this.spare) return false;
    const budget = count - this.memory.i32[(this.current + Uop.left) >> 2];
    const less = cpu.get32(State.budget) - budget;
    if (budget < 0) return false;
    if (less <= 0) return true;
    cpu.set32(State.budget, budget);
    const resumed = cpu.get32(State.resumed);
    if (resumed >= 0) cpu.set32(State.resumed, resumed - less);
    this.granted -= less;
    this.setEnd(cpu, 0);
    return true;
  }

  /** The run under way ends with the block at hand. */
  private endSoon(): void {
    this.shorten(this.memory.i32[(this.current + Uop.left) >> 2]);
  }

  /** As when `patience` is at its end. */
  endRun(): void {
    this.patience = 0;
    this.endSoon();
  }

  /** One of the steps that `patience` counts, within an instruction. */
  slowStep(): void {
    if (--this.patience <= 0) this.endSoon();
  }

  private raise(uop: number, exception: PendingException): number {
    this.current = 0;
    this.cpu.pending = exception;
    abortInstruction(this.cpu, uop);
    return 0;
  }

  private hot(uop: number): number {
    this.compiled.hot(uop, this.cpu);
    return 0;
  }

  private slow(uop: number, kind: number): number {
    this.current = uop;
    this.slowStep();
    return this.memoryPath.slow(this.cpu, uop, kind);
  }

  private assist(uop: number): number {
    const cpu = this.cpu;
    this.current = uop;
    this.slowStep();
    const code = this.memory.u16[(uop + Uop.code) >> 1];
    if (code === SpecialCode.crossPage) {
      // Reached from other code (jump cache, linked branch). It is about to be executed, and charged then.
      abortInstruction(cpu, uop);
      this.current = 0;
      if (this.observer || !this.fetchCrossPage(cpu) || cpu.attention) return 1;
      if (this.host.breakpointHit(cpu, this.linearOf(cpu, uop))) return 1;
      this.memory.i32[(uop + Uop.bytes + Uop.target) >> 2] = cpu.base + State.scratch;
      return 0;
    }
    if (code === SpecialCode.breakpoint) {
      const linear = this.linearOf(cpu, uop);
      if (!this.host.breakpointHit(cpu, linear)) return 0;
      abortInstruction(cpu, uop);
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

  /** Linear address of an instruction: mostly that of the last one again, where a breakpoint is in a loop. */
  private linearOf(cpu: Vcpu, uop: number): bigint {
    if (cpu.bitness !== 64) {
      const rip = cpu.get64(State.ripBase) + BigInt(this.memory.i32[(uop + Uop.ip) >> 2]);
      return (rip + cpu.segmentBase(SegmentIndex.cs)) & 0xffffffffn;
    }
    const last = this.lastLinear;
    const [low, high] = [cpu.get32(State.ripBase), cpu.get32(State.ripBase + 4)];
    const offset = this.memory.i32[(uop + Uop.ip) >> 2];
    if (last.offset !== offset || last.low !== low || last.high !== high) {
      const linear = BigInt.asUintN(64, cpu.get64(State.ripBase) + BigInt(offset));
      last.offset = offset;
      last.low = low;
      last.high = high;
      last.linear = linear;
    }
    return last.linear;
  }
  private readonly lastLinear = { offset: 0, low: 0, high: 0, linear: 0n };

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
    this.slowStep();
    const vector = VECTOR_OPERATIONS[request & 0xffff](this.memory, cpu.base, request >>> 16);
    if (!vector) return 0;
    // Without OSXMMEXCPT the operating system knows nothing of #XM. SDM Vol. 3A, 2.5 "Control Registers".
    this.raise(uop, { vector: vector === Vector.XM && !(cpu.cr4 & Cr4.OSXMMEXCPT) ? Vector.UD : vector });
    return 1;
  }
}

let handlers: WebAssembly.Module | undefined;

/** WebAssembly's module of the handlers, made once in a process: of making a first machine, this takes long. */
export function compiledHandlers(): WebAssembly.Module {
  handlers ??= new WebAssembly.Module(handlerModule().bytes);
  return handlers;
}
