/**
 * Which code becomes one function: the neighbourhood of a hot micro-op, as blocks with the edges between them. Reads the micro-ops that
 * the interpreter runs, and charges the budget where it does. At first in one page; for what stays hot across pages, too, as the jump
 * cache knows where branches between them go.
 *
 * The guest waits for it, so it makes hardly any garbage: what it finds is in arrays of numbers, which are used again.
 */
import { PAGE, Uop } from '../../cpu/layout';
import { CODES } from '../../x86/codes';
import type { CodePage } from '../../x86/codeCache';
import { SpecialCode } from '../../x86/decode';
import { Pseudo } from '../abi';
import type { JobWriter } from './jobWords';
import type { Kind, PlanSource } from './regionPlan';
import { UopMap } from './uopMap';

/** Micro-ops of a region at most. */
export const MAX_UOPS = 400;

/** Calls of a region that its returns look for. */
const MAX_RETURNS = 4;
/** Pages of a region at most. */
const MAX_PAGES = 8;
/** Each micro-op begins a block itself, or up to three elsewhere. */
const MAX_LEADERS = 1 + 4 * MAX_UOPS;

/** Where code of other pages is now, at the linear addresses that a vCPU runs it at. */
export interface Surroundings {
  /** The micro-op at an offset from the beginning of the entry's page, as far as the jump cache knows it; 0: it does not. */
  uop(offset: number): number;
  /** The page of a micro-op that it knows. */
  page(uop: number): CodePage | undefined;
}

/** What a micro-op is for the region: an instruction of it, what only joins blocks, or the interpreter's. */
type Step = Kind | 'joint' | 'outside';

export class Planner {
  /** Of the last plan: pages that it has code of, that of its entry first; micro-ops behind those that the interpreter does. */
  pages: CodePage[] = [];
  readonly continuations: number[] = [];
  /** Instructions of the last plan. */
  instructions = 0;

  private most = 0;
  private around: Surroundings | undefined;
  /** Linear addresses of the pages, from that of the first; multiples of 4096. */
  private readonly at = new Float64Array(MAX_PAGES);

  /** Micro-ops that were reached, by number; where they lead when they branch or join, 0: to nothing known. Pages are indices of `pages`. */
  private readonly reached = new UopMap(MAX_UOPS);
  private count = 0;
  private readonly steps = new Array<Step>(MAX_UOPS).fill('outside');
  private readonly toUop = new Int32Array(MAX_UOPS);
  private readonly toPage = new Uint8Array(MAX_UOPS);

  /** Micro-ops that blocks begin at, in the order in which they were found, and the number of the block; -1: it is not in the region. */
  private readonly leaders = new UopMap(MAX_LEADERS);
  private leaderCount = 0;
  private readonly leaderUop = new Int32Array(MAX_LEADERS);
  private readonly leaderPage = new Uint8Array(MAX_LEADERS);
  private readonly blockNumber = new Int32Array(MAX_LEADERS);
  private blocks = 0;

  /** Leaders behind calls. */
  private readonly returns = new Int32Array(MAX_RETURNS);
  private returnCount = 0;

  /** What place() found. */
  private foundPage = 0;

  constructor(private readonly source: PlanSource) {}

  /**
   * Finds the region that begins at a micro-op of a page.
   * @param most micro-ops of the region at most, 1 .. MAX_UOPS
   * @param around the region may go beyond its page
   */
  plan(page: CodePage, entry: number, most: number, around?: Surroundings): void {
    this.most = most;
    this.around = around;
    this.pages = [page];
    this.at[0] = 0;
    this.continuations.length = 0;
    this.instructions = this.count = this.leaderCount = this.returnCount = this.blocks = 0;
    this.reached.clear();
    this.leaders.clear();
    this.lead(entry, 0);
    for (let leader = 0; leader < this.leaderCount && this.count < most; leader++) {
      this.walk(this.leaderUop[leader], this.leaderPage[leader]);
    }
    // Leaders that were not reached any more are outside.
    for (let leader = 0; leader < this.leaderCount; leader++) {
      const inside = this.reached.get(this.leaderUop[leader]) >= 0;
      this.blockNumber[leader] = inside ? this.blocks++ : -1;
    }
  }

  /** Writes the last plan. Nothing that it was made of may have changed. */
  write(writer: JobWriter): void {
    writer.plan(this.pages[0].context.decode.bitness !== 64, this.blocks);
    for (let leader = 0; leader < this.leaderCount; leader++) {
      if (this.blockNumber[leader] >= 0) this.writeBlock(writer, this.leaderUop[leader], this.leaderPage[leader]);
    }
  }

  private field(uop: number, offset: number): number {
    return this.source.memory.i32[(uop + offset) >> 2];
  }
  /** Offset, from the page, of where the instruction ends. */
  private endOf(uop: number): number {
    return this.field(uop, Uop.ip) + this.field(uop, Uop.length);
  }

  /** A block begins at a micro-op; its number among the leaders. */
  private lead(uop: number, page: number): number {
    const known = this.leaders.get(uop);
    if (known >= 0) return known;
    const leader = this.leaderCount++;
    this.leaders.set(uop, leader);
    this.leaderUop[leader] = uop;
    this.leaderPage[leader] = page;
    return leader;
  }

  private walk(start: number, page: number): void {
    for (let uop = start; ; uop += Uop.bytes) {
      if (this.reached.get(uop) >= 0) {
        // Joins what another leader began: a block starts here.
        if (uop !== start) this.lead(uop, page);
        return;
      }
      if (this.count >= this.most) {
        this.continuations.push(uop);
        return;
      }
      const number = this.count++;
      this.reached.set(uop, number);
      const step = this.step(uop);
      const to = step === 'joint' || isDirect(step) ? this.leadsTo(uop, page) : 0;
      const toPage = to ? this.foundPage : 0;
      this.toUop[number] = to;
      this.toPage[number] = toPage;
      // Nothing is joined where the other page is not known.
      this.steps[number] = step === 'joint' && !to ? 'outside' : step;
      if (step !== 'joint' && step !== 'outside') this.instructions++;
      if (step === 'plain') continue;
      if (to) this.lead(to, toPage);
      if (step === 'conditional') this.lead(uop + Uop.bytes, page);
      else if (step === 'call' && to) this.leadBehind(uop, page);
      else if (this.steps[number] === 'outside') this.continue(uop, page);
      return;
    }
  }

  /** Where a call returns to. */
  private leadBehind(call: number, page: number): void {
    const behind = this.pages[page].uop(this.endOf(call));
    if (behind === undefined || this.returnCount === MAX_RETURNS) return;
    const leader = this.lead(behind, page);
    for (let i = 0; i < this.returnCount; i++) if (this.returns[i] === leader) return;
    this.returns[this.returnCount++] = leader;
  }

  /** Behind an instruction that the interpreter does, unless control does not come there. */
  private continue(uop: number, page: number): void {
    const handler = this.source.handler(uop);
    if (handler === Pseudo.pageEnd || handler === Pseudo.stop) return;
    const code = this.source.memory.u16[(uop + Uop.code) >> 1];
    // It stands alone: what lies behind it is of other code, or was.
    if (code === SpecialCode.crossPage) return;
    const next = uop + Uop.bytes;
    if (CODES[code]?.row.endsBlock) return;
    const step = this.step(next);
    if (step === 'outside' || (step === 'joint' && !this.leadsTo(next, page))) return;
    this.continuations.push(next);
  }

  private step(uop: number): Step {
    const { source } = this;
    const handler = source.handler(uop);
    if (handler === Pseudo.goto || handler === Pseudo.pageEnd) return 'joint';
    if (handler <= Pseudo.last) return 'outside';
    return source.forms.get(source.memory.u16[(uop + Uop.code) >> 1], handler)?.kind ?? 'outside';
  }

  /** Where a micro-op leads that only joins blocks, also where one became too long, or a direct branch; 0: to nothing known. */
  private leadsTo(uop: number, page: number): number {
    const handler = this.source.handler(uop);
    if (handler === Pseudo.goto) {
      this.foundPage = page;
      return this.field(uop, Uop.target);
    }
    // Where rip is cut to 16 bits, only having been there tells.
    const info = CODES[this.source.memory.u16[(uop + Uop.code) >> 1]];
    const linked = this.field(uop, Uop.target);
    if (info?.direct && info.operandBits === 16 && linked >= 0) {
      this.foundPage = page;
      return linked;
    }
    const offset =
      handler === Pseudo.pageEnd ? this.field(uop, Uop.ip) : this.endOf(uop) + this.field(uop, Uop.immediate);
    return this.place(offset, page);
  }

  /** The micro-op at an offset from the start of a page, in it or beyond; 0: not decoded, or in a page that the region cannot have. */
  private place(offset: number, page: number): number {
    const { around, pages } = this;
    const inside = pages[page].uop(offset);
    if (inside !== undefined) {
      this.foundPage = page;
      return inside;
    }
    if (!around || (offset >= 0 && offset < PAGE)) return 0;
    const uop = around.uop(this.at[page] + offset);
    const other = uop && around.page(uop);
    if (!other || !other.valid) return 0;
    const at = this.at[page] + offset - this.field(uop, Uop.ip);
    let found = pages.indexOf(other);
    if (found < 0) {
      if (pages.length >= MAX_PAGES) return 0;
      found = pages.push(other) - 1;
      this.at[found] = at;
    }
    this.foundPage = found;
    // One page at two linear addresses is in the region at the first.
    return this.at[found] === at ? uop : 0;
  }

  /** Of the block that begins at a micro-op; -1: none of the region's does. */
  private numberOf(uop: number): number {
    const leader = this.leaders.get(uop);
    return leader < 0 ? -1 : this.blockNumber[leader];
  }

  /** From a block in page `from` to a micro-op; 0: to nothing known. */
  private writeEdge(writer: JobWriter, from: number, to: number, page: number, charge = true): void {
    const block = to ? this.numberOf(to) : -1;
    if (block >= 0) {
      if (page === from) writer.edge('block', block, charge);
      else writer.edge('cross', block);
    } else if (to && page === from) writer.edge('enter', to);
    else writer.edge('away');
  }

  private writeBlock(writer: JobWriter, leader: number, page: number): void {
    // To its last micro-op, or the first of the next block.
    let uop = leader;
    let number: number;
    let step: Step;
    do {
      number = this.reached.get(uop);
      step = number < 0 ? 'outside' : this.steps[number];
      if (step !== 'plain') break;
      uop += Uop.bytes;
    } while (this.numberOf(uop) < 0);
    const before = (uop - leader) / Uop.bytes;
    if (step === 'plain') {
      writer.block(leader, before, 0, 0);
      writer.edge('none');
      this.writeEdge(writer, page, uop, page, false);
    } else if (step === 'outside') {
      writer.block(leader, before, uop, 0);
      writer.edge('none');
      writer.edge('none');
    } else if (step === 'joint') this.writeJoint(writer, leader, uop, number, page);
    else {
      writer.block(leader, before + 1, 0, 0);
      if (isDirect(step)) this.writeEdge(writer, page, this.toUop[number], this.toPage[number]);
      else writer.edge('none');
      if (step === 'conditional') this.writeEdge(writer, page, uop + Uop.bytes, page);
      else writer.edge('none');
    }
    if (step === 'return') this.writeReturns(writer, page);
    else writer.returns(0);
  }

  /** A block that ends at what only joins it to another. */
  private writeJoint(writer: JobWriter, leader: number, joint: number, number: number, page: number): void {
    const to = this.toUop[number];
    const toPage = this.toPage[number];
    const elsewhere = toPage !== page;
    const away = elsewhere && this.numberOf(to) < 0;
    writer.block(leader, (joint - leader) / Uop.bytes, away ? joint : 0, elsewhere && !away ? joint : 0);
    writer.edge('none');
    if (away) writer.edge('none');
    else this.writeEdge(writer, page, to, toPage);
  }

  private writeReturns(writer: JobWriter, page: number): void {
    const { returns, returnCount } = this;
    let inside = 0;
    for (let i = 0; i < returnCount; i++) if (this.blockNumber[returns[i]] >= 0) inside++;
    writer.returns(inside);
    for (let i = 0; i < returnCount; i++) {
      if (this.blockNumber[returns[i]] < 0) continue;
      const uop = this.leaderUop[returns[i]];
      const toPage = this.leaderPage[returns[i]];
      writer.ip(this.field(uop, Uop.ip) + this.at[toPage] - this.at[page]);
      this.writeEdge(writer, page, uop, toPage);
    }
  }
}

/** The instruction names its target. */
function isDirect(step: Step): boolean {
  return step === 'conditional' || step === 'unconditional' || step === 'call';
}
