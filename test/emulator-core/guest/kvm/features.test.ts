import { strict as assert } from 'node:assert';
import { cpuid } from '../../../../emulator-core/cpu/cpuid';
import { kvmLeaf } from '../../../../emulator-core/guest/kvm/features';
import { TestMachine } from '../../testMachine';
import { CODE, KvmMachine } from './kvmMachine';

const announces = (bit: number): boolean => ((kvmLeaf(0x40000001).eax >>> bit) & 1) === 1;

// Linux Documentation/virt/kvm/x86/cpuid.rst.
describe('CPUID of KVM', () => {
  it('has the signature KVMKVMKVM and its highest leaf', () => {
    assert.deepEqual(kvmLeaf(0x40000000), { eax: 0x40000001, ebx: 0x4b4d564b, ecx: 0x564b4d56, edx: 0x4d });
  });

  it('announces what is there, by the bits of the documentation', () => {
    const there = { CLOCKSOURCE: 0, NOP_IO_DELAY: 1, CLOCKSOURCE2: 3, STEAL_TIME: 5, PV_EOI: 6, ASYNC_PF: 4, PV_UNHALT: 7, PV_TLB_FLUSH: 9, PV_SEND_IPI: 11, POLL_CONTROL: 12, PV_SCHED_YIELD: 13, ASYNC_PF_INT: 14, HC_MAP_GPA_RANGE: 16, MIGRATION_CONTROL: 17, CLOCKSOURCE_STABLE_BIT: 24 }; // prettier-ignore
    for (const [name, bit] of Object.entries(there)) assert.equal(announces(bit), true, name);
    const absent = { MMU_OP: 2, ASYNC_PF_VMEXIT: 10, MSI_EXT_DEST_ID: 15 };
    for (const [name, bit] of Object.entries(absent)) assert.equal(announces(bit), false, name);
    assert.equal(kvmLeaf(0x40000001).edx, 0, 'KVM_HINTS_REALTIME');
  });

  it('is what the guest reads, with the hypervisor bit; a plain PC has none of it', () => {
    const t = new KvmMachine().run(CODE, '0fa2', { rax: 0x40000000 });
    assert.deepEqual([t.get('rax'), t.get('rbx'), t.get('rdx')], [0x40000001n, 0x4b4d564bn, 0x4dn]);
    t.run(CODE, '0fa2', { rax: 1 });
    assert.equal((t.get('rcx') >> 31n) & 1n, 1n);
    const plain = new TestMachine();
    const leaf = cpuid(plain.machine.model, 0x40000000, 0, plain.machine.cpuidContext(plain.cpu));
    assert.deepEqual(leaf, { eax: 0, ebx: 0, ecx: 0, edx: 0 });
  });

  it('comes without an invariant TSC, as under QEMU, unless asked for', () => {
    assert.equal(new KvmMachine().machine.model.features.has('invtsc'), false);
    assert.equal(new KvmMachine({ features: ['+invtsc'] }).machine.model.features.has('invtsc'), true);
    assert.equal(new TestMachine().machine.model.features.has('invtsc'), true);
  });
});
