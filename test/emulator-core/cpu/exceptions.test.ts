/** Delivery of interrupts and exceptions. Expected frames: SDM Vol. 3A, "Interrupt and Exception Handling"; Vol. 3A, "8086 Emulation". */
import assert from 'node:assert';
import { State } from '../../../emulator-core/cpu/layout';
import { combine } from '../../../emulator-core/cpu/exceptions';
import { Flag } from '../../../emulator-core/cpu/vcpu';
import { HANDLERS, IDT, INTERRUPT_STACK, RING0_STACK, Selector, TSS, TestMachine } from '../testMachine';

const CODE = 0x100000;
const machine = (mode: Parameters<TestMachine['enter']>[0], cpl: 0 | 3 = 0): TestMachine =>
  new TestMachine().enter(mode, cpl);

describe('exceptions in real mode', () => {
  it('INT pushes FLAGS, CS and IP, and clears IF and TF', () => {
    const t = machine('real');
    t.cpu.rflags = 0x202;
    t.run(0x600, 'cd21', { rsp: 0x1000 }, 2);
    assert.strictEqual(t.vector, 0x21);
    assert.strictEqual(t.get('rsp'), 0xffan);
    assert.deepStrictEqual([t.read16(0xffa), t.read16(0xffc), t.read16(0xffe)], [0x602, 0, 0x202]);
    assert.strictEqual(t.cpu.rflags & Flag.IF, 0);
  });

  it('a fault pushes the address of its instruction and no error code', () => {
    const t = machine('real').run(0x600, 'f7f1', { rsp: 0x1000 });
    assert.strictEqual(t.vector, 0);
    assert.strictEqual(t.read16(0xffa), 0x600);
    const beyond = machine('real').run(0x600, 'a1ffff', { rsp: 0x1000 });
    assert.strictEqual(beyond.vector, 13);
    assert.strictEqual(beyond.get('rsp'), 0xffan);
  });

  it('a word at SS:FFFF is #SS', () => {
    const t = machine('real').run(0x600, '36a1ffff', { rsp: 0x1000 });
    assert.strictEqual(t.vector, 12);
  });

  it('a vector beyond the limit of the table ends in shutdown', () => {
    const t = machine('real');
    t.cpu.set64(State.idtrLimit, 3n);
    t.run(0x600, 'cd21', { rsp: 0x1000 });
    assert.strictEqual(t.machine.end?.kind, 'triple fault');
  });

  it('IRET takes IP, CS and FLAGS back', () => {
    const t = machine('real');
    t.write16(0xffa, 0x700);
    t.write16(0xffc, 0x10);
    t.write16(0xffe, 0x3246);
    t.run(0x600, 'cf', { rsp: 0xffa });
    assert.strictEqual(t.cpu.rip, 0x700n);
    assert.strictEqual(t.selector('cs'), 0x10);
    assert.strictEqual(t.cpu.segmentBase(1), 0x100n);
    assert.strictEqual(t.get('rsp'), 0x1000n);
    assert.strictEqual(t.cpu.rflags, 0x3246);
  });
});

describe('exceptions in protected mode', () => {
  it('a 32-bit gate pushes EFLAGS, CS, EIP and the error code', () => {
    const t = machine('32').run(CODE, '8ed8', { rax: 0xf8, rsp: 0xa000 });
    assert.strictEqual(t.vector, 13);
    assert.strictEqual(t.get('rsp'), 0x9ff0n);
    assert.deepStrictEqual([t.read32(0x9ff0), t.read32(0x9ff4), t.read32(0x9ff8)], [0xf8, CODE, Selector.code32]);
    assert.strictEqual(t.read32(0x9ffc) & Flag.RF, Flag.RF, 'faults push RF');
  });

  it('a 16-bit gate pushes words', () => {
    const t = machine('16').run(0x600, 'cd40', { rsp: 0xa000 }, 2);
    assert.strictEqual(t.vector, 0x40);
    assert.strictEqual(t.get('rsp'), 0x9ffan);
    assert.deepStrictEqual([t.read16(0x9ffa), t.read16(0x9ffc)], [0x602, Selector.code16]);
  });

  it('an interrupt gate clears IF, a trap gate does not', () => {
    for (const [type, want] of [[0xe, 0], [0xf, Flag.IF]] as const) {
      const t = machine('32');
      t.write32(IDT + 0x40 * 8 + 4, (0xe0 | type) << 8);
      t.write32(IDT + 0x40 * 8, ((HANDLERS + 0x400) & 0xffff) | (Selector.code32 << 16));
      t.cpu.rflags = 0x202;
      t.run(CODE, 'cd40', { rsp: 0xa000 }, 1);
      assert.strictEqual(t.cpu.rflags & Flag.IF, want);
    }
  }); // prettier-ignore

  it('ring 3 to ring 0 switches to SS0:ESP0 and pushes the outer stack', () => {
    const t = machine('32', 3).run(CODE, 'cd40', { rsp: 0xa000 }, 2);
    assert.strictEqual(t.vector, 0x40);
    assert.strictEqual(t.cpu.cpl, 0);
    assert.strictEqual(t.selector('ss'), Selector.data);
    const esp = Number(t.get('rsp'));
    assert.strictEqual(esp, RING0_STACK - 20);
    const frame = [0, 4, 8, 12, 16].map((i) => t.read32(esp + i));
    assert.deepStrictEqual(frame, [CODE + 2, Selector.userCode32, 2, 0xa000, Selector.userData]);
  });

  it('INT through a gate of a lower DPL is #GP with the vector, IDT flag set', () => {
    const t = machine('32', 3);
    t.gate('32', 0x40, HANDLERS, 0x80);
    t.run(CODE, 'cd40', { rsp: 0xa000 });
    assert.strictEqual(t.vector, 13);
    assert.strictEqual(t.read32(Number(t.get('rsp'))), (0x40 << 3) | 2);
  });

  it('a hardware exception ignores the DPL of its gate', () => {
    const t = machine('32', 3);
    t.gate('32', 6, HANDLERS + 6 * 16, 0x80);
    t.run(CODE, '0f0b', { rsp: 0xa000 });
    assert.strictEqual(t.vector, 6);
  });

  it('a gate that is not present is #NP with the vector; EXT says that an exception caused it', () => {
    const t = machine('32');
    t.gate('32', 0x40, HANDLERS, 0x60);
    t.run(CODE, 'cd40', { rsp: 0xa000 });
    assert.deepStrictEqual([t.vector, t.read32(Number(t.get('rsp')))], [11, (0x40 << 3) | 2]);
    const u = machine('32');
    u.gate('32', 6, HANDLERS, 0x60);
    u.run(CODE, '0f0b', { rsp: 0xa000 });
    assert.deepStrictEqual([u.vector, u.read32(Number(u.get('rsp')))], [11, (6 << 3) | 3]);
  });

  it('an inner stack segment that is not writable is #TS with its selector', () => {
    const t = machine('32', 3);
    t.write32(TSS + 8, Selector.code32);
    t.gate('32', 10, HANDLERS + 160, 0x80);
    t.run(CODE, 'cd40', { rsp: 0xa000 });
    assert.strictEqual(t.machine.end?.kind, 'triple fault', '#TS cannot be delivered on that stack, either');
  });

  it('IRET to an outer ring loads SS:ESP, drops inner data segments and keeps IOPL and IF', () => {
    const t = machine('32');
    t.write(0x9f00, new Uint8Array(64));
    [0x120000, Selector.userCode32, 0x3202, 0x9000, Selector.userData].forEach((v, i) => t.write32(0x9f00 + i * 4, v));
    t.run(CODE, 'cf', { rsp: 0x9f00 });
    assert.strictEqual(t.cpu.rip, 0x120000n);
    assert.strictEqual(t.cpu.cpl, 3);
    assert.strictEqual(t.get('rsp'), 0x9000n);
    assert.strictEqual(t.selector('ds'), 0);
    assert.strictEqual(t.cpu.rflags, 0x3202);
    // At CPL 3 with IOPL 0 neither changes.
    const u = machine('32', 3);
    u.cpu.rflags = 2;
    [0x120000, Selector.userCode32, 0x3203].forEach((v, i) => u.write32(0x9f00 + i * 4, v));
    u.run(CODE, 'cf', { rsp: 0x9f00 });
    assert.strictEqual(u.cpu.rflags, 3);
    assert.strictEqual(u.selector('ds'), Selector.userData);
  });

  it('IRET with NT set and no previous task is #TS(0)', () => {
    const t = machine('32');
    t.cpu.rflags = 0x4002;
    t.run(CODE, 'cf', { rsp: 0xa000 });
    assert.strictEqual(t.vector, 10);
  });
});

describe('exceptions in long mode', () => {
  it('the frame is aligned to 16 bytes and always holds SS:RSP', () => {
    const t = machine('64');
    t.gate('64', 6, HANDLERS + 96, 0xe0, 0);
    t.run(CODE, '0f0b', { rsp: 0x9ff7 });
    assert.strictEqual(t.vector, 6);
    assert.strictEqual(t.get('rsp'), BigInt(0x9ff0 - 40));
    const frame = [0, 8, 24, 32].map((i) => Number(t.read64(0x9ff0 - 40 + i)));
    assert.deepStrictEqual(frame, [CODE, Selector.code64, 0x9ff7, Selector.data]);
  });

  it('an interrupt stack of the TSS is used whatever the privilege', () => {
    for (const cpl of [0, 3] as const) {
      const t = machine('64', cpl).run(CODE, '0f0b', { rsp: 0x9000 });
      assert.strictEqual(t.get('rsp'), BigInt(INTERRUPT_STACK - 40));
      assert.strictEqual(t.cpu.cpl, 0);
    }
  });

  it('ring 3 to ring 0 takes RSP0 and a null SS', () => {
    const t = machine('64', 3);
    t.gate('64', 13, HANDLERS + 13 * 16, 0x80, 0);
    t.run(CODE, 'f4', { rsp: 0x9000 });
    assert.strictEqual(t.vector, 13);
    assert.strictEqual(t.get('rsp'), BigInt(RING0_STACK - 48));
    assert.strictEqual(t.read64(RING0_STACK - 48), 0n, 'the error code lies below the frame');
    assert.strictEqual(t.selector('ss'), 0);
    assert.strictEqual(Number(t.read64(RING0_STACK - 8)), Selector.userData);
  });

  it('comes back with IRETQ', () => {
    const t = machine('64', 3);
    t.writeHex(HANDLERS + 0x400, '48cf');
    t.run(CODE, 'cd40 90', { rsp: 0x9000 }, 2);
    assert.strictEqual(t.cpu.rip, BigInt(CODE + 2));
    assert.strictEqual(t.cpu.cpl, 3);
    assert.strictEqual(t.get('rsp'), 0x9000n);
    assert.strictEqual(t.selector('cs'), Selector.userCode64);
  });

  it('from compatibility mode into 64-bit code and back', () => {
    const t = machine('compat', 3);
    t.writeHex(HANDLERS + 0x400, '48cf');
    t.run(CODE, 'cd40 40', { rsp: 0x9000, rax: 0xffffffff }, 3);
    assert.strictEqual(t.cpu.bitness, 32);
    assert.strictEqual(t.get('rax'), 0n, '40h is INC EAX again');
  });

  it('a non-canonical address is #GP(0), through the stack #SS(0)', () => {
    assert.strictEqual(machine('64').run(CODE, '8b03', { rbx: 1n << 47n }).vector, 13);
    assert.strictEqual(machine('64').run(CODE, '58', { rsp: 1n << 47n }).vector, 12);
    assert.strictEqual(machine('64').run(CODE, '8b03', { rbx: (1n << 47n) - 2n }).vector, 13, 'across the hole');
    assert.strictEqual(machine('64').run(CODE, 'd7', { rbx: 1n << 47n }).vector, 13, 'XLAT');
  });
});

describe('double and triple faults', () => {
  it('combines as the table says', () => {
    const kinds: [number, number, string][] = [
      [13, 13, 'double'], [0, 11, 'double'], [13, 14, 'second'], [14, 14, 'double'], [14, 13, 'double'], [6, 13, 'second'],
      [1, 14, 'second'], [13, 6, 'second'], [8, 13, 'shutdown'], [8, 14, 'shutdown'],
    ]; // prettier-ignore
    for (const [first, second, want] of kinds)
      assert.strictEqual(combine(first, second), want, `${first} then ${second}`);
  });

  it('#GP whose gate is absent is #DF(0)', () => {
    const t = machine('64');
    t.gate('64', 13, 0, 0, 1);
    t.run(CODE, '8ed8', { rax: 0xf8 });
    assert.strictEqual(t.vector, 8);
    assert.strictEqual(t.read64(Number(t.get('rsp'))), 0n);
  });

  it('without a gate for #DF the machine ends', () => {
    const t = machine('64');
    for (const v of [8, 11, 13]) t.gate('64', v, 0, 0, 1);
    t.run(CODE, '8ed8', { rax: 0xf8 });
    assert.deepStrictEqual([t.machine.end?.kind, t.machine.run(10)], ['triple fault', 'ended']);
  });

  it('a page fault on the handler stack is #DF', () => {
    const t = machine('64');
    t.write64(TSS + 36, 0x40000000n);
    t.gate('64', 8, HANDLERS + 128, 0xe0, 2);
    t.write64(TSS + 44, BigInt(RING0_STACK));
    t.run(CODE, '8b03', { rbx: 0x50000000 });
    assert.strictEqual(t.vector, 8);
    assert.strictEqual(t.cpu.get64(State.cr2), 0x40000000n - 8n);
  });
});
