/** #DB in all its kinds. SDM Vol. 3B, "Debug Registers", "Debug Exceptions"; Vol. 3A, "Masking Exceptions and Interrupts When Switching Stacks". */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr4, Flag } from '../../../emulator-core/cpu/vcpu';
import { HANDLERS, Selector, TestMachine } from '../testMachine';

const CODE = 0x100000;
const DATA = 0x200000;
const [EXECUTE, WRITE, PORT, ACCESS] = [0, 1, 2, 3];
const LENGTH: Record<number, number> = { 1: 0, 2: 1, 4: 3, 8: 2 };

/** DR7 that arms breakpoint `n`. */
const arm = (n: number, kind: number, length = 1, local = false): number =>
  (1 << (n * 2 + (local ? 0 : 1))) | (kind << (16 + n * 4)) | (LENGTH[length] << (18 + n * 4));

/** A handler of #DB that counts in r15 and returns. */
function machine(breakpoints: [address: number, kind: number, length?: number][] = [], mode: '64' | '32' = '64'): TestMachine {
  const t = new TestMachine().enter(mode);
  if (mode === '64') t.writeHex(HANDLERS + 0x10, '49ffc7' + '48cf'); // inc r15; iretq
  let control = 0x400;
  breakpoints.forEach(([address, kind, length], n) => {
    t.cpu.set64(State.dr + n * 8, BigInt(address));
    control |= arm(n, kind, length);
  });
  t.cpu.set64(State.dr + 56, BigInt(control >>> 0));
  t.machine.core.flushAllTranslations();
  t.set({ rsp: 0x9000 });
  return t;
} // prettier-ignore
/** As machine(), but the handler loops in place. */
function stopping(...args: Parameters<typeof machine>): TestMachine {
  const t = machine(...args);
  t.writeHex(HANDLERS + 0x10, 'ebfe');
  return t;
}
const dr6 = (t: TestMachine): number => Number(t.cpu.get64(State.dr + 48) & 0xe00fn);
const frame = (t: TestMachine) => ({
  rip: Number(t.read64(Number(t.get('rsp')))),
  rf: Number(t.read64(Number(t.get('rsp')) + 16)) & Flag.RF,
});

describe('instruction breakpoints', () => {
  it('are faults: before the instruction, RF clear in the frame', () => {
    const t = stopping([[CODE + 1, EXECUTE]]).run(CODE, '90 ffc0 90', { rax: 7 }, 3);
    assert.deepStrictEqual([t.vector, t.get('rax'), dr6(t)], [1, 7n, 1]);
    assert.deepStrictEqual(frame(t), { rip: CODE + 1, rf: 0 });
  });

  it('hit again unless the handler sets RF', () => {
    const t = machine([[CODE + 1, EXECUTE]]).run(CODE, '90 ffc0 90', {}, 1 + 2 * 5);
    assert.deepStrictEqual([t.get('r15'), t.get('rax')], [5n, 0n]);
    const u = machine([[CODE + 1, EXECUTE]]);
    u.writeHex(HANDLERS + 0x10, '49ffc7' + '804c241201' + '48cf'); // or byte [rsp+18], 1: RF
    u.run(CODE, '90 ffc0 ebfb', {}, 1 + 3 + 3);
    assert.deepStrictEqual([u.get('r15'), u.get('rax')], [1n, 1n], 'RF held for one instruction');
    u.machine.run(3 + 1);
    assert.deepStrictEqual([u.get('r15'), u.get('rax')], [2n, 2n], 'and the loop hits it again');
  });

  it('do not count right after MOV SS, except on AMD’s processors', () => {
    for (const [vendor, vector, rcx] of [['intel', undefined, 2n], ['amd', 1, 0n]] as const) {
      const t = stopping([[CODE + 2, EXECUTE]]);
      t.cpu.vendor = vendor;
      t.run(CODE, '8ed3 ffc1 ffc1', { rbx: Selector.data, rcx: 0 }, 3);
      assert.deepStrictEqual([t.vector, t.get('rcx')], [vector, rcx], vendor);
      assert.strictEqual(stopping([[CODE + 4, EXECUTE]]).run(CODE, '8ed3 ffc1 ffc1', { rbx: Selector.data }, 3).vector, 1);
    }
  }); // prettier-ignore

  it('are met by linked branches, in the block’s middle, and at page ends', () => {
    const t = stopping([[CODE + 0x40, EXECUTE]]);
    t.writeHex(CODE + 0x30, 'ffc0' + 'eb0c');
    t.writeHex(CODE + 0x40, 'ffc1' + 'ebec');
    t.cpu.set64(State.dr + 56, 0x400n);
    t.machine.core.flushAllTranslations();
    t.cpu.rip = BigInt(CODE + 0x30);
    t.machine.run(40);
    assert.strictEqual(t.get('rax'), 10n);
    // Arm it by MOV DR7 in the guest itself.
    t.writeHex(CODE + 0x80, '0f23f8' + 'ebab');
    t.run(CODE + 0x80, '0f23f8', { rax: 0x402 }, 20);
    assert.deepStrictEqual([t.vector, t.get('rcx')], [1, 10n]);
    const crossing = stopping([[CODE + 0xfff, EXECUTE]]).run(CODE + 0xffe, '90 89c3', { rax: 5 }, 3);
    assert.deepStrictEqual([crossing.vector, frame(crossing).rip, crossing.get('rbx')], [1, CODE + 0xfff, 0n]);
  });

  it('only at the first byte, only when enabled, with either enable', () => {
    assert.strictEqual(stopping([[CODE + 2, EXECUTE]]).run(CODE, '90 ffc0 90', {}, 3).vector, undefined);
    for (const [control, vector] of [[0x400, undefined], [0x401, 1], [0x402, 1]] as const) {
      const t = stopping([[CODE + 1, EXECUTE]]);
      t.cpu.set64(State.dr + 56, BigInt(control));
      t.machine.core.flushAllTranslations();
      assert.strictEqual(t.run(CODE, '90 90', {}, 2).vector, vector);
    }
  }); // prettier-ignore

  it('a REP instruction meets it once, in any slicing', () => {
    for (const slice of [1, 3, 100]) {
      const t = machine([[CODE, EXECUTE]]);
      t.writeHex(HANDLERS + 0x10, '49ffc7' + '804c241201' + '48cf');
      t.writeHex(CODE, 'f3aa ebfe');
      t.set({ rcx: 10, rdi: DATA });
      t.cpu.rip = BigInt(CODE);
      for (let n = 0; n < 30; n += slice) t.machine.run(slice);
      assert.deepStrictEqual([t.get('r15'), t.get('rcx')], [1n, 0n]);
    }
  });
});

describe('data breakpoints', () => {
  it('are traps: after the instruction', () => {
    const t = stopping([[DATA, WRITE, 4]]).run(CODE, '8903 ffc1 90', { rax: 9, rbx: DATA, rcx: 0 }, 1);
    assert.deepStrictEqual([t.vector, t.get('rcx'), t.read32(DATA), dr6(t)], [1, 0n, 9, 1]);
    assert.deepStrictEqual(frame(t), { rip: CODE + 2, rf: 0 });
  });

  it('meet reads and writes as their kind and length say', () => {
    const read = (size: number): string => ({ 1: '8a03', 2: '668b03', 4: '8b03', 8: '488b03' })[size]!;
    const write = (size: number): string => ({ 1: '8803', 2: '668903', 4: '8903', 8: '488903' })[size]!;
    const cases: [kind: number, length: number, code: string, offset: number, hit: boolean][] = [
      [WRITE, 1, write(1), 0, true], [WRITE, 1, read(1), 0, false], [ACCESS, 1, read(1), 0, true],
      [WRITE, 1, write(1), 1, false], [WRITE, 2, write(1), 1, true], [WRITE, 2, write(1), 2, false],
      [ACCESS, 4, read(2), 2, true], [ACCESS, 4, read(2), 4, false], [ACCESS, 8, read(1), 7, true],
      [ACCESS, 8, write(8), 8, false], [ACCESS, 1, read(8), -7, true], [ACCESS, 1, read(8), -8, false],
      [WRITE, 4, write(4), -1, true], [WRITE, 4, write(4), -4, false],
    ]; // prettier-ignore
    for (const [kind, length, code, offset, hit] of cases) {
      const t = stopping([[DATA + 64, kind, length]]).run(CODE, code, { rbx: DATA + 64 + offset });
      assert.strictEqual(t.vector, hit ? 1 : undefined, `${kind} ${length} ${code} ${offset}`);
    }
  });

  it('the address bits below the length do not count', () => {
    assert.strictEqual(stopping([[DATA + 3, WRITE, 4]]).run(CODE, '8803', { rbx: DATA }).vector, 1);
  });

  it('read-modify-write, push, string and split accesses meet them, too', () => {
    const cases: [string, Record<string, number>][] = [
      ['830301', { rbx: DATA }], // add dword [rbx], 1
      ['50', { rsp: DATA + 8 }],
      ['a4', { rsi: DATA + 0x100, rdi: DATA }],
      ['8903', { rbx: DATA - 2 }],
    ];
    for (const [code, registers] of cases) {
      const t = stopping([[DATA, WRITE, 4]]);
      t.cpu.set64(State.cr4, t.cpu.get64(State.cr4) | 0x200n);
      t.cpu.modeChanged();
      assert.deepStrictEqual([t.run(CODE, code, registers).vector, dr6(t)], [1, 1], code);
    }
  });

  it('several at once, and several breakpoints', () => {
    const t = stopping([[DATA, WRITE, 4], [DATA + 0x1000, WRITE, 4], [DATA + 4, ACCESS, 2], [CODE + 0x800, EXECUTE]]);
    t.run(CODE, '488903', { rbx: DATA });
    assert.strictEqual(dr6(t), 0b101);
  }); // prettier-ignore

  it('an access of an instruction that faults does not count', () => {
    const t = stopping([[DATA, ACCESS, 4]]);
    t.run(CODE, 'a4', { rsi: DATA, rdi: 0x40000000 });
    assert.strictEqual(t.vector, 14);
    assert.strictEqual(dr6(t), 0);
    t.machine.run(3);
    assert.strictEqual(t.vector, 14);
  });

  it('B bits are set anew, the others stay', () => {
    const t = stopping([[DATA, WRITE, 4]]);
    t.cpu.set64(State.dr + 48, 0xffff4ffen);
    t.run(CODE, '8903', { rbx: DATA });
    assert.strictEqual(dr6(t), 0x4001);
  });

  it('after MOV SS they wait for the next instruction', () => {
    const t = stopping([[DATA, ACCESS, 2]]);
    t.write16(DATA, Selector.data);
    t.run(CODE, '8e13 ffc1 ffc1', { rbx: DATA, rcx: 0 }, 3);
    assert.deepStrictEqual([t.vector, t.get('rcx'), frame(t).rip, dr6(t)], [1, 1n, CODE + 4, 1]);
  });

  it('after MOV SS and INT1 there is one #DB', () => {
    const t = stopping([[DATA, ACCESS, 2]]);
    t.write16(DATA, Selector.data);
    t.run(CODE, '8e13 f1', { rbx: DATA }, 2);
    assert.deepStrictEqual([t.vector, frame(t).rip, dr6(t), t.cpu.debugTraps], [1, CODE + 3, 1, 0]);
  });

  it('after MOV SS and INT n they come in the handler', () => {
    const t = stopping([[DATA, ACCESS, 2]]);
    t.write16(DATA, Selector.data);
    t.gate('64', 1, HANDLERS + 0x10, 0xe0, 0);
    t.run(CODE, '8e13 cd40', { rbx: DATA }, 3);
    assert.deepStrictEqual([t.vector, frame(t).rip], [1, HANDLERS + 0x400]);
  });
});

describe('I/O breakpoints', () => {
  const machineWith = (de: boolean, port: number, length: number): TestMachine => {
    const t = stopping([[port, PORT, length]]);
    t.cpu.set64(State.cr4, BigInt(Cr4.PAE | (de ? Cr4.DE : 0)));
    t.cpu.modeChanged();
    return t;
  };
  it('are traps, with CR4.DE', () => {
    for (const code of ['e680', 'e480', 'ee', 'ec', '6e', '6c']) {
      const t = machineWith(true, 0x80, 1).run(CODE, code + '90', { rdx: 0x80, rsi: DATA, rdi: DATA });
      assert.deepStrictEqual([t.vector, dr6(t), frame(t).rip], [1, 1, CODE + code.length / 2], code);
    }
    assert.strictEqual(machineWith(false, 0x80, 1).run(CODE, 'e680').vector, undefined);
    assert.strictEqual(machineWith(true, 0x84, 4).run(CODE, 'e587').vector, 1);
    assert.strictEqual(machineWith(true, 0x84, 2).run(CODE, 'e586').vector, undefined);
  });
});

describe('debug registers', () => {
  it('general detect: MOV DR is a #DB fault with BD, and GD is clear in the handler', () => {
    for (const code of ['0f21d8', '0f23d8']) {
      const t = stopping();
      t.cpu.set64(State.dr + 56, 0x2400n);
      t.run(CODE, code, { rax: 0 });
      assert.deepStrictEqual([t.vector, dr6(t), t.cpu.get64(State.dr + 56)], [1, 0x2000, 0x400n]);
      assert.deepStrictEqual(frame(t), { rip: CODE, rf: Flag.RF });
    }
  });

  it('DR4 and DR5 are DR6 and DR7, but with CR4.DE #UD', () => {
    const t = stopping().run(CODE, '0f21e0 0f21eb', { rax: 1 }, 2);
    assert.deepStrictEqual([t.get('rax'), t.get('rbx')], [0xffff0ff0n, 0x400n]);
    const u = stopping();
    u.cpu.set64(State.cr4, BigInt(Cr4.PAE | Cr4.DE));
    assert.strictEqual(u.run(CODE, '0f21e0').vector, 6);
  });

  it('reserved bits are fixed; the upper half of DR6 and DR7 is #GP(0); CPL 3 is #GP(0)', () => {
    const t = stopping().run(CODE, '0f23f0 0f23fb', { rax: 0xffffffff, rbx: 0 }, 2);
    assert.deepStrictEqual([t.cpu.get64(State.dr + 48), t.cpu.get64(State.dr + 56)], [0xffffefffn, 0x400n]);
    assert.strictEqual(stopping().run(CODE, '0f23f8', { rax: 1n << 32n }).vector, 13);
    assert.strictEqual(
      stopping()
        .run(CODE, '0f23c0', { rax: 1n << 63n })
        .cpu.get64(State.dr),
      1n << 63n,
    );
    assert.strictEqual(new TestMachine().enter('64', 3).run(CODE, '0f21c0', { rsp: 0x9000 }).vector, 13);
  });
});

describe('INT1 and single step', () => {
  it('INT1 leaves DR6 alone, goes past the gate’s DPL, and returns behind itself', () => {
    const t = new TestMachine().enter('32', 3);
    t.gate('32', 1, HANDLERS + 16, 0x80);
    t.run(CODE, 'f1', { rsp: 0x9000 });
    assert.deepStrictEqual([t.vector, dr6(t), t.read32(Number(t.get('rsp')))], [1, 0, CODE + 1]);
  });

  it('single step and a data breakpoint are one #DB', () => {
    const t = stopping([[DATA, WRITE, 4]]);
    t.cpu.rflags = 2 | Flag.TF;
    t.run(CODE, '8903', { rbx: DATA });
    assert.deepStrictEqual([t.vector, dr6(t)], [1, 0x4001]);
    assert.strictEqual(frame(t).rip, CODE + 2);
  });

  it('between the iterations of REP the frame has RF, behind the last not', () => {
    const t = stopping();
    t.cpu.rflags = 2 | Flag.TF;
    t.run(CODE, 'f3aa', { rcx: 2, rdi: DATA });
    assert.deepStrictEqual(frame(t), { rip: CODE, rf: Flag.RF });
    const u = stopping();
    u.cpu.rflags = 2 | Flag.TF;
    u.run(CODE, 'f3aa', { rcx: 1, rdi: DATA });
    assert.deepStrictEqual(frame(u), { rip: CODE + 2, rf: 0 });
  });

  it('SYSCALL traps by TF as it leaves it', () => {
    for (const [mask, vector] of [[0, 1], [Flag.TF, undefined]] as const) {
      const t = stopping();
      t.cpu.set64(State.lstar, BigInt(CODE + 0x100));
      t.cpu.set64(State.star, 8n << 32n);
      t.cpu.set64(State.fmask, BigInt(mask));
      t.cpu.rflags = 2 | Flag.TF;
      t.run(CODE, '0f05');
      assert.strictEqual(t.vector, vector);
    }
  }); // prettier-ignore

  it('HLT with TF set does not sleep', () => {
    const t = stopping();
    t.cpu.rflags = 2 | Flag.TF;
    t.run(CODE, 'f4 90', {}, 1);
    assert.deepStrictEqual([t.vector, frame(t).rip], [1, CODE + 1]);
  });
});

describe('a row of exceptions without end', () => {
  it('lets time pass and run() return', () => {
    const t = new TestMachine().enter('real');
    t.writeHex(0x600, '0f0b');
    t.write32(6 * 4, 0x600);
    t.set({ rsp: 0x1000 });
    t.segment('ss', 0x2000, 0x20000, 0xffff, 0x93);
    t.cpu.rip = 0x600n;
    assert.strictEqual(t.machine.run(300), 'budget');
    // The first 4096 count as nothing, each of the others as an instruction.
    assert.strictEqual(t.cpu.faultsInRow.count, 4096 + 300);
  });
});
