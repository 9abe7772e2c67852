/**
 * Finding the code at rip: fetch translation, the code contexts of a vCPU, its jump cache, and the micro-ops of the page from the
 * code cache.
 */
import { Mmu, Access, Translation } from '../mmu/mmu';
import type { MachineMemory } from '../mmu/memory';
import { Pseudo } from '../translate/abi';
import { EptAccess } from '../virt/vmx/ept';
import type { CodeCache, CodeContext, CodePage } from '../x86/codeCache';
import type { DecodeContext } from '../x86/decode';
import type { CodeBreakpoints } from './debugRegisters';
import { join } from './halves';
import {
  Jump,
  PAGE,
  Segment,
  SegmentIndex,
  State,
  Uop,
  VCPU_AREA,
  VCPU_JUMPS,
  jumpEntry,
  segmentOffset,
} from './layout';
import type { MemoryHost } from './memoryPath';
import { Vector, type Vcpu } from './vcpu';

/** What fetching needs from the machine around the core. */
export interface FetchHost extends Pick<MemoryHost, 'eptWalkExit'> {
  /** Page offsets with breakpoints for a linear page (address bits 63..12), if any. */
  breakpointsOn(cpu: Vcpu, linearPage: number): CodeBreakpoints | undefined;
}

const FETCH_ENTRIES = 1024;
/** Linear pages with code that are told apart. */
const MAX_CODE_PAGES = 16384;

/** What is remembered of a vCPU's code beyond the architectural state. */
class FetchState {
  /** Counts up by 2 whenever entries of the jump cache that are not global become invalid; odd numbers are theirs. */
  generation = 1;
  /** As generation, for global ones; even. */
  globalGeneration = 2;
  context?: CodeContext;
  contextKey = '';
  contextEpoch = -1;
  /** Instruction-fetch translations: linear page number * 2 + user -> physical page. */
  readonly fetchTag = new Float64Array(FETCH_ENTRIES).fill(-1);
  readonly fetchPage = new Float64Array(FETCH_ENTRIES);
  readonly fetchGlobal = new Uint8Array(FETCH_ENTRIES);
  /** Slots that were filled with what is not global since that was forgotten. */
  localSlots: number[] = [];
  /**
   * Linear pages that code was fetched from since everything was forgotten: those of all entries here, in the jump cache and in the return
   * cache. (Calls note where they are: so what forgets everything has code looked up anew before the next call.)
   */
  readonly pages = new Set<number>();
}

export class CodeFetch {
  private readonly states: FetchState[];
  private epoch = 0;

  constructor(
    private readonly memory: MachineMemory,
    private readonly mmu: Mmu,
    private readonly vcpus: readonly Vcpu[],
    private readonly code: CodeCache,
    private readonly host: FetchHost,
  ) {
    this.states = vcpus.map(() => new FetchState());
    code.onFlush = () => this.invalidateJumps();
  }

  /** All jump caches and contexts are looked up anew: code or breakpoints changed. */
  invalidateJumps(): void {
    this.epoch++;
    for (const [i, state] of this.states.entries()) this.bumpGeneration(this.vcpus[i], state);
  }

  private bumpGeneration(cpu: Vcpu, state: FetchState, globals = true): void {
    state.generation += 2;
    if (globals) state.globalGeneration += 2;
    if (state.generation >= 0x1ffff0 || state.globalGeneration >= 0x1ffff0) {
      state.generation = 1;
      state.globalGeneration = 2;
      // And the return cache, which lies behind it.
      this.memory.u8.fill(0, cpu.base + VCPU_JUMPS, cpu.base + VCPU_AREA);
    }
    this.updateTag(cpu, state);
  }

  private updateTag(cpu: Vcpu, state: FetchState): void {
    const user = cpu.cpl === 3 ? 1 : 0;
    const id = state.context?.id ?? 0;
    cpu.set32(State.codeTag, (state.generation << 10) | (id << 1) | user);
    cpu.set32(State.globalTag, (state.globalGeneration << 10) | (id << 1) | user);
  }

  /** Fetch cache and jump cache of a vCPU are forgotten. */
  flush(cpu: Vcpu): void {
    const state = this.states[cpu.index];
    state.fetchTag.fill(-1);
    state.localSlots.length = 0;
    state.pages.clear();
    this.bumpGeneration(cpu, state);
  }

  /** Forgets the 4-KByte page of a linear address, in two halves; false: no code was fetched from there. */
  flushPage(cpu: Vcpu, low: number, high: number): boolean {
    const state = this.states[cpu.index];
    if (!state.pages.delete(pageNumber(low, high))) return false;
    const slot = (low >>> 12) & (FETCH_ENTRIES - 1);
    // Another page's entry may have taken the place: it is looked up again.
    state.fetchTag[slot] = -1;
    this.bumpGeneration(cpu, state);
    return true;
  }

  /** As flush(), but for what is global. */
  flushLocal(cpu: Vcpu): void {
    const state = this.states[cpu.index];
    for (const slot of state.localSlots) if (!state.fetchGlobal[slot]) state.fetchTag[slot] = -1;
    state.localSlots.length = 0;
    this.bumpGeneration(cpu, state, false);
  }

  private useContext(cpu: Vcpu, state: FetchState): CodeContext {
    if (state.contextKey !== cpu.contextKey || state.contextEpoch !== this.epoch) {
      state.context = this.context(cpu);
      state.contextKey = cpu.contextKey;
      state.contextEpoch = this.epoch;
    }
    this.updateTag(cpu, state);
    return state.context!;
  }

  /** Apart from who asks for it, all the time: it has a closure, which costs garbage wherever it stands. */
  private context(cpu: Vcpu): CodeContext {
    return this.code.context(cpu.contextKey, () => ({ decode: decodeContext(cpu) }));
  }

  /** Of code in a page that has breakpoints or, from `end` on, lies beyond CS's limit. */
  private limitedContext(cpu: Vcpu, breakpoints: CodeBreakpoints | undefined, end: number | undefined): CodeContext {
    return this.code.context(`${cpu.contextKey} ${breakpoints?.key ?? ''} ${end ?? ''}`, () => ({
      decode: { ...decodeContext(cpu), end },
      breakpoints: breakpoints?.offsets,
    }));
  }

  /** Guest-physical address of the code byte at a linear address, or -1 (exception pending, or abandoned with stop). */
  address(cpu: Vcpu, low: number, high: number): number {
    const user = cpu.cpl === 3;
    const page = pageNumber(low, high);
    const tag = page * 2 + (user ? 1 : 0);
    const state = this.states[cpu.index];
    const slot = (low >>> 12) & (FETCH_ENTRIES - 1);
    if (state.fetchTag[slot] === tag) return state.fetchPage[slot] * PAGE + (low & 0xfff);
    for (;;) {
      const status = this.mmu.translate(cpu, low, high, Access.execute, user);
      if (status === Translation.ok) break;
      if (status === Translation.pageFault) {
        cpu.pending = { vector: Vector.PF, error: this.mmu.errorCode, address: join(low, high) };
        return -1;
      }
      if (!this.host.eptWalkExit(cpu, join(low, high), EptAccess.execute)) return -1;
    }
    const { gpa, pageSize, global } = this.mmu;
    if (pageSize > PAGE) cpu.largePages.note(low, high, pageSize);
    if (state.pages.size >= MAX_CODE_PAGES) this.flush(cpu);
    state.pages.add(page);
    while (this.mmu.host(gpa, EptAccess.execute) < 0) {
      if (!this.host.eptWalkExit(cpu, join(low, high), EptAccess.execute)) return -1;
    }
    state.fetchTag[slot] = tag;
    state.fetchGlobal[slot] = global ? 1 : 0;
    state.fetchPage[slot] = Math.floor(gpa / PAGE);
    if (!global) {
      // More of them than there are slots: some are there twice.
      if (state.localSlots.length > 2 * FETCH_ENTRIES) state.localSlots = [...new Set(state.localSlots)];
      state.localSlots.push(slot);
    }
    return gpa;
  }

  /** Low half of the linear address of the code at rip; the high one is rip's in 64-bit mode, else 0. */
  linearLow(cpu: Vcpu): number {
    const rip = cpu.get32(State.rip);
    return cpu.bitness === 64 ? rip : (rip + cpu.get32(segmentOffset(SegmentIndex.cs) + Segment.base)) | 0;
  }

  /** What a handler that jumps to rip would find in the jump cache, with ripBase set; else 0. */
  private known(cpu: Vcpu, state: FetchState, rip: number, ripHigh: number): number {
    const { i32 } = this.memory;
    const entry = jumpEntry(cpu.base, rip) >> 2;
    if (i32[entry + (Jump.rip >> 2)] !== rip || i32[entry + (Jump.rip >> 2) + 1] !== ripHigh) return 0;
    this.useContext(cpu, state);
    const tag = i32[entry + (Jump.tag >> 2)];
    if (tag !== cpu.get32(State.codeTag) && tag !== cpu.get32(State.globalTag)) return 0;
    const uop = i32[entry + (Jump.uop >> 2)];
    if (i32[(uop + Uop.handler) >> 2] === Pseudo.stale) return 0;
    const offset = i32[(uop + Uop.ip) >> 2];
    cpu.set32(State.ripBase, rip - offset);
    cpu.set32(State.ripBase + 4, ripHigh - (rip >>> 0 < offset ? 1 : 0));
    return uop;
  }

  /** Micro-op at rip, with ripBase and the jump cache set; 0 when an exception is pending or a stop wanted. */
  find(cpu: Vcpu): number {
    const state = this.states[cpu.index];
    const wide = cpu.bitness === 64;
    const rip = cpu.get32(State.rip);
    if (!wide) cpu.set32(State.rip + 4, 0);
    const ripHigh = cpu.get32(State.rip + 4);
    if (wide ? !cpu.canonicalHigh(ripHigh) : rip >>> 0 > cpu.segmentLimit(SegmentIndex.cs)) {
      cpu.pending = { vector: Vector.GP, error: 0 };
      return 0;
    }
    const known = this.known(cpu, state, rip, ripHigh);
    if (known) return known;
    const low = this.linearLow(cpu);
    const gpa = this.address(cpu, low, ripHigh);
    if (gpa < 0) return 0;
    let context = this.useContext(cpu, state);
    const offset = gpa % PAGE;
    const breakpoints = this.host.breakpointsOn(cpu, pageNumber(low, ripHigh));
    const end = wide ? undefined : codeEnd(cpu, offset);
    if (breakpoints || end !== undefined) context = this.limitedContext(cpu, breakpoints, end);
    const host = this.mmu.host(gpa - offset, EptAccess.execute);
    const page: CodePage = this.code.page(context, Math.floor(gpa / PAGE));
    const uop = this.code.find(page, offset, host);
    if (state.contextEpoch !== this.epoch) this.useContext(cpu, state);
    cpu.set32(State.ripBase, rip - offset);
    cpu.set32(State.ripBase + 4, ripHigh - (rip >>> 0 < offset ? 1 : 0));
    const { i32 } = this.memory;
    const entry = jumpEntry(cpu.base, rip) >> 2;
    i32[entry + (Jump.rip >> 2)] = rip;
    i32[entry + (Jump.rip >> 2) + 1] = ripHigh;
    i32[entry + (Jump.uop >> 2)] = uop;
    const global = state.fetchGlobal[(low >>> 12) & (FETCH_ENTRIES - 1)];
    i32[entry + (Jump.tag >> 2)] = cpu.get32(global ? State.globalTag : State.codeTag);
    return uop;
  }
}

/** Address bits 63..12 of an address in two halves. */
function pageNumber(low: number, high: number): number {
  return (high >>> 0) * 0x100000 + (low >>> 12);
}

/** Of the page that rip is in: the first offset beyond CS's limit; undefined when that lies in no or in another page. */
function codeEnd(cpu: Vcpu, offset: number): number | undefined {
  const end = cpu.segmentLimit(SegmentIndex.cs) - (cpu.get32(State.rip) >>> 0) + offset + 1;
  return end < PAGE ? end : undefined;
}

/** What decoding depends on, from the state of the vCPU. */
export function decodeContext(cpu: Vcpu): DecodeContext {
  const flat = [0, 1, 2, 3, 4, 5].map((s) => cpu.flat(s));
  // FS and GS move often and are not part of the context's key: never treated as flat.
  flat[SegmentIndex.fs] = flat[SegmentIndex.gs] = false;
  return { bitness: cpu.bitness, flat: (segment) => flat[segment], units: cpu.units, real: cpu.realOrV8086 };
}
