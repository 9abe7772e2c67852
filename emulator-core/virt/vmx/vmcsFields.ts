/**
 * Every VMCS field of a processor with EPT, VPID, unrestricted guest and APIC virtualization: key, encoding, manual name.
 * Width and group follow from the encoding. Source: Intel SDM Vol. 3D Appendix B "Field Encoding in VMCS";
 * Vol. 3C, "Encodings of VMCS Fields" (Table "Structure of VMCS Component Encoding").
 */
import { setBits, type BitRow } from '../bitTable';
import { controlNames } from './controls';
import { describeInterruption } from './exitQualification';
import { exitReason } from './exitReasons';
import { describeMsr } from '../../cpu/msrs';

type Describe = (value: bigint) => string;
type Definition = readonly [encoding: number, name: string, describe?: Describe];

export type VmcsGroup = 'Control' | 'Guest state' | 'Host state' | 'Exit information';

const named =
  (rows: readonly BitRow[]): Describe =>
  (value) =>
    setBits(rows, value).join(' ');
const bitNames = (text: string): readonly BitRow[] =>
  text.split(' ').map((item) => ({ bit: Number(item.split(':')[0]), name: item.split(':')[1] }));

const cr0 = named(bitNames('0:PE 1:MP 2:EM 3:TS 4:ET 5:NE 16:WP 18:AM 29:NW 30:CD 31:PG'));
const cr4 = named(
  bitNames(
    '0:VME 1:PVI 2:TSD 3:DE 4:PSE 5:PAE 6:MCE 7:PGE 8:PCE 9:OSFXSR 10:OSXMMEXCPT 11:UMIP 12:LA57 13:VMXE 14:SMXE ' +
      '16:FSGSBASE 17:PCIDE 18:OSXSAVE 20:SMEP 21:SMAP 22:PKE 23:CET 24:PKS',
  ),
);
const rflags = named([
  ...bitNames('0:CF 2:PF 4:AF 6:ZF 7:SF 8:TF 9:IF 10:DF 11:OF'),
  { bit: 12, width: 2, name: 'IOPL' },
  ...bitNames('14:NT 16:RF 17:VM 18:AC 19:VIF 20:VIP 21:ID'),
]);
const dr7 = named(bitNames('0:L0 1:G0 2:L1 3:G1 4:L2 5:G2 6:L3 7:G3 8:LE 9:GE 11:RTM 13:GD'));
const efer: Describe = (value) => describeMsr(0xc0000080, value);
const pat: Describe = (value) => describeMsr(0x277, value);
/** Table "Format of Access Rights". */
const accessRights: Describe = (value) => {
  const part = (low: number, width: number) => Number(BigInt.asUintN(width, value >> BigInt(low)));
  if (part(16, 1)) return 'unusable';
  const system = part(4, 1) === 0;
  const flags = setBits(bitNames('7:P 12:AVL 13:L 14:D/B 15:G'), value).join(' ');
  return `type=${part(0, 4)}${system ? ' system' : ''} DPL=${part(5, 2)}${flags ? ` ${flags}` : ''}`;
};
/** Table "Format of Interruptibility State". */
const interruptibility = named(
  bitNames('0:STI 1:MOV-SS 2:SMI 3:NMI 4:enclave-interruption').map((row) => ({
    ...row,
    name: row.bit < 4 ? `blocking by ${row.name}` : row.name,
  })),
);
const activity: Describe = (value) => ['active', 'HLT', 'shutdown', 'wait-for-SIPI'][Number(value)] ?? '';
/** Table "Format of Pending-Debug-Exceptions". */
const pendingDebug = named(bitNames('0:B0 1:B1 2:B2 3:B3 11:BLD 12:enabled-breakpoint 14:BS 16:RTM'));
const interruption: Describe = (value) => describeInterruption(Number(value));
/** Table "Format of Extended-Page-Table Pointer". */
const eptp: Describe = (value) =>
  `${{ 0: 'UC', 6: 'WB' }[Number(value & 7n)] ?? 'reserved memory type'}, ${((value >> 3n) & 7n) + 1n}-level` +
  (value & 0x40n ? ', accessed and dirty flags' : '');
/** Table "VM-Instruction Error Numbers". */
const INSTRUCTION_ERRORS: { readonly [error: number]: string } = {
  1: 'VMCALL executed in VMX root operation',
  2: 'VMCLEAR with invalid physical address',
  3: 'VMCLEAR with VMXON pointer',
  4: 'VMLAUNCH with non-clear VMCS',
  5: 'VMRESUME with non-launched VMCS',
  6: 'VMRESUME after VMXOFF',
  7: 'VM entry with invalid control field(s)',
  8: 'VM entry with invalid host-state field(s)',
  9: 'VMPTRLD with invalid physical address',
  10: 'VMPTRLD with VMXON pointer',
  11: 'VMPTRLD with incorrect VMCS revision identifier',
  12: 'VMREAD/VMWRITE from/to unsupported VMCS component',
  13: 'VMWRITE to read-only VMCS component',
  15: 'VMXON executed in VMX root operation',
  16: 'VM entry with invalid executive-VMCS pointer',
  17: 'VM entry with non-launched executive VMCS',
  18: 'VM entry with executive-VMCS pointer not VMXON pointer',
  19: 'VMCALL with non-clear VMCS',
  20: 'VMCALL with invalid VM-exit control fields',
  22: 'VMCALL with incorrect MSEG revision identifier',
  23: 'VMXOFF under dual-monitor treatment of SMIs and SMM',
  24: 'VMCALL with invalid SMM-monitor features',
  25: 'VM entry with invalid VM-execution control fields in executive VMCS',
  26: 'VM entry with events blocked by MOV SS',
  28: 'Invalid operand to INVEPT/INVVPID',
};

const DEFINITIONS = {
  // 16-bit control fields
  VPID: [0x0000, 'Virtual-processor identifier (VPID)'],
  POSTED_INTERRUPT_VECTOR: [0x0002, 'Posted-interrupt notification vector'],
  EPTP_INDEX: [0x0004, 'EPTP index'],
  // 16-bit guest-state fields
  GUEST_ES_SELECTOR: [0x0800, 'Guest ES selector'],
  GUEST_CS_SELECTOR: [0x0802, 'Guest CS selector'],
  GUEST_SS_SELECTOR: [0x0804, 'Guest SS selector'],
  GUEST_DS_SELECTOR: [0x0806, 'Guest DS selector'],
  GUEST_FS_SELECTOR: [0x0808, 'Guest FS selector'],
  GUEST_GS_SELECTOR: [0x080a, 'Guest GS selector'],
  GUEST_LDTR_SELECTOR: [0x080c, 'Guest LDTR selector'],
  GUEST_TR_SELECTOR: [0x080e, 'Guest TR selector'],
  GUEST_INTERRUPT_STATUS: [0x0810, 'Guest interrupt status'],
  PML_INDEX: [0x0812, 'PML index'],
  // 16-bit host-state fields
  HOST_ES_SELECTOR: [0x0c00, 'Host ES selector'],
  HOST_CS_SELECTOR: [0x0c02, 'Host CS selector'],
  HOST_SS_SELECTOR: [0x0c04, 'Host SS selector'],
  HOST_DS_SELECTOR: [0x0c06, 'Host DS selector'],
  HOST_FS_SELECTOR: [0x0c08, 'Host FS selector'],
  HOST_GS_SELECTOR: [0x0c0a, 'Host GS selector'],
  HOST_TR_SELECTOR: [0x0c0c, 'Host TR selector'],
  // 64-bit control fields
  IO_BITMAP_A: [0x2000, 'Address of I/O bitmap A'],
  IO_BITMAP_B: [0x2002, 'Address of I/O bitmap B'],
  MSR_BITMAPS: [0x2004, 'Address of MSR bitmaps'],
  EXIT_MSR_STORE_ADDRESS: [0x2006, 'VM-exit MSR-store address'],
  EXIT_MSR_LOAD_ADDRESS: [0x2008, 'VM-exit MSR-load address'],
  ENTRY_MSR_LOAD_ADDRESS: [0x200a, 'VM-entry MSR-load address'],
  EXECUTIVE_VMCS_POINTER: [0x200c, 'Executive-VMCS pointer'],
  PML_ADDRESS: [0x200e, 'PML address'],
  TSC_OFFSET: [0x2010, 'TSC offset'],
  VIRTUAL_APIC_ADDRESS: [0x2012, 'Virtual-APIC address'],
  APIC_ACCESS_ADDRESS: [0x2014, 'APIC-access address'],
  POSTED_INTERRUPT_DESCRIPTOR: [0x2016, 'Posted-interrupt descriptor address'],
  VM_FUNCTION_CONTROLS: [0x2018, 'VM-function controls'],
  EPT_POINTER: [0x201a, 'EPT pointer (EPTP)', eptp],
  EOI_EXIT_BITMAP_0: [0x201c, 'EOI-exit bitmap 0'],
  EOI_EXIT_BITMAP_1: [0x201e, 'EOI-exit bitmap 1'],
  EOI_EXIT_BITMAP_2: [0x2020, 'EOI-exit bitmap 2'],
  EOI_EXIT_BITMAP_3: [0x2022, 'EOI-exit bitmap 3'],
  EPTP_LIST_ADDRESS: [0x2024, 'EPTP-list address'],
  VMREAD_BITMAP: [0x2026, 'VMREAD-bitmap address'],
  VMWRITE_BITMAP: [0x2028, 'VMWRITE-bitmap address'],
  VE_INFORMATION_ADDRESS: [0x202a, 'Virtualization-exception information address'],
  XSS_EXITING_BITMAP: [0x202c, 'XSS-exiting bitmap'],
  ENCLS_EXITING_BITMAP: [0x202e, 'ENCLS-exiting bitmap'],
  TSC_MULTIPLIER: [0x2032, 'TSC multiplier'],
  // 64-bit read-only data field
  GUEST_PHYSICAL_ADDRESS: [0x2400, 'Guest-physical address'],
  // 64-bit guest-state fields
  VMCS_LINK_POINTER: [0x2800, 'VMCS link pointer'],
  GUEST_IA32_DEBUGCTL: [0x2802, 'Guest IA32_DEBUGCTL'],
  GUEST_IA32_PAT: [0x2804, 'Guest IA32_PAT', pat],
  GUEST_IA32_EFER: [0x2806, 'Guest IA32_EFER', efer],
  GUEST_IA32_PERF_GLOBAL_CTRL: [0x2808, 'Guest IA32_PERF_GLOBAL_CTRL'],
  GUEST_PDPTE0: [0x280a, 'Guest PDPTE0'],
  GUEST_PDPTE1: [0x280c, 'Guest PDPTE1'],
  GUEST_PDPTE2: [0x280e, 'Guest PDPTE2'],
  GUEST_PDPTE3: [0x2810, 'Guest PDPTE3'],
  GUEST_IA32_BNDCFGS: [0x2812, 'Guest IA32_BNDCFGS'],
  // 64-bit host-state fields
  HOST_IA32_PAT: [0x2c00, 'Host IA32_PAT', pat],
  HOST_IA32_EFER: [0x2c02, 'Host IA32_EFER', efer],
  HOST_IA32_PERF_GLOBAL_CTRL: [0x2c04, 'Host IA32_PERF_GLOBAL_CTRL'],
  // 32-bit control fields
  PIN_BASED_CONTROLS: [0x4000, 'Pin-based VM-execution controls', (v) => controlNames('pin', v).join(', ')],
  PRIMARY_CONTROLS: [
    0x4002,
    'Primary processor-based VM-execution controls',
    (v) => controlNames('primary', v).join(', '),
  ],
  EXCEPTION_BITMAP: [0x4004, 'Exception bitmap', (v) => controlNames('exceptions', v).join(' ')],
  PAGE_FAULT_ERROR_MASK: [0x4006, 'Page-fault error-code mask'],
  PAGE_FAULT_ERROR_MATCH: [0x4008, 'Page-fault error-code match'],
  CR3_TARGET_COUNT: [0x400a, 'CR3-target count'],
  EXIT_CONTROLS: [0x400c, 'Primary VM-exit controls', (v) => controlNames('exit', v).join(', ')],
  EXIT_MSR_STORE_COUNT: [0x400e, 'VM-exit MSR-store count'],
  EXIT_MSR_LOAD_COUNT: [0x4010, 'VM-exit MSR-load count'],
  ENTRY_CONTROLS: [0x4012, 'VM-entry controls', (v) => controlNames('entry', v).join(', ')],
  ENTRY_MSR_LOAD_COUNT: [0x4014, 'VM-entry MSR-load count'],
  ENTRY_INTERRUPTION_INFO: [0x4016, 'VM-entry interruption-information field', interruption],
  ENTRY_EXCEPTION_ERROR: [0x4018, 'VM-entry exception error code'],
  ENTRY_INSTRUCTION_LENGTH: [0x401a, 'VM-entry instruction length'],
  TPR_THRESHOLD: [0x401c, 'TPR threshold'],
  SECONDARY_CONTROLS: [
    0x401e,
    'Secondary processor-based VM-execution controls',
    (v) => controlNames('secondary', v).join(', '),
  ],
  PLE_GAP: [0x4020, 'PLE_Gap'],
  PLE_WINDOW: [0x4022, 'PLE_Window'],
  // 32-bit read-only data fields
  VM_INSTRUCTION_ERROR: [0x4400, 'VM-instruction error', (v) => INSTRUCTION_ERRORS[Number(v)] ?? ''],
  EXIT_REASON: [0x4402, 'Exit reason', (v) => exitReason(Number(v)).name],
  EXIT_INTERRUPTION_INFO: [0x4404, 'VM-exit interruption information', interruption],
  EXIT_INTERRUPTION_ERROR: [0x4406, 'VM-exit interruption error code'],
  IDT_VECTORING_INFO: [0x4408, 'IDT-vectoring information field', interruption],
  IDT_VECTORING_ERROR: [0x440a, 'IDT-vectoring error code'],
  EXIT_INSTRUCTION_LENGTH: [0x440c, 'VM-exit instruction length'],
  EXIT_INSTRUCTION_INFO: [0x440e, 'VM-exit instruction information'],
  // 32-bit guest-state fields
  GUEST_ES_LIMIT: [0x4800, 'Guest ES limit'],
  GUEST_CS_LIMIT: [0x4802, 'Guest CS limit'],
  GUEST_SS_LIMIT: [0x4804, 'Guest SS limit'],
  GUEST_DS_LIMIT: [0x4806, 'Guest DS limit'],
  GUEST_FS_LIMIT: [0x4808, 'Guest FS limit'],
  GUEST_GS_LIMIT: [0x480a, 'Guest GS limit'],
  GUEST_LDTR_LIMIT: [0x480c, 'Guest LDTR limit'],
  GUEST_TR_LIMIT: [0x480e, 'Guest TR limit'],
  GUEST_GDTR_LIMIT: [0x4810, 'Guest GDTR limit'],
  GUEST_IDTR_LIMIT: [0x4812, 'Guest IDTR limit'],
  GUEST_ES_ACCESS_RIGHTS: [0x4814, 'Guest ES access rights', accessRights],
  GUEST_CS_ACCESS_RIGHTS: [0x4816, 'Guest CS access rights', accessRights],
  GUEST_SS_ACCESS_RIGHTS: [0x4818, 'Guest SS access rights', accessRights],
  GUEST_DS_ACCESS_RIGHTS: [0x481a, 'Guest DS access rights', accessRights],
  GUEST_FS_ACCESS_RIGHTS: [0x481c, 'Guest FS access rights', accessRights],
  GUEST_GS_ACCESS_RIGHTS: [0x481e, 'Guest GS access rights', accessRights],
  GUEST_LDTR_ACCESS_RIGHTS: [0x4820, 'Guest LDTR access rights', accessRights],
  GUEST_TR_ACCESS_RIGHTS: [0x4822, 'Guest TR access rights', accessRights],
  GUEST_INTERRUPTIBILITY: [0x4824, 'Guest interruptibility state', interruptibility],
  GUEST_ACTIVITY: [0x4826, 'Guest activity state', activity],
  GUEST_SMBASE: [0x4828, 'Guest SMBASE'],
  GUEST_SYSENTER_CS: [0x482a, 'Guest IA32_SYSENTER_CS'],
  PREEMPTION_TIMER: [0x482e, 'VMX-preemption timer value'],
  // 32-bit host-state field
  HOST_SYSENTER_CS: [0x4c00, 'Host IA32_SYSENTER_CS'],
  // Natural-width control fields
  CR0_MASK: [0x6000, 'CR0 guest/host mask', cr0],
  CR4_MASK: [0x6002, 'CR4 guest/host mask', cr4],
  CR0_SHADOW: [0x6004, 'CR0 read shadow', cr0],
  CR4_SHADOW: [0x6006, 'CR4 read shadow', cr4],
  CR3_TARGET_0: [0x6008, 'CR3-target value 0'],
  CR3_TARGET_1: [0x600a, 'CR3-target value 1'],
  CR3_TARGET_2: [0x600c, 'CR3-target value 2'],
  CR3_TARGET_3: [0x600e, 'CR3-target value 3'],
  // Natural-width read-only data fields
  EXIT_QUALIFICATION: [0x6400, 'Exit qualification'],
  IO_RCX: [0x6402, 'I/O RCX'],
  IO_RSI: [0x6404, 'I/O RSI'],
  IO_RDI: [0x6406, 'I/O RDI'],
  IO_RIP: [0x6408, 'I/O RIP'],
  GUEST_LINEAR_ADDRESS: [0x640a, 'Guest-linear address'],
  // Natural-width guest-state fields
  GUEST_CR0: [0x6800, 'Guest CR0', cr0],
  GUEST_CR3: [0x6802, 'Guest CR3'],
  GUEST_CR4: [0x6804, 'Guest CR4', cr4],
  GUEST_ES_BASE: [0x6806, 'Guest ES base'],
  GUEST_CS_BASE: [0x6808, 'Guest CS base'],
  GUEST_SS_BASE: [0x680a, 'Guest SS base'],
  GUEST_DS_BASE: [0x680c, 'Guest DS base'],
  GUEST_FS_BASE: [0x680e, 'Guest FS base'],
  GUEST_GS_BASE: [0x6810, 'Guest GS base'],
  GUEST_LDTR_BASE: [0x6812, 'Guest LDTR base'],
  GUEST_TR_BASE: [0x6814, 'Guest TR base'],
  GUEST_GDTR_BASE: [0x6816, 'Guest GDTR base'],
  GUEST_IDTR_BASE: [0x6818, 'Guest IDTR base'],
  GUEST_DR7: [0x681a, 'Guest DR7', dr7],
  GUEST_RSP: [0x681c, 'Guest RSP'],
  GUEST_RIP: [0x681e, 'Guest RIP'],
  GUEST_RFLAGS: [0x6820, 'Guest RFLAGS', rflags],
  GUEST_PENDING_DEBUG: [0x6822, 'Guest pending debug exceptions', pendingDebug],
  GUEST_SYSENTER_ESP: [0x6824, 'Guest IA32_SYSENTER_ESP'],
  GUEST_SYSENTER_EIP: [0x6826, 'Guest IA32_SYSENTER_EIP'],
  // Natural-width host-state fields
  HOST_CR0: [0x6c00, 'Host CR0', cr0],
  HOST_CR3: [0x6c02, 'Host CR3'],
  HOST_CR4: [0x6c04, 'Host CR4', cr4],
  HOST_FS_BASE: [0x6c06, 'Host FS base'],
  HOST_GS_BASE: [0x6c08, 'Host GS base'],
  HOST_TR_BASE: [0x6c0a, 'Host TR base'],
  HOST_GDTR_BASE: [0x6c0c, 'Host GDTR base'],
  HOST_IDTR_BASE: [0x6c0e, 'Host IDTR base'],
  HOST_SYSENTER_ESP: [0x6c10, 'Host IA32_SYSENTER_ESP'],
  HOST_SYSENTER_EIP: [0x6c12, 'Host IA32_SYSENTER_EIP'],
  HOST_RSP: [0x6c14, 'Host RSP'],
  HOST_RIP: [0x6c16, 'Host RIP'],
} as const satisfies { readonly [key: string]: Definition };

export type VmcsFieldName = keyof typeof DEFINITIONS;

export interface VmcsField {
  readonly key: VmcsFieldName;
  readonly encoding: number;
  /** The manual's name. */
  readonly name: string;
  /** Bits: 16, 32 or 64 (natural width is 64 on this processor). */
  readonly width: 16 | 32 | 64;
  readonly group: VmcsGroup;
  /** Exit information: a guest hypervisor's VMWRITE is refused. */
  readonly readOnly: boolean;
  readonly describe?: Describe;
}

/** Bits 14:13 of the encoding: 0 16-bit, 1 64-bit, 2 32-bit, 3 natural-width. */
export function fieldWidth(encoding: number): 16 | 32 | 64 {
  return ([16, 64, 32, 64] as const)[(encoding >> 13) & 3];
}

/** Bits 11:10 of the encoding: 0 control, 1 VM-exit information, 2 guest state, 3 host state. */
export function fieldGroup(encoding: number): VmcsGroup {
  return (['Control', 'Exit information', 'Guest state', 'Host state'] as const)[(encoding >> 10) & 3];
}

/** Every field, by rising encoding. */
export const VMCS_FIELDS: readonly VmcsField[] = (Object.entries(DEFINITIONS) as [VmcsFieldName, Definition][]).map(
  ([key, [encoding, name, describe]]) => ({
    key,
    encoding,
    name,
    width: fieldWidth(encoding),
    group: fieldGroup(encoding),
    readOnly: ((encoding >> 10) & 3) === 1,
    ...(describe ? { describe } : {}),
  }),
);

/** Encodings by key: `Field.GUEST_RIP`. */
export const Field = Object.fromEntries(VMCS_FIELDS.map(({ key, encoding }) => [key, encoding])) as {
  readonly [key in VmcsFieldName]: (typeof DEFINITIONS)[key][0];
};

/** Encodings of the fields of one guest segment register. */
export function guestSegmentFields(name: 'ES' | 'CS' | 'SS' | 'DS' | 'FS' | 'GS' | 'LDTR' | 'TR'): {
  selector: number;
  base: number;
  limit: number;
  accessRights: number;
} {
  return {
    selector: Field[`GUEST_${name}_SELECTOR`],
    base: Field[`GUEST_${name}_BASE`],
    limit: Field[`GUEST_${name}_LIMIT`],
    accessRights: Field[`GUEST_${name}_ACCESS_RIGHTS`],
  };
}
