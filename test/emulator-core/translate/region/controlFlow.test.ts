/** Random graphs as WebAssembly: the function walks from node to node as the graph says. */
import assert from 'node:assert/strict';
import { ControlFlow } from '../../../../emulator-core/translate/region/controlFlow';
import { Fn, I32, get, i32, i32c, ifElse, ret, set } from '../../../../emulator-core/translate/wasm';
import { encodeModule } from '../../../../emulator-core/translate/wasmModule';
import { Random } from '../../../differential/values';

/** Nodes that each node goes to: none, one, or two of which the walk's bits choose. */
type Graph = number[][];

/** What the walk comes to: nodes mixed into a number, up to `steps` of them. */
function walk(graph: Graph, seed: number, steps: number): number {
  let mixed = 0;
  let bits = seed;
  for (let node = 0, step = 0; ; step++) {
    mixed = (Math.imul(mixed, 31) + node + 1) | 0;
    if (step === steps || graph[node].length === 0) return mixed;
    bits = (Math.imul(bits, 1103515245) + 12345) | 0;
    node = graph[node][graph[node].length === 2 ? (bits >>> 16) & 1 : 0];
  }
}

/** The same as a function (seed, steps) -> mixed. Edges that the structure has no place for return with 7. */
function compiled(graph: Graph): { run: (seed: number, steps: number) => number; left: number } {
  const f = new Fn(2);
  const [bits, steps] = [get(0, I32), get(1, I32)];
  const mixed = f.local(I32);
  const flow = new ControlFlow({ count: graph.length, successors: (node) => graph[node] });
  let left = 0;
  const multiply = (a: ReturnType<typeof get>, by: number): ReturnType<typeof get> => ({
    type: I32,
    emit: (fn) => {
      a.emit(fn);
      i32c(by).emit(fn);
      fn.code.push(0x6c); // i32.mul
    },
  });
  const edge = (from: number, to: number): void => {
    if (flow.isStructured(from, to)) flow.goTo(from, to);
    else {
      left++;
      ret(f, i32c(7));
    }
  };
  flow.emit(f, (node) => {
    set(mixed, i32.add(multiply(get(mixed, I32), 31), i32c(node + 1)))(f);
    const to = graph[node];
    if (to.length === 0) {
      ret(f, get(mixed, I32));
      return;
    }
    ifElse(f, i32.eqz(steps), () => ret(f, get(mixed, I32)));
    set(1, i32.sub(steps, i32c(1)))(f);
    set(0, i32.add(multiply(bits, 1103515245), i32c(12345)))(f);
    if (to.length === 2) {
      const second = i32.and(i32.shrU(bits, i32c(16)), i32c(1));
      ifElse(f, second, () => edge(node, to[1]));
    }
    edge(node, to[0]);
  });
  f.code.push(0x00); // unreachable
  const bytes = encodeModule({ imports: [], functions: [f], exports: [{ name: 'run', index: 0 }] });
  const env = { memory: new WebAssembly.Memory({ initial: 1 }) };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env });
  return { run: exports.run as (seed: number, steps: number) => number, left };
}

function check(graph: Graph, seeds = 8): void {
  const { run, left } = compiled(graph);
  for (let seed = 0; seed < seeds; seed++) {
    for (const steps of [0, 1, 2, 5, 40]) {
      const got = run(seed * 7919, steps);
      if (left && got === 7) continue;
      assert.equal(got, walk(graph, seed * 7919, steps), `${JSON.stringify(graph)}, seed ${seed}, ${steps} steps`);
    }
  }
}

describe('control flow of a region', () => {
  it('follows straight lines, diamonds and loops', () => {
    check([[]]);
    check([[1], [2], []]);
    check([[1, 2], [3], [3], []]);
    check([[1], [1, 2], []]);
    check([[0]]);
    check([[1], [2, 3], [1, 3], [0, 4], []]);
    // Both arms to one node.
    check([[1, 1], []]);
  });

  it('has a place for every edge of graphs whose loops are entered at one node', () => {
    // Two loops in one another, with exits out of the inner one.
    for (const graph of [
      [[1], [2], [2, 3], [1, 4], []],
      [[1, 4], [2, 3], [1, 3], [4, 0], []],
    ]) {
      assert.equal(compiled(graph).left, 0);
      check(graph);
    }
  });

  it('leaves edges into the middle of a loop to the caller, and no others wrong', () => {
    const graph = [[1, 2], [2, 3], [1, 3], []];
    assert.ok(compiled(graph).left > 0);
    check(graph);
  });

  it('is right for random graphs', () => {
    const random = new Random(5);
    for (let i = 0; i < 1500; i++) {
      const count = 1 + random.below(12);
      const graph = Array.from({ length: count }, () =>
        Array.from({ length: random.below(3) }, () => random.below(count)),
      );
      check(graph, 3);
    }
  });
});

describe('loops of a graph', () => {
  const loops = (graph: Graph): number[] => [
    ...new ControlFlow({ count: graph.length, successors: (node) => graph[node] }).loops(),
  ];

  it('are found by their headers, the innermost for each node', () => {
    // 0 -> 1; 1 -> 2, 5; 2 -> 3; 3 -> 2, 4; 4 -> 1; 5 ends: the loop of 2 and 3 in that of 1 to 4
    assert.deepEqual(loops([[1], [2, 5], [3], [2, 4], [1], []]), [-1, 1, 2, 2, 1, -1]);
  });

  it('are none in code without a way back, and one of a node that leads to itself', () => {
    assert.deepEqual(loops([[1, 2], [3], [3], []]), [-1, -1, -1, -1]);
    assert.deepEqual(loops([[0, 1], []]), [0, -1]);
  });

  it('have one header though two ways lead back to it', () => {
    assert.deepEqual(loops([[1], [2, 3], [1], [1, 4], []]), [-1, 1, 1, 1, -1]);
  });
});
