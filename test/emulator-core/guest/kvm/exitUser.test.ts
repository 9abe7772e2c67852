import { strict as assert } from 'node:assert';
import { describeHandling, exitHandling } from '../../../../emulator-core/guest/kvm/exitUser';
import { emptyExit, type VmExit } from '../../../../emulator-core/virt/exit';
import { encodeInterruptionInformation, encodeIoQualification, EXIT_REASONS } from '../../../../emulator-core/virt/vmx/exitReasons'; // prettier-ignore
import { KvmMachine } from './kvmMachine';

const t = new KvmMachine();
const RAM = t.machine.memory.ramSize;
function handling(reason: string, facts: Partial<VmExit> = {}): string {
  const number = EXIT_REASONS.find((row) => row.name === reason)!.number;
  return describeHandling(exitHandling({ ...emptyExit(), reason: number, ...facts }, t.machine.platform, RAM));
}
const kernel = 'handled in the kernel';
const user = (reason: string): string => `user space: KVM_EXIT_${reason}`;

// Linux Documentation/virt/kvm/api.rst, "The kvm_run structure"; KVM_CREATE_IRQCHIP and KVM_CREATE_PIT2.
describe('who handles an exit under KVM', () => {
  it('ports of 8259s and 8254 in the kernel, the others in user space', () => {
    const io = (port: number, write = true): string =>
      handling('IO_INSTRUCTION', { qualification: BigInt(encodeIoQualification({ port, size: 1, in: !write })) });
    for (const port of [0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x43, 0x61])
      assert.equal(io(port), kernel, String(port));
    for (const port of [0x3f8, 0x70, 0x60, 0x64, 0x92, 0xcf8, 0x80, 0xf4, 0x510, 0x9999])
      assert.equal(io(port), user('IO'));
    assert.equal(io(0x3fd, false), user('IO'));
  });

  it('memory: local and I/O APIC in the kernel, missing RAM too, the rest as MMIO', () => {
    const at = (gpa: number, reason = 'EPT_VIOLATION'): string => handling(reason, { guestPhysical: BigInt(gpa) });
    for (const gpa of [0xfee000b0, 0xfee00fff, 0xfec00000, 0xfec00010, 0x1000, RAM - 1]) assert.equal(at(gpa), kernel);
    for (const gpa of [RAM, 0xfed00000, 0xfeb00000, 0xfec00100, 0xfee01000]) assert.equal(at(gpa), user('MMIO'));
    assert.equal(at(0xfed00000, 'EPT_MISCONFIG'), user('MMIO'));
  });

  it('the rest by reason', () => {
    for (const name of [
      'CPUID',
      'HLT',
      'MSR_READ',
      'MSR_WRITE',
      'CR_ACCESS',
      'EXTERNAL_INTERRUPT',
      'INTERRUPT_WINDOW',
      'XSETBV',
      'VMXON',
    ]) {
      // prettier-ignore
      assert.equal(handling(name), kernel, name);
    }
    assert.equal(handling('TRIPLE_FAULT'), user('SHUTDOWN'));
    assert.equal(handling('ENTRY_FAILURE_GUEST_STATE'), user('FAIL_ENTRY'));
    assert.equal(handling('GETSEC'), user('INTERNAL_ERROR'));
    assert.match(handling('RDTSC'), /KVM does not let it exit/);
    assert.equal(handling('VMCALL', { rax: 10n }), kernel);
    assert.equal(handling('VMCALL', { rax: 12n, rbx: 0x1000n, rcx: 1n }), user('HYPERCALL'));
    assert.equal(handling('VMCALL', { rax: 12n, rbx: 0x1001n, rcx: 1n }), kernel, 'refused at once');
    assert.equal(handling('MSR_WRITE', { rcx: 0x4b564d08n }), user('X86_WRMSR'));
    assert.equal(handling('MSR_READ', { rcx: 0x4b564d08n }), user('X86_RDMSR'));
    const exception = (vector: number): string =>
      handling('EXCEPTION_OR_NMI', { interruptionInfo: encodeInterruptionInformation(vector, 3, false) });
    assert.equal(exception(1), user('DEBUG'));
    assert.equal(exception(3), user('DEBUG'));
    assert.equal(exception(6), kernel);
    assert.equal(exception(14), kernel);
    assert.match(exception(0), /KVM does not/);
  });

  it('is among the fields of an exit', () => {
    const exit = { ...emptyExit(), reason: 18, rax: 10n, rbx: 2n, rsi: 0xfdn };
    const fields = t.machine.guest!.describeExit(exit);
    assert.deepEqual(
      fields.map(({ name, value }) => [name, value]),
      [
        ['KVM', kernel],
        ['Hypercall', 'KVM_HC_SEND_IPI'],
      ],
    );
    assert.deepEqual(
      fields[1].children?.map(({ name, value }) => [name, Number(value)]),
      [
        ['ipi_bitmap_low', 2],
        ['ipi_bitmap_high', 0],
        ['min', 0],
        ['icr', 0xfd],
      ],
    );
    assert.equal(
      t.machine.guest!.summary(exit),
      'KVM_HC_SEND_IPI(ipi_bitmap_low 0x2, ipi_bitmap_high 0x0, min 0x0, icr 0xfd)',
    );
    assert.equal(t.machine.guest!.summary({ ...exit, rax: 77n }), undefined);
  });
});
