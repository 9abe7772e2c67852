/**
 * Model-specific registers: one row per register says name, storage, reset value, what may be written and what it means.
 * Sources: Intel SDM Vol. 4 "Model-Specific Registers"; Vol. 3A "Advanced Programmable Interrupt Controller (APIC)"
 * (x2APIC) and "Memory Cache Control" (MTRRs, PAT). Values are unsigned 64-bit bigints, indexes unsigned 32-bit numbers.
 */
import { APIC_REGISTERS } from '../devices/apicRegisters';
import { KVM_MSRS } from '../guest/kvm/msrs';
import { setBits, type BitRow } from '../virt/bitTable';
import { VMX_CAPABILITIES } from '../virt/vmx/capabilities';

/** Registers that the vCPU keeps in its own state. `cr0` is only read. */
export type MsrSlot =
  | 'cr0'
  | 'efer'
  | 'star'
  | 'lstar'
  | 'cstar'
  | 'fmask'
  | 'fsBase'
  | 'gsBase'
  | 'kernelGsBase'
  | 'tscAux'
  | 'apicBase'
  | 'pat'
  | 'sysenterCs'
  | 'sysenterEsp'
  | 'sysenterEip'
  | 'tscAdjust'
  | 'xss'
  | 'pkrs';

/** The vCPU as its MSRs see it. */
export interface MsrCpu {
  slot(name: MsrSlot): bigint;
  setSlot(name: MsrSlot, value: bigint): void;
  /** Registers without a slot, by index; absent: the reset value. */
  extra: Map<number, bigint>;
  /** The time-stamp counter as RDTSC reads it. */
  tsc(): bigint;
  setTsc(value: bigint): void;
  /** The local APIC's answer to RDMSR and WRMSR of 0x800 .. 0x8ff; undefined and false: #GP. */
  apicReadMsr(index: number): bigint | undefined;
  apicWriteMsr(index: number, value: bigint): boolean;
  tscDeadline(): bigint;
  setTscDeadline(value: bigint): void;
  /** Moves, enables or disables the local APIC and stores the slot; false for reserved bits and impossible transitions. */
  setApicBase(value: bigint): boolean;
  /** Physical-address width in bits. */
  maxPhysicalAddress: number;
  /** Linear-address width in bits, whatever CR4.LA57 says. */
  maxLinearAddress: number;
  /** A CPUID feature by name; 'intel' and 'amd' ask for the vendor. */
  cpuidHas(feature: string): boolean;
  /** Registers of the interface that the VMM offers its guest. undefined and false: #GP. */
  guest?: {
    readMsr(index: number): bigint | undefined;
    writeMsr(index: number, value: bigint): boolean;
  };
}

export interface MsrRow {
  readonly index: number;
  /** The manual's name. */
  readonly name: string;
  readonly reset: bigint;
  /** Where it is kept; absent: MsrCpu.extra. */
  readonly slot?: MsrSlot;
  /** CPUID feature without which it does not exist. */
  readonly feature?: string;
  /** False: writing is #GP. */
  readonly writable: boolean;
  /** Bits for describe(). */
  readonly bits?: readonly BitRow[];
  /** Replaces plain storage. undefined: #GP. */
  readonly read?: (cpu: MsrCpu) => bigint | undefined;
  /** True when the value may be written (reserved bits clear, address canonical ...). */
  readonly valid?: (value: bigint, cpu: MsrCpu) => boolean;
  /** Replaces plain storage; called with a valid value. False: #GP. */
  readonly write?: (cpu: MsrCpu, value: bigint) => boolean;
}

const U64 = (1n << 64n) - 1n;

/** True when `address` is a sign-extended linear address of `bits` bits: 48 or 57. */
export function isCanonical(address: bigint, bits: number): boolean {
  return BigInt.asIntN(bits, address) === BigInt.asIntN(64, address);
}

const canonical = (value: bigint, cpu: MsrCpu) => isCanonical(value, cpu.maxLinearAddress);
const low32 = (value: bigint) => value >> 32n === 0n;
const only = (mask: bigint) => (value: bigint) => (value & ~mask) === 0n;
/** True when each of the 8 bytes is one of `types`. */
const bytesIn = (types: readonly number[]) => (value: bigint) => {
  for (let i = 0n; i < 64n; i += 8n) if (!types.includes(Number((value >> i) & 0xffn))) return false;
  return true;
};

function names(...list: [bit: number, name: string, width?: number, values?: BitRow['values']][]): BitRow[] {
  return list.map(([bit, name, width, values]) => ({ bit, name, width, values }));
}

const TYPES: { readonly [type: number]: string } = { 0: 'UC', 1: 'WC', 4: 'WT', 5: 'WP', 6: 'WB', 7: 'UC-' };
const MTRR_TYPES = [0, 1, 4, 5, 6];
const PAT_TYPES = [0, 1, 4, 5, 6, 7];

/** IA32_EFER. SDM Vol. 4 Table "IA-32 Architectural MSRs"; APM Vol. 2 "Extended Feature Enable Register". */
export const Efer = { sce: 1n, lme: 1n << 8n, lma: 1n << 10n, nxe: 1n << 11n, svme: 1n << 12n, ffxsr: 1n << 14n };
const EFER_BITS = names([0, 'SCE'], [8, 'LME'], [10, 'LMA'], [11, 'NXE'], [12, 'SVME'], [13, 'LMSLE'], [14, 'FFXSR']);
const CR0_PG = 1n << 31n;

/** IA32_MISC_ENABLE bits that other things depend on. */
export const MiscEnable = { limitCpuid: 1n << 22n, xdDisable: 1n << 34n };
const MISC_ENABLE = 0x1a0;
/** Branch trace store and PEBS are not there; MONITOR is when CPUID says so. Writes do not change these bits. */
const MISC_READ_ONLY = 0x41880n;

/** IA32_MISC_ENABLE as RDMSR reads it; 0 on processors without it. */
export function miscEnable(cpu: MsrCpu): bigint {
  return readMsr(cpu, MISC_ENABLE) ?? 0n;
}

function eferValid(value: bigint, cpu: MsrCpu): boolean {
  let allowed = Efer.lma;
  if (cpu.cpuidHas('syscall')) allowed |= Efer.sce;
  if (cpu.cpuidHas('lm')) allowed |= Efer.lme;
  if (cpu.cpuidHas('nx') && !(miscEnable(cpu) & MiscEnable.xdDisable)) allowed |= Efer.nxe;
  if (cpu.cpuidHas('svm')) allowed |= Efer.svme;
  if (cpu.cpuidHas('fxsr_opt')) allowed |= Efer.ffxsr;
  if ((value & ~allowed) !== 0n) return false;
  // LME can't change while paging is on.
  return ((value ^ cpu.slot('efer')) & Efer.lme) === 0n || (cpu.slot('cr0') & CR0_PG) === 0n;
}

const APIC_BASE_EXTD = 1n << 10n;

/** What depends on CPUID; the local APIC itself checks reserved bits and mode transitions. */
function apicBaseValid(value: bigint, cpu: MsrCpu): boolean {
  return inWidth(value, cpu) && ((value & APIC_BASE_EXTD) === 0n || cpu.cpuidHas('x2apic'));
}

/** IA32_ARCH_CAPABILITIES: what an interpreter that does not speculate is free of. SDM Vol. 4; Vol. 3A, "Speculative Execution". */
const ARCH_CAPABILITY_BITS = names(
  [0, 'RDCL_NO'],
  [3, 'SKIP_L1DFL_VMENTRY'],
  [4, 'SSB_NO'],
  [5, 'MDS_NO'],
  [6, 'IF_PSCHANGE_MC_NO'],
  [8, 'TAA_NO'],
  [13, 'SBDR_SSDP_NO'],
  [14, 'FBSDP_NO'],
  [15, 'PSDP_NO'],
  [20, 'BHI_NO'],
  [24, 'PBRSB_NO'],
  [26, 'GDS_NO'],
  [27, 'RFDS_NO'],
  [62, 'ITS_NO'],
);
const ARCH_CAPABILITIES = ARCH_CAPABILITY_BITS.reduce((all, { bit }) => all | (1n << BigInt(bit)), 0n);

const ROWS: MsrRow[] = [...KVM_MSRS];
function add(index: number, name: string, row: Partial<MsrRow> = {}): void {
  ROWS.push({ index, name, reset: 0n, writable: true, ...row });
}
function readOnly(index: number, name: string, value: bigint, feature?: string, bits?: readonly BitRow[]): void {
  add(index, name, { reset: value, writable: false, feature, bits, read: () => value });
}

readOnly(0x000, 'IA32_P5_MC_ADDR', 0n, 'mce');
readOnly(0x001, 'IA32_P5_MC_TYPE', 0n, 'mce');
add(0x010, 'IA32_TIME_STAMP_COUNTER', {
  feature: 'tsc',
  read: (cpu) => BigInt.asUintN(64, cpu.tsc()),
  // SDM Vol. 3B, "IA32_TSC_ADJUST MSR": a write adds the same difference to TSC_ADJUST.
  write: (cpu, value) => {
    const difference = value - cpu.tsc();
    cpu.setTsc(value);
    if (cpu.cpuidHas('tsc_adjust')) cpu.setSlot('tscAdjust', BigInt.asUintN(64, cpu.slot('tscAdjust') + difference));
    return true;
  },
});
readOnly(0x017, 'IA32_PLATFORM_ID', 0n, 'intel');
add(0x01b, 'IA32_APIC_BASE', {
  slot: 'apicBase',
  feature: 'apic',
  reset: 0xfee00900n,
  bits: names([8, 'BSP'], [10, 'EXTD'], [11, 'EN']),
  valid: apicBaseValid,
  write: (cpu, value) => cpu.setApicBase(value),
});
add(0x03a, 'IA32_FEATURE_CONTROL', {
  feature: 'vmx',
  // As firmware leaves it: locked, VMX outside SMX allowed.
  reset: 5n,
  bits: names([0, 'Lock'], [1, 'VMX inside SMX'], [2, 'VMX outside SMX']),
  valid: () => false,
});
add(0x03b, 'IA32_TSC_ADJUST', {
  slot: 'tscAdjust',
  feature: 'tsc_adjust',
  write: (cpu, value) => {
    cpu.setTsc(BigInt.asUintN(64, cpu.tsc() + value - cpu.slot('tscAdjust')));
    cpu.setSlot('tscAdjust', value);
    return true;
  },
});
// Nothing is ever predicted here, so there is nothing to restrict or to flush: the commands do nothing.
add(0x048, 'IA32_SPEC_CTRL', {
  feature: 'spec_ctrl',
  bits: names([0, 'IBRS'], [1, 'STIBP'], [2, 'SSBD']),
  valid: (value, cpu) => only(1n | (cpu.cpuidHas('stibp') ? 2n : 0n) | (cpu.cpuidHas('ssbd') ? 4n : 0n))(value),
});
add(0x049, 'IA32_PRED_CMD', { feature: 'spec_ctrl', valid: only(1n), read: () => undefined, write: () => true });
// Updates are not loaded; the revision stays. Writing 0 before CPUID, as the update protocol wants, is harmless.
add(0x079, 'IA32_BIOS_UPDT_TRIG', { feature: 'intel', read: () => undefined, write: () => true });
add(0x08b, 'IA32_BIOS_SIGN_ID', {
  reset: 1n << 32n,
  bits: names([32, 'Microcode update signature', 32]),
  read: () => 1n << 32n,
  write: () => true,
});
readOnly(0x0fe, 'IA32_MTRRCAP', 0x508n, 'mtrr', names([0, 'VCNT', 8], [8, 'FIX'], [10, 'WC'], [11, 'SMRR']));
readOnly(0x10a, 'IA32_ARCH_CAPABILITIES', ARCH_CAPABILITIES, 'arch_capabilities', ARCH_CAPABILITY_BITS);
add(0x10b, 'IA32_FLUSH_CMD', { feature: 'flush_l1d', valid: only(1n), read: () => undefined, write: () => true });
add(0x174, 'IA32_SYSENTER_CS', { slot: 'sysenterCs', feature: 'sep', valid: low32 });
add(0x175, 'IA32_SYSENTER_ESP', { slot: 'sysenterEsp', feature: 'sep', valid: canonical });
add(0x176, 'IA32_SYSENTER_EIP', { slot: 'sysenterEip', feature: 'sep', valid: canonical });
readOnly(0x179, 'IA32_MCG_CAP', 0n, 'mca');
add(0x17a, 'IA32_MCG_STATUS', { feature: 'mca', valid: only(7n), bits: names([0, 'RIPV'], [1, 'EIPV'], [2, 'MCIP']) });
add(0x1a0, 'IA32_MISC_ENABLE', {
  feature: 'intel',
  // Fast strings.
  reset: 1n,
  bits: names(
    [0, 'Fast-Strings Enable'],
    [3, 'Automatic Thermal Control Circuit Enable'],
    [7, 'Performance Monitoring Available'],
    [11, 'Branch Trace Storage Unavailable'],
    [12, 'PEBS Unavailable'],
    [16, 'Enhanced Intel SpeedStep Technology Enable'],
    [18, 'ENABLE MONITOR FSM'],
    [22, 'Limit CPUID Maxval'],
    [23, 'xTPR Message Disable'],
    [34, 'XD Bit Disable'],
  ),
  valid: only(0x4_00c5_1889n),
  read: (cpu) => (cpu.extra.get(MISC_ENABLE) ?? 1n) | 0x1800n | (cpu.cpuidHas('monitor') ? 0x40000n : 0n),
  write: (cpu, value) => {
    cpu.extra.set(MISC_ENABLE, value & ~MISC_READ_ONLY);
    return true;
  },
});
// Neither branch records nor single-stepping on branches: all bits are reserved.
add(0x1d9, 'IA32_DEBUGCTL', { valid: only(0n) });

for (let i = 0; i < 8; i++) {
  add(0x200 + 2 * i, `IA32_MTRR_PHYSBASE${i}`, {
    feature: 'mtrr',
    bits: names([0, 'Type', 8, TYPES], [12, 'PhysBase>>12', 40]),
    valid: (value, cpu) => (value & 0xf00n) === 0n && inWidth(value, cpu) && MTRR_TYPES.includes(Number(value & 0xffn)),
  });
  add(0x201 + 2 * i, `IA32_MTRR_PHYSMASK${i}`, {
    feature: 'mtrr',
    bits: names([11, 'V'], [12, 'PhysMask>>12', 40]),
    valid: (value, cpu) => (value & 0x7ffn) === 0n && inWidth(value, cpu),
  });
}
const FIXED: readonly [number, string][] = [
  [0x250, 'IA32_MTRR_FIX64K_00000'],
  [0x258, 'IA32_MTRR_FIX16K_80000'],
  [0x259, 'IA32_MTRR_FIX16K_A0000'],
  ...[0, 1, 2, 3, 4, 5, 6, 7].map((i): [number, string] => [
    0x268 + i,
    `IA32_MTRR_FIX4K_${(0xc0000 + i * 0x8000).toString(16).toUpperCase()}`,
  ]),
];
for (const [index, name] of FIXED) add(index, name, { feature: 'mtrr', valid: bytesIn(MTRR_TYPES) });
add(0x277, 'IA32_PAT', {
  slot: 'pat',
  feature: 'pat',
  reset: 0x0007040600070406n,
  bits: names(
    ...[0, 1, 2, 3, 4, 5, 6, 7].map((i): [number, string, number, BitRow['values']] => [i * 8, `PA${i}`, 8, TYPES]),
  ),
  valid: bytesIn(PAT_TYPES),
});
add(0x2ff, 'IA32_MTRR_DEF_TYPE', {
  feature: 'mtrr',
  bits: names([0, 'Type', 8, TYPES], [10, 'FE'], [11, 'E']),
  valid: (value) => only(0xcffn)(value) && MTRR_TYPES.includes(Number(value & 0xffn)),
});
for (const { index, name, value } of VMX_CAPABILITIES) readOnly(index, name, value, 'vmx');
add(0x6e0, 'IA32_TSC_DEADLINE', {
  feature: 'tsc_deadline',
  read: (cpu) => cpu.tscDeadline(),
  write: (cpu, value) => {
    cpu.setTscDeadline(value);
    return true;
  },
});

add(0x6e1, 'IA32_PKRS', { slot: 'pkrs', feature: 'pks', valid: low32 });

// No supervisor state components.
add(0xda0, 'IA32_XSS', { slot: 'xss', feature: 'xsaves', valid: only(0n) });

add(0xc0000080, 'IA32_EFER', {
  slot: 'efer',
  bits: EFER_BITS,
  valid: eferValid,
  // LMA is the processor's: a write does not change it.
  write: (cpu, value) => {
    cpu.setSlot('efer', (value & ~Efer.lma) | (cpu.slot('efer') & Efer.lma));
    return true;
  },
});
add(0xc0000081, 'IA32_STAR', { slot: 'star', feature: 'syscall' });
add(0xc0000082, 'IA32_LSTAR', { slot: 'lstar', feature: 'lm', valid: canonical });
add(0xc0000083, 'IA32_CSTAR', { slot: 'cstar', feature: 'lm', valid: canonical });
add(0xc0000084, 'IA32_FMASK', { slot: 'fmask', feature: 'syscall', valid: low32 });
add(0xc0000100, 'IA32_FS_BASE', { slot: 'fsBase', feature: 'lm', valid: canonical });
add(0xc0000101, 'IA32_GS_BASE', { slot: 'gsBase', feature: 'lm', valid: canonical });
add(0xc0000102, 'IA32_KERNEL_GS_BASE', { slot: 'kernelGsBase', feature: 'lm', valid: canonical });
add(0xc0000103, 'IA32_TSC_AUX', { slot: 'tscAux', feature: 'rdtscp', valid: low32 });
// AMD's four counters have no feature bit: kernels write to them unasked, and find by reading back that they do not count.
// APM Vol. 2, "Performance Monitoring Counters".
for (let i = 0; i < 4; i++) {
  const absent: Partial<MsrRow> = { feature: 'amd', read: () => 0n, write: () => true };
  add(0xc0010000 + i, `PerfEvtSel${i}`, absent);
  add(0xc0010004 + i, `PerfCtr${i}`, absent);
}
add(0xc0010010, 'SYSCFG', { feature: 'amd', valid: only(0x7c0000n) });
add(0xc0010015, 'HWCR', { feature: 'amd', reset: 1n << 24n, valid: only(0x1000018n), bits: names([24, 'TscFreqSel']) });

// Which of the local APIC's registers are MSRs in x2APIC mode is its own table's knowledge.
for (const { offset, name, x2apic } of APIC_REGISTERS) {
  if (!x2apic) continue;
  const index = 0x800 + (offset >> 4);
  add(index, `IA32_X2APIC_${name.toUpperCase().replaceAll(' ', '_')}`, {
    feature: 'x2apic',
    writable: x2apic !== 'ro',
    read: (cpu) => cpu.apicReadMsr(index),
    write: (cpu, value) => cpu.apicWriteMsr(index, value),
  });
}

function inWidth(value: bigint, cpu: MsrCpu): boolean {
  return value >> BigInt(cpu.maxPhysicalAddress) === 0n;
}

/** Every MSR there may be, by rising index. */
export const MSRS: readonly MsrRow[] = ROWS.sort((a, b) => a.index - b.index);
const BY_INDEX = new Map(MSRS.map((row) => [row.index, row]));
const BY_NAME = new Map(MSRS.map((row) => [row.name, row.index]));

/** RDMSR of `index`: the value, or undefined for #GP(0). */
export function readMsr(cpu: MsrCpu, index: number): bigint | undefined {
  const row = BY_INDEX.get(index >>> 0);
  if (!row || (row.feature !== undefined && !cpu.cpuidHas(row.feature))) return undefined;
  if (row.read) return row.read(cpu);
  return row.slot ? cpu.slot(row.slot) : (cpu.extra.get(row.index) ?? row.reset);
}

/** WRMSR of `index`: false for #GP(0), and then nothing has changed. `value` is taken modulo 2^64. */
export function writeMsr(cpu: MsrCpu, index: number, value: bigint): boolean {
  const row = BY_INDEX.get(index >>> 0);
  if (!row || !row.writable || (row.feature !== undefined && !cpu.cpuidHas(row.feature))) return false;
  value &= U64;
  if (row.valid && !row.valid(value, cpu)) return false;
  if (row.write) return row.write(cpu, value);
  if (row.slot) cpu.setSlot(row.slot, value);
  else cpu.extra.set(row.index, value);
  return true;
}

/** Power-on: slots get their reset values (the APIC base's BSP bit only when `bootstrap`), the rest is forgotten. */
export function resetMsrs(cpu: MsrCpu, bootstrap: boolean): void {
  cpu.extra.clear();
  for (const row of MSRS) {
    if (row.slot && row.slot !== 'apicBase') cpu.setSlot(row.slot, row.reset);
  }
  const base = BY_INDEX.get(0x1b)!.reset;
  cpu.setSlot('apicBase', bootstrap ? base : base & ~0x100n);
}

/** Sets the MTRRs as firmware leaves them: write-back memory, uncached VGA window and [3 GiB, 4 GiB), write-protected ROMs. */
export function setFirmwareMtrrs(cpu: MsrCpu): void {
  const repeat = (type: bigint) => type * 0x0101010101010101n;
  for (const [index, name] of FIXED) {
    const type = name === 'IA32_MTRR_FIX16K_A0000' ? 0n : index >= 0x268 ? 5n : 6n;
    writeMsr(cpu, index, repeat(type));
  }
  const width = 1n << BigInt(cpu.maxPhysicalAddress);
  writeMsr(cpu, 0x200, 0xc0000000n);
  writeMsr(cpu, 0x201, ((width - 0x40000000n) & (width - 1n)) | 0x800n);
  writeMsr(cpu, 0x2ff, 0xc06n);
}

/** The manual's name of MSR `index`, or its number in hex where the embedded processor has none. */
export function msrName(index: number): string {
  return BY_INDEX.get(index >>> 0)?.name ?? `0x${(index >>> 0).toString(16)}`;
}

/** Index of the MSR with the manual's name `name`, as in conditions (`msr == IA32_LSTAR`). */
export function msrIndex(name: string): number | undefined {
  return BY_NAME.get(name);
}

/** Names of what is set in `value`, '' where the register is a plain number. */
export function describeMsr(index: number, value: bigint): string {
  const bits = BY_INDEX.get(index >>> 0)?.bits;
  if (!bits) return '';
  if (index === 0x277)
    return bits.map((row) => `${row.name}=${TYPES[Number((value >> BigInt(row.bit)) & 0xffn)]}`).join(' ');
  return setBits(bits, value).join(' ');
}
