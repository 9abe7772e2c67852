/** Virtual-8086 mode with IOPL checks and VME, and PVI. SDM Vol. 3A, "8086 Emulation"; Vol. 2, CLI, STI, PUSHF, POPF, IRET, INT n. */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { Cr4, Flag } from '../../../emulator-core/cpu/vcpu';
import { HANDLERS, RING0_STACK, Selector, TSS, TestMachine } from '../testMachine';

const IO_MAP = 0x88;
const REDIRECTION = TSS + IO_MAP - 32;
/** 8086 program at 1000:0000, its stack at 2000:1000. */
const CODE = 0x10000;
const STACK = 0x20000;
const SP = 0x1000;

interface Setup {
  iopl?: number;
  vme?: boolean;
  flags?: number;
  /** Vectors that the monitor handles; the others are redirected to the 8086 program. */
  monitored?: number[];
  stack?: number[];
}

function machine(setup: Setup = {}): TestMachine {
  const t = new TestMachine().enter('32');
  const flags = 2 | Flag.VM | ((setup.iopl ?? 3) << 12) | (setup.flags ?? 0);
  t.cpu.set64(State.cr4, setup.vme ? BigInt(Cr4.VME) : 0n);
  t.cpu.rflags = flags;
  for (const [s, selector] of [['cs', 0x1000], ['ss', 0x2000], ['ds', 0x3000], ['es', 0x4000], ['fs', 0x5000], ['gs', 0x6000]] as const)
    t.segment(s, selector, selector << 4, 0xffff, 0xf3);
  t.write16(TSS + 0x66, IO_MAP);
  t.write(TSS + IO_MAP, new Uint8Array(0x1000 - IO_MAP));
  for (const vector of setup.monitored ?? []) t.write(REDIRECTION + (vector >> 3), [1 << (vector & 7)]);
  t.write16(0x21 * 4, 0x500);
  t.write16(0x21 * 4 + 2, 0x1800);
  (setup.stack ?? []).forEach((w, i) => t.write16(STACK + SP + i * 2, w));
  t.set({ rsp: SP });
  return t;
} // prettier-ignore

function run(t: TestMachine, hex: string, count = 1): TestMachine {
  t.writeHex(CODE, hex);
  t.cpu.rip = 0n;
  t.machine.run(count);
  return t;
}
const errorOf = (t: TestMachine): number => t.read32(Number(t.get('rsp')));
const top = (t: TestMachine, i = 0): number => t.read16(STACK + Number(t.get('rsp') & 0xffffn) + i * 2);
const isGp0 = (t: TestMachine): void => assert.deepStrictEqual([t.vector, errorOf(t), t.cpu.v8086], [13, 0, false]);

describe('virtual-8086 mode', () => {
  it('an exception leaves it: the segment registers are pushed and null, the frame is 32-bit', () => {
    const t = run(machine(), '0f0b');
    assert.strictEqual(t.vector, 6);
    const esp = Number(t.get('rsp'));
    assert.strictEqual(esp, RING0_STACK - 36);
    const frame = Array.from({ length: 9 }, (_, i) => t.read32(esp + i * 4));
    const flags = 0x3002 | Flag.VM | Flag.RF;
    assert.deepStrictEqual(frame, [0, 0x1000, flags, SP, 0x2000, 0x4000, 0x3000, 0x5000, 0x6000]);
    assert.deepStrictEqual(['ds', 'es', 'fs', 'gs'].map((s) => t.selector(s as 'ds')), [0, 0, 0, 0]);
  }); // prettier-ignore

  it('IRETD at CPL 0 enters it', () => {
    const t = new TestMachine().enter('32');
    const frame = [0x100, 0x1000, 0x23002, SP, 0x2000, 0x4000, 0x3000, 0x5000, 0x6000];
    frame.forEach((v, i) => t.write32(0x9000 + i * 4, v));
    t.run(0x100000, 'cf', { rsp: 0x9000 });
    assert.deepStrictEqual([t.cpu.v8086, t.cpu.cpl, t.cpu.rip, t.get('rsp')], [true, 3, 0x100n, 0x1000n]);
    assert.deepStrictEqual([t.selector('es'), t.cpu.segmentBase(0), t.cpu.segmentLimit(0)], [0x4000, 0x40000n, 0xffff]);
  });

  it('a handler with a DPL above 0 is #GP with its selector', () => {
    const t = machine();
    t.gate('32', 6, HANDLERS + 96, 0xe0);
    t.write32(0x6000 + 48, (HANDLERS + 96) | (Selector.userCode32 << 16));
    run(t, '0f0b');
    assert.deepStrictEqual([t.vector, errorOf(t)], [13, (Selector.userCode32 & ~3) | 1]);
  });

  it('privileged instructions are #GP, protected-mode ones #UD', () => {
    for (const code of ['f4', '0f20c0', '0f06', '0f011f']) isGp0(run(machine(), code));
    for (const code of ['0f00d8', '0f02c3', '63c0']) assert.strictEqual(run(machine(), code).vector, 6);
  });

  it('ports go by the permission bitmap alone', () => {
    assert.strictEqual(run(machine(), 'e480').cpu.rip, 2n);
    const t = machine();
    t.write(TSS + IO_MAP + 0x10, [1]);
    isGp0(run(t, 'e480'));
  });

  it('with IOPL 3 CLI, STI, PUSHF, POPF and INT n work on IF and the monitor', () => {
    assert.strictEqual(run(machine({ flags: Flag.IF }), 'fa').cpu.rflags & Flag.IF, 0);
    assert.strictEqual(run(machine(), 'fb').cpu.rflags & Flag.IF, Flag.IF);
    assert.strictEqual(top(run(machine({ flags: Flag.IF }), '9c')), 0x3202);
    const popped = run(machine({ stack: [0x0fd7] }), '9d');
    assert.strictEqual(popped.cpu.rflags & 0xffff, 0x3fd7, 'IOPL stays');
    const t = run(machine(), 'cd21');
    assert.deepStrictEqual([t.vector, t.cpu.v8086, t.read32(Number(t.get('rsp')))], [0x21, false, 2]);
  });

  it('below IOPL 3 they are #GP(0), but INT3 and INTO go to the monitor', () => {
    for (const code of ['fa', 'fb', '9c', '9d', 'cf', 'cd21', 'cd03']) isGp0(run(machine({ iopl: 0 }), code));
    assert.strictEqual(run(machine({ iopl: 0 }), 'cc').vector, 3);
    assert.strictEqual(run(machine({ iopl: 0, flags: Flag.OF }), 'ce').vector, 4);
  });

  it('IRET within it keeps IOPL', () => {
    const t = run(machine({ stack: [0x123, 0x1100, 0x0246] }), 'cf');
    assert.deepStrictEqual([t.cpu.rip, t.selector('cs'), t.cpu.rflags & 0xffff], [0x123n, 0x1100, 0x3246]);
    assert.deepStrictEqual([t.cpu.v8086, t.get('rsp')], [true, BigInt(SP + 6)]);
  });
});

describe('virtual-8086 mode extensions', () => {
  const vme = (more: Setup = {}): TestMachine => machine({ iopl: 0, vme: true, ...more });

  it('CLI and STI work on VIF; STI with VIP set is #GP(0)', () => {
    const off = run(vme({ flags: Flag.VIF | Flag.IF }), 'fa');
    assert.strictEqual(off.cpu.rflags & (Flag.VIF | Flag.IF), Flag.IF);
    assert.strictEqual(run(vme(), 'fb').cpu.rflags & (Flag.VIF | Flag.IF), Flag.VIF);
    isGp0(run(vme({ flags: Flag.VIP }), 'fb'));
  });

  it('PUSHF shows VIF as IF and IOPL 3; with a 32-bit operand it is #GP(0)', () => {
    assert.strictEqual(top(run(vme({ flags: Flag.VIF }), '9c')), 0x3202);
    assert.strictEqual(top(run(vme({ flags: Flag.IF }), '9c')), 0x3002);
    isGp0(run(vme(), '669c'));
    isGp0(run(vme(), '669d'));
    isGp0(run(vme(), '66cf'));
  });

  it('POPF loads VIF; TF, or IF with VIP set, is #GP(0)', () => {
    const on = run(vme({ stack: [0x0247] }), '9d');
    assert.strictEqual(on.cpu.rflags, 0x47 | Flag.VM | Flag.VIF);
    const off = run(vme({ flags: Flag.VIF | Flag.IF, stack: [0x3002] }), '9d');
    assert.strictEqual(off.cpu.rflags, 2 | Flag.VM | Flag.IF);
    isGp0(run(vme({ stack: [0x0102] }), '9d'));
    isGp0(run(vme({ flags: Flag.VIP, stack: [0x0202] }), '9d'));
  });

  it('IRET loads VIF', () => {
    const t = run(vme({ stack: [0x123, 0x1100, 0x0202] }), 'cf');
    assert.deepStrictEqual([t.cpu.rip, t.cpu.rflags], [0x123n, 2 | Flag.VM | Flag.VIF]);
    isGp0(run(vme({ stack: [0x123, 0x1100, 0x0102] }), 'cf'));
  });

  it('INT n goes to the 8086 program’s handler where the bitmap is clear', () => {
    const t = run(vme({ flags: Flag.VIF | Flag.IF | Flag.CF }), 'cd21');
    assert.deepStrictEqual([t.cpu.v8086, t.selector('cs'), t.cpu.rip], [true, 0x1800, 0x500n]);
    assert.deepStrictEqual([top(t, 0), top(t, 1), top(t, 2)], [2, 0x1000, 0x3203]);
    assert.strictEqual(t.cpu.rflags & (Flag.VIF | Flag.IF), Flag.IF, 'IF stays, VIF is cleared');
    const three = run(machine({ vme: true, flags: Flag.IF }), 'cd21');
    assert.deepStrictEqual([three.cpu.v8086, three.cpu.rip, top(three, 2)], [true, 0x500n, 0x3202]);
    assert.strictEqual(three.cpu.rflags & Flag.IF, 0);
  });

  it('where the bitmap is set it is #GP(0) below IOPL 3, else the monitor’s', () => {
    isGp0(run(vme({ monitored: [0x21] }), 'cd21'));
    const t = run(machine({ vme: true, monitored: [0x21] }), 'cd21');
    assert.deepStrictEqual([t.vector, t.cpu.v8086], [0x21, false]);
  });

  it('INT3 is not redirected', () => {
    assert.strictEqual(run(vme(), 'cc').vector, 3);
  });

  it('a bitmap that the TSS does not hold is #GP(0)', () => {
    const t = vme();
    t.write16(TSS + 0x66, 0xffff);
    isGp0(run(t, 'cd21'));
  });
});

describe('protected-mode virtual interrupts', () => {
  const pvi = (flags: number, cr4: number = Cr4.PVI): TestMachine => {
    const t = new TestMachine().enter('32', 3);
    t.cpu.set64(State.cr4, BigInt(cr4));
    t.cpu.rflags = 2 | flags;
    t.set({ rsp: 0x9000 });
    return t;
  };
  const at = 0x100000;

  it('CLI and STI at CPL 3 above IOPL work on VIF', () => {
    assert.strictEqual(pvi(Flag.VIF | Flag.IF).run(at, 'fa').cpu.rflags & (Flag.VIF | Flag.IF), Flag.IF);
    assert.strictEqual(pvi(0).run(at, 'fb').cpu.rflags & (Flag.VIF | Flag.IF), Flag.VIF);
    isGp0(pvi(Flag.VIP).run(at, 'fb'));
    isGp0(pvi(0, 0).run(at, 'fa'));
  });

  it('PUSHF and POPF do not know of it', () => {
    const t = pvi(Flag.VIF).run(at, '9c');
    assert.strictEqual(errorOf(t), 2 | Flag.VIF);
    t.write32(0x9000, 0x202);
    const u = pvi(0);
    u.write32(0x9000, 0x202);
    assert.strictEqual(u.run(at, '9d').cpu.rflags, 2);
  });
});
