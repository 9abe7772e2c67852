/** Plans of regions as numbers, which are quick to send and no garbage, and back. */
import { Uop } from '../../cpu/layout';
import { doubled } from '../../doubled';
import type { CompilablePlan, Edge, PlanSource, RegionBlock, UopMemory } from './regionPlan';

const WORDS = Uop.bytes / 4;
/** Kinds of edges; the first: there is none. */
const EDGES = ['none', 'block', 'cross', 'enter', 'away'] as const;
type EdgeKind = (typeof EDGES)[number];
/** Words that there is room for at first. */
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
  words = new Int32Array(FIRST_WORDS);
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
  clear(): void {
    this.length = 0;
  }
  /** All of them; there are none then. */
  take(): Int32Array<ArrayBuffer> {
    const taken = this.words.slice(0, this.length);
    this.length = 0;
    return taken;
  }
}

/** Writes plans, and the micro-ops that they are of: for each plan its blocks, for each block its edges. Micro-op 0 is none. */
export class JobWriter {
  private readonly plans = new Words();
  private readonly uops = new Words();
  private count = 0;

  /** @param copies the micro-ops go along */
  constructor(
    private readonly source: PlanSource,
    public copies: boolean,
  ) {}

  plan(narrow: boolean, blocks: number): void {
    this.count++;
    this.plans.add(narrow ? 1 : 0);
    this.plans.add(blocks);
  }

  /** As RegionBlock. Then come the edges `taken` and `next`, the number of returns, and for each of those `ip` and its edge. */
  block(uop: number, instructions: number, stop: number, end: number): void {
    const { plans } = this;
    plans.add(uop);
    plans.add(instructions);
    // Of a block without instructions it is asked where it is.
    this.run(uop, Math.max(1, instructions));
    plans.add(stop);
    plans.add(end);
    if (stop) this.run(stop);
    if (end) this.run(end);
  }

  /** @param to micro-op that is entered, or a block's number */
  edge(kind: EdgeKind, to = 0, charge = false): void {
    const { plans } = this;
    plans.add(EDGES.indexOf(kind));
    if (kind === 'none' || kind === 'away') return;
    plans.add(to);
    if (kind === 'block') plans.add(charge ? 1 : 0);
    if (kind === 'enter') this.run(to);
  }

  returns(count: number): void {
    this.plans.add(count);
  }
  ip(ip: number): void {
    this.plans.add(ip);
  }

  /** `count` micro-ops from one on. */
  private run(uop: number, count = 1): void {
    const { source, uops } = this;
    if (!this.copies) return;
    uops.add(uop);
    uops.add(count);
    const at = uops.append(source.memory.i32, uop >> 2, count * WORDS);
    for (let i = 0; i < count; i++) uops.set(at + i * WORDS + (Uop.handler >> 2), source.handler(uop + i * Uop.bytes));
  }

  /** All that has been written; nothing has been then. @param end all micro-ops of the machine are below */
  take(end: number): CompileJob {
    const { count } = this;
    this.count = 0;
    return { count, plans: this.plans.take(), uops: this.uops.take(), end };
  }
  clear(): void {
    this.count = 0;
    this.plans.clear();
    this.uops.clear();
  }
  /** Of what has been written. */
  reader(): JobReader {
    return new JobReader(this.plans.words);
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
    return this.next || undefined;
  }

  private edge(): Edge | undefined {
    const kind = EDGES[this.next];
    if (kind === 'none') return undefined;
    if (kind === 'away') return { kind };
    if (kind === 'enter') return { kind, uop: this.next };
    const block = this.next;
    return kind === 'cross' ? { kind, block } : { kind, block, charge: this.next !== 0 };
  }
}
