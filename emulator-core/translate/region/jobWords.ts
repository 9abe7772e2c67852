/** Plans of regions as numbers, which are quick to send, and back. */
import { Uop } from '../../cpu/layout';
import { doubled } from '../../doubled';
import type { CompilablePlan, Edge, PlanSource, RegionBlock, UopMemory } from './regionPlan';

const WORDS = Uop.bytes / 4;
const EDGES = ['block', 'cross', 'enter', 'away'] as const;
/** In place of a micro-op's address or an edge's kind: there is none. */
const NONE = -1;
/** Words that a job has room for at first. */
const FIRST_WORDS = 1 << 14;

export interface CompileJob {
  /** How many plans there are, and their words, as JobWriter has them. */
  count: number;
  plans: Int32Array<ArrayBuffer>;
  /** Micro-ops in runs of some that lie one after the other: address, count, and their words, with the interpreter's handlers. */
  uops: Int32Array<ArrayBuffer>;
  /** Addresses are below. */
  end: number;
}

/** Numbers of 32 bits, one after the other. */
class Words {
  private words = new Int32Array(FIRST_WORDS);
  private length = 0;

  add(value: number): void {
    if (this.length === this.words.length) this.words = doubled(this.words);
    this.words[this.length++] = value;
  }
  /** Adds `count` of others, which begin at `from` there; where the first is. */
  append(others: Int32Array, from: number, count: number): number {
    const at = this.length;
    if (at + count > this.words.length) this.words = doubled(this.words, count);
    const { words } = this;
    for (let i = 0; i < count; i++) words[at + i] = others[from + i];
    this.length += count;
    return at;
  }
  set(at: number, value: number): void {
    this.words[at] = value;
  }
  /** All of them; there are none then. */
  take(): Int32Array<ArrayBuffer> {
    const taken = this.words.slice(0, this.length);
    this.length = 0;
    return taken;
  }
}

/** Writes plans, and the micro-ops that they are of. */
export class JobWriter {
  private readonly plans = new Words();
  private readonly uops = new Words();

  constructor(private readonly source: PlanSource) {}

  /** @param end all micro-ops of the machine are below */
  write(plans: readonly CompilablePlan[], end: number): CompileJob {
    for (const { blocks, narrow } of plans) {
      this.plans.add(narrow ? 1 : 0);
      this.plans.add(blocks.length);
      for (const block of blocks) this.block(block);
    }
    return { count: plans.length, plans: this.plans.take(), uops: this.uops.take(), end };
  }

  private block({ uop, instructions, stop, end, taken, next, returns }: RegionBlock): void {
    const { plans } = this;
    plans.add(uop);
    plans.add(instructions);
    // Of a block without instructions it is asked where it is.
    this.run(uop, Math.max(1, instructions));
    this.place(stop);
    this.place(end);
    this.edge(taken);
    this.edge(next);
    plans.add(returns?.length ?? 0);
    if (!returns) return;
    for (const { ip, edge } of returns) {
      plans.add(ip);
      this.edge(edge);
    }
  }

  private place(uop: number | undefined): void {
    this.plans.add(uop ?? NONE);
    if (uop !== undefined) this.run(uop);
  }

  private edge(edge: Edge | undefined): void {
    const { plans } = this;
    plans.add(edge ? EDGES.indexOf(edge.kind) : NONE);
    if (edge?.kind === 'enter') {
      plans.add(edge.uop);
      this.run(edge.uop);
    } else if (edge?.kind === 'block' || edge?.kind === 'cross') {
      plans.add(edge.block);
      if (edge.kind === 'block') plans.add(edge.charge ? 1 : 0);
    }
  }

  /** `count` micro-ops from one on. */
  private run(uop: number, count = 1): void {
    const { source, uops } = this;
    uops.add(uop);
    uops.add(count);
    const at = uops.append(source.memory.i32, uop >> 2, count * WORDS);
    for (let i = 0; i < count; i++) uops.set(at + i * WORDS + (Uop.handler >> 2), source.handler(uop + i * Uop.bytes));
  }
}

/** Puts a job's micro-ops to where they lie in their machine. */
export function placeUops({ uops }: CompileJob, { i32 }: UopMemory): void {
  for (let at = 0; at < uops.length;) {
    const [uop, count] = [uops[at], uops[at + 1]];
    const words = uops.subarray(at + 2, at + 2 + count * WORDS);
    i32.set(words, uop >> 2);
    at += 2 + words.length;
  }
}

/** Reads the plans that JobWriter has written. */
export class JobReader {
  private at = 0;

  constructor(private readonly words: Int32Array) {}

  private get next(): number {
    return this.words[this.at++];
  }

  /** The next plan. */
  plan(): CompilablePlan {
    const narrow = this.next !== 0;
    const blocks = Array.from({ length: this.next }, (): RegionBlock => {
      const uop = this.next;
      const instructions = this.next;
      const [stop, end] = [this.place(), this.place()];
      const [taken, next] = [this.edge(), this.edge()];
      const returns = Array.from({ length: this.next }, () => ({ ip: this.next, edge: this.edge()! }));
      return { uop, instructions, stop, end, taken, next, returns: returns.length ? returns : undefined };
    });
    return { blocks, narrow };
  }

  private place(): number | undefined {
    const place = this.next;
    return place === NONE ? undefined : place;
  }

  private edge(): Edge | undefined {
    const kind = this.next;
    if (kind === NONE) return undefined;
    const name = EDGES[kind];
    if (name === 'away') return { kind: name };
    if (name === 'enter') return { kind: name, uop: this.next };
    const block = this.next;
    return name === 'cross' ? { kind: name, block } : { kind: name, block, charge: this.next !== 0 };
  }
}
