/** A region before it is compiled: blocks of micro-ops with the edges between them, and what is known of instructions' forms. */
import { Uop } from '../../cpu/layout';
import type { MachineMemory } from '../../mmu/memory';
import { CODES, type CodeInfo } from '../../x86/codes';
import type { HandlerForm } from '../abi';
import { VARIANTS, formOf } from '../forms';
import type { HandlerModule } from '../handlers';
import { Probe, type Uses } from '../probe';

/** How control leaves an instruction. */
export type Kind = 'plain' | 'conditional' | 'unconditional' | 'call' | 'indirect' | 'return';

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
  /** null: not for compiling. */
  private readonly known = new Map<number, CompiledForm | null>();
  private readonly probe = new Probe();
  /** Called when instructions of a form turn out not to be for compiling. */
  onRefused: (code: number, handler: number) => void = () => {};

  constructor(private readonly handlers: HandlerModule['handlers']) {}

  /** undefined: not for compiling. */
  get(code: number, handler: number): CompiledForm | undefined {
    const key = code * 0x10000 + handler;
    let form = this.known.get(key);
    if (form === undefined) this.known.set(key, (form = this.find(code, handler) ?? null));
    return form ?? undefined;
  }

  /** It turned out that instructions of the form cannot be compiled. */
  refuse(code: number, handler: number): void {
    this.known.set(code * 0x10000 + handler, null);
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
function kindOf({ row, conditional, call, direct }: CodeInfo): Kind | undefined {
  if (direct) return conditional ? 'conditional' : call ? 'call' : 'unconditional';
  if (call || row.mnemonic === 'Jmp') return 'indirect';
  if (/^Retn/.test(row.mnemonic)) return 'return';
  return row.endsBlock ? undefined : 'plain';
}
