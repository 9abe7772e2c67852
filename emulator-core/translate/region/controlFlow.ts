/**
 * Control flow of a region as WebAssembly wants it: blocks, loops and branches out of them, without a dispatcher. Works on any graph
 * whose loops are entered at one place each; other edges are left to the caller.
 * N. Ramsey, "Beyond Relooper: Recursive Translation of Unstructured Control Flow to Structured Control Flow", 2022;
 * K. Cooper, T. Harvey and K. Kennedy, "A Simple, Fast Dominance Algorithm", 2001.
 */
import { block, branch, loopBlock, type Fn, type Label } from '../wasm';

export interface FlowGraph {
  /** Nodes are 0 .. count - 1; 0 is the entry. */
  count: number;
  successors(node: number): readonly number[];
}

export class ControlFlow {
  /** Place of a node in reverse postorder; -1: not reached. */
  private readonly order: Int32Array;
  private readonly sorted: number[] = [];
  private readonly dominator: Int32Array;
  private readonly forward: Int32Array;
  private readonly header: Uint8Array;
  private readonly children: number[][];
  private readonly predecessors: number[][];
  /** Where branches to a loop's header or a merging node go, while they are open. */
  private readonly labels = new Map<number, Label>();

  constructor(private readonly graph: FlowGraph) {
    const { count } = graph;
    this.order = new Int32Array(count).fill(-1);
    this.dominator = new Int32Array(count).fill(-1);
    this.forward = new Int32Array(count);
    this.header = new Uint8Array(count);
    this.children = Array.from({ length: count }, () => []);
    this.predecessors = Array.from({ length: count }, () => []);
    this.sort();
    this.findDominators();
    for (const node of this.sorted) {
      if (node !== 0) this.children[this.dominator[node]].push(node);
      for (const to of graph.successors(node)) {
        if (this.order[to] > this.order[node]) this.forward[to]++;
        else if (this.dominates(to, node)) this.header[to] = 1;
      }
    }
  }

  /** The edge can be a branch: it goes forward, or back to the header of a loop around `from`. */
  isStructured(from: number, to: number): boolean {
    return this.order[to] > this.order[from] || this.dominates(to, from);
  }

  /** A loop begins at the node. */
  isHeader(node: number): boolean {
    return this.header[node] !== 0;
  }

  /** For each node, the header of the innermost loop that it is in; -1: none. */
  loops(): Int32Array {
    const inner = new Int32Array(this.graph.count).fill(-1);
    // Outer loops' headers come first.
    for (const header of this.sorted) {
      if (!this.header[header]) continue;
      const queue = this.predecessors[header].filter((node) => this.dominates(header, node));
      const seen = new Set([header]);
      inner[header] = header;
      for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
        if (seen.has(node)) continue;
        seen.add(node);
        inner[node] = header;
        queue.push(...this.predecessors[node]);
      }
    }
    return inner;
  }

  /**
   * For each node, the most that `cost` adds up to from there to where a loop begins, or to the end. `cost`: of a node's edges, with
   * undefined for those that lead out.
   */
  longest(edges: (node: number) => readonly { to: number | undefined; cost: number }[]): number[] {
    const most = new Array<number>(this.graph.count).fill(0);
    for (let i = this.sorted.length - 1; i >= 0; i--) {
      const node = this.sorted[i];
      for (const { to, cost } of edges(node)) {
        const on = to !== undefined && this.order[to] > this.order[node] && !this.header[to] ? most[to] : 0;
        most[node] = Math.max(most[node], cost + on);
      }
    }
    return most;
  }

  /** Control comes to the node along more than one edge. */
  merges(node: number): boolean {
    return this.forward[node] > 1 || this.header[node] !== 0 || node === 0;
  }

  /**
   * Emits the graph. `body` emits a node; at its end control must not go on: it calls goTo() for each of its edges, or leaves.
   */
  emit(f: Fn, body: (node: number) => void): void {
    this.f = f;
    this.body = body;
    this.tree(0);
  }
  private f!: Fn;
  private body!: (node: number) => void;

  /** At the end of `from`, or of an arm in it: control goes to `to`. */
  goTo(from: number, to: number): void {
    const back = this.order[to] <= this.order[from];
    if (back || this.forward[to] > 1) branch(this.f, this.labels.get(to)!);
    else this.tree(to);
  }

  private tree(node: number): void {
    const merging = this.children[node].filter((child) => this.forward[child] > 1);
    // The last in order is behind the outermost block.
    merging.sort((a, b) => this.order[b] - this.order[a]);
    if (!this.header[node]) {
      this.within(node, merging, 0);
      return;
    }
    loopBlock(this.f, (label) => {
      // A node that merges is a header, too: branches from inside go to its loop.
      const outer = this.labels.get(node);
      this.labels.set(node, label);
      this.within(node, merging, 0);
      if (outer === undefined) this.labels.delete(node);
      else this.labels.set(node, outer);
    });
  }

  private within(node: number, merging: readonly number[], at: number): void {
    if (at === merging.length) {
      this.body(node);
      return;
    }
    const next = merging[at];
    block(this.f, (label) => {
      this.labels.set(next, label);
      this.within(node, merging, at + 1);
      this.labels.delete(next);
    });
    this.tree(next);
  }

  private sort(): void {
    const postorder: number[] = [];
    const seen = new Uint8Array(this.graph.count);
    const stack: { node: number; next: number }[] = [{ node: 0, next: 0 }];
    seen[0] = 1;
    while (stack.length) {
      const top = stack[stack.length - 1];
      const successors = this.graph.successors(top.node);
      if (top.next === successors.length) {
        postorder.push(top.node);
        stack.pop();
        continue;
      }
      const to = successors[top.next++];
      if (seen[to]) continue;
      seen[to] = 1;
      stack.push({ node: to, next: 0 });
    }
    for (let i = postorder.length - 1; i >= 0; i--) {
      this.order[postorder[i]] = this.sorted.length;
      this.sorted.push(postorder[i]);
    }
  }

  private findDominators(): void {
    const { dominator, sorted, graph, predecessors } = this;
    for (const node of sorted) for (const to of graph.successors(node)) predecessors[to].push(node);
    dominator[0] = 0;
    for (let changed = true; changed;) {
      changed = false;
      for (const node of sorted) {
        if (node === 0) continue;
        let found = -1;
        for (const from of predecessors[node]) {
          if (dominator[from] < 0) continue;
          found = found < 0 ? from : this.common(found, from);
        }
        if (dominator[node] !== found) {
          dominator[node] = found;
          changed = true;
        }
      }
    }
  }

  private common(a: number, b: number): number {
    while (a !== b) {
      while (this.order[a] > this.order[b]) a = this.dominator[a];
      while (this.order[b] > this.order[a]) b = this.dominator[b];
    }
    return a;
  }

  private dominates(a: number, b: number): boolean {
    while (this.order[b] > this.order[a]) b = this.dominator[b];
    return a === b;
  }
}
