import { strict as assert } from 'node:assert';
import { msrIndex, msrName } from '../../../../emulator-core/cpu/msrs';
import { TestMachine } from '../../testMachine';
import { AREA, CODE, KvmMachine } from './kvmMachine';

// Linux Documentation/virt/kvm/x86/msr.rst; arch/x86/include/uapi/asm/kvm_para.h.
const NUMBERS: Record<string, number> = {
  MSR_KVM_WALL_CLOCK: 0x11,
  MSR_KVM_SYSTEM_TIME: 0x12,
  MSR_KVM_WALL_CLOCK_NEW: 0x4b564d00,
  MSR_KVM_SYSTEM_TIME_NEW: 0x4b564d01,
  MSR_KVM_ASYNC_PF_EN: 0x4b564d02,
  MSR_KVM_STEAL_TIME: 0x4b564d03,
  MSR_KVM_PV_EOI_EN: 0x4b564d04,
  MSR_KVM_POLL_CONTROL: 0x4b564d05,
  MSR_KVM_ASYNC_PF_INT: 0x4b564d06,
  MSR_KVM_ASYNC_PF_ACK: 0x4b564d07,
  MSR_KVM_MIGRATION_CONTROL: 0x4b564d08,
};

describe('MSRs of KVM', () => {
  it('have the numbers of the documentation', () => {
    for (const [name, number] of Object.entries(NUMBERS)) {
      assert.equal(msrIndex(name), number);
      assert.equal(msrName(number), name);
    }
  });

  it('are #GP on a plain PC, and where their feature is not announced', () => {
    const plain = new TestMachine().enter('64');
    for (const index of Object.values(NUMBERS)) {
      plain.enter('64').run(CODE, '0f32', { rcx: index });
      assert.equal(plain.vector, 13, msrName(index));
    }
    const t = new KvmMachine();
    assert.equal(t.readMsr(0x4b564d09), undefined);
  });

  it('refuse reserved bits', () => {
    const t = new KvmMachine();
    const cases: [name: string, good: bigint, bad: bigint[]][] = [
      ['MSR_KVM_STEAL_TIME', BigInt(AREA) | 1n, [BigInt(AREA) | 2n, BigInt(AREA) | 0x21n]],
      ['MSR_KVM_PV_EOI_EN', BigInt(AREA) | 1n, [BigInt(AREA) | 3n, (1n << 40n) | 1n]],
      ['MSR_KVM_POLL_CONTROL', 0n, [2n, 1n << 63n]],
      ['MSR_KVM_MIGRATION_CONTROL', 0n, [2n, 1n << 63n]],
    ];
    for (const [name, good, bad] of cases) {
      assert.equal(t.writeMsr(NUMBERS[name], good), true, name);
      for (const value of bad) assert.equal(t.writeMsr(NUMBERS[name], value), false, `${name} ${value}`);
      assert.equal(t.readMsr(NUMBERS[name]), good, name);
    }
  });

  it('start as KVM has them, and INIT turns the areas off', () => {
    const t = new KvmMachine();
    assert.equal(t.readMsr(NUMBERS.MSR_KVM_POLL_CONTROL), 1n);
    assert.equal(t.readMsr(NUMBERS.MSR_KVM_STEAL_TIME), 0n);
    assert.equal(t.readMsr(NUMBERS.MSR_KVM_MIGRATION_CONTROL), 1n, 'memory is not encrypted');
    t.writeMsr(NUMBERS.MSR_KVM_SYSTEM_TIME_NEW, BigInt(AREA) | 1n);
    t.writeMsr(NUMBERS.MSR_KVM_STEAL_TIME, BigInt(AREA + 64) | 1n);
    t.writeMsr(NUMBERS.MSR_KVM_POLL_CONTROL, 0n);
    t.machine.platform.apic(0).accept({ destination: 0, logical: false, mode: 5, vector: 0, level: false });
    t.enter('64');
    assert.equal(t.readMsr(NUMBERS.MSR_KVM_SYSTEM_TIME_NEW), 0n);
    assert.equal(t.readMsr(NUMBERS.MSR_KVM_STEAL_TIME), 0n);
    assert.equal(t.readMsr(NUMBERS.MSR_KVM_POLL_CONTROL), 0n);
  });

  it('old and new numbers of a clock register are one register', () => {
    const t = new KvmMachine();
    t.writeMsr(NUMBERS.MSR_KVM_SYSTEM_TIME, BigInt(AREA) | 1n);
    assert.equal(t.readMsr(NUMBERS.MSR_KVM_SYSTEM_TIME_NEW), BigInt(AREA) | 1n);
    t.writeMsr(NUMBERS.MSR_KVM_WALL_CLOCK_NEW, BigInt(AREA + 64));
    assert.equal(t.readMsr(NUMBERS.MSR_KVM_WALL_CLOCK), BigInt(AREA + 64));
  });
});
