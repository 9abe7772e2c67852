/**
 * Compiled regions: which code is hot, its compilation, and how control gets there: the handler of the micro-op that a region begins at
 * is the region's function, and so every way to that micro-op leads into it. Compiling changes nothing that a guest or a debugger sees.
 */
import type { MachineMemory } from '../mmu/memory';
import { REGION_IMPORTS } from '../translate/abi';
import type { HandlerModule } from '../translate/handlers';
import { compileRegion } from '../translate/region/regionFunction';
import { CompiledForms, planRegion, type PlanSource, type RegionPlan } from '../translate/region/regionPlan';
import { encodeModule, type Fn } from '../translate/wasm';
import type { CodeCache, CodePage } from '../x86/codeCache';
import { Uop } from './layout';

/** 'auto': what is hot. 'off': nothing. 'always': everything when it runs for the first time, for tests. */
export type CompileMode = 'auto' | 'off' | 'always';

/** Branches to a micro-op before it is hot. */
const HOT = 2000;
/** Instructions compiled at once at most, so that nobody waits long for it: a few milliseconds. */
const BATCH_INSTRUCTIONS = 120;
/** Regions in a module, which costs more than one of them; and runs after which a smaller one is made. */
const MODULE_REGIONS = 24;
const PATIENCE = 4;
const MAX_BYTES = 32 << 20;
/** Places in the table for regions, and how many are made at a time. */
const MAX_SLOTS = 1 << 18;
const SLOTS_AT_ONCE = 4096;
/** Regions that wait at most: what is still hot then asks again. */
const MAX_WAITING = 4096;
/**
 * Modules of a machine, and of all machines with those that are given up but still take memory. Each takes two mappings of the process in
 * V8. Linux allows 65,530 (vm.max_map_count), and V8 ends the process where it gets no more.
 */
const MAX_MODULES = 8192;
const MAX_UNCOLLECTED = 20_000;

let uncollected = 0;
const collected = new FinalizationRegistry<undefined>(() => uncollected--);

export interface CompileStatistics {
  /** Regions compiled, and instructions in them. */
  regions: number;
  instructions: number;
  /** Bytes of WebAssembly of the present regions, and the modules that they are in. */
  bytes: number;
  modules: number;
  /** Regions given up because there were too many bytes, or because their code changed. */
  evicted: number;
  dropped: number;
  /** What compiling took, and its longest piece: so long the guest, and who runs it, waited at once. Milliseconds; 0 without a clock. */
  milliseconds: number;
  longest: number;
}

interface ReadyRegion {
  uop: number;
  page: CodePage;
  fn: Fn;
  instructions: number;
}

interface Region {
  uop: number;
  /** The interpreter's. */
  handler: number;
  slot: number;
  bytes: number;
  /** Shared by the regions of a module: how many there are. */
  module: { regions: number };
}

export class CompiledCode implements PlanSource {
  readonly forms: CompiledForms;
  readonly statistics: CompileStatistics = {
    regions: 0,
    instructions: 0,
    bytes: 0,
    modules: 0,
    evicted: 0,
    dropped: 0,
    milliseconds: 0,
    longest: 0,
  };
  private readonly regions = new Map<number, Region>();
  private readonly byPage = new Map<CodePage, Region[]>();
  private waiting: number[] = [];
  /** Functions that have no module yet, and runs since one was added. */
  private ready: ReadyRegion[] = [];
  private idle = 0;
  private readonly asked = new Set<number>();
  /** Places in the table are given to regions one after the other, and anew once there are no regions. */
  private readonly firstSlot: number;
  private nextSlot: number;

  constructor(
    readonly memory: MachineMemory,
    private readonly code: CodeCache,
    module: HandlerModule,
    private readonly table: WebAssembly.Table,
    /** The handler module's. */
    private readonly go: WebAssembly.ExportValue,
    private readonly mode: CompileMode,
    /** For statistics alone: milliseconds. */
    private readonly now: () => number = () => 0,
    /** Bytes of WebAssembly over which all regions are given up. */
    private readonly limit = MAX_BYTES,
    /** Modules over which they are. */
    private readonly maxModules = MAX_MODULES,
  ) {
    this.forms = new CompiledForms(module.handlers);
    this.firstSlot = this.nextSlot = module.tableSize;
    code.onDropped = (page) => this.drop(page);
    code.onForgotten = () => this.forget();
    code.heat = mode === 'off' ? 0 : mode === 'always' ? 1 : HOT;
  }

  // ---- PlanSource ----------------------------------------------------------------------------------------------

  handler(uop: number): number {
    return this.regions.get(uop)?.handler ?? this.memory.i32[(uop + Uop.handler) >> 2];
  }

  // ---- what to compile -------------------------------------------------------------------------------------------

  /** Control came to the micro-op often. */
  hot(uop: number): void {
    if (this.mode !== 'off') this.ask(uop);
  }

  private ask(uop: number): void {
    if (this.asked.has(uop) || this.waiting.length >= MAX_WAITING) return;
    this.asked.add(uop);
    this.waiting.push(uop);
  }

  /** The run loop is about to enter a micro-op. */
  entering(uop: number): void {
    if (this.mode === 'off') return;
    if (this.mode === 'always') {
      this.ask(uop);
      this.compileAll();
      return;
    }
    const at = (uop + Uop.heat) >> 1;
    const heat = (this.memory.u16[at] - 1) & 0xffff;
    this.memory.u16[at] = heat;
    if (heat === 0) this.ask(uop);
  }

  /** Compiles some of what waits. Between runs. */
  compileSome(): void {
    // What waits goes on waiting, and is interpreted meanwhile.
    if (uncollected >= MAX_UNCOLLECTED) return;
    if (this.ready.length >= MODULE_REGIONS) this.install();
    else if (this.waiting.length) this.compile(BATCH_INSTRUCTIONS);
    else if (this.ready.length && ++this.idle >= PATIENCE) this.install();
  }

  private compileAll(): void {
    if (uncollected >= MAX_UNCOLLECTED) return;
    while (this.waiting.length) this.compile(Infinity);
    this.install();
  }

  private compile(limit: number): void {
    const started = this.now();
    let instructions = 0;
    let taken = 0;
    while (taken < this.waiting.length && instructions < limit) {
      const uop = this.waiting[taken++];
      const page = this.code.pageOf(uop);
      if (!page?.valid || this.regions.has(uop)) continue;
      const { plan, fn } = this.region(page, uop);
      for (const next of plan.continuations) this.ask(next);
      if (!fn) continue;
      const count = plan.blocks.reduce((sum, block) => sum + block.instructions.length, 0);
      instructions += count;
      this.ready.push({ uop, page, fn, instructions: count });
    }
    this.waiting.splice(0, taken);
    this.idle = 0;
    this.took(this.now() - started);
  }

  private took(milliseconds: number): void {
    const { statistics } = this;
    statistics.milliseconds += milliseconds;
    statistics.longest = Math.max(statistics.longest, milliseconds);
  }

  private region(page: CodePage, uop: number): { plan: RegionPlan; fn?: Fn } {
    for (;;) {
      const plan = planRegion(this, page, uop);
      const fn = compileRegion(this, plan);
      // Each time there is a form less that is tried.
      if (fn !== 'plan again') return { plan, fn: fn === 'nothing' ? undefined : fn };
    }
  }

  /** Makes a module of what is ready. */
  private install(): void {
    const started = this.now();
    const made = this.ready.filter(({ uop, page }) => page.valid && !this.regions.has(uop));
    this.ready = [];
    if (made.length) this.instantiate(made);
    this.took(this.now() - started);
  }

  private instantiate(made: readonly ReadyRegion[]): void {
    const { memory, table, statistics } = this;
    const size = made.reduce((sum, { fn }) => sum + fn.code.length, 0);
    const full = statistics.bytes + size > this.limit || statistics.modules >= this.maxModules;
    if (full || this.nextSlot + made.length > MAX_SLOTS) this.evictAll();
    const first = this.nextSlot;
    this.nextSlot += made.length;
    if (this.nextSlot > table.length) table.grow(Math.max(SLOTS_AT_ONCE, this.nextSlot - table.length));
    const bytes = encodeModule({
      imports: REGION_IMPORTS,
      functions: made.map(({ fn }) => fn),
      exports: made.map((_, i) => ({ name: `r${i}`, index: REGION_IMPORTS.length + i })),
    });
    const env = { memory: memory.wasm, go: this.go };
    const compiled = new WebAssembly.Module(bytes);
    uncollected++;
    collected.register(compiled, undefined);
    const { exports } = new WebAssembly.Instance(compiled, { env });
    const module = { regions: made.length };
    made.forEach(({ uop, page }, i) => {
      const region = { uop, handler: this.handler(uop), slot: first + i, bytes: bytes.length / made.length, module };
      table.set(region.slot, exports[`r${i}`] as () => number);
      this.regions.set(uop, region);
      const list = this.byPage.get(page);
      if (list) list.push(region);
      else this.byPage.set(page, [region]);
      memory.i32[(uop + Uop.handler) >> 2] = region.slot;
    });
    statistics.regions += made.length;
    statistics.instructions += made.reduce((sum, { instructions }) => sum + instructions, 0);
    statistics.bytes += bytes.length;
    statistics.modules++;
  }

  // ---- giving up -------------------------------------------------------------------------------------------------

  private release(region: Region): void {
    const { uop, handler, slot, bytes, module } = region;
    this.memory.i32[(uop + Uop.handler) >> 2] = handler;
    this.table.set(slot, null);
    this.regions.delete(uop);
    this.asked.delete(uop);
    this.statistics.bytes -= bytes;
    if (--module.regions === 0) this.statistics.modules--;
  }

  private drop(page: CodePage): void {
    const list = this.byPage.get(page);
    if (!list) return;
    for (const region of list) this.release(region);
    this.statistics.dropped += list.length;
    this.byPage.delete(page);
  }

  private evictAll(): void {
    for (const list of this.byPage.values()) {
      for (const region of list) {
        this.release(region);
        this.memory.u16[(region.uop + Uop.heat) >> 1] = HOT;
      }
      this.statistics.evicted += list.length;
    }
    this.byPage.clear();
    this.asked.clear();
    this.nextSlot = this.firstSlot;
  }

  /** All micro-ops are gone. */
  private forget(): void {
    this.waiting = [];
    this.ready = [];
    this.asked.clear();
    this.nextSlot = this.firstSlot;
  }
}
