/** Call stacks that were sampled, as a tree in which equal stacks are one node, and the samples in their order. Bounded in memory. */

/** A function, as viewers show it. */
export interface ProfileFrame {
  name: string;
  file?: string;
  /** 1-based; 0: not known. */
  line: number;
}

export interface CallNode {
  /** Place in CallTree.nodes. */
  id: number;
  frame: number;
  /** undefined: the root. */
  parent?: CallNode;
  children: Map<number, CallNode>;
}

export interface Sample {
  node: CallNode;
  /** Instructions that it stands for. */
  weight: number;
}

/** Nodes at most: what would need more counts for the deepest node that is there. */
const MAX_NODES = 200_000;
/** Samples kept at most: then neighbours are made one, and from there on half as many are taken. */
const MAX_SAMPLES = 1 << 18;

export class CallTree {
  readonly frames: ProfileFrame[] = [];
  readonly nodes: CallNode[] = [];
  /** Of one thread, by its name. */
  readonly threads = new Map<string, Sample[]>();
  private readonly frameIds = new Map<string, number>();
  private readonly root: CallNode = { id: -1, frame: -1, children: new Map() };
  private count = 0;

  constructor(
    private readonly maxNodes = MAX_NODES,
    private readonly maxSamples = MAX_SAMPLES,
  ) {}

  /**
   * Adds a sample. True: the tree has made room by joining neighbours, and wants half as many from here on.
   * @param stack outermost frame first
   */
  add(thread: string, stack: readonly ProfileFrame[], weight: number): boolean {
    let node = this.root;
    for (const frame of stack) {
      const next = this.child(node, frame);
      if (!next) break;
      node = next;
    }
    let samples = this.threads.get(thread);
    if (!samples) this.threads.set(thread, (samples = []));
    samples.push({ node, weight });
    if (++this.count < this.maxSamples) return false;
    this.join();
    return true;
  }

  private child(node: CallNode, { name, file, line }: ProfileFrame): CallNode | undefined {
    const key = `${name}\n${file ?? ''}`;
    let frame = this.frameIds.get(key);
    if (frame === undefined) {
      if (this.nodes.length >= this.maxNodes) return undefined;
      frame = this.frames.push({ name, file, line }) - 1;
      this.frameIds.set(key, frame);
    }
    let child = node.children.get(frame);
    if (!child && this.nodes.length < this.maxNodes) {
      child = { id: this.nodes.length, frame, parent: node, children: new Map() };
      this.nodes.push(child);
      node.children.set(frame, child);
    }
    return child;
  }

  /** Of two samples that follow each other the later one gets the weight of both. */
  private join(): void {
    this.count = 0;
    for (const [thread, samples] of this.threads) {
      const joined: Sample[] = [];
      for (let i = 0; i < samples.length; i += 2) {
        const [first, second] = [samples[i], samples[i + 1]];
        joined.push(second ? { node: second.node, weight: first.weight + second.weight } : first);
      }
      this.threads.set(thread, joined);
      this.count += joined.length;
    }
  }
}

/** Frames from the outermost to the node's own. */
export function framesOf(node: CallNode): number[] {
  const frames: number[] = [];
  for (let at: CallNode | undefined = node; at && at.frame >= 0; at = at.parent) frames.push(at.frame);
  return frames.reverse();
}
