/**
 * Which code becomes one function: the neighbourhood of a hot micro-op, as blocks with the edges between them. Reads the micro-ops that
 * the interpreter runs, and charges the budget where it does. At first in one page; for what stays hot across pages, too, as the jump
 * cache knows where branches between them go.
 */
import { PAGE, Uop } from '../../cpu/layout';
import type { MachineMemory } from '../../mmu/memory';
import { CODES, type CodeInfo } from '../../x86/codes';
import type { CodePage } from '../../x86/codeCache';
import { SpecialCode } from '../../x86/decode';
import { Pseudo, type HandlerForm } from '../abi';
import { VARIANTS, formOf } from '../forms';
import type { HandlerModule } from '../handlers';
import { Probe, type Uses } from '../probe';

/** Micro-ops of a region at most. */
export const MAX_UOPS = 400;

/** Calls of a region that its returns look for. */
const MAX_RETURNS = 4;
/** Pages of a region at most. */
const MAX_PAGES = 8;

/** How control leaves an instruction. */
type Kind = 'plain' | 'conditional' | 'unconditional' | 'call' | 'indirect' | 'return';

/** What compiling needs to know of all instructions with a Code and a handler. */
export interface CompiledForm {
  info: CodeInfo;
  form: HandlerForm;
  kind: Kind;
  /** What its semantics use: only compiling needs it, and finding it runs them, for the first time in a process perhaps. */
  uses: () => Uses;
}

/** Where control goes from the end of a block. */
export type Edge =
  /** To a block of the region. `charge`: its instructions are taken from the budget on the way, else they have been. */
  | { kind: 'block'; block: number; charge: boolean }
  /** To a block of the region in another page, which is where it was unless the jump cache says otherwise. */
  | { kind: 'cross'; block: number }
  /** To the block at a micro-op that is not in the region. */
  | { kind: 'enter'; uop: number }
  /** Out of the page, or to where nothing is decoded. */
  | { kind: 'away' };

export interface RegionBlock {
  uop: number;
  /** How many there are, one behind the other from `uop` on. */
  instructions: number;
  /** A direct branch that ends the block: where it goes when it is taken. */
  taken?: Edge;
  /** Without a branch, or when it is not taken. undefined: the last instruction leaves, or `stop`. */
  next?: Edge;
  /** Where a return at the end may go to: behind the calls of the region. `ip`: the place, from the page of the block. */
  returns?: { ip: number; edge: Edge }[];
  /** Micro-op that the interpreter takes over at. */
  stop?: number;
  /** Micro-op of the page's end, from which `next` leads into another page. */
  end?: number;
}

/** A block with what compiling needs to know of its instructions. */
export interface KnownBlock extends RegionBlock {
  forms: readonly CompiledForm[];
}

/** The micro-op of a block's instruction. */
export function uopOf(block: RegionBlock, instruction: number): number {
  return block.uop + instruction * Uop.bytes;
}

/** What compiling needs of a plan. */
export interface CompilablePlan {
  blocks: RegionBlock[];
  /** It is code of 16 or 32 bits. */
  narrow: boolean;
}

export interface RegionPlan extends CompilablePlan {
  /** All pages that it has code of; the first is that of its entry. */
  pages: readonly CodePage[];
  /** Micro-ops behind those that the interpreter does: where regions should go on. */
  continuations: number[];
}

/** Where code of other pages is now, at the linear addresses that a vCPU runs it at. */
export interface Surroundings {
  /** rip of byte 0 of the entry's page. */
  base: bigint;
  /** The micro-op at an rip, and its page, as far as the jump cache knows it. */
  find(rip: bigint): { uop: number; page: CodePage } | undefined;
}

/** The memory that micro-ops are in. */
export type UopMemory = Pick<MachineMemory, 'u8' | 'u16' | 'i32' | 'i64'>;

/** What the planner needs to know of the code cache. */
export interface PlanSource {
  memory: UopMemory;
  forms: CompiledForms;
  /** The interpreter's handler of a micro-op, which may have a region's now. */
  handler(uop: number): number;
  /** Place in the table of what is called where blocks begin: see blockObserver.ts. */
  observer?: number;
}

/** Forms by Code and handler, found once. */
export class CompiledForms {
  private readonly known = new Map<number, CompiledForm | undefined>();
  private readonly probe = new Probe();
  /** Called when instructions of a form turn out not to be for compiling. */
  onRefused: (code: number, handler: number) => void = () => {};

  constructor(private readonly handlers: HandlerModule['handlers']) {}

  /** undefined: not for compiling. */
  get(code: number, handler: number): CompiledForm | undefined {
    const key = code * 0x10000 + handler;
    if (this.known.has(key)) return this.known.get(key);
    const form = this.find(code, handler);
    this.known.set(key, form);
    return form;
  }

  /** It turned out that instructions of the form cannot be compiled. */
  refuse(code: number, handler: number): void {
    this.known.set(code * 0x10000 + handler, undefined);
    this.onRefused(code, handler);
  }

  private find(code: number, handler: number): CompiledForm | undefined {
    const info = CODES[code];
    const table = this.handlers[code];
    if (!info?.row.semantics || !table) return undefined;
    const number = table.indexOf(handler);
    const form = number >= 0 && number < VARIANTS ? formOf(info, number) : undefined;
    if (!form || form.repeat) return undefined;
    const kind = kindOf(info);
    if (!kind) return undefined;
    let uses: Uses | undefined;
    return { info, form, kind, uses: () => (uses ??= this.probe.uses(info, form)) };
  }
}

/** undefined: it is not for a region. */
function kindOf({ row, operands, conditional, call }: CodeInfo): Kind | undefined {
  if (conditional || call || row.mnemonic === 'Jmp') {
    if (!operands[0]?.immediate) return 'indirect';
    return conditional ? 'conditional' : call ? 'call' : 'unconditional';
  }
  if (/^Retn/.test(row.mnemonic)) return 'return';
  return row.endsBlock ? undefined : 'plain';
}

/**
 * @param most micro-ops of the region at most
 * @param around the region may go beyond its page
 */
export function planRegion(
  source: PlanSource,
  page: CodePage,
  entry: number,
  most = MAX_UOPS,
  around?: Surroundings,
): RegionPlan {
  return new Planner(source, page, most, around).plan(entry);
}

/** What only joins blocks. */
interface Joint {
  kind: 'joint';
  to: Place;
}

/** What a micro-op is for the region: an instruction of it, what joins blocks, or else (undefined) the interpreter's. */
type Step = CompiledForm | Joint | undefined;

/** A page of the region. */
interface PlannedPage {
  page: CodePage;
  /** Its linear address, from that of the page that the region is entered in; a multiple of 4096. */
  at: number;
}

class Planner {
  /** Where blocks begin, with their pages. */
  private readonly leaders = new Map<number, PlannedPage>();
  private readonly reached = new Map<number, Step>();
  /** Leaders in the order in which they were found. */
  private readonly queue: number[] = [];
  /** Leaders that were reached, by the number that their block gets. */
  private readonly numbers = new Map<number, number>();
  private readonly continuations: number[] = [];
  /** Micro-ops behind calls. */
  private readonly returns: number[] = [];
  private readonly pages: PlannedPage[];

  constructor(
    private readonly source: PlanSource,
    page: CodePage,
    private readonly most: number,
    private readonly around: Surroundings | undefined,
  ) {
    this.pages = [{ page, at: 0 }];
  }

  plan(entry: number): RegionPlan {
    this.leaders.set(entry, this.pages[0]);
    this.queue.push(entry);
    for (let at = 0; at < this.queue.length && this.reached.size < this.most; at++) {
      const next = this.queue[at];
      this.walk(next, this.leaders.get(next)!);
    }
    // Leaders that were not reached any more are outside.
    this.leaders.forEach((_, leader) => {
      if (this.reached.has(leader)) this.numbers.set(leader, this.numbers.size);
    });
    const blocks: RegionBlock[] = [];
    this.numbers.forEach((_, leader) => blocks.push(this.block(leader, this.leaders.get(leader)!)));
    const narrow = this.pages[0].page.context.decode.bitness !== 64;
    return { blocks, narrow, pages: this.pages.map(({ page }) => page), continuations: this.continuations };
  }

  private field(uop: number, offset: number): number {
    return this.source.memory.i32[(uop + offset) >> 2];
  }

  /** A block begins at a micro-op. */
  private lead(uop: number, page: PlannedPage): void {
    if (this.leaders.has(uop)) return;
    this.leaders.set(uop, page);
    this.queue.push(uop);
  }

  private walk(start: number, page: PlannedPage): void {
    for (let uop = start; ; uop += Uop.bytes) {
      if (this.reached.has(uop)) {
        // Joins what another leader began: a block starts here.
        if (uop !== start) this.leaders.set(uop, page);
        return;
      }
      if (this.reached.size >= this.most) {
        this.continuations.push(uop);
        return;
      }
      const step = this.step(uop, page);
      this.reached.set(uop, step);
      if (!step) {
        this.continue(uop, page);
        return;
      }
      if (step.kind === 'joint') {
        this.lead(step.to.uop, step.to.page);
        return;
      }
      const { kind } = step;
      if (kind === 'plain') continue;
      if (kind !== 'indirect' && kind !== 'return') {
        const target = this.target(uop, page);
        if (target) this.lead(target.uop, target.page);
        if (kind === 'conditional') this.lead(uop + Uop.bytes, page);
        const back = kind === 'call' && target ? this.behind(uop, page) : 0;
        if (back && this.returns.length < MAX_RETURNS && !this.returns.includes(back)) {
          this.returns.push(back);
          this.lead(back, page);
        }
      }
      return;
    }
  }

  /** Behind an instruction that the interpreter does, unless control does not come there. */
  private continue(uop: number, page: PlannedPage): void {
    const handler = this.source.handler(uop);
    if (handler === Pseudo.pageEnd || handler === Pseudo.stop) return;
    const code = this.source.memory.u16[(uop + Uop.code) >> 1];
    // It stands alone: what lies behind it is of other code, or was.
    if (code === SpecialCode.crossPage) return;
    const info = CODES[code];
    const next = uop + Uop.bytes;
    if (info?.row.endsBlock || !this.step(next, page)) return;
    this.continuations.push(next);
  }

  private step(uop: number, page: PlannedPage): Step {
    const { source } = this;
    const handler = source.handler(uop);
    const to = this.goesTo(uop, handler, page);
    if (to) return { kind: 'joint', to };
    return handler <= Pseudo.last ? undefined : source.forms.get(source.memory.u16[(uop + Uop.code) >> 1], handler);
  }

  /** Where a micro-op leads that only joins blocks, also where one became too long; undefined when it does not, or to nothing known. */
  private goesTo(uop: number, handler: number, page: PlannedPage): Place | undefined {
    if (handler === Pseudo.goto) return { uop: this.field(uop, Uop.target), page };
    return handler === Pseudo.pageEnd ? this.place(this.field(uop, Uop.ip), page) : undefined;
  }

  /** Where a direct branch goes; undefined: not decoded, or in a page that the region cannot have. */
  private target(uop: number, page: PlannedPage): Place | undefined {
    const { i64 } = this.source.memory;
    const offset = this.field(uop, Uop.ip) + this.field(uop, Uop.length) + Number(i64[(uop + Uop.immediate) >> 3]);
    return this.place(offset, page);
  }

  /** The micro-op at an offset from the start of a page, in it or beyond. */
  private place(offset: number, page: PlannedPage): Place | undefined {
    const inside = page.page.uop(offset);
    if (inside !== undefined) return { uop: inside, page };
    const { around } = this;
    if (!around || (offset >= 0 && offset < PAGE)) return undefined;
    const found = around.find(around.base + BigInt(page.at + offset));
    if (!found?.page.valid) return undefined;
    const at = page.at + offset - this.field(found.uop, Uop.ip);
    let known = this.pages.find((one) => one.page === found.page);
    if (!known) {
      if (this.pages.length >= MAX_PAGES) return undefined;
      this.pages.push((known = { page: found.page, at }));
    }
    // One page at two linear addresses is in the region at the first.
    return known.at === at ? { uop: found.uop, page: known } : undefined;
  }

  /** The micro-op decoded at where the instruction ends in the page; 0 when there is none. */
  private behind(uop: number, { page }: PlannedPage): number {
    return page.uop(this.field(uop, Uop.ip) + this.field(uop, Uop.length)) ?? 0;
  }

  /** From a block in `from` to a place; undefined: to nothing known. */
  private edge(from: PlannedPage, to: Place | undefined, charge = true): Edge {
    const number = to && this.numbers.get(to.uop);
    if (number !== undefined) {
      return to!.page === from ? { kind: 'block', block: number, charge } : { kind: 'cross', block: number };
    }
    return to?.page === from ? { kind: 'enter', uop: to.uop } : { kind: 'away' };
  }

  private block(leader: number, page: PlannedPage): RegionBlock {
    const { numbers } = this;
    const block: RegionBlock = { uop: leader, instructions: 0 };
    for (let uop = leader; ; uop += Uop.bytes) {
      if (uop !== leader && numbers.has(uop)) {
        block.next = this.edge(page, { uop, page }, false);
        return block;
      }
      const step = this.reached.get(uop);
      if (!step) {
        block.stop = uop;
        return block;
      }
      if (step.kind === 'joint') {
        const next = this.edge(page, step.to);
        if (next.kind === 'away') block.stop = uop;
        else block.next = next;
        if (next.kind === 'cross') block.end = uop;
        return block;
      }
      block.instructions++;
      const { kind } = step;
      if (kind === 'plain') continue;
      if (kind === 'return') {
        const inside = this.returns
          .filter((to) => numbers.has(to))
          .map((uop) => ({ uop, page: this.leaders.get(uop)! }));
        block.returns = inside.map((to) => ({
          ip: this.field(to.uop, Uop.ip) + to.page.at - page.at,
          edge: this.edge(page, to),
        }));
      } else if (kind !== 'indirect') {
        block.taken = this.edge(page, this.target(uop, page));
        if (kind === 'conditional') block.next = this.edge(page, { uop: uop + Uop.bytes, page });
      }
      return block;
    }
  }
}

interface Place {
  uop: number;
  page: PlannedPage;
}
