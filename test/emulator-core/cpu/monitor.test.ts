/** MONITOR and MWAIT. SDM Vol. 2, "MONITOR—Set Up Monitor Address", "MWAIT—Monitor Wait"; Vol. 3A, "MONITOR/MWAIT Instruction". */
import assert from 'node:assert';
import { Vector } from '../../../emulator-core/cpu/vcpu';
import { TestMachine } from '../testMachine';

const CODE = 0x100000;
const LINE = 0x200040;
const MONITOR = '0f01c8';
const MWAIT = '0f01c9';

function machine(cpl: 0 | 3 = 0, features = ['+monitor']): TestMachine {
  return new TestMachine({ features }).enter('64', cpl);
}
/** monitor [rax]; mwait; inc r15; jmp self */
const waiting = (registers = {}, t = machine()): TestMachine => {
  t.writeHex(CODE, MONITOR + MWAIT + '49ffc7' + 'ebfe');
  return t.run(CODE, '', { rax: LINE + 5, ...registers }, 2);
};

describe('MONITOR and MWAIT', () => {
  it('MWAIT waits until the line is written, and goes on behind itself', () => {
    const t = waiting();
    assert.strictEqual(t.cpu.activity, 'halted');
    assert.strictEqual(t.machine.run(100), 'idle');
    t.write(LINE - 1, [1]);
    t.write(LINE + 64, [1]);
    assert.strictEqual(t.machine.run(100), 'idle', 'the neighbouring lines are not watched');
    t.write(LINE + 63, [t.read(LINE + 63, 1)[0]]);
    t.machine.run(10);
    assert.strictEqual(t.get('r15'), 1n, 'a store of the same value counts, too');
  });

  it('a store between MONITOR and MWAIT, or no MONITOR at all: no wait', () => {
    // monitor; mov [rbx], ecx; mwait; inc r15
    const t = machine().run(CODE, MONITOR + '890b' + MWAIT + '49ffc7', { rax: LINE, rbx: LINE + 60 }, 4);
    assert.strictEqual(t.get('r15'), 1n);
    assert.strictEqual(
      machine()
        .run(CODE, MWAIT + '49ffc7', {}, 2)
        .get('r15'),
      1n,
    );
  });

  it('stores elsewhere in the page do not count, read-modify-write to the line does', () => {
    const away = machine().run(CODE, MONITOR + 'f00113' + MWAIT, { rax: LINE, rbx: LINE + 64 }, 3);
    assert.strictEqual(away.cpu.activity, 'halted');
    const hit = machine().run(CODE, MONITOR + 'f00113' + MWAIT, { rax: LINE, rbx: LINE + 8 }, 3);
    assert.strictEqual(hit.cpu.activity, 'active');
  });

  it('another vCPU writes', () => {
    const t = new TestMachine({ features: ['+monitor'], cpus: 2 }).enter('64');
    waiting({}, t);
    const writer = t.machine.vcpus[1];
    t.machine.memory.u8.copyWithin(writer.base, t.cpu.base, t.cpu.base + 0x1000);
    writer.activity = 'active';
    writer.modeChanged();
    t.machine.core.flushAllTranslations();
    t.writeHex(CODE + 0x100, '48ff03' + 'ebfe'); // inc qword [rbx]
    writer.rip = BigInt(CODE + 0x100);
    writer.setGpr(3, BigInt(LINE + 16));
    t.machine.run(100_000);
    assert.strictEqual(t.get('r15'), 1n);
  });

  it('interrupts end the wait: enabled ones are taken, masked ones only with ECX bit 0', () => {
    const pending = (t: TestMachine): void => {
      const { bus } = t.machine.platform;
      // PIC initialized: vectors from 20h; the PIT on line 0, unmasked; and through the local APIC's LINT0.
      for (const [port, value] of [[0x20, 0x11], [0x21, 0x20], [0x21, 4], [0x21, 1], [0x21, 0xfe]]) bus.writePort(port, value, 1); // prettier-ignore
      for (const value of [0x34, 0x10, 0x10]) bus.writePort(value === 0x34 ? 0x43 : 0x40, value, 1);
    };
    const taken = machine();
    pending(taken);
    taken.writeHex(CODE, 'fb' + MONITOR + MWAIT + '49ffc7' + 'ebfe');
    taken.run(CODE, '', { rax: LINE, rsp: 0x9000 }, 200_000);
    assert.strictEqual(taken.vector, 0x20);

    const broken = machine();
    pending(broken);
    waiting({ rcx: 0 }, broken);
    assert.strictEqual(broken.cpu.activity, 'halted');
    broken.writeHex(CODE, MONITOR + '89d1' + MWAIT + '49ffc7' + 'ebfe');
    broken.cpu.activity = 'active';
    broken.run(CODE, '', { rdx: 1, rcx: 0 }, 200_000);
    assert.strictEqual(broken.get('r15'), 1n);
    assert.strictEqual(broken.vector, undefined);
  });

  it('faults: CPL 3, extensions, an unmapped address, no feature', () => {
    const vector = (t: TestMachine, hex: string, registers = {}): number | undefined =>
      t.run(CODE, hex, { rax: LINE, ...registers }, 2).vector;
    assert.strictEqual(vector(machine(3), MONITOR), Vector.UD);
    assert.strictEqual(vector(machine(3), MWAIT), Vector.UD);
    assert.strictEqual(vector(machine(), MONITOR, { rcx: 1 }), Vector.GP);
    assert.strictEqual(vector(machine(), MWAIT, { rcx: 2 }), Vector.GP);
    assert.strictEqual(vector(machine(), MONITOR, { rax: 0x40000000 }), Vector.PF);
    assert.strictEqual(vector(machine(), MONITOR, { rax: 1n << 60n }), Vector.GP);
    assert.strictEqual(vector(machine(0, []), MONITOR), Vector.UD);
  });

  it('a wait is part of the machine state', () => {
    const t = machine();
    t.writeHex(CODE, MONITOR + MWAIT + '49ffc7' + 'ebfe');
    t.cpu.rip = BigInt(CODE);
    t.set({ rax: LINE });
    t.machine.record();
    t.machine.run(2);
    t.machine.history.take();
    const checkpoint = t.machine.history;
    t.write(LINE, [1]);
    t.machine.run(5);
    assert.strictEqual(t.get('r15'), 1n);
    checkpoint.restoreBefore(3);
    assert.strictEqual(t.cpu.activity, 'halted');
    t.write(LINE, [2]);
    t.machine.run(5);
    assert.strictEqual(t.get('r15'), 1n);
  });
});
