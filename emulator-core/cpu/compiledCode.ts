/**
 * Compiled regions: which code is hot, its compilation, and how control gets there: the handler of the micro-op that a region begins at
 * is the region's function, and so every way to that micro-op leads into it. Compiling changes nothing that a guest or a debugger sees.
 */
import type { MachineMemory } from '../mmu/memory';
import type { HandlerModule } from '../translate/handlers';
import type { CompiledJob, RegionCompiler } from '../translate/region/compileJob';
import type { BlockObserver } from '../translate/region/blockObserver';
import { JobWriter } from '../translate/region/jobWords';
import { MAX_UOPS, Planner, type Surroundings } from '../translate/region/planner';
import { compileRegion, type CompiledPlan } from '../translate/region/regionFunction';
import { encodeRegions } from '../translate/region/regionModule';
import { CompiledForms, type PlanSource } from '../translate/region/regionPlan';
import { finished } from '../translate/wasm';
import type { CodeCache, CodePage } from '../x86/codeCache';
import { noCompiling, type CompileStatistics } from './compileStatistics';
import { highOf, lowOf } from './halves';
import { Jump, State, Uop, jumpEntry } from './layout';
import { RegionTable, type HandlerTable, type RegionFacts } from './regionTable';
import type { Vcpu } from './vcpu';

/** 'auto': what is hot. 'off': nothing. 'always': everything when it runs for the first time, for tests. */
export type CompileMode = 'auto' | 'off' | 'always';

/** Branches to a micro-op before it is hot. */
const HOT = 2000;
/** Branches to a region before it is made anew, beyond its page: those are longer to compile, and much of the code is in several. */
const HOTTER = 50_000;
/** Instructions after which no further region is begun at once, so that nobody waits long for it: a few milliseconds. */
const BATCH_INSTRUCTIONS = 80;
/** Milliseconds after which none is begun either, where there is a clock: code that JavaScript engines have not run much yet is slow. */
const BATCH_MILLISECONDS = 2;
/**
 * So many instructions take several times as long as those behind them: JavaScript engines run what they have not run before slowly, the
 * compiler as well. Regions are short and few at once until then; those that stay hot are made anew.
 */
const FIRST_INSTRUCTIONS = 500;
const FIRST_BATCH = 30;
const FIRST_MICRO_OPS = { once: 64, anew: 200 };
/**
 * 'always' makes a region for each place that the run loop comes to, at first as large as any, and anew when it comes back. Beyond so many
 * instructions most of a new region's are in others already, as in a kernel: then it is shorter, and made anew, as large as any, when it
 * has turned out to be hot.
 */
const THOROUGH_INSTRUCTIONS = 100_000;
const THRIFTY = { microOps: 48, hotter: 1000 };
/** Bytes of WebAssembly of everything that Linux runs until it has booted, twice over. */
const ALWAYS_BYTES = 128 << 20;
/** Jobs that another thread has at a time: one to do and one to wait. */
const MAX_AWAY = 2;
/** As BATCH_INSTRUCTIONS, where another thread compiles: finding the instructions takes less. */
const BATCH_PLANNED = 150;
/** Regions in a module, which costs more than one of them; and runs after which a smaller one is made. */
const MODULE_REGIONS = 24;
const PATIENCE = 4;
/** Regions that wait at most: what is still hot then asks again. */
const MAX_WAITING = 4096;

/** A micro-op that wants a region. `around`: one that goes beyond its page, as the vCPU runs it now. */
interface Asked {
  uop: number;
  around?: { vcpu: number; base: bigint };
}

/** A region that is planned. `body`: where it is compiled here. */
interface PlannedRegion extends RegionFacts {
  asked: Asked;
}

export class CompiledCode implements PlanSource {
  readonly forms: CompiledForms;
  readonly statistics: CompileStatistics = noCompiling();
  /** Tests make regions go beyond their pages sooner. */
  hotter: number;
  /** Tests make 'always' thrifty sooner. */
  thorough = THOROUGH_INSTRUCTIONS;
  private readonly regions: RegionTable;
  private waiting: Asked[] = [];
  /** Regions that have no module yet, and runs since one was added. */
  private ready: PlannedRegion[] = [];
  private idle = 0;
  private compiledInstructions = 0;
  /** What another thread is compiling, by job. */
  private readonly away = new Map<number, PlannedRegion[]>();
  private jobs = 0;
  private readonly planner = new Planner(this);
  /** Where another thread compiles: the plans of `ready`, in its order. Here: the plan that is being compiled. */
  private readonly plans: JobWriter;
  private readonly asked = new Set<number>();

  constructor(
    readonly memory: MachineMemory,
    private readonly code: CodeCache,
    handlers: HandlerModule['handlers'],
    table: HandlerTable,
    private readonly mode: CompileMode,
    /** Milliseconds. They decide when something is compiled, which nobody can see but in statistics. */
    private readonly now: () => number = () => 0,
    /** See RegionTable. */
    limits: { bytes?: number; modules?: number } = {},
    /** Compiles in a thread of its own. Without: at once, between runs. */
    private compiler?: RegionCompiler,
  ) {
    this.forms = new CompiledForms(handlers);
    this.plans = new JobWriter(this, compiler !== undefined);
    const { bytes = mode === 'always' ? ALWAYS_BYTES : undefined, modules } = limits;
    this.regions = new RegionTable(memory, table, this.statistics, (uop) => this.released(uop), bytes, modules);
    code.onDropped = (page) => this.regions.drop(page);
    code.onForgotten = () => this.forget();
    code.heat = mode === 'off' ? 0 : mode === 'always' ? 1 : HOT;
    this.hotter = mode === 'always' ? 1 : HOTTER;
  }

  /** Regions now that have code of several pages. */
  get crossing(): number {
    return this.regions.crossing;
  }

  // ---- PlanSource ----------------------------------------------------------------------------------------------

  handler(uop: number): number {
    return this.regions.handler(uop);
  }

  get observer(): number | undefined {
    return this.regions.observer;
  }

  /** Regions compiled by this thread from now on tell the observer where their blocks begin. Before the first of them. */
  observeBlocks(observer: BlockObserver): void {
    this.regions.observe(observer);
  }

  // ---- what to compile -------------------------------------------------------------------------------------------

  /** Control came to the micro-op often; `cpu` is there now. */
  hot(uop: number, cpu: Vcpu): void {
    if (this.mode === 'off') return;
    const region = this.regions.get(uop);
    if (!region) this.ask(uop);
    else if (!region.crosses) this.ask(uop, { vcpu: cpu.index, base: cpu.get64(State.ripBase) });
  }

  private ask(uop: number, around?: Asked['around']): void {
    if (this.asked.has(uop) || this.waiting.length >= MAX_WAITING) return;
    this.asked.add(uop);
    this.waiting.push({ uop, around });
  }

  /** The run loop is about to enter a micro-op. */
  entering(uop: number, cpu: Vcpu): void {
    if (this.mode === 'off') return;
    if (this.mode === 'always') {
      if (!this.regions.get(uop)) this.ask(uop);
      this.compileAll();
      return;
    }
    const at = (uop + Uop.heat) >> 1;
    const heat = (this.memory.u16[at] - 1) & 0xffff;
    this.memory.u16[at] = heat;
    if (heat === 0) this.hot(uop, cpu);
  }

  /** Compiles some of what waits, and takes in what has been compiled. Between runs. */
  compileSome(): void {
    // What waits goes on waiting, and is interpreted meanwhile.
    if (!RegionTable.mayGrow) return;
    if (this.compiler) this.passOn(this.compiler);
    else if (this.ready.length >= MODULE_REGIONS) this.install();
    else if (this.waiting.length) this.compile(this.cold ? FIRST_BATCH : BATCH_INSTRUCTIONS);
    else if (this.ready.length && ++this.idle >= PATIENCE) this.install();
  }

  /** To and from the thread that compiles, one thing at a time: the guest and the debugger wait meanwhile. */
  private passOn(compiler: RegionCompiler): void {
    if (this.away.size && this.takeFinished(compiler)) return;
    // What the thread has not begun may be of no use any more when it has: a guest that changes its code would fill its queue without an end.
    if (this.away.size >= MAX_AWAY) return;
    const { waiting, ready } = this;
    // While the thread has nothing to do, it may have little.
    const patient = this.away.size > 0 && (waiting.length > 0 || ++this.idle < PATIENCE);
    if (ready.length >= MODULE_REGIONS || (ready.length && !patient)) this.send(compiler);
    else if (waiting.length) this.compile(BATCH_PLANNED);
  }

  /** Few instructions have been compiled yet, by this thread. */
  private get cold(): boolean {
    return !this.compiler && this.compiledInstructions < FIRST_INSTRUCTIONS;
  }

  private get thrifty(): boolean {
    return this.mode === 'always' && this.compiledInstructions >= this.thorough;
  }

  /** Micro-ops of a region at most. `anew`: one that goes beyond its page. */
  private microOps(anew: boolean): number {
    if (this.thrifty) return anew ? MAX_UOPS : THRIFTY.microOps;
    return this.cold ? FIRST_MICRO_OPS[anew ? 'anew' : 'once'] : MAX_UOPS;
  }

  private compileAll(): void {
    if (!RegionTable.mayGrow) return;
    while (this.waiting.length) this.compile(Infinity);
    this.install();
  }

  private compile(limit: number): void {
    const started = this.now();
    let instructions = 0;
    let taken = 0;
    const late = (): boolean => taken > 0 && limit < Infinity && this.now() - started >= BATCH_MILLISECONDS;
    while (taken < this.waiting.length && instructions < limit && !late()) {
      const asked = this.waiting[taken++];
      const page = this.code.pageOf(asked.uop);
      if (!page?.valid || (this.regions.get(asked.uop) && !asked.around)) continue;
      const made = this.region(page, asked);
      for (const next of this.planner.continuations) this.ask(next);
      if (!made) continue;
      instructions += made.instructions;
      this.ready.push(made);
      this.compiledInstructions += made.instructions;
      if (this.ready.length >= MODULE_REGIONS && this.compiler) break;
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

  /** What the vCPU's jump cache knows of the code around. */
  private surroundings({ vcpu, base }: NonNullable<Asked['around']>): Surroundings {
    const { i32 } = this.memory;
    const own = this.memory.vcpuBase(vcpu);
    const low = lowOf(base) >>> 0;
    const high = highOf(base);
    return {
      uop: (offset) => {
        const rip = low + offset;
        const entry = jumpEntry(own, rip | 0);
        if (i32[(entry + Jump.rip) >> 2] !== (rip | 0)) return 0;
        if (i32[(entry + Jump.rip + 4) >> 2] !== ((high + Math.floor(rip / 2 ** 32)) | 0)) return 0;
        return i32[(entry + Jump.uop) >> 2];
      },
      page: (uop) => this.code.pageOf(uop),
    };
  }

  /** Plans a region, and compiles it where that is done here; undefined: nothing would be gained. */
  private region(page: CodePage, asked: Asked): PlannedRegion | undefined {
    const { planner, compiler } = this;
    const { uop } = asked;
    const around = asked.around && this.surroundings(asked.around);
    for (;;) {
      planner.plan(page, uop, this.microOps(!!around), around);
      const { pages, instructions } = planner;
      if (around && pages.length === 1 && !this.regions.get(uop)?.first) return undefined;
      const made = compiler ? undefined : this.compileHere();
      if (made === 'nothing' || instructions === 0) return undefined;
      // Each time there is a form less that is tried.
      if (made === 'plan again') continue;
      if (compiler) planner.write(this.plans);
      const body = made && finished(made);
      return { asked, uop, pages, crosses: !!around, first: this.cold, instructions, body };
    }
  }

  /** Compiles what has been planned. */
  private compileHere(): CompiledPlan {
    const { plans } = this;
    this.planner.write(plans);
    const made = compileRegion(this, plans.reader().plan());
    plans.clear();
    return made;
  }

  private send(compiler: RegionCompiler): void {
    const started = this.now();
    const sent = this.ready;
    this.ready = [];
    if (sent.some(isValid)) {
      const id = this.jobs++;
      this.away.set(id, sent);
      compiler.compile(id, this.plans.take(this.memory.uopEnd));
    } else this.plans.clear();
    this.took(this.now() - started);
  }

  /** Takes in one job that has come back. False: there is none. */
  private takeFinished(compiler: RegionCompiler): boolean {
    const result = compiler.finished();
    if (!result) return false;
    if (result === 'failed') {
      // What it had is done here.
      this.compiler = undefined;
      this.plans.copies = false;
      for (const sent of [...this.away.values(), this.ready]) {
        for (const { asked } of sent) this.waiting.push(asked);
      }
      this.away.clear();
      this.ready = [];
      this.plans.clear();
      return true;
    }
    const started = this.now();
    const sent = this.away.get(result.id);
    this.away.delete(result.id);
    // Without any: the micro-ops that it was of are no more.
    if (sent?.length) this.takeJob(sent, result.done);
    this.took(this.now() - started);
    return true;
  }

  private takeJob(sent: readonly PlannedRegion[], { outcomes, module, bytes, refused }: CompiledJob): void {
    for (const [code, handler] of refused) this.forms.refuse(code, handler);
    const made: (PlannedRegion | undefined)[] = [];
    outcomes.forEach((outcome, i) => {
      const region = sent[i];
      if (outcome === 'compiled') made.push(isValid(region) ? region : undefined);
      else if (outcome === 'plan again') this.waiting.push(region.asked);
    });
    if (module && made.some((region) => region)) this.add(made, module, bytes);
  }

  /** Makes a module of what is ready. */
  private install(): void {
    const started = this.now();
    const made = this.ready.filter(isValid);
    this.ready = [];
    if (made.length) {
      const bytes = encodeRegions(made.map(({ body }) => body!));
      this.add(made, new WebAssembly.Module(bytes), bytes.length);
    }
    this.took(this.now() - started);
  }

  /** @param made by export of the module; undefined: not wanted any more */
  private add(made: readonly (PlannedRegion | undefined)[], module: WebAssembly.Module, bytes: number): void {
    this.regions.add(made, module, bytes);
    for (const region of made) {
      if (!region || region.crosses) continue;
      this.asked.delete(region.uop);
      this.heat(region.uop, this.thrifty ? THRIFTY.hotter : this.hotter);
    }
  }

  private heat(uop: number, heat: number): void {
    this.memory.u16[(uop + Uop.heat) >> 1] = heat;
  }

  /** The region at a micro-op has been given up: what is still hot asks again. */
  private released(uop: number): void {
    this.asked.delete(uop);
    this.heat(uop, this.code.heat);
  }

  /** All micro-ops are gone. */
  private forget(): void {
    this.waiting = [];
    this.ready = [];
    this.plans.clear();
    // They count until they come back.
    for (const id of this.away.keys()) this.away.set(id, []);
    this.asked.clear();
    this.regions.forget();
  }
}

/** Its code is still what it was planned from. */
function isValid({ pages }: PlannedRegion): boolean {
  return pages.every(({ valid }) => valid);
}
