/** Exact instruction counts in any slicing, single-step traps, interrupt shadows. SDM Vol. 3B, "Single-Step Exception Condition"; Vol. 2, STI, MOV. */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Flag } from '../../../emulator-core/cpu/vcpu';
import { HANDLERS, Selector, TestMachine, toHex } from '../testMachine';

const CODE = 0x100000;

function snapshot(t: TestMachine): string {
  const registers = Array.from({ length: 16 }, (_, i) => t.cpu.gpr(i).toString(16)).join();
  return `${t.machine.core.retired} ${t.cpu.rip.toString(16)} ${t.cpu.rflags.toString(16)} ${registers} ${toHex(t.read(0x200000, 512))}`;
}

/** A loop over calls, branches, string copies, pushes, CPUID and a page-crossing instruction. */
function busy(): TestMachine {
  const t = new TestMachine().enter('64');
  // 100ff6: lea rdi,[rbx+100h] at the page end is reached by a jump from the loop.
  const at = t.writeHex(
    CODE,
    'bb00002000' + // mov ebx, 200000h
      'ba05000000' + // mov edx, 5
      // loop:
      '488db3' +
      '00000000' + // lea rsi, [rbx]
      '488dbb' +
      '40000000' + // lea rdi, [rbx+40h]
      'b907000000' + // mov ecx, 7
      'f3a4' + // rep movsb
      '50' +
      '8304240158' + // push rax; add dword [rsp], 1; pop rax
      '31c9' +
      'f3aa' + // xor ecx, ecx; rep stosb (none)
      'e8c50f0000', // call 101000h-3 (the instruction there crosses the page end)
  );
  // 100ffd: mov eax,[rbx] with disp32 crosses into the next page: 8b 83 10 | 00 00 00; then ret
  t.writeHex(CODE + at, 'ffca' + '75' + (256 - (at + 4 - 10)).toString(16) + '0fa2' + 'ebfe');
  const call = CODE + at - 5;
  t.write32(call + 1, CODE + 0xffd - (call + 5));
  t.writeHex(CODE + 0xffd, '8b8310000000' + 'c3');
  t.set({ rsp: 0x9000 });
  for (let i = 0; i < 64; i++) t.write(0x200000 + i, [i * 3]);
  t.cpu.rip = BigInt(CODE);
  return t;
}

describe('instruction counts', () => {
  const TOTAL = 200;
  const states: string[] = [];
  before(() => {
    const t = busy();
    for (let i = 0; i <= TOTAL; i++) {
      states.push(snapshot(t));
      t.machine.run(1);
    }
  });

  it('run(1) retires one instruction each time, REP iterations included', () => {
    assert.strictEqual(states.length, TOTAL + 1);
    states.forEach((state, i) => assert.strictEqual(Number(state.split(' ')[0]), i));
  });

  for (const slices of [[TOTAL], [2, 3, 5, 7, 11], [13], [64, 1], [17, 100]]) {
    it(`slices of ${slices.join(', ')} pass through the same states`, () => {
      const t = busy();
      for (let n = 0, i = 0; n < TOTAL; i++) {
        const step = Math.min(slices[i % slices.length], TOTAL - n);
        assert.strictEqual(t.machine.run(step), 'budget');
        n += step;
        assert.strictEqual(snapshot(t), states[n], `after ${n}`);
      }
    });
  }

  it('a fault inside REP keeps what was done, and rip at the instruction', () => {
    const t = new TestMachine().enter('64');
    t.write64(0x3000 + 3 * 8, 0n); // 600000h is not mapped
    t.machine.core.flushAllTranslations();
    t.run(CODE, 'f3aa', { rdi: 0x5ffffc, rcx: 10, rax: 0x55 }, 5);
    assert.strictEqual(t.vector, 14);
    assert.deepStrictEqual([t.get('rcx'), t.get('rdi')], [6n, 0x600000n]);
    assert.strictEqual(t.read32(0x5ffffc), 0x55555555);
    assert.strictEqual(Number(t.read64(Number(t.get('rsp')) + 8)), CODE);
    assert.strictEqual(t.machine.core.retired, 5, 'four iterations and one in the handler');
  });

  it('CMPS and SCAS keep the flags from before the instruction until the last iteration', () => {
    // An Intel Xeon (family 6, model 207), stepped with TF, shows the same.
    const status = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.OF;
    for (const [code, before, after] of [
      ['f3a6', 0, Flag.ZF | Flag.PF], // repe cmpsb
      ['f2ae', status, 0], // repne scasb: 5 is above 0
    ] as const) {
      const t = new TestMachine().enter('64');
      t.cpu.rflags |= before;
      t.run(CODE, code, { rsi: 0x200000, rdi: 0x200100, rcx: 3, rax: 5 });
      assert.deepStrictEqual([t.get('rcx'), t.cpu.rflags & status], [2n, before]);
      t.machine.run(1);
      assert.deepStrictEqual([t.get('rcx'), t.cpu.rflags & status], [1n, before]);
      t.machine.run(1);
      assert.deepStrictEqual(
        [t.get('rcx'), t.cpu.rip, t.cpu.rflags & (Flag.CF | Flag.ZF)],
        [0n, BigInt(CODE + 2), after & Flag.ZF],
      );
    }
  });
});

/** The handler of vector 1 counts in r15 and returns; runs `count` instructions of code with TF set by POPFQ. */
function stepped(code: string, count: number, registers = {}): TestMachine {
  const t = new TestMachine().enter('64');
  t.writeHex(HANDLERS + 0x10, '49ffc7' + '48cf'); // inc r15; iretq
  t.write64(0x9000, 0x102n);
  t.run(CODE, '9d' + code, { rsp: 0x9000, ...registers }, count);
  return t;
}

describe('single-step trap', () => {
  it('comes after each instruction but the one that set TF', () => {
    const t = stepped('90 90 90', 1 + 3 * 3);
    assert.strictEqual(t.get('r15'), 3n);
    assert.strictEqual(t.cpu.get64(State.dr + 48) & 0x4000n, 0x4000n, 'DR6.BS');
  });

  it('comes after the instruction that clears TF', () => {
    const t = stepped('9d 90 90', 1 + 3 + 2, { rsp: 0x9000 });
    assert.strictEqual(t.cpu.rflags & Flag.TF, 0);
    assert.strictEqual(t.get('r15'), 1n);
  });

  it('comes after each iteration of a REP instruction', () => {
    const t = stepped('f3aa', 1 + 3 * 3, { rcx: 3, rdi: 0x200000 });
    assert.strictEqual(t.get('r15'), 3n);
    assert.strictEqual(t.cpu.rip, BigInt(CODE + 3));
  });

  it('waits until the instruction after MOV SS', () => {
    const t = stepped('8ed0 90', 1 + 2 + 2, { rax: Selector.data });
    assert.strictEqual(t.get('r15'), 1n);
    assert.strictEqual(t.cpu.rip, BigInt(CODE + 4));
  });

  it('is dropped by INT n, which clears TF', () => {
    const t = stepped('cd40', 1 + 1 + 1);
    assert.strictEqual(t.get('r15'), 0n);
    assert.strictEqual(t.vector, 0x40);
  });
});

/** A machine with the local APIC's own interrupt pending: vector 50h by a self-IPI. */
function interrupted(code: string, flags: number, registers = {}): TestMachine {
  const t = new TestMachine().enter('64');
  t.cpu.rflags = 2 | flags;
  t.writeHex(CODE, code);
  t.set({ rsp: 0x9000, ...registers });
  t.cpu.rip = BigInt(CODE);
  const { platform } = t.machine;
  platform.currentCpu = 0;
  platform.bus.writeMmio(0xfee000f0, 0x1ff, 4);
  platform.bus.writeMmio(0xfee00300, 0x40050, 4);
  return t;
}
const handler = HANDLERS + 0x500;

describe('interrupt shadows', () => {
  it('STI lets one more instruction run before an interrupt', () => {
    const t = interrupted('fb 90 90', 0);
    t.machine.run(1);
    assert.strictEqual(t.cpu.rip, BigInt(CODE + 1));
    t.machine.run(1);
    assert.strictEqual(t.cpu.rip, BigInt(handler), 'delivered at the boundary behind the second instruction');
    assert.strictEqual(Number(t.read64(Number(t.get('rsp')))), CODE + 2);
  });

  it('STI with IF already set does not', () => {
    const t = interrupted('fb 90', Flag.IF);
    t.machine.run(1);
    assert.strictEqual(Number(t.read64(Number(t.get('rsp')))), CODE);
  });

  it('STI; CLI lets nothing in', () => {
    const t = interrupted('fb fa 90 90', 0);
    t.machine.run(4);
    assert.strictEqual(t.cpu.rip, BigInt(CODE + 4));
  });

  it('MOV SS holds interrupts for one instruction', () => {
    for (const code of ['8ed0', '8ed2']) {
      const t = interrupted(`9d ${code} 90 90`, 0, { rax: Selector.data, rdx: Selector.data });
      t.write64(0x9000, 0x2n);
      t.machine.run(2);
      t.cpu.setSystemFlag(Flag.IF, true);
      t.cpu.attention = true;
      t.machine.run(1);
      assert.strictEqual(t.cpu.rip, BigInt(handler));
      assert.strictEqual(Number(t.read64(Number(t.get('rsp')))), CODE + 4, 'the NOP behind ran first');
    }
  });

  it('POPF takes effect at once', () => {
    const t = interrupted('9d 90 90', 0);
    t.write64(0x9000, 0x202n);
    t.machine.run(2);
    assert.strictEqual(t.cpu.rip, BigInt(handler));
    assert.strictEqual(Number(t.read64(Number(t.get('rsp')))), CODE + 1);
  });

  it('HLT goes on behind itself', () => {
    const t = interrupted('f4 90', Flag.IF);
    t.machine.run(2);
    assert.strictEqual(Number(t.read64(Number(t.get('rsp')))), CODE, 'the interrupt came first');
    const u = interrupted('fb f4 90', 0);
    u.machine.run(3);
    assert.strictEqual(Number(u.read64(Number(u.get('rsp')))), CODE + 2);
  });
});

describe('string instructions without REP', () => {
  for (const [name, code] of [
    ['MOVSB', 'a4'],
    ['CMPSQ', '48a7'],
    ['STOSD', 'ab'],
    ['LODSB', 'ac'],
    ['SCASW', '66af'],
  ]) {
    it(`${name} is an instruction of its block like any other`, () => {
      const t = new TestMachine().enter('64');
      // then inc rbx three times, and a loop
      const length = code.length / 2;
      t.writeHex(CODE, code + '48ffc348ffc348ffc3ebfe');
      t.set({ rbx: 0, rsi: 0x200000, rdi: 0x200100, rcx: 5 });
      t.cpu.rip = BigInt(CODE);
      for (let n = 1; n <= 4; n++) {
        t.machine.run(1);
        assert.equal(t.machine.core.retired, n);
        assert.equal(t.cpu.rip, BigInt(CODE + length + 3 * (n - 1)));
      }
      assert.equal(t.get('rbx'), 3n);
      assert.equal(t.get('rcx'), 5n);
    });
  }
});
