/** x87 instructions on the machine: every line of x87.vectors and transcendental.vectors against hardware, then modes, faults and images from the manual. */
import assert from 'node:assert';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { State } from '../../../../emulator-core/cpu/layout';
import { Cr0, Flag } from '../../../../emulator-core/cpu/vcpu';
import { TestMachine, fromHex, toHex, type Mode } from '../../testMachine';

const CODE = 0x100000;
const IMAGE = 0x200000;
const DATA = 0x200080;
const RESULT = 0x200100;
const ARITHMETIC = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.OF;

type Fields = Record<string, string>;
const fields = (text: string): Fields =>
  Object.fromEntries(
    text
      .trim()
      .split(/\s+/)
      .map((word) => word.split('=')),
  );
const reversed = (hex: string): string => toHex(fromHex(hex).reverse());
const word = (fpu: Fields, name: string): string => (fpu[name] ?? '0').padStart(4, '0');

/** The 108-byte image of FNSAVE without its pointers, as hex. */
function image(fpu: Fields): string {
  const words = ['cw', 'sw', 'tw'].map((name) => reversed(word(fpu, name)) + 'ffff').join('');
  const registers = Array.from({ length: 8 }, (_, i) =>
    reversed((fpu[`st${i}`] ?? '0000:0000000000000000').replace(':', '')),
  );
  return words + '00'.repeat(16) + registers.join('');
}

/** What a vector expects: what went in, moved with TOP, and what came out over it. */
function expected(before: Fields, after: Fields): Fields {
  const top = (fpu: Fields): number => (parseInt(word(fpu, 'sw'), 16) >> 11) & 7;
  const fpu: Fields = { ...before };
  for (let i = 0; i < 8; i++) {
    fpu[`st${i}`] = before[`st${(i + top(after) - top(before)) & 7}`] ?? '0000:0000000000000000';
  }
  return { ...fpu, ...after };
}

describe('x87 vectors', () => {
  const lines = ['x87.vectors', 'transcendental.vectors']
    .flatMap((file) => readFileSync(path.join(__dirname, file), 'utf8').split('\n'))
    .filter((line) => line !== '' && !line.startsWith('#'));

  it(`${lines.length} lines agree with hardware`, () => {
    const t = new TestMachine().enter('64');
    const failures: string[] = [];
    for (const [at, line] of lines.entries()) {
      const [head, inputs, outputs] = line.split('|');
      const bytes = head.trim().split(/\s+/)[1];
      const before = fields(inputs);
      const want = expected(before, fields(outputs));
      t.writeHex(IMAGE, image(before));
      t.writeHex(DATA, before.mem ?? '00'.repeat(10));
      t.cpu.rflags = parseInt(before.flags ?? '0', 16) | 2;
      // frstor [rdi]; the instruction on [rsi]; fnsave [rbx], each line at its own place
      t.run(CODE + at * 16, `dd27 ${bytes} dd33`, { rax: 0, rdi: IMAGE, rsi: DATA, rbx: RESULT }, 3);
      const got = toHex(t.read(RESULT, 108));
      const problems: string[] = [];
      const check = (what: string, a: string, b: string): void => {
        if (a !== b) problems.push(`${what} ${a}, not ${b}`);
      };
      const whole = image(want);
      for (const [i, name] of ['cw', 'sw', 'tw'].entries())
        check(name, got.slice(i * 8, i * 8 + 8), whole.slice(i * 8, i * 8 + 8));
      check('registers', got.slice(56), whole.slice(56));
      if (want.mem) check('memory', toHex(t.read(DATA, 10)), want.mem);
      if (want.ax) check('ax', t.get('rax').toString(16), want.ax);
      if (want.flags) check('flags', (t.cpu.rflags & ARITHMETIC).toString(16), want.flags);
      if (t.vector !== undefined) problems.push(`exception ${t.vector}`);
      if (problems.length > 0) failures.push(`${line}\n  ${problems.join('; ')}`);
    }
    assert.deepStrictEqual(failures, []);
  });
});

describe('x87 availability and pending exceptions', () => {
  const setCr0 = (t: TestMachine, set: number, clear = 0): TestMachine => {
    t.cpu.set64(State.cr0, (t.cpu.get64(State.cr0) | BigInt(set)) & ~BigInt(clear));
    return t;
  };
  const vectorOf = (bytes: string, set: number): number | undefined =>
    setCr0(new TestMachine().enter('64'), set).run(CODE, bytes, { rsi: DATA }, 1).vector ?? undefined;

  // SDM Vol. 3A, "Control Registers", tables of EM, MP and TS; the fault is counted as the instruction that delivers it.
  it('CR0.EM and TS raise #NM; WAIT wants MP and TS', () => {
    const after = (bytes: string, set: number): number | undefined => {
      const t = setCr0(new TestMachine().enter('64'), set).run(CODE, bytes, { rsi: DATA }, 2);
      return t.vector;
    };
    assert.strictEqual(after('d9e8 90', Cr0.EM), 7);
    assert.strictEqual(after('d9e8 90', Cr0.TS), 7);
    assert.strictEqual(after('dbe3 90', Cr0.TS), 7);
    assert.strictEqual(after('9b 90', Cr0.TS), undefined);
    assert.strictEqual(after('9b 90', Cr0.MP), undefined);
    assert.strictEqual(after('9b 90', Cr0.EM), undefined);
    assert.strictEqual(after('9b 90', Cr0.MP | Cr0.TS), 7);
    assert.strictEqual(vectorOf('d9e8 90', Cr0.MP), undefined);
  });

  // fninit; fldcw [rsi] (ZE unmasked); fld1; fldz; fdivp: then one more.
  const DIVIDE = 'dbe3 d92e d9e8 d9ee def9 ';
  const divide = (more: string, clear = 0): TestMachine => {
    const t = setCr0(new TestMachine().enter('64'), 0, clear);
    t.write16(DATA, 0x37b);
    return t.run(CODE, DIVIDE + more + ' 90 ebfe', { rsi: DATA, rbx: RESULT, rax: 0 }, 12);
  };

  it('an unmasked exception waits for the next waiting instruction', () => {
    for (const waiting of ['9b', 'd9e8', 'd9d0', 'd92e', 'd923']) {
      const t = divide(waiting);
      assert.strictEqual(t.vector, 16, waiting);
    }
    for (const control of ['dbe3', 'dbe2', 'd93b', 'dfe0', 'd933', 'dd33']) {
      assert.strictEqual(divide(control).vector, undefined, control);
    }
  });

  it('the operands stay, ES and B are set, and the opcode is noted', () => {
    const t = divide('dd33'); // fnsave [rbx]
    assert.strictEqual(t.read16(RESULT + 4), 0xb084);
    assert.strictEqual(t.read16(RESULT + 8), 0x1fff);
    // FDIVP, DE F9, is the fifth instruction.
    assert.strictEqual(t.read32(RESULT + 12), CODE + 8);
    assert.strictEqual(t.read32(RESULT + 16), (0x6f9 << 16) | 0x08);
    assert.strictEqual(toHex(t.read(RESULT + 28, 20)), '00'.repeat(10) + '0000000000000080ff3f');
  });

  it('with CR0.NE clear it is ignored', () => {
    assert.strictEqual(divide('9b', Cr0.NE).vector, undefined);
  });
});

describe('x87 environment images', () => {
  // fninit; fld dword [esi]; fnstenv [ebx]
  const store = (mode: Mode, prefix: string): TestMachine => {
    const t = new TestMachine().enter(mode);
    const at = mode === 'real' || mode === '16' ? 0xe000 : CODE;
    const data = mode === 'real' || mode === '16' ? 0xd000 : DATA;
    t.write32(data, 0x3f800000);
    // 16-bit code addresses by [si] and [bx], wider code by [rsi] and [rbx].
    const wide = mode !== 'real' && mode !== '16';
    t.run(at, wide ? `dbe3 d906 ${prefix}d933` : `dbe3 d904 ${prefix}d937`, { rsi: data, rbx: data + 0x100 }, 3);
    return t;
  };

  // SDM Vol. 1, figures "Protected Mode x87 FPU State Image in Memory, 32-Bit Format" and "16-Bit Format", and for real mode.
  it('32-bit protected', () => {
    const t = store('32', '');
    const words = Array.from({ length: 7 }, (_, i) => t.read32(DATA + 0x100 + i * 4));
    assert.deepStrictEqual(words, [0xffff037f, 0xffff3800, 0xffff3fff, CODE + 2, 0x18, DATA, 0xffff0010]);
  });
  it('16-bit protected', () => {
    const t = store('32', '66');
    const words = Array.from({ length: 7 }, (_, i) => t.read16(DATA + 0x100 + i * 2));
    assert.deepStrictEqual(words, [0x37f, 0x3800, 0x3fff, (CODE + 2) & 0xffff, 0x18, DATA & 0xffff, 0x10]);
    assert.strictEqual(t.read16(DATA + 0x10e), 0);
  });
  it('real mode: linear addresses', () => {
    const narrow = store('real', '');
    const words = Array.from({ length: 7 }, (_, i) => narrow.read16(0xd100 + i * 2));
    assert.deepStrictEqual(words, [0x37f, 0x3800, 0x3fff, 0xe002, 0, 0xd000, 0]);
    const wide = store('real', '66');
    assert.strictEqual(wide.read32(0xd100 + 12), 0xffffe002);
    assert.strictEqual(wide.read32(0xd100 + 16), 0);
    assert.strictEqual(wide.read32(0xd100 + 20), 0xffffd000);
  });

  it('FNSAVE and FRSTOR in the 16-bit format keep the registers', () => {
    // fld1; fldpi; fnsave16 [rbx]; frstor16 [rbx]; fstp tbyte [rsi]; fstp tbyte [rdi]
    const code = 'dbe3 d9e8 d9eb 66dd33 66dd23 db3e db3f';
    const t = new TestMachine().enter('64').run(CODE, code, { rbx: RESULT, rsi: DATA, rdi: DATA + 16 }, 7);
    assert.strictEqual(toHex(t.read(DATA, 10)), '35c26821a2da0fc90040');
    assert.strictEqual(toHex(t.read(DATA + 16, 10)), '0000000000000080ff3f');
  });

  it('FRSTOR takes ES from flags and masks', () => {
    const t = new TestMachine().enter('64');
    t.writeHex(IMAGE, '7b03ffff 0400ffff ffffffff'.replace(/ /g, '') + '00'.repeat(96));
    t.run(CODE, 'dd27 dfe0', { rdi: IMAGE, rax: 0 }, 2);
    assert.strictEqual(t.get('rax'), 0x8084n);
  });
});

describe('x87 memory faults and reset', () => {
  it('a page fault of a 10-byte store at its second page leaves the stack as it was', () => {
    const t = new TestMachine().enter('64');
    // fninit; fld1; fstp tbyte [rsi] across the end of the mapped 16 MB
    t.run(CODE, 'dbe3 d9e8 db3e', { rsi: 0x1000000 - 8 }, 4);
    assert.strictEqual(t.vector, 14);
    assert.strictEqual((t.cpu.get32(State.fsw) >> 11) & 7, 7);
  });
  it('power-on state', () => {
    // SDM Vol. 3A, "Processor State After Reset": control word 40h, registers +0 and not empty.
    const t = new TestMachine().enter('64').run(CODE, 'dd33', { rbx: RESULT }, 1);
    assert.deepStrictEqual([t.read16(RESULT), t.read16(RESULT + 4), t.read16(RESULT + 8)], [0x40, 0, 0x5555]);
  });
});
