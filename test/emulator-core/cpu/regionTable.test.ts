/** Compiled regions in the table of handlers: which function a micro-op leads to, and what becomes of it when there are too many. */
import assert from 'node:assert/strict';
import { noCompiling } from '../../../emulator-core/cpu/compileStatistics';
import { Uop } from '../../../emulator-core/cpu/layout';
import { RegionTable, type RegionFacts } from '../../../emulator-core/cpu/regionTable';
import { encodeRegions } from '../../../emulator-core/translate/region/regionModule';
import { Fn, finished, i32c, ret } from '../../../emulator-core/translate/wasm';
import { CodeContext, CodePage } from '../../../emulator-core/x86/codeCache';
import { MachineMemory } from '../../../emulator-core/mmu/memory';

const HANDLERS = 4;
const INTERPRETER = 3;
const MODULES = 5;

function make({ bytes = 1 << 20 } = {}) {
  const memory = new MachineMemory(1 << 20, 1);
  const table = new WebAssembly.Table({ initial: HANDLERS, element: 'anyfunc' });
  const statistics = noCompiling();
  const released: number[] = [];
  const go = (): number => 0;
  const handlers = { table, size: HANDLERS, go };
  const regions = new RegionTable(memory, handlers, statistics, (uop) => released.push(uop), bytes, MODULES);
  const context = new CodeContext(0, {} as CodeContext['decode']);
  const page = new CodePage(0, context);
  const uopOf = (number: number): number => memory.uopBase + number * Uop.bytes;
  const handlerAt = (number: number): number => (uopOf(number) + Uop.handler) >> 2;
  return {
    ...{ regions, statistics, released, uopOf },
    handler: (number: number): number => memory.i32[handlerAt(number)],
    /** A module of regions that return these numbers, each at the micro-op of its number. `kept`: they can be put into another. */
    add(numbers: number[], { on = page, kept = true } = {}): void {
      const functions = numbers.map((number) => {
        const f = new Fn(2);
        ret(f, i32c(number));
        if (memory.i32[handlerAt(number)] === 0) memory.i32[handlerAt(number)] = INTERPRETER;
        return f;
      });
      const encoded = encodeRegions(functions);
      const facts = numbers.map((number, i): RegionFacts => {
        const body = kept ? finished(functions[i]) : undefined;
        return { uop: uopOf(number), pages: [on], crosses: false, first: false, instructions: 1, body };
      });
      regions.add(facts, new WebAssembly.Module(encoded), encoded.length);
    },
    /** What the function returns that the micro-op leads to. */
    run: (number: number): unknown =>
      (table.get(memory.i32[handlerAt(number)]) as (a: number, b: number) => unknown)(0, 0),
    anotherPage: () => new CodePage(0x1000, context),
  };
}

describe('the table of regions', () => {
  it('leads micro-ops to their regions, and back to the interpreter', () => {
    const t = make();
    const other = t.anotherPage();
    t.add([1, 2]);
    t.add([3], { on: other });
    assert.deepEqual([1, 2, 3].map(t.run), [1, 2, 3]);
    assert.equal(t.regions.handler(t.uopOf(2)), INTERPRETER);
    t.regions.drop(other);
    assert.equal(t.handler(3), INTERPRETER);
    assert.deepEqual(t.released, [t.uopOf(3)]);
    assert.deepEqual([1, 2].map(t.run), [1, 2]);
    const { regions, modules, dropped, evicted } = t.statistics;
    assert.deepEqual({ regions, modules, dropped, evicted }, { regions: 3, modules: 1, dropped: 1, evicted: 0 });
  });

  it('puts small modules together where there are many, and regions stay where they are', () => {
    const t = make();
    const other = t.anotherPage();
    const numbers = Array.from({ length: 120 }, (_, i) => i + 1);
    for (const number of numbers) {
      t.add([number], number % 3 ? {} : { on: other });
      assert.ok(t.statistics.modules <= MODULES, `${t.statistics.modules} modules`);
    }
    assert.deepEqual(numbers.map(t.run), numbers);
    assert.equal(t.statistics.evicted, 0);
    assert.deepEqual(t.released, []);
    // They are given up with their code as before, and their modules and bytes with them.
    t.regions.drop(other);
    for (const number of numbers) {
      if (number % 3) assert.equal(t.run(number), number);
      else assert.equal(t.handler(number), INTERPRETER);
    }
    t.regions.drop(t.regions.get(t.uopOf(1))!.pages[0]);
    assert.equal(t.statistics.modules, 0);
    assert.equal(t.statistics.bytes, 0);
  });

  it('gives all up where there are too many modules that cannot be put together', () => {
    const t = make();
    // One alone is nothing to be put together.
    for (let number = 1; number <= MODULES; number++) t.add([number], { kept: number === 1 });
    assert.equal(t.statistics.evicted, 0);
    t.add([MODULES + 1]);
    assert.equal(t.statistics.evicted, MODULES);
    assert.equal(t.statistics.modules, 1);
    assert.equal(t.handler(1), INTERPRETER);
    assert.equal(t.run(MODULES + 1), MODULES + 1);
  });

  it('counts the bytes of a module until its last region is given up', () => {
    const t = make();
    const other = t.anotherPage();
    t.add([1]);
    const { bytes } = t.statistics;
    t.add([2], { on: other });
    assert.equal(t.statistics.bytes, 2 * bytes);
    t.regions.drop(other);
    assert.equal(t.statistics.bytes, bytes);
  });

  it('gives all up where they have too many bytes', () => {
    const t = make({ bytes: 500 });
    for (let number = 1; number <= 20; number++) {
      t.add([number]);
      assert.equal(t.run(number), number);
      assert.ok(t.statistics.bytes <= 500, `${t.statistics.bytes} bytes`);
    }
    assert.ok(t.statistics.evicted > 0);
  });
});
