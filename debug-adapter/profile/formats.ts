/** Profiles as files that others open, by the ending of their name. */
import { framesOf, type CallNode, type CallTree } from './callTree';

export interface ProfileFacts {
  /** What was run, for titles. */
  name: string;
  /** 'ringside 1.2.3' */
  exporter: string;
}

interface ProfileFormat {
  ending: string;
  /** The file's contents. */
  write(tree: CallTree, facts: ProfileFacts): string;
}

/** Virtual time of an instruction, nanoseconds: emulator-core/time/machineClock.ts. */
const NS_PER_INSTRUCTION = 8;

/** https://www.speedscope.app/file-format-schema.json: weights are instructions; a profile a thread. */
function speedscope(tree: CallTree, { name, exporter }: ProfileFacts): string {
  const profiles = [...tree.threads].map(([thread, samples]) => ({
    type: 'sampled',
    name: thread,
    unit: 'none',
    startValue: 0,
    endValue: samples.reduce((sum, { weight }) => sum + weight, 0),
    samples: samples.map(({ node }) => framesOf(node)),
    weights: samples.map(({ weight }) => weight),
  }));
  const frames = tree.frames.map(({ name: function_, file, line }) => ({
    name: function_,
    ...(file === undefined ? {} : { file }),
    ...(file !== undefined && line > 0 ? { line } : {}),
  }));
  return JSON.stringify({
    $schema: 'https://www.speedscope.app/file-format-schema.json',
    shared: { frames },
    profiles,
    name,
    activeProfileIndex: 0,
    exporter,
  });
}

/**
 * The Chrome DevTools protocol's Profiler.Profile: times in microseconds of virtual time. Threads follow each other, each a node below
 * the root. A sample lasts until the next one: what closes the last one is a sample of the root.
 */
function cpuprofile(tree: CallTree): string {
  const ROOT = 1;
  let nextId = ROOT + 1;
  interface Node {
    id: number;
    callFrame: { functionName: string; scriptId: string; url: string; lineNumber: number; columnNumber: number };
    hitCount: number;
    children: number[];
  }
  const nodes: Node[] = [];
  const make = (id: number, functionName: string, url = '', line = 0): Node => {
    const callFrame = { functionName, scriptId: '0', url, lineNumber: Math.max(0, line - 1), columnNumber: 0 };
    const node = { id, callFrame, hitCount: 0, children: [] };
    nodes.push(node);
    return node;
  };
  const root = make(ROOT, '(root)');
  const samples: number[] = [];
  const timeDeltas: number[] = [];
  let [instructions, time, delta] = [0, 0, 0];
  for (const [thread, list] of tree.threads) {
    const top = make(nextId++, thread);
    root.children.push(top.id);
    const made = new Map<CallNode, Node>();
    const nodeOf = (at: CallNode): Node => {
      if (at.frame < 0) return top;
      let node = made.get(at);
      if (!node) {
        const parent = at.parent ? nodeOf(at.parent) : top;
        const { name, file, line } = tree.frames[at.frame];
        node = make(nextId++, name, file, line);
        parent.children.push(node.id);
        made.set(at, node);
      }
      return node;
    };
    for (const { node: at, weight } of list) {
      const node = nodeOf(at);
      node.hitCount++;
      samples.push(node.id);
      timeDeltas.push(delta);
      instructions += weight;
      const end = Math.round((instructions * NS_PER_INSTRUCTION) / 1000);
      delta = end - time;
      time = end;
    }
  }
  samples.push(ROOT);
  timeDeltas.push(delta);
  return JSON.stringify({ nodes, startTime: 0, endTime: time, samples, timeDeltas });
}

export const PROFILE_FORMATS: readonly ProfileFormat[] = [
  { ending: '.cpuprofile', write: cpuprofile },
  { ending: '.speedscope.json', write: speedscope },
];

/** The format of a file; undefined when its name ends like none. */
export function profileFormat(file: string): ProfileFormat | undefined {
  return PROFILE_FORMATS.find(({ ending }) => file.toLowerCase().endsWith(ending));
}
