/**
 * Compiled regions that are in use: their functions in the table of handlers, and the micro-ops that begin with them. Bounded in bytes
 * and modules; beyond that small modules are put together, or all are given up at once.
 */
import type { MachineMemory } from '../mmu/memory';
import { observerFunction, type BlockObserver } from '../translate/region/blockObserver';
import { encodeRegions } from '../translate/region/regionModule';
import type { FunctionBody } from '../translate/wasm';
import type { CodePage } from '../x86/codeCache';
import type { CompileStatistics } from './compileStatistics';
import { Uop } from './layout';

const MAX_BYTES = 32 << 20;
/** Places in the table for regions, and how many are made at a time. */
const MAX_SLOTS = 1 << 18;
const SLOTS_AT_ONCE = 4096;
/**
 * Modules of a machine, and of all machines with those that are given up but still take memory. Each takes two mappings of the process in
 * V8. Linux allows 65,530 (vm.max_map_count), and V8 ends the process where it gets no more.
 */
const MAX_MODULES = 8192;
const MAX_UNCOLLECTED = 20_000;

/**
 * A module that regions of small ones are put together in: so many regions and bytes at most, which take V8 some 20 ms. Large regions,
 * and modules of many, stay. It is worth it when a 256th of the modules that there may be is saved.
 */
const PACKED = { regions: 512, bytes: 512 << 10 };
const SMALL = { regions: PACKED.regions / 16, bytes: PACKED.bytes / 64 };

let uncollected = 0;
const collected = new FinalizationRegistry<undefined>(() => uncollected--);

/** What is known of a region. */
export interface RegionFacts {
  /** Micro-op that it begins at. */
  uop: number;
  pages: readonly CodePage[];
  /** It was made to go beyond its page. */
  crosses: boolean;
  /** It is one of the first, which are short. */
  first: boolean;
  instructions: number;
  /** Where it can be put into another module. */
  body?: FunctionBody;
}

interface Region extends RegionFacts {
  /** The interpreter's. */
  handler: number;
  slot: number;
  module: RegionModule;
}

/** What the regions of a module share. It is there until the last of them is given up. */
interface RegionModule {
  /** How many there still are. */
  regions: number;
  bytes: number;
}

/** What comes from outside: see HandlerModule. */
export interface HandlerTable {
  table: WebAssembly.Table;
  /** Handlers in it. */
  size: number;
  /** `go` of the handlers' module. */
  go: WebAssembly.ExportValue;
}

export class RegionTable {
  private readonly regions = new Map<number, Region>();
  private readonly byPage = new Map<CodePage, Set<Region>>();
  /** Places are given to regions one after the other, and anew once there are no regions. */
  private firstSlot: number;
  /** Place of the observer, if there is one. */
  observer?: number;
  private nextSlot: number;

  /**
   * @param limit bytes of WebAssembly over which all regions are given up
   * @param maxModules modules over which small ones are put together, or all regions are given up where there is little to be put together
   * @param released called with the micro-op of a region that is no more
   */
  constructor(
    private readonly memory: MachineMemory,
    private readonly handlers: HandlerTable,
    private readonly statistics: CompileStatistics,
    private readonly released: (uop: number) => void,
    private readonly limit = MAX_BYTES,
    private readonly maxModules = MAX_MODULES,
  ) {
    this.firstSlot = this.nextSlot = handlers.size;
  }

  /** More modules may be made: not too many of those given up are still there. */
  static get mayGrow(): boolean {
    return uncollected < MAX_UNCOLLECTED;
  }

  /** The region that begins at a micro-op. */
  get(uop: number): RegionFacts | undefined {
    return this.regions.get(uop);
  }

  /** The interpreter's handler of a micro-op. */
  handler(uop: number): number {
    const handler = this.memory.i32[(uop + Uop.handler) >> 2];
    return handler < this.firstSlot ? handler : (this.regions.get(uop)?.handler ?? handler);
  }

  /** Regions now that have code of several pages. */
  get crossing(): number {
    let count = 0;
    for (const { pages } of this.regions.values()) if (pages.length > 1) count++;
    return count;
  }

  /**
   * Puts an observer of blocks into the table.
   * @throws Error when there are regions already
   */
  observe(observer: BlockObserver): void {
    if (this.nextSlot !== this.firstSlot) throw new Error('an observer comes before the first region');
    this.observer = this.firstSlot;
    this.nextSlot = ++this.firstSlot;
    this.grow();
    this.handlers.table.set(this.observer, observerFunction(this.memory.wasm, observer));
  }

  private grow(): void {
    const { table } = this.handlers;
    if (this.nextSlot > table.length) table.grow(Math.max(SLOTS_AT_ONCE, this.nextSlot - table.length));
  }

  /** Takes the regions of a module into use. @param made by export; undefined: not wanted any more */
  add(made: readonly (RegionFacts | undefined)[], compiled: WebAssembly.Module, bytes: number): void {
    const { memory, statistics } = this;
    const { table } = this.handlers;
    const tooLarge = statistics.bytes + bytes > this.limit || this.nextSlot + made.length > MAX_SLOTS;
    if (tooLarge || (statistics.modules >= this.maxModules && !this.pack())) this.evictAll();
    const firstSlot = this.nextSlot;
    this.nextSlot += made.length;
    this.grow();
    const exports = this.instantiate(compiled);
    const wanted = made.filter((region) => region !== undefined);
    const module: RegionModule = { regions: wanted.length, bytes };
    made.forEach((fresh, i) => {
      if (!fresh) return;
      const { uop, pages, crosses, first, instructions, body } = fresh;
      const before = this.regions.get(uop);
      if (before) this.release(before);
      const handler = memory.i32[(uop + Uop.handler) >> 2];
      const slot = firstSlot + i;
      const region: Region = { uop, pages, crosses, first, instructions, body, handler, slot, module };
      table.set(region.slot, exports[`r${i}`]);
      this.regions.set(uop, region);
      for (const page of pages) {
        const list = this.byPage.get(page);
        if (list) list.add(region);
        else this.byPage.set(page, new Set([region]));
      }
      memory.i32[(uop + Uop.handler) >> 2] = region.slot;
    });
    statistics.regions += wanted.length;
    statistics.instructions += wanted.reduce((sum, { instructions }) => sum + instructions, 0);
    this.count(module);
  }

  private count({ bytes }: RegionModule): void {
    this.statistics.bytes += bytes;
    this.statistics.modules++;
  }

  private instantiate(compiled: WebAssembly.Module): WebAssembly.Exports {
    uncollected++;
    collected.register(compiled, undefined);
    return new WebAssembly.Instance(compiled, { env: { memory: this.memory.wasm, go: this.handlers.go } }).exports;
  }

  /** Puts regions of small modules together in one. False: that would save few. */
  private pack(): boolean {
    const regions: Region[] = [];
    const modules = new Set<RegionModule>();
    let bytes = 0;
    for (const region of this.regions.values()) {
      const { body, module } = region;
      const length = body?.body().length ?? Infinity;
      if (length > SMALL.bytes || module.regions > SMALL.regions) continue;
      regions.push(region);
      modules.add(module);
      bytes += length;
      if (regions.length >= PACKED.regions || bytes >= PACKED.bytes) break;
    }
    if (modules.size <= Math.max(1, this.maxModules >> 8)) return false;
    const encoded = encodeRegions(regions.map(({ body }) => body!));
    const exports = this.instantiate(new WebAssembly.Module(encoded));
    const module: RegionModule = { regions: regions.length, bytes: encoded.length };
    regions.forEach((region, i) => {
      this.leaveModule(region);
      region.module = module;
      this.handlers.table.set(region.slot, exports[`r${i}`]);
    });
    this.count(module);
    return true;
  }

  private leaveModule({ module }: Region): void {
    if (--module.regions > 0) return;
    this.statistics.bytes -= module.bytes;
    this.statistics.modules--;
  }

  private release(region: Region): void {
    const { uop, handler, slot, pages } = region;
    this.memory.i32[(uop + Uop.handler) >> 2] = handler;
    this.handlers.table.set(slot, null);
    this.regions.delete(uop);
    for (const page of pages) this.byPage.get(page)?.delete(region);
    this.leaveModule(region);
    this.released(uop);
  }

  /** The code of a page has changed. */
  drop(page: CodePage): void {
    const regions = this.byPage.get(page);
    if (!regions) return;
    this.statistics.dropped += regions.size;
    for (const region of regions) this.release(region);
    this.byPage.delete(page);
  }

  private evictAll(): void {
    this.statistics.evicted += this.regions.size;
    for (const region of this.regions.values()) this.release(region);
    this.byPage.clear();
    this.nextSlot = this.firstSlot;
  }

  /** All micro-ops are gone, and the regions with them. */
  forget(): void {
    this.nextSlot = this.firstSlot;
  }
}
