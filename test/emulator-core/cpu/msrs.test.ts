import { strict as assert } from 'node:assert';
import {
  describeMsr,
  isCanonical,
  msrIndex,
  msrName,
  MSRS,
  readMsr,
  resetMsrs,
  setFirmwareMtrrs,
  writeMsr,
  type MsrCpu,
  type MsrSlot,
} from '../../../emulator-core/cpu/msrs';

/** A vCPU that has every feature but those in `without`. */
function makeCpu(
  ...without: string[]
): MsrCpu & { slots: Map<MsrSlot, bigint>; clock: bigint; apic: [number, bigint][] } {
  const slots = new Map<MsrSlot, bigint>();
  const cpu = {
    slots,
    clock: 1000n,
    apic: [] as [number, bigint][],
    slot: (name: MsrSlot) => slots.get(name) ?? 0n,
    setSlot: (name: MsrSlot, value: bigint) => void slots.set(name, value),
    extra: new Map<number, bigint>(),
    tsc: () => cpu.clock,
    setTsc: (value: bigint) => void (cpu.clock = value),
    apicReadMsr: (index: number) => (index === 0x80b ? undefined : BigInt(index)),
    apicWriteMsr: (index: number, value: bigint) => cpu.apic.push([index, value]) > 0,
    deadline: 0n,
    tscDeadline: () => cpu.deadline,
    setTscDeadline: (value: bigint) => void (cpu.deadline = value),
    setApicBase: (value: bigint) => (slots.set('apicBase', value), true),
    maxPhysicalAddress: 40,
    maxLinearAddress: 48,
    cpuidHas: (feature: string) => !without.includes(feature),
  };
  resetMsrs(cpu, true);
  return cpu;
}

const index = (name: string) => msrIndex(name)!;

describe('MSRs', () => {
  it('have the numbers of SDM Vol. 4, "IA-32 Architectural MSRs"', () => {
    const expected: [number, string][] = [
      [0x10, 'IA32_TIME_STAMP_COUNTER'],
      [0x1b, 'IA32_APIC_BASE'],
      [0x3a, 'IA32_FEATURE_CONTROL'],
      [0x3b, 'IA32_TSC_ADJUST'],
      [0x48, 'IA32_SPEC_CTRL'],
      [0x49, 'IA32_PRED_CMD'],
      [0x8b, 'IA32_BIOS_SIGN_ID'],
      [0xfe, 'IA32_MTRRCAP'],
      [0x10a, 'IA32_ARCH_CAPABILITIES'],
      [0x10b, 'IA32_FLUSH_CMD'],
      [0x174, 'IA32_SYSENTER_CS'],
      [0x175, 'IA32_SYSENTER_ESP'],
      [0x176, 'IA32_SYSENTER_EIP'],
      [0x1a0, 'IA32_MISC_ENABLE'],
      [0x1d9, 'IA32_DEBUGCTL'],
      [0x200, 'IA32_MTRR_PHYSBASE0'],
      [0x20f, 'IA32_MTRR_PHYSMASK7'],
      [0x250, 'IA32_MTRR_FIX64K_00000'],
      [0x258, 'IA32_MTRR_FIX16K_80000'],
      [0x259, 'IA32_MTRR_FIX16K_A0000'],
      [0x268, 'IA32_MTRR_FIX4K_C0000'],
      [0x26f, 'IA32_MTRR_FIX4K_F8000'],
      [0x277, 'IA32_PAT'],
      [0x2ff, 'IA32_MTRR_DEF_TYPE'],
      [0x480, 'IA32_VMX_BASIC'],
      [0x48c, 'IA32_VMX_EPT_VPID_CAP'],
      [0x6e0, 'IA32_TSC_DEADLINE'],
      [0x808, 'IA32_X2APIC_TPR'],
      [0x80b, 'IA32_X2APIC_EOI'],
      [0x830, 'IA32_X2APIC_ICR'],
      [0xda0, 'IA32_XSS'],
      [0xc0000080, 'IA32_EFER'],
      [0xc0000081, 'IA32_STAR'],
      [0xc0000082, 'IA32_LSTAR'],
      [0xc0000083, 'IA32_CSTAR'],
      [0xc0000084, 'IA32_FMASK'],
      [0xc0000100, 'IA32_FS_BASE'],
      [0xc0000101, 'IA32_GS_BASE'],
      [0xc0000102, 'IA32_KERNEL_GS_BASE'],
      [0xc0000103, 'IA32_TSC_AUX'],
    ];
    for (const [number, name] of expected) assert.deepEqual([msrName(number), msrIndex(name)], [name, number]);
    assert.equal(msrName(0x12345), '0x12345');
    assert.equal(msrIndex('IA32_NOTHING'), undefined);
    assert.equal(new Set(MSRS.map((row) => row.index)).size, MSRS.length);
    assert.equal(new Set(MSRS.map((row) => row.name)).size, MSRS.length);
  });

  it('unknown ones and ones of absent features are #GP', () => {
    const cpu = makeCpu('x2apic', 'vmx', 'tsc_deadline', 'amd', 'mce', 'mca');
    for (const absent of [0x12345, 0x800, 0x808, 0x480, 0x3a, 0x6e0, 0xc0010015, 0x179, 0xffffffff]) {
      assert.equal(readMsr(cpu, absent), undefined, `0x${absent.toString(16)}`);
      assert.equal(writeMsr(cpu, absent, 0n), false);
    }
  });

  it('reset values', () => {
    const cpu = makeCpu();
    // SDM Vol. 3A, "IA32_PAT MSR", "Local APIC Status and Location"; Vol. 4 IA32_MTRRCAP: 8 variable, fixed, WC.
    assert.equal(readMsr(cpu, 0x277), 0x0007040600070406n);
    assert.equal(readMsr(cpu, 0x1b), 0xfee00900n);
    assert.equal(readMsr(cpu, 0xfe), 0x508n);
    assert.equal(readMsr(cpu, 0x2ff), 0n);
    assert.equal(readMsr(cpu, 0xc0000080), 0n);
    resetMsrs(cpu, false);
    assert.equal(readMsr(cpu, 0x1b), 0xfee00800n);
  });

  it('a read-only one refuses every write', () => {
    const cpu = makeCpu();
    assert.equal(writeMsr(cpu, 0xfe, 0x508n), false);
    assert.equal(writeMsr(cpu, index('IA32_VMX_BASIC'), 0n), false);
    assert.equal(writeMsr(cpu, index('IA32_FEATURE_CONTROL'), 5n), false, 'locked');
    assert.equal(readMsr(cpu, index('IA32_FEATURE_CONTROL')), 5n);
  });

  it("AMD's performance counters take writes and stay 0", () => {
    const cpu = makeCpu();
    for (const counter of [0xc0010000, 0xc0010003, 0xc0010004, 0xc0010007]) {
      assert.equal(writeMsr(cpu, counter, 0x5300c0n), true);
      assert.equal(readMsr(cpu, counter), 0n);
      assert.equal(readMsr(makeCpu('amd'), counter), undefined);
    }
  });

  it('EFER: reserved bits, LMA is kept, LME not while paging', () => {
    const cpu = makeCpu('svm', 'fxsr_opt');
    assert.equal(writeMsr(cpu, 0xc0000080, 0x901n), true); // SCE LME NXE
    assert.equal(readMsr(cpu, 0xc0000080), 0x901n);
    assert.equal(writeMsr(cpu, 0xc0000080, 0x1000n), false);
    assert.equal(writeMsr(cpu, 0xc0000080, 0x2n), false);
    cpu.slots.set('efer', 0xd01n);
    cpu.slots.set('cr0', 0x80000001n);
    assert.equal(writeMsr(cpu, 0xc0000080, 0x100n), true); // LMA written 0
    assert.equal(readMsr(cpu, 0xc0000080), 0x500n);
    assert.equal(writeMsr(cpu, 0xc0000080, 0n), false);
    assert.equal(writeMsr(makeCpu('nx'), 0xc0000080, 0x800n), false);
  });

  it('addresses must be canonical, 32-bit values 32 bits', () => {
    const cpu = makeCpu();
    const addresses = [0x175, 0x176, 0xc0000082, 0xc0000083, 0xc0000100, 0xc0000101, 0xc0000102];
    for (const msr of addresses) {
      assert.equal(writeMsr(cpu, msr, 0xffff800000000000n), true);
      assert.equal(readMsr(cpu, msr), 0xffff800000000000n);
      assert.equal(writeMsr(cpu, msr, 0x0000800000000000n), false);
      assert.equal(readMsr(cpu, msr), 0xffff800000000000n);
    }
    for (const msr of [0xc0000084, 0xc0000103, 0x174]) {
      assert.equal(writeMsr(cpu, msr, 0xffffffffn), true);
      assert.equal(writeMsr(cpu, msr, 0x100000000n), false);
    }
    assert.equal(writeMsr(cpu, 0xc0000081, 0x0023001000000000n), true);
    const wide = { ...cpu, maxLinearAddress: 57 };
    for (const msr of addresses) {
      assert.equal(writeMsr(wide, msr, 0x0000800000000000n), true, 'with 57 bits, whatever CR4.LA57 says');
      assert.equal(writeMsr(wide, msr, 1n << 56n), false);
    }
    assert.deepEqual(
      [0x7fffffffffffn, 1n << 47n, 0xffff7fffffffffffn, -1n].map((a) => isCanonical(a, 48)),
      [true, false, false, true],
    );
  });

  it('time-stamp counter and TSC_ADJUST move together', () => {
    // SDM Vol. 3B, "IA32_TSC_ADJUST MSR".
    const cpu = makeCpu();
    assert.equal(readMsr(cpu, 0x10), 1000n);
    assert.equal(writeMsr(cpu, 0x10, 400n), true);
    assert.equal(cpu.clock, 400n);
    assert.equal(readMsr(cpu, 0x3b), (1n << 64n) - 600n);
    assert.equal(writeMsr(cpu, 0x3b, 0n), true);
    assert.equal(cpu.clock, 1000n);
    assert.equal(writeMsr(cpu, 0x3b, 50n), true);
    assert.equal(readMsr(cpu, 0x10), 1050n);
    assert.equal(writeMsr(cpu, 0x6e0, 0x123456789abcdef0n), true);
    assert.equal(readMsr(cpu, 0x6e0), 0x123456789abcdef0n);
  });

  it('PAT and MTRRs take defined memory types only', () => {
    const cpu = makeCpu();
    assert.equal(writeMsr(cpu, 0x277, 0x0007010600070406n), true);
    for (const bad of [2n, 3n, 8n, 0x80n]) assert.equal(writeMsr(cpu, 0x277, bad << 56n), false);
    assert.equal(writeMsr(cpu, 0x250, 0x0606060606060606n), true);
    assert.equal(writeMsr(cpu, 0x250, 0x0706060606060606n), false); // UC- is PAT's alone
    assert.equal(writeMsr(cpu, 0x2ff, 0xc06n), true);
    assert.equal(writeMsr(cpu, 0x2ff, 0x1006n), false);
    assert.equal(writeMsr(cpu, 0x2ff, 2n), false);
    assert.equal(writeMsr(cpu, 0x200, 0x80000006n), true);
    assert.equal(writeMsr(cpu, 0x200, 0x80000106n), false);
    assert.equal(writeMsr(cpu, 0x200, 1n << 40n), false);
    assert.equal(writeMsr(cpu, 0x201, 0xff80000800n), true);
    assert.equal(writeMsr(cpu, 0x201, 0xff80000801n), false);
    assert.equal(readMsr(cpu, 0x210), undefined); // a ninth pair
  });

  it('MTRRs as firmware leaves them', () => {
    const cpu = makeCpu();
    setFirmwareMtrrs(cpu);
    assert.equal(readMsr(cpu, 0x2ff), 0xc06n);
    assert.equal(readMsr(cpu, 0x200), 0xc0000000n);
    assert.equal(readMsr(cpu, 0x201), 0xffc0000800n);
    assert.equal(readMsr(cpu, 0x250), 0x0606060606060606n);
    assert.equal(readMsr(cpu, 0x259), 0n);
    assert.equal(readMsr(cpu, 0x26f), 0x0505050505050505n);
  });

  it('APIC base and x2APIC go to the local APIC', () => {
    const cpu = makeCpu();
    assert.equal(writeMsr(cpu, 0x1b, 0xfee00d00n), true);
    assert.equal(writeMsr(cpu, 0x1b, (1n << 40n) | 0xfee00d00n), false);
    assert.equal(writeMsr(makeCpu('x2apic'), 0x1b, 0xfee00d00n), false);
    assert.equal(readMsr(cpu, 0x80b), undefined);
    assert.equal(readMsr(cpu, 0x830), 0x830n);
    assert.equal(writeMsr(cpu, 0x830, 0x1000000fen), true);
    assert.deepEqual(cpu.apic, [[0x830, 0x1000000fen]]);
    assert.equal(writeMsr(cpu, 0x802, 0n), false);
    assert.equal(readMsr(cpu, 0x831), undefined); // ICR is one MSR
    assert.equal(readMsr(cpu, 0x80e), undefined); // no DFR
  });

  it('MISC_ENABLE keeps its read-only bits; microcode keeps its revision; DEBUGCTL has none', () => {
    const cpu = makeCpu('monitor');
    assert.equal(readMsr(cpu, 0x1a0), 0x1801n);
    assert.equal(writeMsr(cpu, 0x1a0, 0n), true);
    assert.equal(readMsr(cpu, 0x1a0), 0x1800n);
    assert.equal(writeMsr(cpu, 0x1a0, 2n), false);
    assert.equal(readMsr(makeCpu(), 0x1a0), 0x41801n, 'ENABLE MONITOR FSM');
    // XD Bit Disable: EFER.NXE is reserved then.
    assert.equal(writeMsr(cpu, 0x1a0, 1n << 34n), true);
    assert.equal(writeMsr(cpu, 0xc0000080, 0x800n), false);
    assert.equal(writeMsr(cpu, 0x1a0, 0n), true);
    assert.equal(writeMsr(cpu, 0xc0000080, 0x800n), true);
    assert.equal(writeMsr(cpu, 0x8b, 0n), true);
    assert.equal(readMsr(cpu, 0x8b), 1n << 32n);
    assert.equal(readMsr(cpu, 0x79), undefined);
    assert.equal(writeMsr(cpu, 0x1d9, 1n), false);
    assert.equal(writeMsr(cpu, 0x1d9, 0n), true);
  });

  it('speculation control takes announced bits; its commands are write-only', () => {
    // SDM Vol. 4, IA32_SPEC_CTRL, IA32_PRED_CMD, IA32_ARCH_CAPABILITIES, IA32_FLUSH_CMD.
    const cpu = makeCpu('ssbd');
    assert.equal(writeMsr(cpu, 0x48, 3n), true);
    assert.equal(readMsr(cpu, 0x48), 3n);
    assert.equal(writeMsr(cpu, 0x48, 4n), false);
    assert.equal(writeMsr(makeCpu(), 0x48, 4n), true);
    assert.equal(readMsr(makeCpu('spec_ctrl'), 0x48), undefined);
    for (const command of [0x49, 0x10b]) {
      assert.equal(readMsr(cpu, command), undefined);
      assert.equal(writeMsr(cpu, command, 1n), true);
      assert.equal(writeMsr(cpu, command, 2n), false);
    }
    assert.match(describeMsr(0x10a, readMsr(cpu, 0x10a)!), /^RDCL_NO .*MDS_NO/);
    assert.equal(writeMsr(cpu, 0x10a, 0n), false);
    assert.equal(writeMsr(cpu, 0xda0, 0n), true);
    assert.equal(writeMsr(cpu, 0xda0, 1n << 8n), false);
    assert.equal(readMsr(makeCpu('xsaves'), 0xda0), undefined);
  });

  it('describe themselves', () => {
    assert.equal(describeMsr(0xc0000080, 0x501n), 'SCE LME LMA');
    assert.equal(describeMsr(0x1b, 0xfee00900n), 'BSP EN');
    assert.equal(describeMsr(0x277, 0x0007040600070406n), 'PA0=WB PA1=WT PA2=UC- PA3=UC PA4=WB PA5=WT PA6=UC- PA7=UC');
    assert.equal(describeMsr(0x2ff, 0xc06n), 'Type=WB FE E');
    assert.equal(describeMsr(0xc0000082, 1n), '');
    assert.equal(describeMsr(0x12345, 1n), '');
  });
});
