import { strict as assert } from 'node:assert';
import { State } from '../../../../emulator-core/cpu/layout';
import { AREA, CODE, KvmMachine } from './kvmMachine';

const [ENABLE, VECTOR, ACKNOWLEDGE] = [0x4b564d02, 0x4b564d06, 0x4b564d07];
const READY = 0xf3;
const DATA = 0x40_0000;
/** struct kvm_vcpu_pv_apf_data: flags at 0, token at 4. */
const flags = (t: KvmMachine): number => t.read32(AREA);
const token = (t: KvmMachine): number => t.read32(AREA + 4);

/** vCPU 0 in user mode with interrupts on, asynchronous page faults enabled with `bits`, its area zeroed. */
function machine(bits = 9n): KvmMachine {
  const t = new KvmMachine();
  t.machine.platform.apic(0).writeRegister(0xf0, 0x1ff);
  assert.equal(t.writeMsr(VECTOR, BigInt(READY)), true);
  assert.equal(t.writeMsr(ENABLE, BigInt(AREA) | bits), true);
  // What enabling told, taken and acknowledged.
  t.write32(AREA + 4, 0);
  t.machine.platform.apic(0).init();
  t.machine.platform.apic(0).writeRegister(0xf0, 0x1ff);
  t.enter('64', 3);
  t.cpu.rflags = 0x202;
  return t;
}
const requested = (t: KvmMachine): boolean => {
  const { registers } = t.machine.platform.apic(0).save();
  return ((registers[0x20 + (READY >> 5)] >>> (READY & 31)) & 1) === 1;
};
/** mov rax, [DATA] at `at`. */
const READ = '488b042500004000';

// Linux Documentation/virt/kvm/x86/msr.rst, MSR_KVM_ASYNC_PF_EN.
describe('asynchronous page faults', () => {
  it('"page not present" is a #PF with a token in CR2 and a flag in memory; "page ready" an interrupt with the token', () => {
    const t = machine();
    t.write64(DATA, 0x1122334455667788n);
    t.machine.guest!.swapOut!(DATA + 8);
    t.run(CODE, READ, { rax: 0 });
    assert.equal(t.vector, 14);
    const told = Number(t.cpu.get64(State.cr2));
    assert.equal(told, 0x1000, 'an id above the vCPU in bits 11:0');
    assert.equal(flags(t), 1);
    assert.equal(token(t), 0);
    assert.equal(t.read64(Number(t.get('rsp'))), 0n, 'error code');
    assert.equal(requested(t), false);
    // The page arrives after 100 microseconds of 8 ns an instruction.
    t.machine.run(12_400);
    assert.equal(token(t), 0);
    t.machine.run(200);
    assert.equal(token(t), told);
    assert.equal(requested(t), true);
    t.enter('64', 3);
    t.run(CODE, READ);
    assert.equal(t.get('rax'), 0x1122334455667788n);
  });

  it('a guest that is told of one page is told of the next when it acknowledges', () => {
    const t = machine();
    const tokens: number[] = [];
    for (const page of [0, 1]) {
      t.machine.guest!.swapOut!(DATA + page * 0x1000);
      t.enter('64', 3);
      t.cpu.rflags = 0x202;
      t.run(CODE, page ? READ.replace('00004000', '00104000') : READ);
      tokens.push(Number(t.cpu.get64(State.cr2)));
    }
    assert.notEqual(tokens[0], tokens[1]);
    t.machine.run(30_000);
    assert.equal(token(t), tokens[0]);
    t.enter('64');
    t.writeMsr(ACKNOWLEDGE, 1n);
    assert.equal(token(t), tokens[0], 'not yet taken');
    t.write32(AREA + 4, 0);
    t.writeMsr(ACKNOWLEDGE, 0n);
    assert.equal(token(t), 0);
    t.writeMsr(ACKNOWLEDGE, 1n);
    assert.equal(token(t), tokens[1]);
    assert.equal(t.readMsr(ACKNOWLEDGE), 0n);
  });

  it('is not for a guest that did not ask, nor in kernel mode, nor with interrupts off: the page comes at once', () => {
    const cases: [title: string, bits: bigint, cpl: 0 | 3, rflags: number, told: boolean][] = [
      ['user mode', 9n, 3, 0x202, true],
      ['kernel mode', 9n, 0, 0x202, false],
      ['kernel mode, SEND_ALWAYS', 11n, 0, 0x202, true],
      ['interrupts off', 11n, 3, 2, false],
      ['without interrupt delivery', 1n, 3, 0x202, false],
      ['disabled', 8n, 3, 0x202, false],
    ];
    for (const [title, bits, cpl, rflags, told] of cases) {
      const t = machine(bits);
      t.write64(DATA, 77n);
      t.machine.guest!.swapOut!(DATA);
      t.enter('64', cpl);
      t.cpu.rflags = rflags;
      t.run(CODE, READ, { rax: 0 });
      assert.equal(t.vector === 14, told, title);
      assert.equal(t.get('rax'), told ? 0n : 77n, title);
      assert.equal(flags(t), told ? 1 : 0, title);
    }
  });

  it('holds for writes, code and paging structures, too', () => {
    const write = machine();
    write.machine.guest!.swapOut!(DATA);
    write.run(CODE, '4889042500004000', { rax: 5 });
    assert.equal(write.vector, 14);
    const code = machine();
    code.writeHex(DATA, '90');
    code.machine.guest!.swapOut!(DATA);
    code.run(CODE, '', {}, 0);
    code.cpu.rip = BigInt(DATA);
    code.machine.run(1);
    assert.equal(code.vector, 14);
    const tables = machine(8n);
    tables.machine.guest!.swapOut!(0x3000);
    tables.run(CODE, READ);
    assert.equal(tables.cpu.rip, BigInt(CODE + 8));
  });

  it('enabling tells that all pages are there; disabling forgets what was to be told', () => {
    const t = new KvmMachine();
    t.machine.platform.apic(0).writeRegister(0xf0, 0x1ff);
    t.writeMsr(VECTOR, BigInt(READY));
    t.writeMsr(ENABLE, BigInt(AREA) | 9n);
    assert.equal(token(t), 0xffffffff);
    assert.equal(requested(t), true);
    const other = machine();
    other.machine.guest!.swapOut!(DATA);
    other.run(CODE, READ);
    other.enter('64');
    other.writeMsr(ENABLE, BigInt(AREA));
    other.run(CODE, 'ebfe', {}, 30_000);
    assert.equal(token(other), 0);
    other.run(CODE + 16, READ);
    assert.equal(other.cpu.rip, BigInt(CODE + 24));
  });

  it('refuses reserved bits and an area that is not RAM', () => {
    const t = new KvmMachine();
    for (const value of [BigInt(AREA) | 0xdn, BigInt(AREA) | 0x19n, BigInt(AREA) | 0x29n, (1n << 40n) | 9n])
      assert.equal(t.writeMsr(ENABLE, value), false, String(value));
    assert.equal(t.writeMsr(VECTOR, 0x100n), false);
  });

  it('comes back with history', () => {
    const t = machine();
    t.write64(DATA, 9n);
    t.run(CODE, READ, {}, 0);
    t.machine.record();
    const start = t.machine.core.retired;
    t.machine.change(() => t.machine.guest!.swapOut!(DATA));
    t.machine.run(20_000);
    const [told, at] = [token(t), t.machine.core.retired];
    assert.equal(told, 0x1000);
    const tables = t.machine.memory.eptUsedEnd;
    for (let i = 0; i < 3; i++) {
      t.machine.history.restoreBefore(start);
      assert.equal(token(t), 0);
      t.machine.run(at - t.machine.core.retired);
      assert.equal(token(t), told);
      assert.equal(t.machine.memory.eptUsedEnd, tables);
    }
    t.machine.reset();
    t.enter('64', 3).run(CODE, READ);
    assert.equal(t.cpu.rip, BigInt(CODE + 8));
  });
});
