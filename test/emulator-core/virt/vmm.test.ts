/** Exits of the running machine: what causes them and what their fields hold. SDM Vol. 3C, "VM Exits" and its exit-qualification tables. */
import assert from 'node:assert';
import type { VmExit } from '../../../emulator-core/virt/exit';
import { ExitReason } from '../../../emulator-core/virt/vmx/exitReasons';
import { IDT, TestMachine } from '../testMachine';

const CODE = 0x100000;

interface Setup {
  wanted?: string[];
  exceptions?: number[];
  registers?: Parameters<TestMachine['set']>[0];
  count?: number;
  cpl?: 0 | 3;
}

/** Exits of 64-bit code, oldest first. */
function exits(
  code: string,
  { wanted = [], exceptions = [], registers = {}, count = 1, cpl = 0 }: Setup = {},
): VmExit[] {
  const t = new TestMachine().enter('64', cpl);
  t.machine.vmm.configure(new Set(wanted), exceptions);
  t.run(CODE, code, { rsp: 0x9000, ...registers }, count);
  return t.machine.vmm.log.newest(100).reverse().map((exit) => ({ ...exit })); // prettier-ignore
}
function only(list: VmExit[]): VmExit {
  assert.strictEqual(list.length, 1);
  return list[0];
}

describe('exits', () => {
  it('CPUID: rip, length, registers', () => {
    const e = only(exits('90 0fa2', { registers: { rax: 7, rcx: 1 }, count: 2 }));
    assert.deepStrictEqual(
      [e.reason, e.rip, e.instructionLength, e.icount],
      [ExitReason.cpuid, BigInt(CODE + 1), 2, 1],
    );
    assert.deepStrictEqual([e.rax, e.rcx], [7n, 1n]);
  });

  const io: [string, string, number][] = [
    ['out 80h, al', 'e680', (0x80 << 16) | 0x40],
    ['out dx, al', 'ee', 0x3f8 << 16],
    ['in ax, dx', '66ed', (0x3f8 << 16) | 8 | 1],
    ['in eax, dx', 'ed', (0x3f8 << 16) | 8 | 3],
    ['rep outsb', 'f36e', (0x3f8 << 16) | 0x30],
    ['insb', '6c', (0x3f8 << 16) | 0x18],
  ];
  for (const [what, code, qualification] of io) {
    it(`${what}: qualification ${qualification.toString(16)}h`, () => {
      const e = only(exits(code, { registers: { rdx: 0x3f8, rcx: 1, rsi: 0x200000, rdi: 0x200000 } }));
      assert.deepStrictEqual([e.reason, Number(e.qualification)], [ExitReason.ioInstruction, qualification]);
    });
  }

  it('I/O in ring 3 faults before it exits', () => {
    assert.deepStrictEqual(exits('ee', { cpl: 3, registers: { rdx: 0x80 } }), []);
  });

  it('HLT, and VMCALL with an unknown number', () => {
    assert.strictEqual(only(exits('f4')).reason, ExitReason.hlt);
    assert.strictEqual(only(exits('0f01c1')).reason, ExitReason.vmcall);
  });

  it('RDMSR and WRMSR by bitmap', () => {
    assert.strictEqual(only(exits('0f32', { registers: { rcx: 0x1b } })).reason, ExitReason.msrRead);
    assert.deepStrictEqual(exits('0f32', { registers: { rcx: 0xc0000100 } }), [], 'FS.base is passed through');
    const wanted = ['MSR_READ'];
    assert.strictEqual(only(exits('0f32', { registers: { rcx: 0xc0000100 }, wanted })).reason, ExitReason.msrRead);
  });

  it('MOV to CR3 only when asked', () => {
    const registers = { rax: 0x1000 };
    assert.deepStrictEqual(exits('0f22d8', { registers }), []);
    const e = only(exits('0f22d8', { registers, wanted: ['CR_ACCESS'] }));
    assert.deepStrictEqual([e.reason, e.qualification], [ExitReason.crAccess, 3n]);
    const from = only(exits('0f20db', { registers, wanted: ['CR_ACCESS'] }));
    assert.strictEqual(from.qualification, 0x313n, 'from CR3 into RBX');
  });

  it('an access outside of memory: EPT violation with linear and physical address', () => {
    const t = new TestMachine().enter('64');
    t.write64(0x3000 + 3 * 8, 0xfea00087n);
    t.machine.core.flushAllTranslations();
    t.run(CODE, '8903', { rbx: 0x700010 });
    const e = only(t.machine.vmm.log.newest(9));
    assert.deepStrictEqual(
      [e.reason, e.guestLinear, e.guestPhysical],
      [ExitReason.eptViolation, 0x700010n, 0xfeb00010n],
    );
    assert.strictEqual(e.qualification & 0x187n, 0x182n, 'a write, translated, linear address valid');
  });

  it('exceptions by bitmap, with error code and CR2', () => {
    const e = only(exits('8b03', { exceptions: [14], registers: { rbx: 0x40000000 } }));
    assert.strictEqual(e.reason, ExitReason.exceptionOrNmi);
    assert.deepStrictEqual([e.qualification, e.interruptionError], [0x40000000n, 0]);
    assert.strictEqual(e.interruptionInfo >>> 0, 0x80000b0e);
    assert.deepStrictEqual(exits('8b03', { registers: { rbx: 0x40000000 } }), []);
  });

  it('a triple fault', () => {
    const t = new TestMachine().enter('64');
    for (const v of [6, 8, 11, 13]) t.write64(IDT + v * 16, 0n);
    t.run(CODE, '0f0b');
    assert.strictEqual(t.machine.vmm.log.newest(1)[0].reason, ExitReason.tripleFault);
    assert.strictEqual(t.machine.end?.kind, 'triple fault');
  });

  it('an exit that the debugger stops at is one exit, before its effect', () => {
    let stop = true;
    const t = new TestMachine({}, { exit: () => stop }).enter('64');
    t.run(CODE, '0fa2 90', { rax: 0, rbx: 1 }, 2);
    assert.deepStrictEqual([t.cpu.rip, t.get('rbx'), t.machine.core.retired], [BigInt(CODE), 1n, 0]);
    stop = false;
    t.machine.resume();
    t.machine.run(2);
    assert.deepStrictEqual([t.cpu.rip, t.machine.core.retired], [BigInt(CODE + 3), 2]);
    assert.notStrictEqual(t.get('rbx'), 1n);
    assert.deepStrictEqual(t.machine.vmm.log.counters(), [{ reason: ExitReason.cpuid, count: 1 }]);
  });
});
