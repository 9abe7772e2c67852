/** LAR, LSL, VERR, VERW, ARPL, LLDT, LTR, UMIP. SDM Vol. 2, the instructions' Operation sections and tables of valid types. */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr4, Flag } from '../../../emulator-core/cpu/vcpu';
import { GDT, Selector, TestMachine, descriptor, type Mode } from '../testMachine';

const CODE = 0x100000;
const FREE = Selector.free;
const LAR = '0f02c8'; // lar ecx, eax
const LSL = '0f03c8';
const VERR = '0f00e0';
const VERW = '0f00e8';

function run(code: string, value: bigint, selector: number = FREE, mode: Mode = '32', cpl: 0 | 3 = 0): TestMachine {
  const t = new TestMachine().enter(mode, cpl);
  t.write64(GDT + FREE, value);
  return t.run(CODE, code, { rax: selector, rcx: 0x55, rsp: 0x9000 });
}
const zf = (t: TestMachine): boolean => (t.cpu.rflags & Flag.ZF) !== 0;
const system = (type: number, dpl = 0): bigint => descriptor(0x2000, 0x123, 0x80 | (dpl << 5) | type, 0);

describe('LAR and LSL', () => {
  it('give access rights and the expanded limit', () => {
    const d = descriptor(0x12345678, 0xabcde, 0xf3, 0xd);
    assert.deepStrictEqual([run(LAR, d).get('rcx'), zf(run(LAR, d))], [0x00d0f300n, true]);
    assert.strictEqual(run(LSL, d).get('rcx'), 0xabcdefffn);
    assert.strictEqual(run('66' + LAR, d).get('rcx'), 0xf300n);
    assert.strictEqual(run(LSL, descriptor(0, 0x1234, 0x93, 4)).get('rcx'), 0x1234n);
  });

  it('take the system types that the tables name', () => {
    const valid = (code: string, mode: Mode): number[] =>
      Array.from({ length: 16 }, (_, type) => type).filter((type) => zf(run(code, system(type), FREE, mode)));
    assert.deepStrictEqual(valid(LAR, '32'), [1, 2, 3, 4, 5, 9, 11, 12]);
    assert.deepStrictEqual(valid(LSL, '32'), [1, 2, 3, 9, 11]);
    assert.deepStrictEqual(valid(LAR, '64'), [2, 9, 11, 12]);
    assert.deepStrictEqual(valid(LSL, '64'), [2, 9, 11]);
  });

  it('clear ZF and change nothing where the descriptor is not visible', () => {
    const cases: [bigint, number, 0 | 3][] = [
      [descriptor(0, 1, 0x93, 0), FREE | 3, 0], // RPL above DPL
      [descriptor(0, 1, 0x93, 0), FREE, 3], // CPL above DPL
      [descriptor(0, 1, 0x93, 0), 3, 0], // null
      [descriptor(0, 1, 0x93, 0), 0x1000, 0], // beyond the table
      [descriptor(0, 1, 0x93, 0), FREE | 4, 0], // no LDT
    ];
    for (const [value, selector, cpl] of cases) {
      for (const code of [LAR, LSL]) {
        const t = run(code, value, selector, '32', cpl);
        assert.deepStrictEqual([zf(t), t.get('rcx'), t.vector], [false, 0x55n, undefined]);
      }
    }
    assert.ok(zf(run(LAR, descriptor(0, 1, 0x9f, 0), FREE | 3, '32', 3)), 'conforming code is visible to all');
  });

  it('are #UD in real mode', () => {
    for (const code of [LAR, LSL, VERR, VERW, '63c0', '0f00d0', '0f00d8', '0f00c0', '0f00c8'])
      assert.strictEqual(new TestMachine().enter('real').run(0x600, code, { rsp: 0x1000 }).vector, 6, code);
  });
});

describe('VERR and VERW', () => {
  const cases: [string, number, boolean, boolean][] = [
    ['writable data', 0x93, true, true],
    ['read-only data', 0x91, true, false],
    ['readable code', 0x9b, true, false],
    ['execute-only code', 0x99, false, false],
    ['a system segment', 0x82, false, false],
    ['data that is not present', 0x13, true, true],
  ];
  for (const [what, access, readable, writable] of cases) {
    it(`${what}: ${readable} and ${writable}`, () => {
      const d = descriptor(0, 1, access, 0);
      assert.deepStrictEqual([zf(run(VERR, d)), zf(run(VERW, d))], [readable, writable]);
    });
  }
});

describe('ARPL', () => {
  it('raises RPL to the other selector’s', () => {
    for (const [from, by, result, adjusted] of [[0x10, 3, 0x13, true], [0x13, 1, 0x13, false], [0x11, 1, 0x11, false]] as const) {
      const t = new TestMachine().enter('32').run(CODE, '63d8', { rax: (from | 0xabcd0000) >>> 0, rbx: by });
      assert.deepStrictEqual([Number(t.get('rax')), zf(t)], [(0xabcd0000 | result) >>> 0, adjusted]);
    }
  }); // prettier-ignore
});

describe('LLDT and LTR', () => {
  const error = (t: TestMachine): number => t.read32(Number(t.get('rsp')));
  const LLDT = '0f00d0';
  const LTR = '0f00d8';
  it('load; LTR marks the TSS busy', () => {
    const ldt = run(LLDT, descriptor(0x12345678, 0xff, 0x82, 0));
    assert.deepStrictEqual([ldt.selector('ldtr'), ldt.cpu.segmentBase(6), ldt.cpu.segmentLimit(6)], [FREE, 0x12345678n, 0xff]);
    for (const type of [1, 9]) {
      const task = run(LTR, system(type));
      assert.deepStrictEqual([task.selector('tr'), task.read(GDT + FREE + 5, 1)[0]], [FREE, 0x82 | type]);
    }
  }); // prettier-ignore

  const faults: [string, string, bigint, number, number, number][] = [
    ['LTR of a null selector', LTR, system(9), 0, 13, 0],
    ['LTR in the LDT', LTR, system(9), FREE | 4, 13, FREE | 4],
    ['LTR of a busy TSS', LTR, system(11), FREE, 13, FREE],
    ['LTR not present', LTR, descriptor(0, 0x67, 9, 0), FREE, 11, FREE],
    ['LLDT of a TSS', LLDT, system(9), FREE, 13, FREE],
    ['LLDT in the LDT', LLDT, system(2), FREE | 4, 13, FREE | 4],
    ['LLDT not present', LLDT, descriptor(0, 0x67, 2, 0), FREE, 11, FREE],
  ];
  for (const [what, code, value, selector, vector, want] of faults) {
    it(`${what}: vector ${vector}`, () => {
      const t = run(code, value, selector);
      assert.deepStrictEqual([t.vector, error(t)], [vector, want]);
    });
  }

  it('in IA-32e mode: 16 bytes, canonical base, a zero type above, no 16-bit TSS', () => {
    const long = (upper: bigint, type = 9): TestMachine => {
      const t = new TestMachine().enter('64');
      t.write64(GDT + FREE, system(type));
      t.write64(GDT + FREE + 8, upper);
      return t.run(CODE, LTR, { rax: FREE, rsp: 0x9000 });
    };
    assert.strictEqual(long(0xffff8000n).cpu.segmentBase(7), 0xffff800000002000n);
    assert.strictEqual(long(0x00008000n).vector, 13, 'not canonical');
    assert.strictEqual(long(0x100n << 32n).vector, 13, 'a type in the upper half');
    assert.strictEqual(long(0n, 1).vector, 13, '16-bit');
    const t = new TestMachine().enter('64');
    t.cpu.set64(State.gdtrLimit, BigInt(FREE + 7));
    t.write64(GDT + FREE, system(9));
    t.run(CODE, LTR, { rax: FREE, rsp: 0x9000 });
    assert.deepStrictEqual([t.vector, Number(t.read64(Number(t.get('rsp'))))], [13, FREE], 'half in the table');
  });

  it('at CPL 3 are #GP(0)', () => {
    for (const code of [LLDT, LTR]) assert.strictEqual(run(code, system(9), FREE, '32', 3).vector, 13);
  });
});

describe('UMIP', () => {
  const CODES = ['0f0103', '0f010b', '0f00c0', '0f00c8', '0f01e0']; // sgdt [rbx], sidt [rbx], sldt, str, smsw
  it('forbids SGDT, SIDT, SLDT, STR and SMSW outside of CPL 0', () => {
    for (const code of CODES) {
      for (const [cpl, on, vector] of [[3, true, 13], [3, false, undefined], [0, true, undefined]] as const) {
        const t = new TestMachine().enter('64', cpl);
        t.cpu.set64(State.cr4, BigInt(Cr4.PAE | (on ? Cr4.UMIP : 0)));
        assert.strictEqual(t.run(CODE, code, { rbx: 0x200000, rsp: 0x9000 }).vector, vector, code);
      }
    }
  }); // prettier-ignore
});

describe('ENTER with nesting levels', () => {
  // As a processor (AMD Zen, user mode) ran ENTERW 16, 0 .. 3 with RSP = 200100h and RBP = 200180h on words that hold their address / 2.
  it('copies frame pointers and its own', () => {
    for (const [level, below] of [[0, []], [1, [0x00fe]], [2, [0x017e, 0x00fe]], [3, [0x017e, 0x017c, 0x00fe]]] as const) {
      const t = new TestMachine().enter('64');
      for (let a = 0x200000; a < 0x200200; a += 2) t.write16(a, a & 0xffff);
      t.run(CODE, '66c81000' + level.toString(16).padStart(2, '0'), { rsp: 0x200100, rbp: 0x200180 });
      assert.deepStrictEqual([t.get('rbp'), t.get('rsp')], [0x2000fen, BigInt(0x200100 - 2 - 2 * level - 16)]);
      assert.deepStrictEqual(below.map((_, i) => t.read16(0x2000fc - 2 * i)), below);
      assert.strictEqual(t.read16(0x2000fe), 0x0180);
    }
  }); // prettier-ignore

  it('a fault leaves rSP and rBP', () => {
    const t = new TestMachine().enter('64').run(CODE, 'c8f0ff01', { rsp: 0x1000008, rbp: 0x1000000 });
    assert.strictEqual(t.vector, 14);
    assert.strictEqual(Number(t.read64(Number(t.get('rsp')) + 32)), 0x1000008);
    assert.strictEqual(t.get('rbp'), 0x1000000n);
  });
});
