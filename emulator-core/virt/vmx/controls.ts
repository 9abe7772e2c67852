/**
 * VM-execution, VM-exit and VM-entry controls, and the exception bitmap: one row per bit, by the manual's names.
 * Source: Intel SDM Vol. 3C, chapter "Virtual Machine Control Structures", sections "VM-Execution Control Fields",
 * "VM-Exit Control Fields", "VM-Entry Control Fields"; reserved settings: Vol. 3D Appendix A.
 */
import type { Field } from '../../fields';
import { describeBits, setBits, type BitRow } from '../bitTable';

export interface ControlRow extends BitRow {
  /** The embedded processor lets a hypervisor set it: it shows in the IA32_VMX_*_CTLS capability MSRs. */
  readonly supported: boolean;
}

function row(bit: number, name: string, supported = false): ControlRow {
  return { bit, name, supported };
}

/** "Pin-Based VM-Execution Controls". */
export const PIN_BASED_CONTROLS: readonly ControlRow[] = [
  row(0, 'External-interrupt exiting', true),
  row(3, 'NMI exiting', true),
  row(5, 'Virtual NMIs', true),
  row(6, 'Activate VMX-preemption timer', true),
  row(7, 'Process posted interrupts'),
];

/** "Processor-Based VM-Execution Controls": primary. */
export const PRIMARY_CONTROLS: readonly ControlRow[] = [
  row(2, 'Interrupt-window exiting', true),
  row(3, 'Use TSC offsetting', true),
  row(7, 'HLT exiting', true),
  row(9, 'INVLPG exiting', true),
  row(10, 'MWAIT exiting', true),
  row(11, 'RDPMC exiting', true),
  row(12, 'RDTSC exiting', true),
  row(15, 'CR3-load exiting', true),
  row(16, 'CR3-store exiting', true),
  row(17, 'Activate tertiary controls'),
  row(19, 'CR8-load exiting', true),
  row(20, 'CR8-store exiting', true),
  row(21, 'Use TPR shadow', true),
  row(22, 'NMI-window exiting', true),
  row(23, 'MOV-DR exiting', true),
  row(24, 'Unconditional I/O exiting', true),
  row(25, 'Use I/O bitmaps', true),
  row(27, 'Monitor trap flag', true),
  row(28, 'Use MSR bitmaps', true),
  row(29, 'MONITOR exiting', true),
  row(30, 'PAUSE exiting', true),
  row(31, 'Activate secondary controls', true),
];

/** "Processor-Based VM-Execution Controls": secondary. */
export const SECONDARY_CONTROLS: readonly ControlRow[] = [
  row(0, 'Virtualize APIC accesses'),
  row(1, 'Enable EPT', true),
  row(2, 'Descriptor-table exiting', true),
  row(3, 'Enable RDTSCP', true),
  row(4, 'Virtualize x2APIC mode'),
  row(5, 'Enable VPID', true),
  row(6, 'WBINVD exiting', true),
  row(7, 'Unrestricted guest', true),
  row(8, 'APIC-register virtualization'),
  row(9, 'Virtual-interrupt delivery'),
  row(10, 'PAUSE-loop exiting'),
  row(11, 'RDRAND exiting', true),
  row(12, 'Enable INVPCID'),
  row(13, 'Enable VM functions'),
  row(14, 'VMCS shadowing'),
  row(15, 'Enable ENCLS exiting'),
  row(16, 'RDSEED exiting', true),
  row(17, 'Enable PML'),
  row(18, 'EPT-violation #VE'),
  row(19, 'Conceal VMX from PT'),
  row(20, 'Enable XSAVES/XRSTORS'),
  row(21, 'PASID translation'),
  row(22, 'Mode-based execute control for EPT'),
  row(23, 'Sub-page write permissions for EPT'),
  row(24, 'Intel PT uses guest physical addresses'),
  row(25, 'Use TSC scaling'),
  row(26, 'Enable user wait and pause'),
  row(27, 'Enable PCONFIG'),
  row(28, 'Enable ENCLV exiting'),
];

/** "VM-Exit Controls": primary. */
export const EXIT_CONTROLS: readonly ControlRow[] = [
  row(2, 'Save debug controls', true),
  row(9, 'Host address-space size', true),
  row(12, 'Load IA32_PERF_GLOBAL_CTRL'),
  row(15, 'Acknowledge interrupt on exit', true),
  row(18, 'Save IA32_PAT', true),
  row(19, 'Load IA32_PAT', true),
  row(20, 'Save IA32_EFER', true),
  row(21, 'Load IA32_EFER', true),
  row(22, 'Save VMX-preemption timer value', true),
  row(23, 'Clear IA32_BNDCFGS'),
  row(24, 'Conceal VMX from PT'),
  row(25, 'Clear IA32_RTIT_CTL'),
  row(26, 'Clear IA32_LBR_CTL'),
  row(27, 'Clear UINV'),
  row(28, 'Load CET state'),
  row(29, 'Load PKRS'),
  row(30, 'Save IA32_PERF_GLOBAL_CTRL'),
  row(31, 'Activate secondary controls'),
];

/** "VM-Entry Controls". */
export const ENTRY_CONTROLS: readonly ControlRow[] = [
  row(2, 'Load debug controls', true),
  row(9, 'IA-32e mode guest', true),
  row(10, 'Entry to SMM'),
  row(11, 'Deactivate dual-monitor treatment'),
  row(13, 'Load IA32_PERF_GLOBAL_CTRL'),
  row(14, 'Load IA32_PAT', true),
  row(15, 'Load IA32_EFER', true),
  row(16, 'Load IA32_BNDCFGS'),
  row(17, 'Conceal VMX from PT'),
  row(18, 'Load IA32_RTIT_CTL'),
  row(19, 'Load UINV'),
  row(20, 'Load CET state'),
  row(21, 'Load guest IA32_LBR_CTL'),
  row(22, 'Load PKRS'),
];

/** Exceptions by vector; bit n of the exception bitmap makes vector n exit. SDM Vol. 3A, "Exception and Interrupt Reference". */
export const EXCEPTION_NAMES: { readonly [vector: number]: string } = {
  0: '#DE',
  1: '#DB',
  2: 'NMI',
  3: '#BP',
  4: '#OF',
  5: '#BR',
  6: '#UD',
  7: '#NM',
  8: '#DF',
  10: '#TS',
  11: '#NP',
  12: '#SS',
  13: '#GP',
  14: '#PF',
  16: '#MF',
  17: '#AC',
  18: '#MC',
  19: '#XM',
  20: '#VE',
  21: '#CP',
};
/** Vector 2 is left out: the bitmap does not govern NMIs. */
export const EXCEPTION_BITMAP: readonly ControlRow[] = Object.entries(EXCEPTION_NAMES)
  .filter(([vector]) => vector !== '2')
  .map(([vector, name]) => row(Number(vector), name, true));

export const ControlTables = {
  pin: PIN_BASED_CONTROLS,
  primary: PRIMARY_CONTROLS,
  secondary: SECONDARY_CONTROLS,
  exit: EXIT_CONTROLS,
  entry: ENTRY_CONTROLS,
  exceptions: EXCEPTION_BITMAP,
} as const;
export type ControlKind = keyof typeof ControlTables;

/**
 * Bits that must be 1 (default1 class). SDM Vol. 3D Appendix A "VM-Execution Controls", "VM-Exit Controls",
 * "VM-Entry Controls"; `true`: as the IA32_VMX_TRUE_* MSRs say, which set free some of them.
 */
export const DEFAULT1 = {
  pin: 0x00000016,
  primary: 0x0401e172,
  secondary: 0,
  exit: 0x00036dff,
  entry: 0x000011ff,
} as const;
export const TRUE_DEFAULT1 = {
  pin: 0x00000016,
  primary: 0x04006172,
  secondary: 0,
  exit: 0x00036dfb,
  entry: 0x000011fb,
} as const;

/** Each control's bit as an unsigned number, for handlers: `if (value & Pin.nmiExiting)`. */
function mask(bit: number): number {
  return 2 ** bit;
}

export const Pin = {
  externalInterruptExiting: mask(0),
  nmiExiting: mask(3),
  virtualNmis: mask(5),
  preemptionTimer: mask(6),
} as const;

export const Primary = {
  interruptWindowExiting: mask(2),
  useTscOffsetting: mask(3),
  hltExiting: mask(7),
  invlpgExiting: mask(9),
  mwaitExiting: mask(10),
  rdpmcExiting: mask(11),
  rdtscExiting: mask(12),
  cr3LoadExiting: mask(15),
  cr3StoreExiting: mask(16),
  cr8LoadExiting: mask(19),
  cr8StoreExiting: mask(20),
  useTprShadow: mask(21),
  nmiWindowExiting: mask(22),
  movDrExiting: mask(23),
  unconditionalIoExiting: mask(24),
  useIoBitmaps: mask(25),
  monitorTrapFlag: mask(27),
  useMsrBitmaps: mask(28),
  monitorExiting: mask(29),
  pauseExiting: mask(30),
  /** Bit 31: test with `>>> 31` or compare unsigned. */
  activateSecondary: mask(31),
} as const;

export const Secondary = {
  virtualizeApicAccesses: mask(0),
  enableEpt: mask(1),
  descriptorTableExiting: mask(2),
  enableRdtscp: mask(3),
  virtualizeX2apic: mask(4),
  enableVpid: mask(5),
  wbinvdExiting: mask(6),
  unrestrictedGuest: mask(7),
  apicRegisterVirtualization: mask(8),
  virtualInterruptDelivery: mask(9),
  pauseLoopExiting: mask(10),
  rdrandExiting: mask(11),
  enableInvpcid: mask(12),
  enableVmFunctions: mask(13),
  vmcsShadowing: mask(14),
  rdseedExiting: mask(16),
  enablePml: mask(17),
  eptViolationVe: mask(18),
  enableXsaves: mask(20),
  modeBasedExecute: mask(22),
  useTscScaling: mask(25),
} as const;

export const Exit = {
  saveDebugControls: mask(2),
  hostAddressSpaceSize: mask(9),
  acknowledgeInterrupt: mask(15),
  savePat: mask(18),
  loadPat: mask(19),
  saveEfer: mask(20),
  loadEfer: mask(21),
  savePreemptionTimer: mask(22),
} as const;

export const Entry = {
  loadDebugControls: mask(2),
  ia32eModeGuest: mask(9),
  loadPat: mask(14),
  loadEfer: mask(15),
} as const;

/** Every bit of a control field, decoded. `value` unsigned 32-bit. */
export function describeControls(kind: ControlKind, value: number | bigint): Field[] {
  return describeBits(ControlTables[kind], BigInt(value));
}

/** Names of the controls that are on. */
export function controlNames(kind: ControlKind, value: number | bigint): string[] {
  return setBits(ControlTables[kind], BigInt(value));
}

/** Bits that the embedded processor allows to be 1, without the default1 class. Unsigned 32-bit. */
export function supportedControls(kind: ControlKind): number {
  return ControlTables[kind].reduce((bits, control) => bits + (control.supported ? mask(control.bit) : 0), 0);
}
