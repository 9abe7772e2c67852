/**
 * What a region's function keeps in locals while it runs: general registers, flags, budget. Each is loaded where the function begins and
 * stored where it is left.
 */
import { Jump, LoopPage, State, Uop } from '../../cpu/layout';
import { LOOKUPS, Pseudo, RegionImport } from '../abi';
import type { BranchKind } from '../builder';
import { jumpEntry } from '../dispatch';
import { cpu } from '../operands';
import type { Accesses, AddressKey } from './checkedPages';
import {
  Fn,
  I32,
  I64,
  bitsOf,
  block,
  branch,
  call,
  drop,
  get,
  i32,
  i32c,
  i64,
  i64c,
  ifElse,
  select,
  set,
  tailCall,
  unreachable,
  type Expr,
  type Label,
  type Type,
} from '../wasm';

/** How the flags stand at a place in the code. */
export type FlagState =
  /** In fc, fz and fs. */
  | { kind: 'settled' }
  /** As the local `pending` says, only known when the code runs. */
  | { kind: 'dynamic' }
  | PendingFlags;

/**
 * Of the last instruction that changed them, not computed yet. Carries out of each bit are the majority of x, y and not z. Additions:
 * the summands and the sum; subtractions: subtrahend, difference and minuend.
 */
export interface PendingFlags {
  kind: 'pending';
  bits: 8 | 16 | 32 | 64;
  /** Which is the result. */
  result: 'y' | 'z';
  /** CF is that in fc. */
  keepsCarry: boolean;
  /** 'subtract': z - x without a borrow into it, so that comparisons need no flags; 'logic': no carries. */
  from: 'subtract' | 'logic' | 'other';
  /** Bits of what is noted, as Expr.bits. */
  operandBits: { x?: number; y?: number; z?: number };
}

/**
 * A page, once the block or loop has found one: its linear address, and what makes a host address of a linear one in it. A block's are in
 * locals. A loop's are in memory, at an offset in State: as locals they would be moved about in each round.
 */
export interface KnownPage extends Accesses {
  place: { tag: number; addend: number } | { slot: number };
  found: boolean;
}

/** Bytes that most regions' code has at most. */
const ROOM = 4096;
/** Pseudo handlers from Pseudo.lookup on that go to an rip. */
const LOOKUP_COUNT = Object.keys(LOOKUPS).length;
/** General registers that there are. */
const REGISTERS = 16;

/** What is known at a place in the code. */
export interface Known {
  readonly flags: FlagState;
  readonly registerBits: readonly number[];
}

/** The local `pending`: 0, or 64 minus the operand size, with these bits. `sum`: the result is z. */
export const Pending = { shift: 63, some: 64, keepsCarry: 128, sum: 256 } as const;

export class RegionState {
  /**
   * @param entry micro-op that the region begins at, and the interpreter's handler for it
   * @param narrow code of 16 or 32 bits: upper halves of registers are zero, or the interpreter does it
   */
  constructor(
    private readonly entry: { uop: number; handler: number },
    private readonly narrow: boolean,
  ) {
    this.widest = narrow ? 32 : 64;
    this.registerBits = new Array<number>(REGISTERS).fill(this.widest);
  }

  readonly f = new Fn(2, ROOM);
  readonly ripBase = this.f.local(I64);
  readonly tlb = this.f.local(I32);
  readonly budget = this.f.local(I32);
  /** Micro-op and handler (table index) to leave to. */
  private readonly at = this.f.local(I32);
  private readonly handler = this.f.local(I32);
  /** Of instructions that retire from the entry on: budget there. */
  private readonly granted = this.f.local(I32);
  readonly pending = this.f.local(I32);
  readonly fc = this.f.local(I64);
  readonly fz = this.f.local(I64);
  readonly fs = this.f.local(I64);
  readonly x = this.f.local(I64);
  readonly y = this.f.local(I64);
  readonly z = this.f.local(I64);
  flags: FlagState = { kind: 'dynamic' };
  /** Bits that each register is known to have at most, where code is emitted now. `shared`: others hold on to it as it is. */
  private registerBits: number[];
  private shared = false;
  private readonly widest: 32 | 64;
  usesFlags = false;
  /** It has code of several pages: ripBase is not always what it was at the entry. */
  crosses = false;
  private readonly pages = new Map<AddressKey, KnownPage>();
  /** Pages of loops, by their headers: from one round to the next. */
  private readonly loopPages = new Map<number, Map<AddressKey, KnownPage>>();
  private usedSlots = 0;
  private readonly pageLocals: { tag: number; addend: number }[] = [];
  private readonly registers = new Map<number, number>();
  private readonly written = new Set<number>();
  private exit: Label = 0;
  private exitOn: Label = 0;
  private readonly free = new Map<Type, number[]>();
  /** Temporaries of the instruction that is being emitted. */
  private taken: { type: Type; local: number }[] = [];

  /** The accesses of a loop; before its blocks begin. */
  setLoop(header: number, accesses: ReadonlyMap<AddressKey, Accesses>): void {
    const pages = new Map<AddressKey, KnownPage>();
    for (const [key, how] of accesses) {
      if (this.usedSlots === LoopPage.entries) break;
      const slot = State.loopPages + LoopPage.size * this.usedSlots++;
      // Looked at each time, as a round before may have found it.
      pages.set(key, { ...how, place: { slot }, found: true });
    }
    this.loopPages.set(header, pages);
  }

  /** A block begins, with accesses that come repeatedly. `loop`: the header of the loop that it is in, or -1. */
  beginBlock(accesses: ReadonlyMap<AddressKey, Accesses>, loop: number): void {
    this.pages.clear();
    const known = this.loopPages.get(loop);
    for (const [key, page] of known ?? []) this.pages.set(key, page);
    let used = 0;
    for (const [key, how] of accesses) {
      if (known?.has(key)) continue;
      const locals = (this.pageLocals[used++] ??= { tag: this.f.local(I64), addend: this.f.local(I32) });
      this.pages.set(key, { ...how, place: locals, found: false });
    }
  }
  /** What the block knows of pages is to be found anew. */
  forgetPages(): void {
    for (const page of this.pages.values()) page.found = false;
  }
  knownPage(key: AddressKey): KnownPage | undefined {
    return this.pages.get(key);
  }
  pageTag({ place }: KnownPage): Expr {
    return 'slot' in place ? i64.load(cpu, place.slot + LoopPage.tag) : get(place.tag, I64);
  }
  pageAddend({ place }: KnownPage): Expr {
    return 'slot' in place ? i32.load(cpu, place.slot + LoopPage.addend) : get(place.addend, I32);
  }
  setPage({ place }: KnownPage, tag: Expr, addend: Expr): void {
    if ('slot' in place) {
      i64.store(cpu, tag, place.slot + LoopPage.tag)(this.f);
      i32.store(cpu, addend, place.slot + LoopPage.addend)(this.f);
    } else {
      set(place.tag, tag)(this.f);
      set(place.addend, addend)(this.f);
    }
  }

  gpr(register: number): Expr {
    const bits = this.registerBits[register];
    const local = this.register(register);
    if (this.narrow) return { ...i64.extendU(get(local, I32)), bits };
    return get(local, I64, bits < 64 ? bits : undefined);
  }
  setGpr(register: number, value: Expr): void {
    this.written.add(register);
    set(this.register(register), this.narrow ? i32.wrap(value) : value)(this.f);
    this.setBits(register, Math.min(bitsOf(value), this.widest));
  }
  private setBits(register: number, bits: number): void {
    if (this.registerBits[register] === bits) return;
    if (this.shared) this.registerBits = this.registerBits.slice();
    this.shared = false;
    this.registerBits[register] = bits;
  }
  private register(register: number): number {
    let local = this.registers.get(register);
    if (local === undefined) this.registers.set(register, (local = this.f.local(this.narrow ? I32 : I64)));
    return local;
  }

  /** What is known here of flags and registers. */
  get known(): Known {
    this.shared = true;
    return { flags: this.flags, registerBits: this.registerBits };
  }
  /** Control comes from where that was known. */
  set known({ flags, registerBits }: Known) {
    this.flags = flags;
    this.registerBits = registerBits as number[];
    this.shared = true;
  }
  /** Control comes here from several places: `pending` says how the flags stand. */
  merge(): void {
    this.flags = { kind: 'dynamic' };
    for (let register = 0; register < REGISTERS; register++) this.setBits(register, this.widest);
  }
  /** Control comes here, or from where registers had so many bits. */
  mergeRegisters({ registerBits }: Known): void {
    registerBits.forEach((bits, register) => {
      this.setBits(register, Math.max(this.registerBits[register], bits));
    });
  }

  /** A local until the instruction ends. */
  temporary(type: Type): number {
    const local = this.free.get(type)?.pop() ?? this.f.local(type);
    this.taken.push({ type, local });
    return local;
  }
  /** A value in a local, until the instruction ends. */
  let(value: Expr): Expr {
    if (value.constant !== undefined) return value;
    if (this.narrow && value.low && bitsOf(value) <= 32) {
      const low = this.temporary(I32);
      set(low, value.low())(this.f);
      return { ...i64.extendU(get(low, I32)), bits: value.bits };
    }
    const local = this.temporary(value.type);
    set(local, value)(this.f);
    return get(local, value.type, value.bits);
  }
  /** Emits other blocks in the middle of an instruction, which goes on to use its temporaries behind them. */
  within(blocks: () => void): void {
    const { taken } = this;
    this.taken = [];
    blocks();
    this.taken = taken;
  }
  /** Temporaries may be used again. */
  endInstruction(): void {
    for (const { type, local } of this.taken) {
      const list = this.free.get(type);
      if (list) list.push(local);
      else this.free.set(type, [local]);
    }
    this.taken.length = 0;
  }

  /** Says in `pending` how the flags stand. */
  tellFlags(): void {
    const { flags } = this;
    if (flags.kind === 'dynamic') return;
    let value = 0;
    if (flags.kind === 'pending') {
      value = Pending.some | (64 - flags.bits);
      if (flags.keepsCarry) value |= Pending.keepsCarry;
      if (flags.result === 'z') value |= Pending.sum;
    }
    set(this.pending, i32c(value))(this.f);
  }

  /** Leaves to a handler with a micro-op whose block has been charged, if it counts at all. Without a handler: to the micro-op's own. */
  private leave(uop: Expr, handler?: Expr): void {
    this.tellFlags();
    set(this.at, uop)(this.f);
    if (handler) set(this.handler, handler)(this.f);
    branch(this.f, handler ? this.exit : this.exitOn);
  }
  /** The interpreter does the instruction, of which nothing has happened. `handler`: its own handler. */
  interpret(uop: number, handler: number): void {
    // The region itself, where it begins at the micro-op; a region of another's would leave to the interpreter in its turn.
    if (uop === this.entry.uop) this.leave(i32c(uop), i32c(handler));
    else this.goOn(uop);
  }
  /** Goes on at a micro-op, as a handler before it would. */
  goOn(uop: number): void {
    this.leave(i32c(uop));
  }
  /** To an rip, by the branch at a micro-op. */
  lookup(uop: number, rip: Expr, kind: BranchKind): void {
    i64.store(cpu, rip, State.rip)(this.f);
    this.leave(i32c(uop), i32c(LOOKUPS[kind]));
  }

  /** Goes to a micro-op in another page, at `rip`, if that is still there; else `leave` leaves. */
  cross(uop: number, rip: Expr, leave: () => void): void {
    const { f } = this;
    const { entry, misses } = jumpEntry(cpu, rip, (value) => this.let(value));
    ifElse(f, i32.or(misses, i32.ne(i32.load(entry, Jump.uop), i32c(uop))), leave);
    set(this.ripBase, i64.sub(rip, i64.load32u(i32c(uop), Uop.ip)))(f);
    this.crosses = true;
  }

  /** Takes a block's instructions (`left` of its first micro-op) from the budget, which covers them: needs() has seen to that. */
  charge(left: number): void {
    if (left) set(this.budget, i32.sub(get(this.budget, I32), i32c(left)))(this.f);
  }

  /** Where the budget does not cover `count` more instructions, the interpreter goes on, from a micro-op whose block has been charged. */
  needs(count: number, uop: number, handler: number): void {
    if (count) ifElse(this.f, i32.ltS(get(this.budget, I32), i32c(count)), () => this.interpret(uop, handler));
  }

  /** The whole function around `body`, which must leave. `settle`: computes pending flags. `left`: charged before it was entered. */
  wrap(left: number, body: () => void, settle: () => void): Fn {
    const { f } = this;
    block(f, (label) => {
      this.exit = label;
      block(f, (on) => {
        this.exitOn = on;
        body();
        unreachable(f);
      });
      set(this.handler, i32.load(get(this.at, I32), Uop.handler))(f);
    });
    this.storeAll(settle);
    // Entered with its first block charged. At a handler that counts what it is given, the rest of its block has not retired.
    const given = i32.load(get(this.at, I32), Uop.left);
    const lookup = i32.ltU(i32.sub(get(this.handler, I32), i32c(Pseudo.lookup)), i32c(LOOKUP_COUNT));
    const charged = select(lookup, i32c(0), given);
    const retired = i32.sub(i32.sub(get(this.granted, I32), get(this.budget, I32)), charged);
    i64.store(cpu, i64.add(i64.load(cpu, State.compiled), i64.extendU(retired)), State.compiled)(f);
    tailCall(f, RegionImport.go, get(this.at, I32), cpu, get(this.handler, I32));
    return this.loadAll(left, f);
  }

  /** Calls a function of the table with the vCPU's state as it is at a micro-op. What the region knows and has in locals stays as it is. */
  observe(observer: number, uop: number, settle: () => void): void {
    const { f, known } = this;
    // What is written further on may come first when it runs.
    for (let register = 0; register < (this.narrow ? REGISTERS / 2 : REGISTERS); register++) {
      this.register(register);
      this.written.add(register);
    }
    const kept = [this.pending, this.fc, this.fz, this.fs].map((local) => {
      const type = local === this.pending ? I32 : I64;
      return { local, value: this.let(get(local, type)) };
    });
    this.tellFlags();
    this.usesFlags = this.crosses = true;
    this.storeAll(settle);
    call(RegionImport.go, I32, i32c(uop), cpu, i32c(observer)).emit(f);
    drop(f);
    for (const { local, value } of kept) set(local, value)(f);
    this.known = known;
    this.endInstruction();
  }

  private storeAll(settle: () => void): void {
    const { f } = this;
    for (const [register, local] of this.registers) {
      if (!this.written.has(register)) continue;
      const offset = State.gpr + register * 8;
      if (this.narrow) i32.store(cpu, get(local, I32), offset)(f);
      else i64.store(cpu, get(local, I64), offset)(f);
    }
    if (this.usesFlags) {
      this.flags = { kind: 'dynamic' };
      settle();
      for (const slot of ['fc', 'fz', 'fs'] as const) i64.store(cpu, get(this[slot], I64), State[slot])(f);
    }
    i32.store(cpu, get(this.budget, I32), State.budget)(f);
    if (this.crosses) i64.store(cpu, get(this.ripBase, I64), State.ripBase)(f);
  }

  /** The function that loads the locals first. */
  private loadAll(left: number, rest: Fn): Fn {
    const before = rest.begun();
    const load = (local: number, value: Expr): void => set(local, value)(before);
    if (this.narrow && this.registers.size) {
      // What 64-bit code has left there.
      const upper = [...this.registers.keys()].map((register) => i32.load(cpu, State.gpr + register * 8 + 4));
      ifElse(before, upper.reduce(i32.or), () =>
        tailCall(before, RegionImport.go, i32c(this.entry.uop), cpu, i32c(this.entry.handler)),
      );
    }
    for (const [register, local] of this.registers) {
      const offset = State.gpr + register * 8;
      load(local, this.narrow ? i32.load(cpu, offset) : i64.load(cpu, offset));
    }
    if (this.usesFlags) {
      for (const slot of ['fc', 'fz', 'fs'] as const) load(this[slot], i64.load(cpu, State[slot]));
    }
    // No address is that one: they are compared without the bits of their offset.
    for (let i = 0; i < this.usedSlots; i++) {
      i64.store(cpu, i64c(-1), State.loopPages + LoopPage.size * i + LoopPage.tag)(before);
    }
    load(this.ripBase, i64.load(cpu, State.ripBase));
    load(this.tlb, i32.load(cpu, State.tlb));
    load(this.budget, i32.load(cpu, State.budget));
    load(this.granted, i32.add(get(this.budget, I32), i32c(left)));
    before.code.append(rest.code.view);
    return before;
  }
}
