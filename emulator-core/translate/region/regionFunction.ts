/** One region as one WebAssembly function (micro-op, vCPU) -> 0, with the type of the interpreter's handlers. */
import { Uop } from '../../cpu/layout';
import { I64, get, i64, i64c, type Expr, type Fn } from '../wasm';
import { loopAccesses, repeatedAccesses } from './checkedPages';
import { ControlFlow } from './controlFlow';
import { NotForCompiling, NotWithExits, RegionBuilder, type BranchEdges } from './regionBuilder';
import { RegionFlags } from './regionFlags';
import {
  uopOf,
  type CompilablePlan,
  type CompiledForm,
  type Edge,
  type KnownBlock,
  type PlanSource,
  type RegionBlock,
} from './regionPlan';
import { RegionState } from './regionState';

/** What became of a plan. 'plan again': instructions turned out not to be for compiling, which is known from now on; 'nothing': all of them. */
export type CompiledPlan = Fn | 'plan again' | 'nothing';

export function compileRegion(source: PlanSource, { blocks, narrow }: CompilablePlan): CompiledPlan {
  const known = blocks.map((block): KnownBlock => ({ ...block, forms: formsOf(source, block) }));
  // Those that are missing are told, all of them, to who planned the region elsewhere.
  if (known.some(({ forms, instructions }) => forms.length < instructions)) return 'plan again';
  return new RegionEmitter(source, known, narrow).emit();
}

/** Of the block's instructions, but for those that are known not to be for compiling. */
function formsOf(source: PlanSource, block: RegionBlock): CompiledForm[] {
  const forms: CompiledForm[] = [];
  for (let i = 0; i < block.instructions; i++) {
    const uop = uopOf(block, i);
    const code = source.memory.u16[(uop + Uop.code) >> 1];
    const form = source.forms.get(code, source.handler(uop));
    if (form) forms.push(form);
    else source.forms.onRefused(code, source.handler(uop));
  }
  return forms;
}

class RegionEmitter {
  private readonly s: RegionState;
  private readonly flags: RegionFlags;
  private readonly flow: ControlFlow;
  /** For each block: instructions that may be charged from there on before the budget is looked at again. */
  private readonly charges: number[];
  /** For each block the header of its loop, or -1. */
  private readonly loops: Int32Array;
  private instructions = 0;
  private refused = false;

  constructor(
    private readonly source: PlanSource,
    private readonly blocks: readonly KnownBlock[],
    narrow: boolean,
  ) {
    const { uop } = blocks[0];
    this.s = new RegionState({ uop, handler: source.handler(uop) }, narrow);
    this.flags = new RegionFlags(this.s, this.s);
    const edges = blocks.map(successors);
    this.flow = new ControlFlow({ count: blocks.length, successors: (node) => edges[node] });
    this.charges = this.flow.longest((node) =>
      edgesOf(blocks[node]).map((edge) => ({ to: destination(edge), cost: this.cost(edge) })),
    );
    this.loops = this.findLoops();
  }

  private findLoops(): Int32Array {
    const loops = this.flow.loops();
    for (const header of new Set(loops)) {
      if (header < 0) continue;
      const blocks = this.blocks.filter((_, i) => loops[i] === header);
      this.s.setLoop(header, loopAccesses(this.source.memory, blocks));
    }
    return loops;
  }

  emit(): CompiledPlan {
    const { s } = this;
    const left = this.left(this.blocks[0].uop);
    const f = s.wrap(
      left,
      () => {
        this.needs(0);
        this.flow.emit(s.f, (node) => this.block(node));
      },
      () => this.flags.settle(),
    );
    // What goes on at a refused instruction that the region begins at would go on at the region, for ever.
    if (this.refused) return 'plan again';
    return this.instructions ? f : 'nothing';
  }

  /** Where the budget does not cover all until a loop begins anew, the interpreter goes on at the block. */
  private needs(node: number): void {
    const { uop } = this.blocks[node];
    this.s.needs(this.charges[node], uop, this.source.handler(uop));
  }

  private left(uop: number): number {
    return this.source.memory.i32[(uop + Uop.left) >> 2];
  }

  /** Instructions that are taken from the budget on an edge. */
  private cost(edge: Edge): number {
    if (edge.kind === 'away' || (edge.kind === 'block' && !edge.charge)) return 0;
    return this.left(edge.kind === 'enter' ? edge.uop : this.blocks[edge.block].uop);
  }

  private block(node: number): void {
    const { s } = this;
    const block = this.blocks[node];
    if (this.flow.merges(node)) s.merge();
    s.beginBlock(repeatedAccesses(this.source.memory, block), this.loops[node]);
    if (this.source.observer) s.observe(this.source.observer, block.uop, () => this.flags.settle());
    for (const [i, form] of block.forms.entries()) {
      const done = this.instruction(node, block, uopOf(block, i), form);
      s.endInstruction();
      if (!done) return;
    }
    if (block.stop !== undefined) s.goOn(block.stop);
    else if (block.next) this.edge(node, block.next, () => this.pageEnd(block.end!));
    s.endInstruction();
  }

  /** From the end of one page into the next. */
  private pageEnd(uop: number): Way {
    const { s } = this;
    const ip = i64c(this.source.memory.i32[(uop + Uop.ip) >> 2]);
    return { rip: s.let(i64.add(get(s.ripBase, I64), ip)), leave: () => s.goOn(uop) };
  }

  /** False: control does not go on behind it. */
  private instruction(node: number, block: RegionBlock, uop: number, one: CompiledForm): boolean {
    const { s, source } = this;
    const { info, form } = one;
    const { writes } = one.uses();
    const { f, known } = s;
    const length = f.code.length;
    const depth = f.depth;
    const handler = source.handler(uop);
    try {
      const builder = new RegionBuilder(s, source.memory, uop, handler, form, writes, this.flags, (b) =>
        this.edges(node, block, b),
      );
      info.row.semantics!(builder);
      this.instructions++;
      return !builder.ended;
    } catch (e) {
      f.code.truncate(length);
      f.depth = depth;
      s.known = known;
      if (e instanceof NotWithExits) {
        s.forgetPages();
        return this.instruction(node, block, uop, one);
      }
      if (!(e instanceof NotForCompiling)) throw e;
      source.forms.refuse(info.code, handler);
      this.refused = true;
      s.goOn(uop);
      return false;
    }
  }

  /** Of the branch that ends a block. */
  private edges(node: number, block: RegionBlock, b: RegionBuilder): BranchEdges {
    const { s } = this;
    const to = (rip: Expr): Way => ({ rip, leave: () => b.lookup(rip) });
    const direct = (): Way => to(s.let(b.branchTarget()));
    return {
      taken: () => this.edge(node, block.taken!, direct),
      next: () => this.edge(node, block.next!, direct),
      returns: (block.returns ?? []).map(({ ip, edge }) => ({
        ip,
        go: (rip) => this.edge(node, edge, () => to(rip)),
      })),
    };
  }

  /** @param way out of the page */
  private edge(node: number, edge: Edge, way: () => Way): void {
    const { s } = this;
    if (edge.kind === 'away') {
      way().leave();
      return;
    }
    const uop = edge.kind === 'enter' ? edge.uop : this.blocks[edge.block].uop;
    if (edge.kind === 'cross') {
      const { rip, leave } = way();
      s.cross(uop, rip, leave);
    }
    s.charge(this.cost(edge));
    if (edge.kind === 'enter' || !this.flow.isStructured(node, edge.block)) {
      s.goOn(uop);
      return;
    }
    // On the way there, where it is known how the flags stand, and not in the loop, which need not keep them for this.
    if (this.flow.isHeader(edge.block)) this.needs(edge.block);
    if (this.flow.merges(edge.block)) s.tellFlags();
    s.within(() => this.flow.goTo(node, edge.block));
  }
}

/** How control goes to an rip from where it leaves the page. */
interface Way {
  rip: Expr;
  leave(): void;
}

function edgesOf(block: RegionBlock): Edge[] {
  const edges = [block.next, block.taken, ...(block.returns ?? []).map(({ edge }) => edge)];
  return edges.filter((edge) => edge !== undefined);
}

/** The block of the region that an edge leads to. */
function destination(edge: Edge): number | undefined {
  return edge.kind === 'block' || edge.kind === 'cross' ? edge.block : undefined;
}

function successors(block: RegionBlock): number[] {
  return edgesOf(block)
    .map(destination)
    .filter((to) => to !== undefined);
}
