import { strict as assert } from 'node:assert';
import { adjustControls, VMX_CAPABILITIES } from '../../../../emulator-core/virt/vmx/capabilities';
import {
  controlNames,
  ControlTables,
  describeControls,
  Entry,
  Exit,
  Pin,
  Primary,
  Secondary,
} from '../../../../emulator-core/virt/vmx/controls';
import { Field, Vmcs, vmcsField } from '../../../../emulator-core/virt/vmx/vmcs';
import { guestSegmentFields, VMCS_FIELDS } from '../../../../emulator-core/virt/vmx/vmcsFields';

describe('VMCS fields', () => {
  it('have the encodings of SDM Vol. 3D Appendix B', () => {
    const expected: [keyof typeof Field, number, number, string][] = [
      ['VPID', 0x0000, 16, 'Control'],
      ['GUEST_TR_SELECTOR', 0x080e, 16, 'Guest state'],
      ['HOST_TR_SELECTOR', 0x0c0c, 16, 'Host state'],
      ['MSR_BITMAPS', 0x2004, 64, 'Control'],
      ['EPT_POINTER', 0x201a, 64, 'Control'],
      ['GUEST_PHYSICAL_ADDRESS', 0x2400, 64, 'Exit information'],
      ['GUEST_IA32_EFER', 0x2806, 64, 'Guest state'],
      ['HOST_IA32_EFER', 0x2c02, 64, 'Host state'],
      ['PIN_BASED_CONTROLS', 0x4000, 32, 'Control'],
      ['PRIMARY_CONTROLS', 0x4002, 32, 'Control'],
      ['EXCEPTION_BITMAP', 0x4004, 32, 'Control'],
      ['EXIT_CONTROLS', 0x400c, 32, 'Control'],
      ['ENTRY_CONTROLS', 0x4012, 32, 'Control'],
      ['SECONDARY_CONTROLS', 0x401e, 32, 'Control'],
      ['EXIT_REASON', 0x4402, 32, 'Exit information'],
      ['EXIT_INSTRUCTION_INFO', 0x440e, 32, 'Exit information'],
      ['GUEST_CS_ACCESS_RIGHTS', 0x4816, 32, 'Guest state'],
      ['GUEST_ACTIVITY', 0x4826, 32, 'Guest state'],
      ['PREEMPTION_TIMER', 0x482e, 32, 'Guest state'],
      ['HOST_SYSENTER_CS', 0x4c00, 32, 'Host state'],
      ['CR3_TARGET_3', 0x600e, 64, 'Control'],
      ['EXIT_QUALIFICATION', 0x6400, 64, 'Exit information'],
      ['GUEST_LINEAR_ADDRESS', 0x640a, 64, 'Exit information'],
      ['GUEST_RSP', 0x681c, 64, 'Guest state'],
      ['GUEST_RIP', 0x681e, 64, 'Guest state'],
      ['GUEST_RFLAGS', 0x6820, 64, 'Guest state'],
      ['GUEST_SYSENTER_EIP', 0x6826, 64, 'Guest state'],
      ['HOST_RIP', 0x6c16, 64, 'Host state'],
    ];
    for (const [key, encoding, width, group] of expected) {
      assert.equal(Field[key], encoding, key);
      const field = vmcsField(encoding);
      assert.deepEqual([field?.key, field?.width, field?.group], [key, width, group]);
      assert.equal(field?.readOnly, group === 'Exit information');
    }
  });

  it('are unique and ordered, with even encodings', () => {
    const encodings = VMCS_FIELDS.map((field) => field.encoding);
    assert.deepEqual(
      encodings,
      [...new Set(encodings)].sort((a, b) => a - b),
    );
    assert.ok(encodings.every((encoding) => encoding % 2 === 0));
    assert.equal(new Set(VMCS_FIELDS.map((field) => field.name)).size, encodings.length);
  });

  it('are found by segment', () => {
    assert.deepEqual(guestSegmentFields('CS'), { selector: 0x802, base: 0x6808, limit: 0x4802, accessRights: 0x4816 });
    assert.deepEqual(guestSegmentFields('LDTR'), {
      selector: 0x80c,
      base: 0x6812,
      limit: 0x480c,
      accessRights: 0x4820,
    });
  });
});

describe('VMCS', () => {
  it('stores values cut to the width, and high halves', () => {
    const vmcs = new Vmcs();
    vmcs.write(Field.GUEST_RIP, 0xffffffff81000000n);
    vmcs.write(Field.GUEST_CS_SELECTOR, 0x12340010);
    vmcs.write(Field.EXIT_REASON, 0x180000021n);
    vmcs.write(Field.TSC_OFFSET, -1n);
    assert.equal(vmcs.read(Field.GUEST_RIP), 0xffffffff81000000n);
    assert.equal(vmcs.readNumber(Field.GUEST_CS_SELECTOR), 0x10);
    assert.equal(vmcs.readNumber(Field.EXIT_REASON), 0x80000021);
    assert.equal(vmcs.read(Field.TSC_OFFSET), 0xffffffffffffffffn);
    vmcs.write(Field.TSC_OFFSET + 1, 0x12345678n);
    assert.equal(vmcs.read(Field.TSC_OFFSET), 0x12345678ffffffffn);
    assert.equal(vmcs.read(Field.TSC_OFFSET + 1), 0x12345678n);
  });

  it('knows no other encodings; only 64-bit fields have a high half', () => {
    const vmcs = new Vmcs();
    for (const encoding of [0x0016, 0x681f, 0x4001, 0x8000, -2, 0x7ffe, 1e9]) {
      assert.equal(vmcsField(encoding), undefined);
      assert.throws(() => vmcs.read(encoding), /VMCS: no field has encoding/);
      assert.throws(() => vmcs.write(encoding, 0n), RangeError);
    }
  });

  it('saves and restores', () => {
    const vmcs = new Vmcs();
    vmcs.write(Field.GUEST_CR3, 0x1000n);
    const saved = structuredClone(vmcs.save());
    vmcs.write(Field.GUEST_CR3, 0x2000n);
    vmcs.restore(saved);
    assert.equal(vmcs.read(Field.GUEST_CR3), 0x1000n);
    assert.throws(() => vmcs.restore(new BigUint64Array(3)), RangeError);
  });

  it('describes itself by group', () => {
    const vmcs = new Vmcs();
    vmcs.write(Field.GUEST_CR0, 0x80000011n);
    vmcs.write(Field.GUEST_CS_ACCESS_RIGHTS, 0xa09b); // a 64-bit code segment
    vmcs.write(Field.GUEST_LDTR_ACCESS_RIGHTS, 0x10000);
    vmcs.write(Field.GUEST_ACTIVITY, 1);
    vmcs.write(Field.EXIT_REASON, 10);
    vmcs.write(Field.EPT_POINTER, 0x105en);
    vmcs.write(Field.GUEST_IA32_EFER, 0x501n);
    vmcs.write(Field.EXIT_INTERRUPTION_INFO, 0x80000b0e);
    vmcs.write(Field.PIN_BASED_CONTROLS, 9);
    const groups = vmcs.describe();
    assert.deepEqual(
      groups.map((group) => group.name),
      ['Guest state', 'Host state', 'Control', 'Exit information'],
    );
    const all = new Map(groups.flatMap((group) => group.children ?? []).map((field) => [field.name, field]));
    assert.equal(all.size, VMCS_FIELDS.length);
    const shown = (name: string) => `${all.get(name)?.value} ${all.get(name)?.text}`;
    assert.equal(shown('Guest CR0'), '0x0000000080000011 PE ET PG');
    assert.equal(shown('Guest CS access rights'), '0x0000a09b type=11 DPL=0 P L G');
    assert.equal(shown('Guest LDTR access rights'), '0x00010000 unusable');
    assert.equal(shown('Guest activity state'), '0x00000001 HLT');
    assert.equal(shown('Exit reason'), '0x0000000a CPUID');
    assert.equal(shown('EPT pointer (EPTP)'), '0x000000000000105e WB, 4-level, accessed and dirty flags');
    assert.equal(shown('Guest IA32_EFER'), '0x0000000000000501 SCE LME LMA');
    assert.equal(shown('VM-exit interruption information'), '0x80000b0e hardware exception #PF');
    assert.equal(shown('Pin-based VM-execution controls'), '0x00000009 External-interrupt exiting, NMI exiting');
  });
});

describe('VMX controls', () => {
  it('are the bits of SDM Vol. 3C, "VM-Execution Control Fields", "VM-Exit Controls", "VM-Entry Controls"', () => {
    assert.equal(Pin.preemptionTimer, 1 << 6);
    assert.equal(Primary.hltExiting, 1 << 7);
    assert.equal(Primary.useMsrBitmaps, 1 << 28);
    assert.equal(Primary.activateSecondary, 0x80000000);
    assert.equal(Secondary.enableEpt, 2);
    assert.equal(Secondary.unrestrictedGuest, 1 << 7);
    assert.equal(Exit.hostAddressSpaceSize, 1 << 9);
    assert.equal(Entry.ia32eModeGuest, 1 << 9);
    assert.deepEqual(controlNames('primary', 0x90000080n), [
      'HLT exiting',
      'Use MSR bitmaps',
      'Activate secondary controls',
    ]);
    assert.deepEqual(controlNames('exceptions', (1 << 14) | (1 << 1)), ['#DB', '#PF']);
    assert.equal(describeControls('pin', 1)[0].name, 'External-interrupt exiting (bit 0)');
  });

  it('capability MSRs: SDM Vol. 3D Appendix A', () => {
    const value = new Map(VMX_CAPABILITIES.map((row) => [row.name, row.value]));
    const low = (name: string) => value.get(name)! & 0xffffffffn;
    // Default settings of the reserved bits: A.3.1, A.3.2, A.4, A.5.
    assert.equal(low('IA32_VMX_PINBASED_CTLS'), 0x16n);
    assert.equal(low('IA32_VMX_PROCBASED_CTLS'), 0x0401e172n);
    assert.equal(low('IA32_VMX_EXIT_CTLS'), 0x00036dffn);
    assert.equal(low('IA32_VMX_ENTRY_CTLS'), 0x000011ffn);
    // CR3-load, CR3-store exiting and the debug controls may be 0 by the TRUE registers.
    assert.equal(low('IA32_VMX_TRUE_PROCBASED_CTLS'), 0x04006172n);
    assert.equal(low('IA32_VMX_TRUE_EXIT_CTLS'), 0x00036dfbn);
    assert.equal(low('IA32_VMX_TRUE_ENTRY_CTLS'), 0x000011fbn);
    const basic = value.get('IA32_VMX_BASIC')!;
    assert.equal((basic >> 31n) & 1n, 0n);
    assert.equal((basic >> 32n) & 0x1fffn, 4096n);
    assert.equal((basic >> 50n) & 15n, 6n);
    assert.equal((basic >> 55n) & 1n, 1n);
    for (const row of VMX_CAPABILITIES.filter(({ name }) => /CTLS2?$/.test(name))) {
      const must = row.value & 0xffffffffn;
      assert.equal(must & (row.value >> 32n), must, `${row.name}: what must be 1 may be 1`);
    }
    const highest = Math.max(...VMCS_FIELDS.map(({ encoding }) => (encoding >> 1) & 0x1ff));
    assert.equal(value.get('IA32_VMX_VMCS_ENUM'), BigInt(highest << 1));
    assert.equal(value.get('IA32_VMX_CR4_FIXED0'), 0x2000n);
  });

  it('are adjusted to what the processor demands', () => {
    assert.equal(adjustControls('pin', Pin.externalInterruptExiting), 0x17);
    assert.equal(adjustControls('primary', Primary.activateSecondary), 0x84006172);
    assert.equal(adjustControls('secondary', Secondary.enableEpt), 2);
    assert.throws(() => adjustControls('secondary', Secondary.vmcsShadowing), /VMCS shadowing/);
    assert.throws(() => adjustControls('pin', 1 << 20), /bits 0x100000/);
  });

  it('are uniquely named', () => {
    for (const rows of Object.values(ControlTables)) {
      assert.equal(new Set(rows.map((row) => row.name)).size, rows.length);
      assert.equal(new Set(rows.map((row) => row.bit)).size, rows.length);
    }
  });
});
