/**
 * The IA32_VMX_* capability MSRs, which say what VMX controls a hypervisor may set: derived from the control tables.
 * Source: Intel SDM Vol. 3D Appendix A "VMX Capability Reporting Facility".
 */
import { ControlTables, DEFAULT1, supportedControls, TRUE_DEFAULT1, type ControlKind } from './controls';

/** VMCS revision identifier: the first 31 bits of a VMXON or VMCS region. */
export const VMCS_REVISION = 0x52534944;
/** Bytes of a VMXON or VMCS region that are used. */
export const VMCS_REGION_SIZE = 0x1000;
/** The preemption timer counts down once per 2^5 TSC ticks. */
export const PREEMPTION_TIMER_SHIFT = 5;
export const CR3_TARGET_COUNT = 4;

const bit = (n: number) => 1n << BigInt(n);

/** Bits 31:0: must be 1; bits 63:32: may be 1. */
function controlCapability(kind: ControlKind, must: number): bigint {
  const may = (supportedControls(kind) | DEFAULT1[kind as keyof typeof DEFAULT1]) >>> 0;
  return (BigInt(may) << 32n) | BigInt(must >>> 0);
}

/**
 * CR4 bits that may be set in VMX operation: VME PVI TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT UMIP LA57 VMXE (13:0),
 * FSGSBASE PCIDE OSXSAVE (18:16), SMEP SMAP PKE (22:20), PKS (24).
 */
const CR4_FIXED1 = 0x01773fffn;

/** Highest index (bits 9:1 of the encoding) of any VMCS field: that of the TSC multiplier, 0x2032. */
const VMCS_HIGHEST_INDEX = 0x19n;

/** Execute-only, 4-level walk, UC and WB structures, 2 MiB and 1 GiB pages, INVEPT, A/D flags, INVVPID with all types. */
const EPT_VPID =
  bit(0) | bit(6) | bit(8) | bit(14) | bit(16) | bit(17) | bit(20) | bit(21) | bit(25) | bit(26) | bit(32) |
  bit(40) | bit(41) | bit(42) | bit(43); // prettier-ignore

export interface VmxCapability {
  readonly index: number;
  readonly name: string;
  readonly value: bigint;
}

/** All capability MSRs of the embedded processor. */
export const VMX_CAPABILITIES: readonly VmxCapability[] = [
  {
    index: 0x480,
    name: 'IA32_VMX_BASIC',
    // Write-back VMCS memory, INS/OUTS information is given, true control MSRs exist.
    value: BigInt(VMCS_REVISION) | (BigInt(VMCS_REGION_SIZE) << 32n) | (6n << 50n) | bit(54) | bit(55),
  },
  { index: 0x481, name: 'IA32_VMX_PINBASED_CTLS', value: controlCapability('pin', DEFAULT1.pin) },
  { index: 0x482, name: 'IA32_VMX_PROCBASED_CTLS', value: controlCapability('primary', DEFAULT1.primary) },
  { index: 0x483, name: 'IA32_VMX_EXIT_CTLS', value: controlCapability('exit', DEFAULT1.exit) },
  { index: 0x484, name: 'IA32_VMX_ENTRY_CTLS', value: controlCapability('entry', DEFAULT1.entry) },
  {
    index: 0x485,
    name: 'IA32_VMX_MISC',
    // EFER.LMA is stored into the IA-32e mode control; HLT, shutdown and wait-for-SIPI activity states.
    value: BigInt(PREEMPTION_TIMER_SHIFT) | bit(5) | bit(6) | bit(7) | bit(8) | (BigInt(CR3_TARGET_COUNT) << 16n),
  },
  // PG, NE and PE must be 1 (PE and PG not with "unrestricted guest"); any of bits 31:0 may be.
  { index: 0x486, name: 'IA32_VMX_CR0_FIXED0', value: 0x80000021n },
  { index: 0x487, name: 'IA32_VMX_CR0_FIXED1', value: 0xffffffffn },
  { index: 0x488, name: 'IA32_VMX_CR4_FIXED0', value: 0x2000n },
  { index: 0x489, name: 'IA32_VMX_CR4_FIXED1', value: CR4_FIXED1 },
  { index: 0x48a, name: 'IA32_VMX_VMCS_ENUM', value: VMCS_HIGHEST_INDEX << 1n },
  { index: 0x48b, name: 'IA32_VMX_PROCBASED_CTLS2', value: controlCapability('secondary', 0) },
  { index: 0x48c, name: 'IA32_VMX_EPT_VPID_CAP', value: EPT_VPID },
  { index: 0x48d, name: 'IA32_VMX_TRUE_PINBASED_CTLS', value: controlCapability('pin', TRUE_DEFAULT1.pin) },
  { index: 0x48e, name: 'IA32_VMX_TRUE_PROCBASED_CTLS', value: controlCapability('primary', TRUE_DEFAULT1.primary) },
  { index: 0x48f, name: 'IA32_VMX_TRUE_EXIT_CTLS', value: controlCapability('exit', TRUE_DEFAULT1.exit) },
  { index: 0x490, name: 'IA32_VMX_TRUE_ENTRY_CTLS', value: controlCapability('entry', TRUE_DEFAULT1.entry) },
];
const BY_NAME = new Map(VMX_CAPABILITIES.map((capability) => [capability.name, capability.value]));

const CAPABILITY_OF: { readonly [kind in Exclude<ControlKind, 'exceptions'>]: string } = {
  pin: 'IA32_VMX_TRUE_PINBASED_CTLS',
  primary: 'IA32_VMX_TRUE_PROCBASED_CTLS',
  secondary: 'IA32_VMX_PROCBASED_CTLS2',
  exit: 'IA32_VMX_TRUE_EXIT_CTLS',
  entry: 'IA32_VMX_TRUE_ENTRY_CTLS',
};

/**
 * `wanted` controls with the ones that must be 1 added: what a hypervisor writes into the VMCS. Unsigned 32-bit.
 * Error when a control is wanted that the processor does not have.
 */
export function adjustControls(kind: Exclude<ControlKind, 'exceptions'>, wanted: number): number {
  const capability = BY_NAME.get(CAPABILITY_OF[kind])!;
  const must = Number(capability & 0xffffffffn);
  const may = Number(capability >> 32n);
  const missing = (wanted & ~may) >>> 0;
  if (missing !== 0) {
    const names = ControlTables[kind].filter((row) => (missing >>> row.bit) & 1).map((row) => row.name);
    throw new Error(`${kind} controls: the processor has no ${names.join(', ') || `bits 0x${missing.toString(16)}`}`);
  }
  return (wanted | must) >>> 0;
}
