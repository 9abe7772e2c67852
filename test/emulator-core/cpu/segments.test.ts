/** Segment limits and types, loading segment registers, far transfers, fast system calls. SDM Vol. 3A, "Protection"; Vol. 2 Operation sections. */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Flag } from '../../../emulator-core/cpu/vcpu';
import { GDT, RING0_STACK, Selector, TestMachine, descriptor } from '../testMachine';

const CODE = 0x100000;
const machine = (mode: Parameters<TestMachine['enter']>[0], cpl: 0 | 3 = 0): TestMachine =>
  new TestMachine().enter(mode, cpl);
const errorOf = (t: TestMachine): number => t.read32(Number(t.get('rsp')));

/** Runs 32-bit code with a test descriptor at Selector.free. */
function with32(value: bigint, code: string, registers = {}, count = 1, cpl: 0 | 3 = 0): TestMachine {
  const t = machine('32', cpl);
  t.write64(GDT + Selector.free, value);
  return t.run(CODE, code, { rsp: 0x9000, rax: Selector.free, ...registers }, count);
}
const LOAD_DS = '8ed8';
const READ_DS = LOAD_DS + '8b0b'; // mov ds, ax; mov ecx, [ebx]
const WRITE_DS = LOAD_DS + '890b';

describe('segment limits', () => {
  const cases: [string, bigint, string, number, number | undefined][] = [
    ['the last dword', descriptor(0, 0xfff, 0x93, 4), READ_DS, 0xffc, undefined],
    ['one byte beyond', descriptor(0, 0xfff, 0x93, 4), READ_DS, 0xffd, 13],
    ['far beyond', descriptor(0, 0xfff, 0x93, 4), READ_DS, 0xffffffff, 13],
    ['granular limit', descriptor(0, 1, 0x93, 0xc), READ_DS, 0x1ffc, undefined],
    ['beyond a granular limit', descriptor(0, 1, 0x93, 0xc), READ_DS, 0x1ffd, 13],
    ['expand-down, below', descriptor(0, 0xfff, 0x97, 4), READ_DS, 0xfff, 13],
    ['expand-down, above', descriptor(0, 0xfff, 0x97, 4), READ_DS, 0x1000, undefined],
    ['expand-down 16-bit, above 64 KiB', descriptor(0, 0xfff, 0x97, 0), READ_DS, 0xfffe, 13],
    ['write to a read-only segment', descriptor(0, 0xfffff, 0x91, 0xc), WRITE_DS, 0x2000, 13],
    ['read of a read-only segment', descriptor(0, 0xfffff, 0x91, 0xc), READ_DS, 0x2000, undefined],
    ['read of readable code', descriptor(0, 0xfffff, 0x9b, 0xc), READ_DS, 0x2000, undefined],
    ['write to readable code', descriptor(0, 0xfffff, 0x9b, 0xc), WRITE_DS, 0x2000, 13],
  ];
  for (const [what, value, code, offset, vector] of cases) {
    it(`${what}: ${vector ? '#GP(0)' : 'no fault'}`, () => {
      const t = with32(value, code, { rbx: offset }, 2);
      assert.strictEqual(t.vector, vector);
      if (vector) assert.strictEqual(errorOf(t), 0);
      else assert.strictEqual(t.cpu.rip, BigInt(CODE + 4));
    });
  }

  it('the base is added, modulo 2^32', () => {
    const t = machine('32');
    t.write64(GDT + Selector.free, descriptor(0xfffff000, 0xfffff, 0x93, 0xc));
    t.write32(0x2000, 0x12345678);
    t.run(CODE, READ_DS, { rax: Selector.free, rbx: 0x3000 }, 2);
    assert.strictEqual(t.get('rcx'), 0x12345678n);
  });

  it('through the stack segment: #SS(0)', () => {
    const t = with32(descriptor(0, 0xfff, 0x93, 4), '8ed0 8b4d00', { rbp: 0x1000, rsp: 0x800 }, 2);
    assert.strictEqual(t.vector, 12);
    const u = with32(descriptor(0, 0xfff, 0x93, 4), '8ed0 50', { rsp: 0x1002 }, 2);
    assert.strictEqual(u.machine.end?.kind, 'triple fault', 'PUSH faults, and so does the frame');
  });

  it('an instruction across two pages whose last byte is beyond the limit of CS: #GP(0), though its bytes were run elsewhere', () => {
    // mov eax, 0x12345678, of which one byte is beyond 0x201001 the second time.
    const code = 'b878563412';
    const t = machine('32');
    t.segment('cs', Selector.code32, 0, 0x201001, 0x409b);
    t.run(0x100ffe, code, { rax: 0, rsp: 0x9000 });
    assert.strictEqual(t.get('rax'), 0x12345678n);
    t.run(0x200ffe, code, { rax: 0 });
    assert.deepStrictEqual([t.vector, t.get('rax')], [13, 0n]);
  });

  it('a jump beyond the limit of CS: #GP(0)', () => {
    const t = machine('32');
    t.segment('cs', Selector.code32, 0, CODE + 0x10, 0x409b);
    t.run(CODE, 'eb20', { rsp: 0x9000 }, 2);
    assert.strictEqual(t.vector, 13);
  });
});

describe('loading segment registers', () => {
  const d = descriptor;
  const cases: [string, bigint, number, number, 0 | 3, string?][] = [
    ['execute-only code', d(0, 0xfffff, 0x99, 0xc), 13, Selector.free, 0],
    ['a system segment', d(0, 0xfff, 0x89, 0), 13, Selector.free, 0],
    ['not present', d(0, 0xfffff, 0x13, 0xc), 11, Selector.free, 0],
    ['privileged data from ring 3', d(0, 0xfffff, 0x93, 0xc), 13, Selector.free, 3],
    ['RPL above DPL', d(0, 0xfffff, 0x93, 0xc), 13, Selector.free | 3, 0],
    ['SS: read-only', d(0, 0xfffff, 0x91, 0xc), 13, Selector.free, 0, '8ed0'],
    ['SS: wrong DPL', d(0, 0xfffff, 0xf3, 0xc), 13, Selector.free, 0, '8ed0'],
    ['SS: not present', d(0, 0xfffff, 0x13, 0xc), 12, Selector.free, 0, '8ed0'],
  ];
  for (const [what, value, vector, selector, cpl, code] of cases) {
    it(`${what}: vector ${vector} with the selector`, () => {
      const t = with32(value, code ?? LOAD_DS, { rax: selector }, 1, cpl);
      assert.strictEqual(t.vector, vector);
      assert.strictEqual(errorOf(t), selector & 0xfffc);
    });
  }

  it('a null selector loads into DS, and its use is #GP(0)', () => {
    const t = with32(0n, READ_DS, { rax: 0, rbx: 0x2000 }, 2);
    assert.deepStrictEqual([t.vector, errorOf(t)], [13, 0]);
    assert.strictEqual(t.selector('ds'), 0);
  });

  it('a null selector for SS is #GP(0), but in 64-bit mode at CPL 0', () => {
    assert.strictEqual(with32(0n, '8ed0', { rax: 0 }).vector, 13);
    const t = machine('64').run(CODE, '8ed0 50', { rax: 0, rsp: 0x9000 }, 2);
    assert.strictEqual(t.cpu.rip, BigInt(CODE + 3));
  });

  it('POP SS moves the pointer of the stack that it leaves', () => {
    const t = machine('32');
    t.segment('ss', Selector.data16, 0, 0xffff, 0x93);
    t.write32(0xfffc, Selector.data);
    t.run(CODE, '17', { rsp: 0x2fffc });
    assert.deepStrictEqual([t.get('rsp'), t.selector('ss')], [0x20000n, Selector.data]);
  });

  it('sets the accessed bit', () => {
    const t = with32(descriptor(0, 0xfffff, 0x92, 0xc), LOAD_DS);
    assert.strictEqual(t.read(GDT + Selector.free + 5, 1)[0], 0x93);
  });

  it('MOV to CS is #UD', () => assert.strictEqual(machine('32').run(CODE, '8ec8').vector, 6));

  it('beyond the limit of the GDT: #GP with the selector', () => {
    const t = with32(0n, LOAD_DS, { rax: 0x100 });
    assert.deepStrictEqual([t.vector, errorOf(t)], [13, 0x100]);
  });

  it('a descriptor in an LDT', () => {
    const t = machine('32');
    t.write64(GDT + Selector.free, descriptor(0x2000, 0xff, 0x82, 0));
    t.write64(0x2008, descriptor(0x200000, 0xfff, 0x93, 4));
    t.write32(0x200010, 0xcafe);
    t.run(CODE, '0f00d0' + '8eda' + '8b0d10000000', { rax: Selector.free, rdx: 0xc }, 3);
    assert.strictEqual(t.get('rcx'), 0xcafen);
  });

  it('FS and GS bases reach 64-bit code, and DS base does not', () => {
    const t = machine('64');
    t.write64(GDT + Selector.free, descriptor(0x200000, 0xfffff, 0x93, 0xc));
    t.write32(0x200040, 0x77);
    t.run(CODE, '8ee0' + '8ed8' + '648b042540000000' + '8b1c2540002000', { rax: Selector.free }, 4);
    assert.deepStrictEqual([t.get('rax'), t.get('rbx')], [0x77n, 0x77n]);
  });

  it('real mode: base is the selector times 16, the limit stays', () => {
    const t = machine('real');
    t.write16(0x12350, 0xbeef);
    t.run(0x600, '8ed8 8b07', { rax: 0x1235, rbx: 0 }, 2);
    assert.strictEqual(t.get('rax') & 0xffffn, 0xbeefn);
  });
});

describe('far transfers', () => {
  const far = (selector: number, offset: number): string => {
    const bytes = [offset, offset >>> 8, offset >>> 16, offset >>> 24, selector, selector >>> 8];
    return bytes.map((b) => (b & 255).toString(16).padStart(2, '0')).join('');
  };

  it('JMP into a 16-bit code segment and back into 32-bit code', () => {
    const t = machine('32');
    t.write64(GDT + Selector.free, descriptor(0x110000, 0xffff, 0x9b, 0));
    t.writeHex(0x110010, 'b83412' + '66ea' + far(Selector.code32, 0x120000)); // mov ax, 1234h
    t.run(CODE, 'ea' + far(Selector.free, 0x10), { rax: 0xffffffff }, 3);
    assert.strictEqual(t.get('rax'), 0xffff1234n);
    assert.strictEqual(t.cpu.rip, 0x120000n);
    assert.strictEqual(t.cpu.bitness, 32);
  });

  it('CALL and RETF', () => {
    const t = machine('32');
    t.writeHex(0x120000, 'cb');
    t.run(CODE, '9a' + far(Selector.code32, 0x120000), { rsp: 0x9000 });
    assert.deepStrictEqual([t.read32(0x8ff8), t.read32(0x8ffc)], [CODE + 7, Selector.code32]);
    t.machine.run(1);
    assert.deepStrictEqual([t.cpu.rip, t.get('rsp')], [BigInt(CODE + 7), 0x9000n]);
  });

  it('RETF n to an outer ring releases on both stacks', () => {
    const t = machine('32');
    [0x120000, Selector.userCode32, 1, 2, 0x8800, Selector.userData].forEach((v, i) => t.write32(0x9000 + i * 4, v));
    t.run(CODE, 'ca0800', { rsp: 0x9000 });
    assert.deepStrictEqual([t.cpu.rip, t.cpu.cpl, t.get('rsp')], [0x120000n, 3, 0x8808n]);
  });

  it('faults as the checks demand', () => {
    const cases: [bigint, number, number, number][] = [
      [descriptor(0, 0xfffff, 0x93, 0xc), 0, 13, Selector.free], // data
      [descriptor(0, 0xfffff, 0x1b, 0xc), 0, 11, Selector.free], // not present
      [descriptor(0, 0xfffff, 0xfb, 0xc), 0, 13, Selector.free], // DPL above CPL
      [descriptor(0, 0xf, 0x9b, 4), 0x10, 13, 0], // beyond the limit
    ];
    for (const [value, offset, vector, error] of cases) {
      const t = with32(value, 'ea' + far(Selector.free, offset));
      assert.deepStrictEqual([t.vector, errorOf(t)], [vector, error]);
    }
    assert.deepStrictEqual([with32(0n, 'ea' + far(0, 0)).vector], [13]);
  });

  it('a conforming segment keeps CPL', () => {
    const t = with32(descriptor(0, 0xfffff, 0x9f, 0xc), 'ea' + far(Selector.free, 0x120000), {}, 1, 3);
    assert.deepStrictEqual([t.cpu.rip, t.cpu.cpl, t.selector('cs')], [0x120000n, 3, Selector.free | 3]);
  });

  it('64-bit code with L and D both set is #GP', () => {
    const t = machine('64');
    t.write64(GDT + Selector.free, descriptor(0, 0xfffff, 0x9b, 0xe));
    t.write32(0x200000, 0x120000);
    t.write16(0x200004, Selector.free);
    t.run(CODE, 'ff2c2500002000', { rsp: 0x9000 });
    assert.strictEqual(t.vector, 13);
  });
});

describe('SYSCALL and SYSRET', () => {
  function ready(cpl: 0 | 3): TestMachine {
    const t = machine('64', cpl);
    t.cpu.set64(State.star, (0x33n << 48n) | (0x08n << 32n));
    t.cpu.set64(State.lstar, 0x120000n);
    t.cpu.set64(State.fmask, 0x700n);
    return t;
  }

  it('SYSCALL saves rip and RFLAGS, masks RFLAGS, and leaves the stack alone', () => {
    const t = ready(3);
    t.cpu.rflags = 0x202 | Flag.DF | Flag.CF;
    t.run(CODE, '0f05', { rsp: 0x9000 });
    assert.deepStrictEqual([t.cpu.rip, t.get('rcx'), t.get('r11')], [0x120000n, BigInt(CODE + 2), 0x603n]);
    assert.deepStrictEqual([t.cpu.rflags, t.cpu.cpl, t.get('rsp')], [3, 0, 0x9000n]);
    assert.deepStrictEqual([t.selector('cs'), t.selector('ss')], [8, 0x10]);
  });

  it('SYSRETQ goes to RCX in ring 3', () => {
    const t = ready(0).run(CODE, '480f07', { rcx: 0x120000, r11: 0x3202 | Flag.RF | Flag.VM });
    assert.deepStrictEqual([t.cpu.rip, t.cpu.cpl, t.cpu.rflags], [0x120000n, 3, 0x3202]);
    assert.deepStrictEqual([t.selector('cs'), t.selector('ss'), t.cpu.bitness], [0x43, 0x3b, 64]);
  });

  it('SYSRETD goes to compatibility mode', () => {
    const t = ready(0).run(CODE, '0f07', { rcx: 0xff00120000n, r11: 2 });
    assert.deepStrictEqual([t.cpu.rip, t.cpu.bitness, t.selector('cs')], [0x120000n, 32, 0x33]);
  });

  it('selectors that they add to wrap at 16 bits', () => {
    const call = ready(3);
    call.cpu.set64(State.star, 0xffffn << 32n);
    call.run(CODE, '0f05');
    assert.deepStrictEqual([call.selector('cs'), call.selector('ss')], [0xfffc, 4]);
    for (const code of ['480f07', '0f07']) {
      const back = ready(0);
      back.cpu.set64(State.star, 0xffffn << 48n);
      back.run(CODE, code, { rcx: 0x120000, r11: 2 });
      assert.deepStrictEqual([back.selector('cs'), back.selector('ss')], [code === '0f07' ? 0xffff : 0xf, 7]);
    }
  });

  it('SYSRETQ to a non-canonical address is #GP(0) in ring 0', () => {
    const t = ready(0).run(CODE, '480f07', { rcx: 1n << 47n, r11: 2 });
    assert.strictEqual(t.vector, 13);
    assert.strictEqual(Number(t.read64(Number(t.get('rsp')) + 16)), Selector.code64);
  });

  it('without EFER.SCE both are #UD', () => {
    for (const code of ['0f05', '480f07']) {
      const t = ready(0);
      t.cpu.set64(State.efer, 0xd00n);
      assert.strictEqual(t.run(CODE, code).vector, 6);
    }
  });

  it('SYSENTER and SYSEXIT', () => {
    const t = machine('32', 3);
    t.cpu.set64(State.sysenterCs, BigInt(Selector.code32));
    t.cpu.set64(State.sysenterEsp, BigInt(RING0_STACK));
    t.cpu.set64(State.sysenterEip, 0x120000n);
    t.writeHex(0x120000, '0f35');
    t.cpu.rflags = 0x202;
    t.run(CODE, '0f34', { rsp: 0x9000, rcx: 0x8000, rdx: 0x130000 });
    assert.deepStrictEqual([t.cpu.rip, t.cpu.cpl, t.get('rsp'), t.cpu.rflags], [0x120000n, 0, BigInt(RING0_STACK), 2]);
    t.machine.run(1);
    assert.deepStrictEqual([t.cpu.rip, t.cpu.cpl, t.get('rsp')], [0x130000n, 3, 0x8000n]);
  });
});
