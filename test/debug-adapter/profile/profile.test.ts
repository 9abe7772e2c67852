import assert from 'node:assert/strict';
import { CallTree, framesOf, type ProfileFrame } from '../../../debug-adapter/profile/callTree';
import { profileFormat } from '../../../debug-adapter/profile/formats';

const frame = (name: string, line = 0): ProfileFrame => ({ name, file: line ? `${name}.c` : undefined, line });
const stack = (...names: string[]): ProfileFrame[] => names.map((name) => frame(name));
const facts = { name: 'kernel.elf', exporter: 'ringside test' };

function example(): CallTree {
  const tree = new CallTree();
  tree.add('vCPU 0', [frame('main', 10), frame('print', 20)], 100);
  tree.add('vCPU 0', [frame('main', 10)], 100);
  tree.add('vCPU 1', [frame('main', 10), frame('print', 20)], 50);
  return tree;
}

describe('CallTree', () => {
  it('keeps equal stacks once, and their order', () => {
    const tree = new CallTree();
    for (let i = 0; i < 1000; i++) tree.add('vCPU 0', stack('main', i % 2 ? 'even' : 'odd'), 10);
    assert.equal(tree.nodes.length, 3);
    const samples = tree.threads.get('vCPU 0')!;
    assert.equal(samples.length, 1000);
    assert.deepEqual(
      samples.slice(0, 2).map(({ node }) => framesOf(node).map((id) => tree.frames[id].name)),
      [
        ['main', 'odd'],
        ['main', 'even'],
      ],
    );
  });

  it('counts what would need more nodes for the deepest that is there', () => {
    const tree = new CallTree(10);
    for (let i = 0; i < 100; i++) tree.add('vCPU 0', stack('main', `f${i}`), 1);
    assert.equal(tree.nodes.length, 10);
    assert.equal(tree.frames.length, 10);
    assert.deepEqual(framesOf(tree.threads.get('vCPU 0')![99].node), [0]);
  });

  it('joins neighbours when there are too many samples, and loses no weight', () => {
    const tree = new CallTree(1000, 64);
    let joined = 0;
    for (let i = 0; i < 1000; i++) if (tree.add(`vCPU ${i % 3}`, stack('main'), 7)) joined++;
    assert.ok(joined > 0);
    const all = [...tree.threads.values()].flat();
    assert.ok(all.length < 64);
    assert.equal(
      all.reduce((sum, { weight }) => sum + weight, 0),
      7000,
    );
  });
});

describe('profile files', () => {
  it('are chosen by the ending of their name', () => {
    assert.equal(profileFormat('a/b.cpuprofile')?.ending, '.cpuprofile');
    assert.equal(profileFormat('B.SPEEDSCOPE.JSON')?.ending, '.speedscope.json');
    assert.equal(profileFormat('b.json'), undefined);
  });

  // https://www.speedscope.app/file-format-schema.json: FileFormat.File, FileFormat.SampledProfile
  it('.speedscope.json: what its schema requires', () => {
    const file = JSON.parse(profileFormat('x.speedscope.json')!.write(example(), facts));
    assert.equal(file.$schema, 'https://www.speedscope.app/file-format-schema.json');
    assert.deepEqual(file.shared.frames, [
      { name: 'main', file: 'main.c', line: 10 },
      { name: 'print', file: 'print.c', line: 20 },
    ]);
    assert.deepEqual(
      file.profiles.map(({ name, type, unit, startValue, endValue }: Record<string, unknown>) => ({ name, type, unit, startValue, endValue })), // prettier-ignore
      [
        { name: 'vCPU 0', type: 'sampled', unit: 'none', startValue: 0, endValue: 200 },
        { name: 'vCPU 1', type: 'sampled', unit: 'none', startValue: 0, endValue: 50 },
      ],
    );
    // Outermost frame first.
    assert.deepEqual(file.profiles[0].samples, [[0, 1], [0]]);
    assert.deepEqual(file.profiles[0].weights, [100, 100]);
  });

  // Chrome DevTools Protocol, Profiler.Profile: times in microseconds; a sample lasts until the next one.
  it('.cpuprofile: nodes, samples and times that belong together', () => {
    const file = JSON.parse(profileFormat('x.cpuprofile')!.write(example(), facts));
    const name = (id: number): string =>
      file.nodes.find((node: { id: number }) => node.id === id).callFrame.functionName;
    assert.equal(file.samples.length, file.timeDeltas.length);
    assert.deepEqual(file.samples.map(name), ['print', 'main', 'print', '(root)']);
    // 100 instructions are 800 ns, rounded to microseconds of the time so far.
    assert.deepEqual(file.timeDeltas, [0, 1, 1, 0]);
    assert.equal(
      file.timeDeltas.reduce((sum: number, each: number) => sum + each, 0),
      file.endTime - file.startTime,
    );
    const children: number[] = file.nodes.flatMap((node: { children: number[] }) => node.children);
    // A tree: each node but the root is one node's child.
    assert.deepEqual(
      children.sort((a, b) => a - b),
      file.nodes.map(({ id }: { id: number }) => id).filter((id: number) => id !== file.nodes[0].id).sort((a: number, b: number) => a - b), // prettier-ignore
    );
    assert.deepEqual(file.nodes[0].children.map(name), ['vCPU 0', 'vCPU 1']);
    assert.equal(
      file.nodes.find((node: { callFrame: { functionName: string } }) => node.callFrame.functionName === 'print')
        .callFrame.lineNumber,
      19,
    );
  });
});
