/**
 * Near branches that lead nowhere, instructions that are too long, LOCK. The first two as processors (AMD Zen, Intel Xeon; user mode)
 * did them: #GP(0) at the branch, no register changed. What CALL has pushed stays below rSP on Intel's (AMD's push nothing). SDM Vol. 2, JMP, CALL, RET, LOOP, LOCK; Vol. 3A, "Interrupt 13".
 */
import assert from 'node:assert';
import { Flag } from '../../../emulator-core/cpu/vcpu';
import { Selector, TestMachine } from '../testMachine';

const CODE = 0x100000;
const BAD = 1n << 47n;
const RSP = 0x9000;

/** rip in the frame of a 64-bit handler that got an error code. */
const faultRip = (t: TestMachine): number => Number(t.read64(Number(t.get('rsp')) + 8));

describe('near branches to non-canonical addresses', () => {
  function run(code: string, registers: Record<string, bigint> = {}, count = 1): TestMachine {
    const t = new TestMachine().enter('64');
    t.write64(RSP, BAD);
    t.write64(RSP - 8, 0x1111n);
    return t.run(CODE, code, { rsp: RSP, rax: BAD, rbx: BigInt(RSP), ...registers }, count);
  }
  for (const [what, code] of [['JMP r', 'ffe0'], ['JMP m', 'ff23'], ['CALL r', 'ffd0'], ['CALL m', 'ff13'], ['RET', 'c3'], ['RET n', 'c21000']]) {
    it(`${what}: #GP(0) at the branch, with no register changed`, () => {
      const t = run(code);
      assert.deepStrictEqual([t.vector, faultRip(t)], [13, CODE]);
      const below = what.startsWith('CALL') ? BigInt(CODE + 2) : 0x1111n;
      assert.deepStrictEqual([t.read64(Number(t.get('rsp'))), t.read64(RSP - 8)], [0n, below]);
      assert.strictEqual(Number(t.read64(Number(t.get('rsp')) + 32)), RSP, 'rSP');
      assert.strictEqual(t.machine.core.retired, 1, 'only the handler’s instruction has run');
    });
  } // prettier-ignore

  it('the same in any slicing', () => {
    const whole = run('90 90 ffe0', {}, 10);
    const t = run('90 90 ffe0', {}, 1);
    for (let i = 0; i < 9; i++) t.machine.run(1);
    assert.deepStrictEqual(
      [t.vector, t.machine.core.retired, t.cpu.rip],
      [13, whole.machine.core.retired, whole.cpu.rip],
    );
  });

  it('a canonical address in the upper half is fine', () => {
    const t = new TestMachine().enter('64');
    t.write64(0x1000 + 511 * 8, 0x2007n);
    t.write64(0x2000 + 511 * 8, 0x3007n);
    t.write64(0x3000 + 510 * 8, 0x87n); // ffffffffffc00000: the first 2 MiB
    t.machine.core.flushAllTranslations();
    t.run(CODE, 'ffd0', { rax: 0xffffffffffc08400n, rsp: RSP }, 2);
    assert.strictEqual(t.cpu.rip, 0xffffffffffc08400n, 'a handler, which jumps to itself, runs there');
  });

  it('IRETQ: #GP(0) at the IRET', () => {
    const t = new TestMachine().enter('64');
    [BAD, BigInt(Selector.code64), 2n, BigInt(RSP), BigInt(Selector.data)].forEach((v, i) => t.write64(RSP + i * 8, v));
    t.run(CODE, '48cf', { rsp: RSP });
    assert.deepStrictEqual([t.vector, faultRip(t)], [13, CODE]);
  });
});

describe('near branches with an operand size of 16 bits in 32-bit code', () => {
  // From 0x600010 to 0x19, as rip is cut to 16 bits: there is inc ebx; nop; hlt. At 0x600019: inc ecx; nop; hlt
  const BRANCHES = {
    'JMP rel8': '66eb06',
    'JMP rel16': '66e90500',
    'Jcc rel16': '660f840400',
    'CALL rel16': '66e80500',
  };
  for (const compile of ['off', 'always'] as const) {
    for (const [what, code] of Object.entries(BRANCHES)) {
      for (const decoded of [false, true]) {
        it(`${what} cuts rip, ${decoded ? 'also' : 'not'} where the same page has code there, compiling ${compile}`, () => {
          const t = new TestMachine({ compile }).enter('32');
          const go = (at: number): void => {
            t.set({ rbx: 0, rcx: 0, rsp: 0x9000 });
            t.cpu.activity = 'active';
            t.cpu.rflags = Flag.ZF | 2;
            t.cpu.rip = BigInt(at);
            t.machine.run(3);
          };
          t.writeHex(0x19, '43 90 f4');
          t.writeHex(0x600019, '41 90 f4');
          t.writeHex(0x600010, code);
          if (decoded) go(0x600019);
          for (let i = 0; i < 4; i++) {
            go(0x600010);
            assert.deepEqual([t.get('rbx'), t.get('rcx'), t.cpu.rip], [1n, 0n, 0x1bn]);
          }
        });
      }
    }
    it(`a loop that leads below 64 KiB leaves it, compiling ${compile}`, () => {
      const t = new TestMachine({ compile }).enter('32');
      t.writeHex(0x600100, '49 6675fc f4'); // dec ecx; jnz, by 16 bits, 0x100; hlt
      t.writeHex(0x100, '43 f4'); // inc ebx; hlt
      t.set({ rbx: 0, rcx: 5 });
      t.cpu.rip = 0x600100n;
      t.machine.run(20);
      assert.deepEqual([t.get('rbx'), t.get('rcx'), t.cpu.rip], [1n, 4n, 0x102n]);
    });
    it(`below 64 KiB it loops, compiling ${compile}`, () => {
      const t = new TestMachine({ compile }).enter('32');
      t.writeHex(0x4100, '43 49 6675fb f4'); // inc ebx; dec ecx; jnz, by 16 bits, 0x4100; hlt
      t.set({ rbx: 0, rcx: 500 });
      t.cpu.rip = 0x4100n;
      t.machine.run(2000);
      assert.deepEqual([t.get('rbx'), t.get('rcx'), t.cpu.rip], [500n, 0n, 0x4106n]);
    });
  }
});

describe('near branches beyond the limit of CS', () => {
  function run(code: string, registers: Record<string, number> = {}): TestMachine {
    const t = new TestMachine().enter('32');
    t.segment('cs', Selector.code32, 0, CODE + 0x10, 0x409b);
    t.write32(RSP, CODE + 0x20);
    return t.run(CODE, code, { rsp: RSP, rcx: 5, ...registers });
  }
  const frame = (t: TestMachine): number[] => [0, 4].map((i) => t.read32(Number(t.get('rsp')) + i));
  for (const [what, code] of [['JMP', 'eb20'], ['Jcc', '7320'], ['Jcc to the first byte beyond', '730f 90909090909090 90909090909090 90'], ['JMP r', 'ffe0'], ['CALL', 'e820000000'], ['RET', 'c3'], ['LOOP', 'e220'], ['JECXZ', 'e320']]) {
    it(`${what}: #GP(0) at the branch`, () => {
      const t = run(code, { rax: CODE + 0x11, ...(what === 'JECXZ' ? { rcx: 0 } : {}) });
      assert.deepStrictEqual([t.vector, frame(t)], [13, [0, CODE]]);
      assert.strictEqual(Number(t.get('rsp')), RSP - 16, 'rSP is as before the branch');
      assert.strictEqual(t.get('rcx'), what === 'JECXZ' ? 0n : 5n);
    });
  } // prettier-ignore

  it('running off the end, or an instruction that does not end before it: #GP(0) there', () => {
    for (const [limit, code, at] of [[CODE, '90 90', CODE + 1], [CODE + 2, '90 0f1f00', CODE + 1], [CODE + 0x1000, '0f1f00', CODE + 0xfff]] as const) {
      const t = new TestMachine().enter('32');
      t.segment('cs', Selector.code32, 0, limit, 0x409b);
      const start = at === CODE + 1 ? CODE : at;
      t.run(start, code, { rsp: RSP }, 2);
      assert.deepStrictEqual([t.vector, frame(t)], [13, [0, at]]);
    }
    const t = new TestMachine().enter('32');
    t.segment('cs', Selector.code32, 0, CODE + 3, 0x409b);
    assert.strictEqual(t.run(CODE, '90 0f1f00', { rsp: RSP }, 2).cpu.rip, BigInt(CODE + 4), 'the last byte may be used');
  }); // prettier-ignore

  it('IP does not wrap at 64 KiB in real mode', () => {
    const t = new TestMachine().enter('real').run(0xffff, '90', { rsp: 0x1000 }, 2);
    assert.deepStrictEqual([t.vector, t.read16(0xffa)], [13, 0]);
  });
});

describe('encodings', () => {
  const long = (prefixes: number, rest: string): string => '66'.repeat(prefixes) + rest;
  it('fifteen bytes run, sixteen are #GP(0), also of undefined instructions and across pages', () => {
    for (const at of [CODE, CODE + 0xff8]) {
      const ok = new TestMachine().enter('64').run(at, long(14, '90'), { rsp: RSP });
      assert.strictEqual(ok.cpu.rip, BigInt(at + 15));
      for (const code of [long(15, '90'), long(15, '0f0b'), long(20, '90'), 'f0'.repeat(15) + '0100']) {
        const t = new TestMachine().enter('64').run(at, code, { rsp: RSP, rax: 0x200000 });
        assert.deepStrictEqual([t.vector, faultRip(t)], [13, at], code);
      }
      const undefinedOpcode = new TestMachine().enter('64').run(at, long(13, '0f0b'), { rsp: RSP });
      assert.strictEqual(undefinedOpcode.vector, 6);
      const undefinedTwo = new TestMachine().enter('64').run(at, long(13, 'f090'), { rsp: RSP });
      assert.strictEqual(undefinedTwo.vector, 6);
    }
  });

  it('LOCK without a memory destination of the instructions that take it is #UD', () => {
    for (const code of ['f090', 'f001c0', 'f08b00', 'f03900', 'f00fa300', 'f0c3', 'f00f22c0', 'f0ff10', 'f00fc1c0']) {
      const t = new TestMachine().enter('64').run(CODE, code, { rsp: RSP, rax: 0x200000 });
      assert.strictEqual(t.vector, 6, code);
    }
    for (const code of ['f00100', 'f00fab00', 'f0f718', 'f0ff00', 'f08700', 'f00fb108', 'f00fc108']) {
      const t = new TestMachine().enter('64').run(CODE, code, { rsp: RSP, rax: 0x200000 });
      assert.strictEqual(t.vector, undefined, code);
    }
  });
});

describe('near branches that an exception follows', () => {
  it('go where they lead the next time', () => {
    const t = new TestMachine({ compile: 'off' }).enter('64');
    t.cpu.rflags = 2 | Flag.TF;
    // jmp over two bytes, of which nothing is known yet; then #DB.
    t.run(CODE, 'eb02 0f0b 90 90', { rsp: RSP }, 2);
    assert.strictEqual(t.vector, 1);
    for (let i = 0; i < 2; i++) {
      t.cpu.rflags = 2;
      t.cpu.rip = BigInt(CODE);
      t.machine.run(2);
      assert.strictEqual(t.cpu.rip, BigInt(CODE + 5));
    }
  });
});
