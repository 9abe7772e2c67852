// SDM Vol. 3A, "TSC-Deadline Mode": a deadline that has passed interrupts at once.
import assert from 'node:assert/strict';
import { HANDLERS, RING0_STACK, TestMachine } from '../testMachine';

const VECTOR = 0x45;
const CODE = 0x20000;
const IA32_TSC_DEADLINE = 0x6e0;

describe('the time-stamp counter deadline', () => {
  it('interrupts at the next instruction when it has passed, however many are to be run', () => {
    const t = new TestMachine({ features: ['+tsc_deadline'] }).enter('64');
    const apic = t.machine.platform.apic(0);
    apic.writeRegister(0xf0, 0x1ff);
    apic.writeRegister(0x320, 0x40000 | VECTOR);
    // sti; three nops; wrmsr; nop; then inc rbx for ever
    t.run(
      CODE,
      'fb9090900f309048ffc3ebfb',
      { rcx: IA32_TSC_DEADLINE, rax: 1, rdx: 0, rbx: 0, rsp: RING0_STACK },
      50_000,
    );
    assert.equal(t.cpu.rip, BigInt(HANDLERS + 16 * VECTOR));
    assert.equal(t.get('rbx'), 0n);
  });
});
