/**
 * Every VM exit: one row per basic exit reason. Names, filters, conditions and summaries of the debugger derive from here.
 * Source: Intel SDM Vol. 3D Appendix C "VMX Basic Exit Reasons"; fields: Vol. 3C, chapter "VM Exits".
 */
import { msrName } from '../../cpu/msrs';
import { hex, type Field } from '../../fields';
import { describeBits, type BitRow } from '../bitTable';
import type { VmExit } from '../exit';
import * as Q from './exitQualification';

export * from './exitQualification';

/** Named values for conditions; undefined where this exit has no such value. */
export type ExitFields = { readonly [name: string]: (exit: VmExit) => bigint | undefined };

export interface ExitReasonRow {
  readonly number: number;
  /** Manual name in capitals with underscores: the exception filter. */
  readonly name: string;
  /** One line for the list of filters. */
  readonly description: string;
  /** Where the manual says more: SDM volume and section title. */
  readonly reference: string;
  readonly fields: ExitFields;
  /** Bits of the exit qualification; absent: it is one number (`qualificationName`) or cleared. */
  readonly qualification?: readonly BitRow[];
  readonly qualificationName?: string;
  readonly summary?: (exit: VmExit) => string;
}

const APPENDIX = 'SDM Vol. 3D, Appendix C "VMX Basic Exit Reasons"';
const INSTRUCTIONS = 'SDM Vol. 3C, "Instructions That Cause VM Exits"';
const VMX_INSTRUCTIONS = 'SDM Vol. 3C, "VMX Instruction Reference"';
const OTHER = 'SDM Vol. 3C, "Other Causes of VM Exits"';
const EPT_FAULTS = 'SDM Vol. 3C, "EPT-Induced VM Exits"';
const APICV = 'SDM Vol. 3C, "APIC Virtualization and Virtual Interrupts"';
const ENTRY = 'SDM Vol. 3C, "VM Entries"';

const bits = (exit: VmExit, low: bigint, width: number) => BigInt.asUintN(width, exit.qualification >> low);
const low32 = (value: bigint) => BigInt.asUintN(32, value);
const x = (value: bigint | number) => '0x' + value.toString(16);

// Port I/O's qualification is taken apart as a plain number: conditions are evaluated very often, and traces have very many of these.
const number32 = (value: bigint) => Number(BigInt.asUintN(32, value));
const IO_IN = 8;
const IO_STRING = 16;
const IO_REP = 32;
const ioSize = (qualification: number) => (qualification & 7) + 1;
/** What OUT writes; IN has no value yet, and a string instruction's is in memory. */
const ioValue = (exit: VmExit, qualification: number) => {
  if (qualification & (IO_IN | IO_STRING)) return undefined;
  const value = number32(exit.rax);
  const size = ioSize(qualification);
  return size === 4 ? value : value & (size === 2 ? 0xffff : 0xff);
};

const crAccess = (exit: VmExit) => Number(bits(exit, 4n, 2));
const gpr = (exit: VmExit) => Number(bits(exit, 8n, 4));
/** Value of the general-purpose register that a MOV names, where the exit record holds it. */
const gprValue = (exit: VmExit) => [exit.rax, exit.rcx, exit.rdx][gpr(exit)];
const crValue = (exit: VmExit) => {
  const access = crAccess(exit);
  if (access === Q.CrAccess.movTo) return gprValue(exit);
  return access === Q.CrAccess.lmsw ? bits(exit, 16n, 16) : undefined;
};
const msr = (exit: VmExit) => low32(exit.rcx);
const edxEax = (exit: VmExit) => (low32(exit.rdx) << 32n) | low32(exit.rax);

const eventFields: ExitFields = {
  vector: (exit) => (exit.interruptionInfo >>> 31 ? BigInt(exit.interruptionInfo & 0xff) : undefined),
  type: (exit) => (exit.interruptionInfo >>> 31 ? BigInt((exit.interruptionInfo >>> 8) & 7) : undefined),
  error: (exit) =>
    exit.interruptionInfo >>> 31 && exit.interruptionInfo & 0x800 ? BigInt(exit.interruptionError) : undefined,
};
/** Values that every exit has. */
const COMMON: ExitFields = {
  reason: (exit) => BigInt(exit.reason & 0xffff),
  rip: (exit) => exit.rip,
  qualification: (exit) => exit.qualification,
  length: (exit) => BigInt(exit.instructionLength),
  cpu: (exit) => BigInt(exit.cpu),
  icount: (exit) => BigInt(exit.icount),
  seq: (exit) => BigInt(exit.seq),
};
const flag = (mask: bigint) => (exit: VmExit) => ((exit.qualification & mask) !== 0n ? 1n : 0n);
const number = (name: string): ExitFields => ({ [name]: (exit) => exit.qualification });

function isPageFault(exit: VmExit): boolean {
  return (exit.interruptionInfo & 0x700) === 0x300 && (exit.interruptionInfo & 0xff) === 14;
}

function eptAccess(exit: VmExit): string {
  const { qualification } = exit;
  if (qualification & 4n) return 'fetch';
  if (qualification & 2n) return qualification & 1n ? 'read and write' : 'write';
  return 'read';
}

function ioSummary(exit: VmExit): string {
  const how = number32(exit.qualification);
  const name = (how & IO_REP ? 'rep ' : '') + (how & IO_IN ? 'in' : 'out') + (how & IO_STRING ? 's' : '');
  const value = ioValue(exit, how);
  return `${name} ${x(how >>> 16)} ${value === undefined ? '' : `<- ${x(value)} `}(${ioSize(how) * 8} bits)`;
}

function crSummary(exit: VmExit): string {
  const cr = `cr${bits(exit, 0n, 4)}`;
  const register = Q.registerName(gpr(exit)).toLowerCase();
  switch (crAccess(exit)) {
    case Q.CrAccess.movTo: {
      const value = gprValue(exit);
      return `mov ${cr} <- ${value === undefined ? register : x(value)}`;
    }
    case Q.CrAccess.movFrom:
      return `mov ${register} <- ${cr}`;
    case Q.CrAccess.clts:
      return 'clts';
    default:
      return `lmsw <- ${x(bits(exit, 16n, 16))}`;
  }
}

const rows = new Map<number, ExitReasonRow>();
type Extra = Partial<Pick<ExitReasonRow, 'fields' | 'qualification' | 'qualificationName' | 'summary'>>;
function row(no: number, name: string, description: string, reference = APPENDIX, extra: Extra = {}): void {
  rows.set(no, { number: no, name, description, reference, ...extra, fields: { ...COMMON, ...extra.fields } });
}
const displacement: Extra = { qualificationName: 'Displacement of the memory operand', fields: number('displacement') };
const linear: Extra = { qualificationName: 'Linear address', fields: number('gla') };
const offset: Extra = { qualificationName: 'Offset in the virtual-APIC page', fields: number('offset') };

row(0, 'EXCEPTION_OR_NMI', 'A guest exception set in the exception bitmap, or an NMI', OTHER, {
  fields: {
    ...eventFields,
    // For a page fault the qualification is the faulting linear address.
    gla: (exit) => (isPageFault(exit) ? exit.qualification : undefined),
  },
  summary: (exit) => {
    const error = eventFields.error(exit);
    const event = Q.describeInterruption(exit.interruptionInfo).replace(/^.* (?=#)/, '') || 'exception or NMI';
    const address = isPageFault(exit) ? ` at ${x(exit.qualification)}` : '';
    return `${event}${error === undefined ? '' : ` error ${x(error)}`}${address}`;
  },
});
row(1, 'EXTERNAL_INTERRUPT', 'An external interrupt arrived', OTHER, {
  fields: eventFields,
  summary: (exit) => Q.describeInterruption(exit.interruptionInfo) || 'external interrupt, not acknowledged',
});
row(2, 'TRIPLE_FAULT', 'An exception during the delivery of a double fault', OTHER);
row(3, 'INIT_SIGNAL', 'An INIT signal arrived', OTHER);
row(4, 'STARTUP_IPI', 'A start-up IPI (SIPI) arrived in the wait-for-SIPI state', OTHER, {
  qualificationName: 'SIPI vector',
  fields: number('vector'),
  summary: (exit) => `SIPI vector ${x(exit.qualification)}`,
});
row(5, 'IO_SMI', 'A system-management interrupt right after an I/O instruction', OTHER);
row(6, 'OTHER_SMI', 'A system-management interrupt', OTHER);
row(7, 'INTERRUPT_WINDOW', 'The guest can take an interrupt again', OTHER);
row(8, 'NMI_WINDOW', 'The guest can take an NMI again', OTHER);
row(9, 'TASK_SWITCH', 'The guest tried to switch tasks', INSTRUCTIONS, {
  qualification: Q.TASK_QUALIFICATION,
  fields: { selector: (exit) => bits(exit, 0n, 16), source: (exit) => bits(exit, 30n, 2) },
  summary: (exit) => `task switch to ${x(bits(exit, 0n, 16))}`,
});
row(10, 'CPUID', 'CPUID', INSTRUCTIONS, {
  fields: { leaf: (exit) => low32(exit.rax), subleaf: (exit) => low32(exit.rcx) },
  summary: (exit) => `CPUID leaf ${x(low32(exit.rax))} subleaf ${x(low32(exit.rcx))}`,
});
row(11, 'GETSEC', 'GETSEC', INSTRUCTIONS, { fields: { leaf: (exit) => low32(exit.rax) } });
row(12, 'HLT', 'HLT: the guest waits for an interrupt', INSTRUCTIONS);
row(13, 'INVD', 'INVD', INSTRUCTIONS);
row(14, 'INVLPG', 'INVLPG', INSTRUCTIONS, { ...linear, summary: (exit) => `invlpg ${x(exit.qualification)}` });
row(15, 'RDPMC', 'RDPMC', INSTRUCTIONS, { fields: { counter: (exit) => low32(exit.rcx) } });
row(16, 'RDTSC', 'RDTSC', INSTRUCTIONS);
row(17, 'RSM', 'RSM in system-management mode', INSTRUCTIONS);
row(18, 'VMCALL', 'VMCALL: a hypercall', VMX_INSTRUCTIONS, {
  // Hypercall numbers are 32 bits wide.
  fields: {
    nr: (exit) => (exit.firmware ? undefined : low32(exit.rax)),
    rax: (exit) => exit.rax,
    rcx: (exit) => exit.rcx,
    rdx: (exit) => exit.rdx,
  },
  summary: (exit) =>
    `${exit.firmware ? 'firmware: ' : ''}vmcall rax ${x(exit.rax)} rcx ${x(exit.rcx)} rdx ${x(exit.rdx)}`,
});
row(19, 'VMCLEAR', 'VMCLEAR by a nested hypervisor', VMX_INSTRUCTIONS, displacement);
row(20, 'VMLAUNCH', 'VMLAUNCH by a nested hypervisor', VMX_INSTRUCTIONS);
row(21, 'VMPTRLD', 'VMPTRLD by a nested hypervisor', VMX_INSTRUCTIONS, displacement);
row(22, 'VMPTRST', 'VMPTRST by a nested hypervisor', VMX_INSTRUCTIONS, displacement);
row(23, 'VMREAD', 'VMREAD by a nested hypervisor', VMX_INSTRUCTIONS, displacement);
row(24, 'VMRESUME', 'VMRESUME by a nested hypervisor', VMX_INSTRUCTIONS);
row(25, 'VMWRITE', 'VMWRITE by a nested hypervisor', VMX_INSTRUCTIONS, displacement);
row(26, 'VMXOFF', 'VMXOFF by a nested hypervisor', VMX_INSTRUCTIONS);
row(27, 'VMXON', 'VMXON: the guest turns VMX operation on', VMX_INSTRUCTIONS, displacement);
row(28, 'CR_ACCESS', 'MOV to or from CR0, CR3, CR4 or CR8, CLTS or LMSW', INSTRUCTIONS, {
  qualification: Q.CR_QUALIFICATION,
  fields: {
    cr: (exit) => bits(exit, 0n, 4),
    write: (exit) => (crAccess(exit) === Q.CrAccess.movFrom ? 0n : 1n),
    access: (exit) => bits(exit, 4n, 2),
    register: (exit) => BigInt(gpr(exit)),
    value: crValue,
  },
  summary: crSummary,
});
row(29, 'MOV_DR', 'MOV to or from a debug register', INSTRUCTIONS, {
  qualification: Q.DR_QUALIFICATION,
  fields: {
    dr: (exit) => bits(exit, 0n, 3),
    write: (exit) => (exit.qualification & 16n ? 0n : 1n),
    register: (exit) => BigInt(gpr(exit)),
    value: (exit) => (exit.qualification & 16n ? undefined : gprValue(exit)),
  },
  summary: (exit) => {
    const dr = `dr${bits(exit, 0n, 3)}`;
    const register = Q.registerName(gpr(exit)).toLowerCase();
    return exit.qualification & 16n ? `mov ${register} <- ${dr}` : `mov ${dr} <- ${register}`;
  },
});
row(30, 'IO_INSTRUCTION', 'IN, OUT, INS or OUTS', INSTRUCTIONS, {
  qualification: Q.IO_QUALIFICATION,
  fields: {
    port: (exit) => BigInt(number32(exit.qualification) >>> 16),
    size: (exit) => BigInt(ioSize(number32(exit.qualification))),
    write: (exit) => (number32(exit.qualification) & IO_IN ? 0n : 1n),
    string: flag(16n),
    rep: flag(32n),
    immediate: flag(64n),
    value: (exit) => {
      const value = ioValue(exit, number32(exit.qualification));
      return value === undefined ? undefined : BigInt(value);
    },
    gla: (exit) => (number32(exit.qualification) & IO_STRING ? exit.guestLinear : undefined),
  },
  summary: ioSummary,
});
row(31, 'MSR_READ', 'RDMSR', INSTRUCTIONS, {
  fields: { msr, write: () => 0n },
  summary: (exit) => `rdmsr ${msrName(Number(msr(exit)))}`,
});
row(32, 'MSR_WRITE', 'WRMSR', INSTRUCTIONS, {
  fields: { msr, value: edxEax, write: () => 1n },
  summary: (exit) => `wrmsr ${msrName(Number(msr(exit)))} <- ${x(edxEax(exit))}`,
});
row(33, 'ENTRY_FAILURE_GUEST_STATE', 'VM entry failed: invalid guest state', ENTRY, {
  qualificationName: 'Which check failed: 2 PDPTE loading, 3 NMI injection, 4 VMCS link pointer, 0 another',
});
row(34, 'ENTRY_FAILURE_MSR_LOADING', 'VM entry failed: an MSR of the load area', ENTRY, {
  qualificationName: 'Number of the entry that failed',
  fields: number('entry'),
});
row(36, 'MWAIT', 'MWAIT', INSTRUCTIONS, {
  qualification: [{ bit: 0, name: 'Address-range monitoring was armed' }],
  fields: { armed: flag(1n) },
});
row(37, 'MONITOR_TRAP_FLAG', 'Single step by the monitor trap flag', OTHER);
row(39, 'MONITOR', 'MONITOR', INSTRUCTIONS);
row(40, 'PAUSE', 'PAUSE', INSTRUCTIONS);
row(41, 'ENTRY_FAILURE_MACHINE_CHECK', 'VM entry failed: a machine check', ENTRY);
row(43, 'TPR_BELOW_THRESHOLD', 'The task priority fell below the TPR threshold', APICV);
row(44, 'APIC_ACCESS', 'Access to the APIC-access page', APICV, {
  qualification: Q.APIC_ACCESS_QUALIFICATION,
  fields: {
    offset: (exit) => bits(exit, 0n, 12),
    access: (exit) => bits(exit, 12n, 4),
    write: (exit) => (bits(exit, 12n, 4) === 1n ? 1n : 0n),
    gla: (exit) => exit.guestLinear,
  },
  summary: (exit) => `access to APIC offset ${x(bits(exit, 0n, 12))}`,
});
row(45, 'VIRTUALIZED_EOI', 'A virtual EOI that the EOI-exit bitmap selects', APICV, {
  qualificationName: 'Vector',
  fields: number('vector'),
  summary: (exit) => `EOI of vector ${x(exit.qualification)}`,
});
row(46, 'GDTR_IDTR_ACCESS', 'LGDT, LIDT, SGDT or SIDT', INSTRUCTIONS, displacement);
row(47, 'LDTR_TR_ACCESS', 'LLDT, LTR, SLDT or STR', INSTRUCTIONS, displacement);
row(48, 'EPT_VIOLATION', 'Access to guest-physical memory that EPT does not allow', EPT_FAULTS, {
  qualification: Q.EPT_VIOLATION_QUALIFICATION,
  fields: {
    gpa: (exit) => exit.guestPhysical,
    gla: (exit) => (exit.qualification & 128n ? exit.guestLinear : undefined),
    read: flag(1n),
    write: flag(2n),
    fetch: flag(4n),
    permissions: (exit) => bits(exit, 3n, 3),
  },
  summary: (exit) => `${eptAccess(exit)} of gpa ${x(exit.guestPhysical)}`,
});
row(49, 'EPT_MISCONFIG', 'An EPT entry holds a reserved value', EPT_FAULTS, {
  fields: { gpa: (exit) => exit.guestPhysical },
  summary: (exit) => `EPT misconfiguration at gpa ${x(exit.guestPhysical)}`,
});
row(50, 'INVEPT', 'INVEPT by a nested hypervisor', VMX_INSTRUCTIONS, displacement);
row(51, 'RDTSCP', 'RDTSCP', INSTRUCTIONS);
row(52, 'VMX_PREEMPTION_TIMER', 'The VMX-preemption timer counted down to zero', OTHER);
row(53, 'INVVPID', 'INVVPID by a nested hypervisor', VMX_INSTRUCTIONS, displacement);
row(54, 'WBINVD', 'WBINVD or WBNOINVD', INSTRUCTIONS);
row(55, 'XSETBV', 'XSETBV', INSTRUCTIONS, {
  fields: { xcr: (exit) => low32(exit.rcx), value: edxEax },
  summary: (exit) => `xsetbv XCR${low32(exit.rcx)} <- ${x(edxEax(exit))}`,
});
row(56, 'APIC_WRITE', 'A write to the virtual-APIC page that needs emulation', APICV, offset);
row(57, 'RDRAND', 'RDRAND', INSTRUCTIONS);
row(58, 'INVPCID', 'INVPCID', INSTRUCTIONS, displacement);
row(59, 'VMFUNC', 'VMFUNC with a function that is not enabled', VMX_INSTRUCTIONS, {
  fields: { leaf: (exit) => low32(exit.rax) },
});
row(60, 'ENCLS', 'ENCLS: an SGX supervisor instruction', INSTRUCTIONS, { fields: { leaf: (exit) => low32(exit.rax) } });
row(61, 'RDSEED', 'RDSEED', INSTRUCTIONS);
row(62, 'PML_FULL', 'The page-modification log is full', 'SDM Vol. 3C, "Page-Modification Logging"', {
  qualification: [{ bit: 12, name: 'NMI unblocking due to IRET' }],
});
row(63, 'XSAVES', 'XSAVES', INSTRUCTIONS, displacement);
row(64, 'XRSTORS', 'XRSTORS', INSTRUCTIONS, displacement);
row(65, 'PCONFIG', 'PCONFIG', INSTRUCTIONS, { fields: { leaf: (exit) => low32(exit.rax) } });
row(66, 'SPP_EVENT', 'A sub-page permission table entry is missing or misconfigured', EPT_FAULTS, {
  qualification: [
    { bit: 11, name: 'SPP miss', values: { 0: 'misconfiguration', 1: 'miss' } },
    { bit: 12, name: 'NMI unblocking due to IRET' },
  ],
  fields: { gpa: (exit) => exit.guestPhysical, gla: (exit) => exit.guestLinear },
});
row(67, 'UMWAIT', 'UMWAIT', INSTRUCTIONS);
row(68, 'TPAUSE', 'TPAUSE', INSTRUCTIONS);
row(69, 'LOADIWKEY', 'LOADIWKEY', INSTRUCTIONS);
row(70, 'ENCLV', 'ENCLV: an SGX virtualization instruction', INSTRUCTIONS);
row(72, 'ENQCMD_PASID_FAILURE', 'ENQCMD: PASID translation failed', INSTRUCTIONS);
row(73, 'ENQCMDS_PASID_FAILURE', 'ENQCMDS: PASID translation failed', INSTRUCTIONS);
row(74, 'BUS_LOCK', 'The guest locked the bus', OTHER);
row(75, 'INSTRUCTION_TIMEOUT', 'No instruction boundary within the instruction timeout', OTHER);
row(76, 'SEAMCALL', 'SEAMCALL', INSTRUCTIONS);
row(77, 'TDCALL', 'TDCALL', INSTRUCTIONS);
row(78, 'RDMSRLIST', 'RDMSRLIST', INSTRUCTIONS);
row(79, 'WRMSRLIST', 'WRMSRLIST', INSTRUCTIONS);
row(80, 'URDMSR', 'URDMSR', INSTRUCTIONS);
row(81, 'UWRMSR', 'UWRMSR', INSTRUCTIONS);
row(84, 'RDMSR_IMMEDIATE', 'RDMSR with an immediate register number', INSTRUCTIONS);
row(85, 'WRMSRNS_IMMEDIATE', 'WRMSRNS with an immediate register number', INSTRUCTIONS);

/** By rising number. */
export const EXIT_REASONS: readonly ExitReasonRow[] = [...rows.values()];
const BY_NAME = new Map(EXIT_REASONS.map((r) => [r.name, r]));

/** Numbers of the exits that the embedded VMM handles, for producers. */
export const ExitReason = {
  exceptionOrNmi: 0,
  externalInterrupt: 1,
  tripleFault: 2,
  initSignal: 3,
  startupIpi: 4,
  interruptWindow: 7,
  nmiWindow: 8,
  taskSwitch: 9,
  cpuid: 10,
  hlt: 12,
  invd: 13,
  invlpg: 14,
  rdpmc: 15,
  rdtsc: 16,
  vmcall: 18,
  vmclear: 19,
  vmlaunch: 20,
  vmptrld: 21,
  vmptrst: 22,
  vmread: 23,
  vmresume: 24,
  vmwrite: 25,
  vmxoff: 26,
  vmxon: 27,
  crAccess: 28,
  movDr: 29,
  ioInstruction: 30,
  msrRead: 31,
  msrWrite: 32,
  entryFailureGuestState: 33,
  entryFailureMsrLoading: 34,
  mwait: 36,
  monitorTrapFlag: 37,
  monitor: 39,
  pause: 40,
  tprBelowThreshold: 43,
  apicAccess: 44,
  gdtrIdtrAccess: 46,
  ldtrTrAccess: 47,
  eptViolation: 48,
  eptMisconfig: 49,
  invept: 50,
  rdtscp: 51,
  preemptionTimer: 52,
  invvpid: 53,
  wbinvd: 54,
  xsetbv: 55,
  rdrand: 57,
  invpcid: 58,
  vmfunc: 59,
  rdseed: 61,
} as const;

const unknownRow = (no: number): ExitReasonRow => ({
  number: no,
  name: `EXIT_${no}`,
  description: `basic exit reason ${no}, which the manual does not define`,
  reference: APPENDIX,
  fields: COMMON,
});

/** The row of an exit reason (bits 31:16 are ignored); a nameless one for numbers that the manual does not define. */
export function exitReason(reason: number): ExitReasonRow {
  return rows.get(reason & 0xffff) ?? unknownRow(reason & 0xffff);
}

export function exitReasonByName(name: string): ExitReasonRow | undefined {
  return BY_NAME.get(name);
}

/** One named value of an exit, as conditions use it; undefined when this exit has none. */
export function exitField(exit: VmExit, name: string): bigint | undefined {
  const { fields } = exitReason(exit.reason);
  return Object.hasOwn(fields, name) ? fields[name](exit) : undefined;
}

/** All named values of an exit. */
export function exitFields(exit: VmExit): Record<string, bigint> {
  const values: Record<string, bigint> = {};
  for (const [name, value] of Object.entries(exitReason(exit.reason).fields)) {
    const v = value(exit);
    if (v !== undefined) values[name] = v;
  }
  return values;
}

/** The bits of the exit qualification by the manual's names; empty where the exit clears it. */
export function describeQualification(exit: VmExit): Field[] {
  const { number: no, qualification, qualificationName } = exitReason(exit.reason);
  if (qualification) return describeBits(qualification, exit.qualification);
  const whole = (name: string): Field[] => [{ name, value: hex(exit.qualification, 64) }];
  if (no === 0 && isPageFault(exit)) return whole('Linear address');
  if (no === 0 && (exit.interruptionInfo & 0xff) === 1) return describeBits(Q.DEBUG_QUALIFICATION, exit.qualification);
  return qualificationName ? whole(qualificationName) : [];
}

/** One line about the exit: 'out 0x3f8 <- 0x41 (8 bits)', 'CPUID leaf 0x0 subleaf 0x0', 'write of gpa 0xfee000b0'. */
export function summary(exit: VmExit): string {
  const r = exitReason(exit.reason);
  return r.summary ? r.summary(exit) : r.name.toLowerCase().replaceAll('_', ' ');
}

/**
 * All architectural fields of an exit, decoded, for the "Last VM exit" scope.
 * @param line one line about it by who knows more than the architecture
 */
export function describeExit(exit: VmExit, line = summary(exit)): Field[] {
  const r = exitReason(exit.reason);
  const event = (name: string, information: number, error: number): Field[] => {
    if (information >>> 31 === 0) return [{ name, value: hex(information, 32), text: 'not valid' }];
    const parts = describeBits(Q.INTERRUPTION_INFORMATION, BigInt(information));
    if (information & 0x800) parts.push({ name: 'Error code', value: hex(error, 32) });
    return [{ name, value: hex(information, 32), text: Q.describeInterruption(information), children: parts }];
  };
  const parts = describeQualification(exit);
  const failed = exit.reason >>> 31 !== 0 ? ', VM-entry failure' : '';
  return [
    { name: 'Exit reason', value: hex(exit.reason, 32), text: r.name + failed },
    { name: 'Summary', value: line },
    {
      name: 'Exit qualification',
      value: hex(exit.qualification, 64),
      ...(parts.length > 0 ? { children: parts } : {}),
    },
    { name: 'Guest RIP', value: hex(exit.rip, 64) },
    { name: 'VM-exit instruction length', value: String(exit.instructionLength) },
    { name: 'VM-exit instruction information', value: hex(exit.instructionInfo, 32) },
    { name: 'Guest-linear address', value: hex(exit.guestLinear, 64) },
    { name: 'Guest-physical address', value: hex(exit.guestPhysical, 64) },
    ...event('VM-exit interruption information', exit.interruptionInfo, exit.interruptionError),
    ...event('IDT-vectoring information', exit.idtVectoringInfo, exit.idtVectoringError),
    { name: 'Instruction count', value: String(exit.icount) },
    { name: 'vCPU', value: String(exit.cpu) },
  ];
}
