/** System and segment instructions, each by its page in SDM Vol. 2. */
import assert from 'node:assert';
import { SegmentIndex, State } from '../../../emulator-core/cpu/layout';
import { Cr0, Cr4, Flag, Vector } from '../../../emulator-core/cpu/vcpu';
import { GDT, IDT, Selector, TSS, TestMachine, type GprName, type Mode } from '../testMachine';

const DATA = 0x20000;
const CODE = 0x9000;
const STACK = 0xa000;

type Registers = Partial<Record<GprName, bigint | number>>;

/** Runs `count` instructions of `hex` and expects no exception. */
function run(mode: Mode, hex: string, registers: Registers = {}, count = 1, features: string[] = []): TestMachine {
  const t = new TestMachine({ features }).enter(mode);
  t.run(CODE, hex, { rsp: STACK, ...registers }, count);
  assert.strictEqual(t.vector, undefined, hex);
  return t;
}

describe('segment registers', () => {
  it('PUSH and POP in 32 and 64 bits', () => {
    const wide = run('64', '0fa0 0fa9', {}, 2); // push fs; pop gs
    assert.strictEqual(wide.get('rsp'), BigInt(STACK));
    assert.strictEqual(wide.selector('gs'), Selector.data);
    assert.strictEqual(wide.read64(STACK - 8) & 0xffffn, BigInt(Selector.data));
    const narrow = run('32', '16 07', {}, 2); // push ss; pop es
    assert.strictEqual(narrow.get('rsp'), BigInt(STACK));
    assert.strictEqual(narrow.read16(STACK - 4), Selector.data);
    const fault = new TestMachine().enter('64').run(CODE, '0fa9', { rsp: STACK }); // pop gs: selector 0 is fine
    assert.strictEqual(fault.selector('gs'), 0);
  });

  it('LSS, LFS, LGS load offset and selector', () => {
    for (const [hex, name] of [['0fb203', 'ss'], ['0fb403', 'fs'], ['0fb503', 'gs']] as const) {
      const t = new TestMachine().enter('32');
      t.write32(0x8f00, 0x12345678);
      t.write16(0x8f04, Selector.data);
      t.segment(name, 0, 0, 0xffffffff, 0xc093);
      t.run(CODE, hex, { rbx: 0x8f00 });
      assert.strictEqual(t.get('rax'), 0x12345678n, name);
      assert.strictEqual(t.selector(name), Selector.data, name);
    }
  }); // prettier-ignore
});

describe('flags and returns', () => {
  it('PUSHFW pushes 16 bits', () => {
    const t = run('64', '669c');
    assert.strictEqual(t.get('rsp'), BigInt(STACK - 2));
    assert.strictEqual(t.read16(STACK - 2), 2);
  });

  it('RET imm16 in 16-bit code releases after popping', () => {
    const t = new TestMachine().enter('16');
    t.write16(STACK, 0x1234);
    t.run(CODE, 'c20600', { rsp: STACK });
    assert.strictEqual(t.cpu.rip, 0x1234n);
    assert.strictEqual(t.get('rsp'), BigInt(STACK + 8));
  });

  it('RETF with 64-bit operands pops two quadwords', () => {
    const t = new TestMachine().enter('64');
    t.write64(STACK, 0x9100n);
    t.write64(STACK + 8, BigInt(Selector.code32));
    t.run(CODE, '48cb', { rsp: STACK });
    assert.strictEqual(t.cpu.rip, 0x9100n);
    assert.strictEqual(t.cpu.bitness, 32);
    assert.strictEqual(t.get('rsp'), BigInt(STACK + 16));
  });

  it('SYSEXIT with 64-bit operands goes to 64-bit code at CPL 3', () => {
    const t = new TestMachine().enter('64');
    t.cpu.set64(State.sysenterCs, 0x100n);
    t.run(CODE, '480f35', { rdx: 0x9200, rcx: 0x9800 });
    assert.strictEqual(t.cpu.rip, 0x9200n);
    assert.strictEqual(t.get('rsp'), 0x9800n);
    assert.strictEqual(t.selector('cs'), 0x123);
    assert.strictEqual(t.selector('ss'), 0x12b);
    assert.strictEqual(t.cpu.cpl, 3);
  });

  it('NOP with REX.W and PAUSE do nothing', () => {
    const t = run('64', '4890 f390', { rax: 5 }, 2);
    assert.strictEqual(t.get('rax'), 5n);
    assert.strictEqual(t.cpu.rip, BigInt(CODE + 4));
  });
});

describe('string I/O', () => {
  /** No device answers at this port: it reads as ones. */
  const PORT = 0x2f0;

  it('INS stores 16 and 32 bits and advances', () => {
    for (const [hex, size] of [['666d', 2], ['6d', 4]] as const) {
      const t = run('64', hex, { rdi: DATA, rdx: PORT });
      assert.deepStrictEqual([...t.read(DATA, 5)], [0, 1, 2, 3, 4].map((i) => (i < size ? 0xff : 0)));
      assert.strictEqual(t.get('rdi'), BigInt(DATA + size));
    }
  }); // prettier-ignore

  it('OUTS exits with its size, downwards when DF is set, and REP counts', () => {
    for (const [hex, size] of [
      ['f3666f', 2],
      ['f36f', 4],
    ] as const) {
      const sizes: number[] = [];
      const exit = (_cpu: unknown, { qualification }: { qualification: bigint }) => {
        sizes.push(Number(qualification & 7n) + 1);
        return false;
      };
      const t = new TestMachine({}, { exit }).enter('64');
      t.cpu.rflags = Flag.DF | 2;
      t.run(CODE, hex, { rsi: DATA, rdx: PORT, rcx: 3 }, 3);
      assert.strictEqual(t.get('rsi'), BigInt(DATA - 3 * size));
      assert.strictEqual(t.get('rcx'), 0n);
      assert.deepStrictEqual(sizes, [size, size, size]);
    }
  });
});

describe('descriptor tables and tasks', () => {
  it('SGDT and SIDT store limit and base', () => {
    const gdt = run('64', '0f0103', { rbx: DATA });
    assert.deepStrictEqual([gdt.read16(DATA), gdt.read64(DATA + 2)], [0xff, BigInt(GDT)]);
    const idt = run('64', '0f010b', { rbx: DATA });
    assert.deepStrictEqual([idt.read16(DATA), idt.read64(DATA + 2)], [0xfff, BigInt(IDT)]);
  });

  it('SLDT and STR give selectors', () => {
    assert.strictEqual(run('64', '0f00c8', { rax: -1 }).get('rax'), BigInt(Selector.tss));
    assert.strictEqual(run('64', '480f00c8', { rax: -1 }).get('rax'), BigInt(Selector.tss));
    assert.strictEqual(run('64', '660f00c8', { rax: -1 }).get('rax'), 0xffffffffffff0000n | BigInt(Selector.tss));
    assert.strictEqual(run('32', '0f00c0', { rax: 0xffffffff }).get('rax'), 0n);
    const memory = run('64', '0f000b', { rbx: DATA });
    assert.strictEqual(memory.read16(DATA), Selector.tss);
    assert.strictEqual(TSS % 16, 0);
  });

  it('LSL, VERR and VERW say what a selector allows', () => {
    const zero = (t: TestMachine): boolean => (t.cpu.rflags & Flag.ZF) !== 0;
    const limit = run('64', '0f03c3', { rbx: Selector.data });
    assert.strictEqual(limit.get('rax'), 0xffffffffn);
    assert.ok(zero(limit));
    const small = run('64', '0f03c3', { rbx: Selector.data16 });
    assert.strictEqual(small.get('rax'), 0xffffn);
    const none = run('64', '0f03c3', { rbx: 0xf0, rax: 7 });
    assert.strictEqual(none.get('rax'), 7n);
    assert.ok(!zero(none));
    assert.ok(zero(run('64', '0f00e3', { rbx: Selector.code64 })), 'readable code');
    assert.ok(!zero(run('64', '0f00eb', { rbx: Selector.code64 })), 'code is never writable');
    assert.ok(zero(run('64', '0f00eb', { rbx: Selector.data })));
    assert.ok(!zero(run('64', '0f00e3', { rbx: 0 })), 'null');
  });
});

describe('control', () => {
  it('LMSW sets TS and CLTS clears it; LMSW cannot clear PE', () => {
    const t = run('64', '0f01f0', { rax: Cr0.TS });
    assert.strictEqual(t.cpu.cr0 & 0xf, Cr0.TS | Cr0.PE);
    t.run(CODE, '0f06');
    assert.strictEqual(t.cpu.cr0 & Cr0.TS, 0);
  });

  it('SWAPGS exchanges the base with IA32_KERNEL_GS_BASE', () => {
    const t = new TestMachine().enter('64');
    t.cpu.set64(State.kernelGsBase, 0xffff800000001000n);
    t.cpu.setSegmentBase(SegmentIndex.gs, 0x5000n);
    t.run(CODE, '0f01f8');
    assert.strictEqual(t.cpu.segmentBase(SegmentIndex.gs), 0xffff800000001000n);
    assert.strictEqual(t.cpu.get64(State.kernelGsBase), 0x5000n);
  });

  it('MOV to and from debug registers', () => {
    const t = run('64', '0f23d8 0f21db', { rax: 0xffff800000001234n }, 2); // mov dr3, rax; mov rbx, dr3
    assert.strictEqual(t.get('rbx'), 0xffff800000001234n);
  });

  it('INVD, CLTS and SWAPGS are for CPL 0', () => {
    for (const hex of ['0f08', '0f06', '0f01f8']) {
      const t = new TestMachine().enter('64', 3).run(CODE, hex);
      assert.strictEqual(t.vector, Vector.GP, hex);
    }
    run('64', '0f08');
  });
});

describe('address sizes of implicit operands', () => {
  it('MONITOR and CLZERO take AX or EAX by the address size', () => {
    const monitor = (mode: Mode): TestMachine => run(mode, '0f01c8 0f01c9', { rax: 0x18000, rcx: 0 }, 2, ['+monitor']);
    const halted = monitor('32');
    assert.strictEqual(halted.cpu.activity, 'halted');
    halted.write(0x18000, [1]);
    assert.strictEqual(halted.cpu.activity, 'active');
    const small = monitor('16');
    small.write(0x18000, [1]);
    assert.strictEqual(small.cpu.activity, 'halted', 'AX is 8000h');
    small.write(0x8000, [0xeb]);
    assert.strictEqual(small.cpu.activity, 'active');

    const cleared = new TestMachine({ vendor: 'amd', features: ['+clzero'] }).enter('16');
    cleared.write(0x8f00, new Uint8Array(128).fill(0xff));
    cleared.run(CODE, '0f01fc', { rax: 0x18f10 });
    assert.deepStrictEqual(
      [...cleared.read(0x8f00, 128)],
      Array.from({ length: 128 }, (_, i) => (i < 64 ? 0 : 0xff)),
    );
  });
});

describe('CLTS', () => {
  it('takes effect for the vector instructions behind it, also those decoded already', () => {
    const t = new TestMachine().enter('64');
    t.cpu.set64(State.cr4, BigInt(t.cpu.cr4 | Cr4.OSFXSR));
    t.cpu.set64(State.cr0, BigInt((t.cpu.cr0 | Cr0.TS) >>> 0));
    t.cpu.modeChanged();
    // clts; movaps xmm0, xmm1; jmp +0; pxor xmm0, xmm0
    t.run(CODE, '0f06' + '0f28c1' + 'eb00' + '0fefc0', {}, 4);
    assert.strictEqual(t.vector, undefined);
    assert.strictEqual(t.cpu.rip, BigInt(CODE + 10));
  });
});
