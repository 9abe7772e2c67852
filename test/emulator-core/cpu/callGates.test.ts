/** Call gates and conforming segments. SDM Vol. 3A, "Gate Descriptors", "Accessing a Code Segment Through a Call Gate", "Stack Switching". */
import assert from 'node:assert';
import { GDT, RING0_STACK, Selector, TSS, TestMachine, descriptor, type Mode } from '../testMachine';

const CODE = 0x100000;
const TARGET = 0x120000;
const GATE = Selector.free;
const OTHER = Selector.free + 16;

interface Gate {
  selector?: number;
  offset?: number;
  type?: number;
  dpl?: number;
  present?: boolean;
  parameters?: number;
}

function gate(t: TestMachine, at: number, g: Gate): void {
  const offset = g.offset ?? TARGET;
  const access = (g.present === false ? 0 : 0x80) | ((g.dpl ?? 3) << 5) | (g.type ?? 12);
  t.write32(GDT + at, (offset & 0xffff) | ((g.selector ?? Selector.code32) << 16));
  t.write32(GDT + at + 4, (offset & 0xffff0000) | (access << 8) | (g.parameters ?? 0));
}

function machine(g: Gate, cpl: 0 | 3 = 3, mode: Mode = '32'): TestMachine {
  const t = new TestMachine().enter(mode, cpl);
  gate(t, GATE, { selector: mode === '64' || mode === 'compat' ? Selector.code64 : Selector.code32, ...g });
  if (mode === '64' || mode === 'compat') t.write64(GDT + GATE + 8, 0n);
  return t;
}
const call = (selector: number = GATE): string => '9a00000000' + selector.toString(16).padStart(2, '0') + '00';
const jump = (selector: number = GATE): string => 'ea00000000' + selector.toString(16).padStart(2, '0') + '00';
const stack = (t: TestMachine, count: number): number[] =>
  Array.from({ length: count }, (_, i) => t.read32(Number(t.get('rsp')) + i * 4));

describe('call gates', () => {
  it('CALL at the same level pushes CS and EIP in the gate’s size, whatever the operand size', () => {
    const t = machine({}, 0).run(CODE, call(), { rsp: 0x9000 });
    assert.deepStrictEqual([t.cpu.rip, t.get('rsp')], [BigInt(TARGET), 0x8ff8n]);
    assert.deepStrictEqual(stack(t, 2), [CODE + 7, Selector.code32]);
    const u = machine({ type: 4, offset: 0xabcd1234 }, 0).run(CODE, call(), { rsp: 0x9000 });
    assert.deepStrictEqual([u.cpu.rip, u.get('rsp')], [0x1234n, 0x8ffcn]);
    assert.deepStrictEqual([u.read16(0x8ffc), u.read16(0x8ffe)], [7, Selector.code32]);
  });

  it('CALL to an inner level switches stacks and copies parameters', () => {
    const t = machine({ parameters: 3 });
    [0x11, 0x22, 0x33, 0x44].forEach((v, i) => t.write32(0x9000 + i * 4, v));
    t.run(CODE, call(), { rsp: 0x9000 });
    assert.deepStrictEqual([t.cpu.rip, t.cpu.cpl, t.selector('ss')], [BigInt(TARGET), 0, Selector.data]);
    assert.strictEqual(Number(t.get('rsp')), RING0_STACK - 28);
    const frame = [CODE + 7, Selector.userCode32, 0x11, 0x22, 0x33, 0x9000, Selector.userData];
    assert.deepStrictEqual(stack(t, 7), frame);
    assert.strictEqual(t.selector('cs'), Selector.code32, 'RPL is the new CPL');
    // RETF 12 releases the parameters on both stacks.
    t.writeHex(TARGET, 'ca0c00');
    t.machine.run(1);
    assert.deepStrictEqual([t.cpu.rip, t.cpu.cpl, t.get('rsp')], [BigInt(CODE + 7), 3, 0x900cn]);
  });

  it('a 16-bit gate copies words', () => {
    const t = machine({ parameters: 2, type: 4, offset: 0x3000 });
    t.write16(0x9000, 0x11);
    t.write16(0x9002, 0x22);
    t.run(CODE, call(), { rsp: 0x9000 });
    assert.strictEqual(Number(t.get('rsp')), RING0_STACK - 12);
    const words = [0, 2, 4, 6, 8, 10].map((i) => t.read16(RING0_STACK - 12 + i));
    assert.deepStrictEqual(words, [7, Selector.userCode32, 0x11, 0x22, 0x9000, Selector.userData]);
  });

  it('JMP does not change the level', () => {
    const t = machine({ selector: Selector.userCode32 }).run(CODE, jump(), { rsp: 0x9000 });
    assert.deepStrictEqual([t.cpu.rip, t.cpu.cpl, t.get('rsp')], [BigInt(TARGET), 3, 0x9000n]);
    const inner = machine({}).run(CODE, jump(), { rsp: 0x9000 });
    assert.deepStrictEqual([inner.vector, stack(inner, 1)], [13, [Selector.code32]]);
  });

  it('a conforming target keeps CPL and stack', () => {
    const t = machine({ selector: OTHER });
    t.write64(GDT + OTHER, descriptor(0, 0xfffff, 0x9f, 0xc));
    t.run(CODE, call(), { rsp: 0x9000 });
    assert.deepStrictEqual([t.cpu.cpl, t.get('rsp'), t.selector('cs')], [3, 0x8ff8n, OTHER | 3]);
  });

  const faults: [string, Gate, number, number][] = [
    ['DPL below CPL', { dpl: 0 }, 13, GATE],
    ['not present', { present: false }, 11, GATE],
    ['null target', { selector: 0 }, 13, 0],
    ['a target that is data', { selector: Selector.data }, 13, Selector.data],
    ['a target beyond the GDT', { selector: 0x200 }, 13, 0x200],
    ['a reserved type', { type: 8 }, 13, GATE],
    ['an interrupt gate', { type: 14 }, 13, GATE],
  ];
  for (const [what, g, vector, error] of faults) {
    it(`${what}: vector ${vector} with the selector`, () => {
      const t = machine(g).run(CODE, call(), { rsp: 0x9000 });
      assert.deepStrictEqual([t.vector, stack(t, 1)], [vector, [error]]);
    });
  }

  it('RPL above the gate’s DPL is #GP', () => {
    const t = machine({ dpl: 2 }, 0).run(CODE, call(GATE | 3), { rsp: 0x9000 });
    assert.deepStrictEqual([t.vector, stack(t, 1)], [13, [GATE]]);
  });

  it('an inner stack that is wrong is #TS, one that is absent #SS', () => {
    for (const [selector, access, vector] of [[0, 0x93, 10], [OTHER, 0x91, 10], [OTHER, 0x13, 12]] as const) {
      const t = machine({ dpl: 3 });
      t.write64(GDT + OTHER, descriptor(0, 0xfffff, access, 0xc));
      t.write32(TSS + 8, selector);
      // Its handler runs in ring 3, which needs no inner stack.
      t.write64(GDT + OTHER + 8, descriptor(0, 0xfffff, 0xfb, 0xc));
      t.write32(0x6000 + vector * 8, ((0x8000 + vector * 16) & 0xffff) | ((OTHER + 8) << 16));
      t.run(CODE, call(), { rsp: 0x9000 });
      assert.deepStrictEqual([t.vector, stack(t, 1)], [vector, [selector]]);
    }
  }); // prettier-ignore

  it('in 64-bit mode: 16 bytes, eight-byte pushes, a null SS', () => {
    const t = machine({}, 3, '64');
    t.write32(0x200000, 0);
    t.write16(0x200004, GATE);
    t.run(CODE, 'ff1c2500002000', { rsp: 0x9000 });
    assert.deepStrictEqual([t.cpu.rip, t.cpu.cpl, t.cpu.bitness], [BigInt(TARGET), 0, 64]);
    assert.deepStrictEqual([t.get('rsp'), t.selector('ss')], [BigInt(RING0_STACK - 32), 0]);
    const frame = [0, 8, 16, 24].map((i) => Number(t.read64(RING0_STACK - 32 + i)));
    assert.deepStrictEqual(frame, [CODE + 7, Selector.userCode64, 0x9000, Selector.userData]);
  });

  it('from compatibility mode into 64-bit code, and back by RETFQ', () => {
    const t = machine({}, 3, 'compat');
    t.writeHex(TARGET, '48cb');
    t.run(CODE, call(), { rsp: 0x9000 });
    assert.deepStrictEqual([t.cpu.bitness, t.cpu.cpl], [64, 0]);
    t.machine.run(1);
    assert.deepStrictEqual([t.cpu.rip, t.cpu.bitness, t.cpu.cpl, t.get('rsp')], [BigInt(CODE + 7), 32, 3, 0x9000n]);
  });

  it('a 64-bit gate with a type in its upper half, or to 32-bit code, is #GP', () => {
    const t = machine({}, 3, 'compat');
    t.write32(GDT + GATE + 12, 0x0c00);
    t.run(CODE, call(), { rsp: 0x9000 });
    assert.deepStrictEqual([t.vector, stack(t, 1)], [13, [GATE]]);
    const u = machine({ selector: Selector.code32 }, 3, 'compat').run(CODE, call(), { rsp: 0x9000 });
    assert.deepStrictEqual([u.vector, stack(u, 1)], [13, [Selector.code32]]);
  });
});
