import assert from 'node:assert/strict';
import { FrameContext, SymbolStore } from '../../../debug-adapter/symbols/symbolStore';
import { fixtureBytes, imageReader } from './fixtures';

/** xorshift32: the same mutations in every run. */
function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

/** Asks a store everything, as the adapter would. Any exception fails the test. */
async function exercise(store: SymbolStore, addresses: bigint[], context: FrameContext): Promise<void> {
  store.sourceFiles();
  store.completeNames('', 10);
  store.breakpointLines('/src/fixtures/demo.c', 1, 100);
  for (const line of [1, 41]) store.addressesForLine('/src/fixtures/demo.c', line);
  store.addressesForLine('/src/fixtures/shared.h', 5);
  store.addressesForFunction('run');
  for (const name of ['struct task', 'struct device', 'u64']) String(store.findType(name)?.size);
  for (const pc of addresses) {
    store.symbolAt(pc);
    store.lineAt(pc);
    store.lineRanges(pc);
    store.functionAt(pc);
    store.framesAt(pc);
    const frame = { ...context, pc };
    await store.unwind(pc, frame);
    const { locals, arguments: parameters } = store.scopeVariables(pc);
    for (const variable of [...locals, ...parameters, store.findVariable('init_task'), store.findVariable('console')]) {
      if (!variable) continue;
      assert.equal(typeof variable.type.name, 'string');
      const value = await store.readVariable(variable, frame);
      await store.describeValue(value, false, frame);
      for (const part of await store.readChildren(value, frame, 0, 30)) {
        await store.describeValue(part.value, true, frame);
      }
    }
  }
}

const fixtures = [
  'demo-v5-O2',
  'demo-v4-O0',
  'demo-m32',
  'pair-types',
  'pair-dwarf64',
  'pair-zlib',
  'entry-v3',
  'boot-nasm',
];
const CASES = 300;

describe('symbols: damaged files', () => {
  for (const name of fixtures) {
    it(`${name}: ${CASES} mutations neither throw nor hang`, async () => {
      const original = fixtureBytes(name + '.elf');
      const random = generator(original.length);
      const start = { demo: 0xffffffff81000000n, pair: 0xffffffff81000000n, entr: 0x200000n, boot: 0x7c00n }[
        name.slice(0, 4)
      ]!;
      const base = name === 'demo-m32' ? 0x100000n : start;
      const context: FrameContext = {
        pc: base,
        register: (number) => Promise.resolve(number < 17 ? base + 0x1000n : undefined),
        read: imageReader(name + '.elf'),
      };
      let noted = 0;
      for (let i = 0; i < CASES; i++) {
        const bytes = original.slice();
        // Debug sections lie behind the loaded contents, and the section headers at the end.
        const from = i % 3 === 0 ? 0 : Math.min(0x1000, bytes.length >> 1);
        for (let count = 1 + random(8); count > 0; count--) {
          const at = from + random(bytes.length - from);
          bytes[at] = [random(256), 0xff, 0, bytes[at]! ^ (1 << random(8)), 0x80][random(5)]!;
        }
        const cut = i % 10 === 9 ? random(bytes.length) : bytes.length;
        const store = new SymbolStore();
        store.addFile(name, bytes.subarray(0, cut));
        await exercise(store, [base, base + 0x12n, base + 0x20n], context);
        assert.ok(store.warnings.length <= 101);
        if (store.warnings.length > 0) noted++;
      }
      assert.ok(noted > 0);
    });
  }
});
