import { strict as assert } from 'node:assert';
import { HYPERCALLS } from '../../../../emulator-core/guest/kvm/hypercalls';
import { State } from '../../../../emulator-core/cpu/layout';
import { AREA, CODE, KvmMachine, pair, signed, START_TIME } from './kvmMachine';

/** IDT vector that SEND_IPI sends in these tests. */
const VECTOR = 0x45;

const requested = (t: KvmMachine, cpu: number, vector: number): boolean =>
  ((t.machine.platform.apic(cpu).readRegister(0x200 + (vector >> 5) * 16) >>> (vector & 31)) & 1) === 1;

// Linux Documentation/virt/kvm/x86/hypercalls.rst; include/uapi/linux/kvm_para.h.
describe('hypercalls of KVM', () => {
  it('have the numbers of kvm_para.h', () => {
    const numbers = Object.fromEntries(HYPERCALLS.map(({ name, number }) => [name.slice(7), number]));
    assert.deepEqual(numbers, {
      VAPIC_POLL_IRQ: 1, MMU_OP: 2, FEATURES: 3, PPC_MAP_MAGIC_PAGE: 4, KICK_CPU: 5, MIPS_GET_CLOCK_FREQ: 6, MIPS_EXIT_VM: 7,
      MIPS_CONSOLE_OUTPUT: 8, CLOCK_PAIRING: 9, SEND_IPI: 10, SCHED_YIELD: 11, MAP_GPA_RANGE: 12,
    }); // prettier-ignore
  });

  it('unknown ones and those of other architectures are -KVM_ENOSYS; from user mode -KVM_EPERM', () => {
    const t = new KvmMachine();
    for (const number of [0, 2, 3, 4, 6, 7, 8, 13, 1n << 32n, (1n << 64n) - 1n]) {
      assert.equal(signed(t.hypercall(number)), -1000n, String(number));
    }
    t.enter('64', 3);
    assert.equal(signed(t.hypercall(1)), -1n);
  });

  it('are 32 bits wide outside of 64-bit code', () => {
    const t = new KvmMachine();
    t.enter('32');
    assert.equal(t.hypercall(0xdead_0000_0001n), 0n);
    assert.equal(t.hypercall(99), 0xffff_fc18n);
  });

  it('leave all registers but rax alone, and go on behind the instruction', () => {
    const t = new KvmMachine();
    assert.equal(t.hypercall(1, 11, 12, 13, 14), 0n);
    assert.deepEqual([t.get('rbx'), t.get('rcx'), t.get('rdx'), t.get('rsi')], [11n, 12n, 13n, 14n]);
    assert.equal(t.cpu.rip, BigInt(CODE + 3));
  });

  it('VMMCALL is patched to VMCALL and run, after an exit for #UD', () => {
    const t = new KvmMachine();
    t.run(CODE, '0f01d9', { rax: 1 });
    assert.deepEqual([...t.read(CODE, 3)], [0x0f, 0x01, 0xc1]);
    assert.equal(t.get('rax'), 0n);
    assert.equal(t.cpu.rip, BigInt(CODE + 3));
    assert.deepEqual(
      t.machine.vmm.log.newest(2).map((exit) => exit.reason),
      [18, 0],
    );
    assert.equal(t.machine.core.retired, 1);
  });

  it('VMMCALL in code that may not be written is a page fault', () => {
    const t = new KvmMachine();
    // The second 2-MByte page becomes read-only.
    t.write64(0x3008, 0x200085n);
    t.machine.core.flushAllTranslations();
    t.run(0x200000, '0f01d9', { rax: 1 });
    assert.equal(t.vector, 14);
    assert.equal(t.cpu.get64(State.cr2), 0x200002n);
    assert.deepEqual([...t.read(0x200000, 3)], [0x0f, 0x01, 0xd9]);
  });

  it('MAP_GPA_RANGE takes whole pages of RAM and known attributes, and says what it was told', () => {
    const t = new KvmMachine();
    const ENCRYPTED = 1n << 4n;
    const INVAL = -22n;
    const call = (gpa: bigint | number, pages: bigint | number, attributes: bigint | number) =>
      signed(t.hypercall(12, gpa, pages, attributes));
    const told = () =>
      t.machine
        .guest!.describe(t.cpu)
        .find(({ name }) => name === 'GPA ranges')!
        .children!.map(({ name, value }) => `${name} ${value}`);
    assert.equal(call(0x100001, 1, 0), INVAL, 'not at a page');
    assert.equal(call(0x100000, 0, 0), INVAL, 'no page');
    assert.equal(call(0x100000, 1n << 52n, 0), INVAL, 'beyond RAM');
    assert.equal(call((1n << 64n) - 0x1000n, 2, 0), INVAL, 'around the end');
    assert.equal(call(0x100000, 1, 1n << 5n), INVAL, 'a reserved attribute');
    assert.equal(call(0x100000, 1, 1n << 63n), INVAL, 'a reserved attribute');
    assert.deepEqual(told(), []);
    assert.equal(call(0x100000, 16, ENCRYPTED), 0n);
    assert.equal(call(0x104000, 1, 1), 0n, 'plaintext, 2-MiB pages preferred');
    const ranges = [
      'encrypted 0x0000000000100000-0x0000000000103fff',
      'plaintext 0x0000000000104000-0x0000000000104fff',
      'encrypted 0x0000000000105000-0x000000000010ffff',
    ];
    assert.deepEqual(told(), ranges);
    const saved = structuredClone(t.machine.guest!.save());
    call(0x100000, 16, 0);
    t.machine.guest!.restore(saved);
    assert.deepEqual(told(), ranges);
    t.machine.guest!.reset();
    assert.deepEqual(told(), []);
  });

  it('SEND_IPI interrupts whom the bitmap names and counts them', () => {
    const t = pair();
    assert.equal(t.hypercall(10, 0b10, 0, 0, VECTOR), 1n);
    assert.deepEqual([requested(t, 0, VECTOR), requested(t, 1, VECTOR)], [false, true]);
    assert.equal(t.hypercall(10, 0b11, 0, 0, VECTOR + 1), 2n);
    assert.equal(t.hypercall(10, 0b11, 0, 1, VECTOR + 2), 1n, 'bit 0 is APIC ID 1');
    assert.deepEqual([requested(t, 0, VECTOR + 2), requested(t, 1, VECTOR + 2)], [false, true]);
    assert.equal(t.hypercall(10, 0xfffc, (1n << 64n) - 1n, 0, VECTOR), 0n, 'nobody there');
    assert.equal(t.hypercall(10, 3, 0, (1n << 64n) - 1n, VECTOR), 0n);
    assert.equal(signed(t.hypercall(10, 3, 0, 0, 0x800 | VECTOR)), -22n, 'logical destination');
    assert.equal(signed(t.hypercall(10, 3, 0, 0, 0xc0000 | VECTOR)), -22n, 'shorthand');
    assert.equal(t.hypercall(10, 0b10, 0, 0, 0x8000 | (VECTOR + 3)), 0n, 'level-triggered, not asserted');
    assert.equal(t.hypercall(10, 0b10, 0, 0, 0x400), 1n, 'NMI');
    t.machine.platform.apic(1).writeRegister(0xf0, 0xff);
    assert.equal(t.hypercall(10, 0b10, 0, 0, VECTOR), 0n, 'its APIC is off');
  });

  it('KICK_CPU ends a HLT with interrupts off, also one that is still to come', () => {
    const t = pair();
    const [, other] = t.machine.vcpus;
    other.activity = 'halted';
    assert.equal(t.hypercall(5, 0, 1), 0n);
    assert.equal(other.activity, 'active');
    assert.equal(t.hypercall(5, 0, 1), 0n);
    t.write(CODE + 0x100, [0xf4, 0x90, 0xf4]);
    t.machine.run(1, 1);
    assert.equal(other.activity, 'active');
    t.machine.run(2, 1);
    assert.equal(other.activity, 'halted');
    assert.equal(other.rip, BigInt(CODE + 0x103));
    assert.equal(t.hypercall(5, 0, 77), 0n, 'nobody there');
  });

  it('SCHED_YIELD gives the turn to a vCPU that waits for it', () => {
    const t = pair();
    const [first, other] = t.machine.vcpus;
    t.run(CODE, '0f01c1 ebfe', { rax: 11, rbx: 1 }, 100);
    assert.equal(t.get('rax'), 0n);
    assert.equal(first.rip, BigInt(CODE + 3), 'not one instruction more');
    assert.equal(t.machine.core.retired, 100);
    assert.equal(other.rip, BigInt(CODE + 0x100));
    const idle = pair();
    idle.machine.vcpus[1].activity = 'halted';
    idle.run(CODE, '0f01c1 90 ebfe', { rax: 11, rbx: 1 }, 3);
    assert.equal(idle.cpu.rip, BigInt(CODE + 4), 'a halted vCPU takes no turn');
    for (const id of [0, 9, (1n << 64n) - 1n]) assert.equal(new KvmMachine().hypercall(11, id), 0n);
  });

  it('CLOCK_PAIRING writes wall time and TSC of one moment', () => {
    const t = new KvmMachine();
    t.write(AREA, new Array(64).fill(0xff));
    const before = BigInt(t.machine.clock.now());
    assert.equal(t.hypercall(9, AREA, 0), 0n);
    const wall = BigInt(START_TIME) * 1_000_000n + before;
    assert.equal(t.read64(AREA), wall / 1_000_000_000n);
    assert.equal(t.read64(AREA + 8), wall % 1_000_000_000n);
    assert.equal(t.read64(AREA + 16), t.machine.clock.tsc(0) - 8n);
    assert.deepEqual([...t.read(AREA + 24, 40)], new Array(40).fill(0));
    assert.equal(signed(t.hypercall(9, AREA, 1)), -95n);
    assert.equal(signed(t.hypercall(9, 8 << 20, 0)), -14n);
    assert.equal(signed(t.hypercall(9, 1n << 63n, 0)), -14n);
  });
});
