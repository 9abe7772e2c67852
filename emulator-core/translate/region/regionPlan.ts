/**
 * Which code becomes one function: the neighbourhood of a hot micro-op in its page, as blocks with the edges between them. Reads the
 * micro-ops that the interpreter runs, and charges the budget where it does.
 */
import { Uop } from '../../cpu/layout';
import type { MachineMemory } from '../../mmu/memory';
import { CODES, type CodeInfo } from '../../x86/codes';
import type { CodePage } from '../../x86/codeCache';
import { SpecialCode } from '../../x86/decode';
import { Pseudo, type HandlerForm } from '../abi';
import { VARIANTS, formOf } from '../forms';
import type { HandlerModule } from '../handlers';
import { Probe } from '../probe';

/** Micro-ops of a region at most. */
const MAX_UOPS = 400;

/** Calls of a region that its returns look for. */
const MAX_RETURNS = 4;

/** How control leaves an instruction; 'interpreted': it is not for a region. */
type Kind = 'plain' | 'conditional' | 'unconditional' | 'call' | 'indirect' | 'return' | 'interpreted';

/** What compiling needs to know of all instructions with a Code and a handler. */
export interface CompiledForm {
  info: CodeInfo;
  form: HandlerForm;
  kind: Kind;
  /** It writes its memory operand. */
  writes: boolean;
  /** It accesses the stack. */
  stack: boolean;
}

/** An instruction that a region can hold. */
export interface RegionInstruction extends CompiledForm {
  uop: number;
}

/** Where control goes from the end of a block. */
export type Edge =
  /** To a block of the region. `charge`: its instructions are taken from the budget on the way, else they have been. */
  | { kind: 'block'; block: number; charge: boolean }
  /** To the block at a micro-op that is not in the region. */
  | { kind: 'enter'; uop: number }
  /** Out of the page, or to where nothing is decoded. */
  | { kind: 'away' };

export interface RegionBlock {
  uop: number;
  instructions: RegionInstruction[];
  /** A direct branch that ends the block: where it goes when it is taken. */
  taken?: Edge;
  /** Without a branch, or when it is not taken. undefined: the last instruction leaves, or `stop`. */
  next?: Edge;
  /** Where a return at the end may go to: behind the calls of the region. `ip`: the place in the page. */
  returns?: { ip: number; edge: Edge }[];
  /** Micro-op that the interpreter takes over at. */
  stop?: number;
}

export interface RegionPlan {
  blocks: RegionBlock[];
  /** Micro-ops behind those that the interpreter does: where regions should go on. */
  continuations: number[];
}

/** What the planner needs to know of the code cache. */
export interface PlanSource {
  memory: MachineMemory;
  forms: CompiledForms;
  /** The interpreter's handler of a micro-op, which may have a region's now. */
  handler(uop: number): number;
}

/** Forms by Code and handler, found once. */
export class CompiledForms {
  private readonly known = new Map<number, CompiledForm | undefined>();
  private readonly probe = new Probe();

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
  }

  private find(code: number, handler: number): CompiledForm | undefined {
    const info = CODES[code];
    const table = this.handlers[code];
    if (!info?.row.semantics || !table) return undefined;
    const number = table.indexOf(handler);
    const form = number >= 0 && number < VARIANTS ? formOf(info, number) : undefined;
    if (!form || form.repeat) return undefined;
    const kind = kindOf(info);
    if (kind === 'interpreted') return undefined;
    const { writes, stack } = this.probe.uses(info, form);
    return { info, form, kind, writes, stack };
  }
}

function kindOf({ row, operands }: CodeInfo): Kind {
  const conditional = /^(J(?!mp)|Loop)/.test(row.mnemonic);
  if (conditional || /^(Jmp|Call)$/.test(row.mnemonic)) {
    if (!operands[0]?.immediate) return 'indirect';
    return conditional ? 'conditional' : row.mnemonic === 'Call' ? 'call' : 'unconditional';
  }
  if (/^Retn/.test(row.mnemonic)) return 'return';
  return row.endsBlock ? 'interpreted' : 'plain';
}

export function planRegion(source: PlanSource, page: CodePage, entry: number): RegionPlan {
  return new Planner(source, page).plan(entry);
}

class Planner {
  private readonly leaders = new Set<number>();
  private readonly reached = new Set<number>();
  private readonly continuations: number[] = [];
  /** Micro-ops behind calls. */
  private readonly returns: number[] = [];

  constructor(
    private readonly source: PlanSource,
    private readonly page: CodePage,
  ) {}

  plan(entry: number): RegionPlan {
    this.leaders.add(entry);
    const queue = [entry];
    while (queue.length && this.reached.size < MAX_UOPS) this.walk(queue.shift()!, queue);
    // Leaders that were not reached any more are outside.
    for (const leader of this.leaders) if (!this.reached.has(leader)) this.leaders.delete(leader);
    const numbers = new Map<number, number>();
    for (const leader of this.leaders) numbers.set(leader, numbers.size);
    const blocks = [...this.leaders].map((leader) => this.block(leader, numbers));
    return { blocks, continuations: this.continuations };
  }

  private field(uop: number, offset: number): number {
    return this.source.memory.i32[(uop + offset) >> 2];
  }

  private walk(start: number, queue: number[]): void {
    for (let uop = start; ; uop += Uop.bytes) {
      if (this.reached.has(uop)) {
        // Joins what another leader began: a block starts here.
        if (uop !== start) this.leaders.add(uop);
        return;
      }
      if (this.reached.size >= MAX_UOPS) {
        this.continuations.push(uop);
        return;
      }
      this.reached.add(uop);
      const kind = this.kind(uop);
      const lead = (to: number): void => {
        if (this.leaders.has(to)) return;
        this.leaders.add(to);
        queue.push(to);
      };
      if (kind === 'plain') continue;
      if (kind === 'interpreted') {
        this.continue(uop);
        return;
      }
      if (kind === 'goto') lead(this.goesTo(uop));
      else if (kind !== 'indirect' && kind !== 'return') {
        const target = this.target(uop);
        if (target) lead(target);
        if (kind === 'conditional') lead(uop + Uop.bytes);
        const back = kind === 'call' && target ? this.behind(uop) : 0;
        if (back && this.returns.length < MAX_RETURNS && !this.returns.includes(back)) {
          this.returns.push(back);
          lead(back);
        }
      }
      return;
    }
  }

  /** Behind an instruction that the interpreter does, unless control does not come there. */
  private continue(uop: number): void {
    const handler = this.source.handler(uop);
    if (handler === Pseudo.pageEnd || handler === Pseudo.stop) return;
    const code = this.source.memory.u16[(uop + Uop.code) >> 1];
    // It stands alone: what lies behind it is of other code, or was.
    if (code === SpecialCode.crossPage) return;
    const info = CODES[code];
    const next = uop + Uop.bytes;
    if (info?.row.endsBlock || this.kind(next) === 'interpreted') return;
    this.continuations.push(next);
  }

  private instruction(uop: number): CompiledForm | undefined {
    const handler = this.source.handler(uop);
    if (handler <= Pseudo.last) return undefined;
    return this.source.forms.get(this.source.memory.u16[(uop + Uop.code) >> 1], handler);
  }

  /** Where a micro-op leads that only joins blocks, also where one became too long; 0 when it does not, or to nothing decoded. */
  private goesTo(uop: number): number {
    const handler = this.source.handler(uop);
    if (handler === Pseudo.goto) return this.field(uop, Uop.target);
    return handler === Pseudo.pageEnd ? (this.page.uops.get(this.field(uop, Uop.ip)) ?? 0) : 0;
  }

  private kind(uop: number): Kind | 'goto' {
    if (this.goesTo(uop)) return 'goto';
    return this.instruction(uop)?.kind ?? 'interpreted';
  }

  /** Micro-op that a direct branch goes to; 0: in another page, or not decoded. */
  private target(uop: number): number {
    const { i64 } = this.source.memory;
    const offset = this.field(uop, Uop.ip) + this.field(uop, Uop.length) + Number(i64[(uop + Uop.immediate) >> 3]);
    return this.page.uops.get(offset) ?? 0;
  }

  /** The micro-op decoded at where the instruction ends in the page; 0 when there is none. */
  private behind(uop: number): number {
    return this.page.uops.get(this.field(uop, Uop.ip) + this.field(uop, Uop.length)) ?? 0;
  }

  private block(leader: number, numbers: ReadonlyMap<number, number>): RegionBlock {
    const block: RegionBlock = { uop: leader, instructions: [] };
    const edge = (uop: number, charge = true): Edge => {
      if (!uop) return { kind: 'away' };
      const number = numbers.get(uop);
      return number === undefined ? { kind: 'enter', uop } : { kind: 'block', block: number, charge };
    };
    for (let uop = leader; ; uop += Uop.bytes) {
      if (uop !== leader && numbers.has(uop)) {
        block.next = edge(uop, false);
        return block;
      }
      const kind = this.reached.has(uop) ? this.kind(uop) : 'interpreted';
      if (kind === 'interpreted') {
        block.stop = uop;
        return block;
      }
      if (kind === 'goto') {
        block.next = edge(this.goesTo(uop));
        return block;
      }
      block.instructions.push({ uop, ...this.instruction(uop)! });
      if (kind === 'plain') continue;
      if (kind === 'return') {
        const inside = this.returns.filter((to) => numbers.has(to));
        block.returns = inside.map((to) => ({ ip: this.field(to, Uop.ip), edge: edge(to) }));
      } else if (kind !== 'indirect') {
        block.taken = edge(this.target(uop));
        if (kind === 'conditional') block.next = edge(uop + Uop.bytes);
      }
      return block;
    }
  }
}
