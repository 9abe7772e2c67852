/**
 * Exit qualifications and interruption information: one bit table each, decoded for the debugger and encoded for the VMM.
 * Source: Intel SDM Vol. 3C, chapter "VM Exits", section "Basic VM-Exit Information" (tables "Exit Qualification for ...")
 * and section "Information for VM Exits Due to Vectored Events".
 */
import { place, type BitRow } from '../bitTable';
import { EXCEPTION_NAMES } from './controls';

const GPR_NAMES = 'RAX RCX RDX RBX RSP RBP RSI RDI R8 R9 R10 R11 R12 R13 R14 R15'.split(' ');
const REGISTERS: BitRow['values'] = Object.fromEntries(GPR_NAMES.map((name, i) => [i, name]));

/** Name of general-purpose register `number` (0 .. 15) as the qualifications number them. */
export function registerName(number: number): string {
  return GPR_NAMES[number & 15];
}

/** Table "Exit Qualification for Debug Exceptions". */
export const DEBUG_QUALIFICATION: readonly BitRow[] = [
  { bit: 0, name: 'B0' },
  { bit: 1, name: 'B1' },
  { bit: 2, name: 'B2' },
  { bit: 3, name: 'B3' },
  { bit: 11, name: 'BLD' },
  { bit: 13, name: 'BD' },
  { bit: 14, name: 'BS' },
  { bit: 16, name: 'RTM' },
];

/** Table "Exit Qualification for Task Switches". */
const TASK = {
  selector: { bit: 0, width: 16, name: 'TSS selector' },
  source: {
    bit: 30,
    width: 2,
    name: 'Source of task switch initiation',
    values: { 0: 'CALL instruction', 1: 'IRET instruction', 2: 'JMP instruction', 3: 'task gate in IDT' },
  },
} as const;
export const TASK_QUALIFICATION: readonly BitRow[] = Object.values(TASK);

/** Table "Exit Qualification for Control-Register Accesses". */
const CR = {
  number: { bit: 0, width: 4, name: 'Control register' },
  access: {
    bit: 4,
    width: 2,
    name: 'Access type',
    values: { 0: 'MOV to CR', 1: 'MOV from CR', 2: 'CLTS', 3: 'LMSW' },
  },
  lmswMemory: { bit: 6, name: 'LMSW operand type', values: { 0: 'register', 1: 'memory' } },
  register: { bit: 8, width: 4, name: 'General-purpose register', values: REGISTERS },
  lmswSource: { bit: 16, width: 16, name: 'LMSW source data' },
} as const;
export const CR_QUALIFICATION: readonly BitRow[] = Object.values(CR);
export const CrAccess = { movTo: 0, movFrom: 1, clts: 2, lmsw: 3 } as const;

/** Table "Exit Qualification for MOV DR". */
const DR = {
  number: { bit: 0, width: 3, name: 'Debug register' },
  from: { bit: 4, name: 'Direction of access', values: { 0: 'MOV to DR', 1: 'MOV from DR' } },
  register: { bit: 8, width: 4, name: 'General-purpose register', values: REGISTERS },
} as const;
export const DR_QUALIFICATION: readonly BitRow[] = Object.values(DR);

/** Table "Exit Qualification for I/O Instructions". */
const IO = {
  size: { bit: 0, width: 3, name: 'Size of access', values: { 0: '1 byte', 1: '2 bytes', 3: '4 bytes' } },
  in: { bit: 3, name: 'Direction', values: { 0: 'OUT', 1: 'IN' } },
  string: { bit: 4, name: 'String instruction', values: { 0: 'not string', 1: 'string' } },
  rep: { bit: 5, name: 'REP prefixed', values: { 0: 'not REP', 1: 'REP' } },
  immediate: { bit: 6, name: 'Operand encoding', values: { 0: 'DX', 1: 'immediate' } },
  port: { bit: 16, width: 16, name: 'Port number' },
} as const;
export const IO_QUALIFICATION: readonly BitRow[] = Object.values(IO);

/** Table "Exit Qualification for APIC-Access VM Exits from Linear Accesses and Guest-Physical Accesses". */
const APIC = {
  offset: { bit: 0, width: 12, name: 'Offset of access within the APIC page' },
  access: {
    bit: 12,
    width: 4,
    name: 'Access type',
    values: {
      0: 'linear access for a data read during instruction execution',
      1: 'linear access for a data write during instruction execution',
      2: 'linear access for an instruction fetch',
      3: 'linear access during event delivery',
      4: 'linear access for monitoring',
      10: 'guest-physical access during event delivery',
      11: 'guest-physical access for monitoring or trace',
      15: 'guest-physical access for an instruction fetch or during instruction execution',
    },
  },
  asynchronous: { bit: 16, name: 'Asynchronous to instruction execution' },
} as const;
export const APIC_ACCESS_QUALIFICATION: readonly BitRow[] = Object.values(APIC);

/** Table "Exit Qualification for EPT Violations". */
const EPT = {
  read: { bit: 0, name: 'Data read' },
  write: { bit: 1, name: 'Data write' },
  fetch: { bit: 2, name: 'Instruction fetch' },
  readable: { bit: 3, name: 'Guest-physical address was readable' },
  writable: { bit: 4, name: 'Guest-physical address was writable' },
  executable: { bit: 5, name: 'Guest-physical address was executable' },
  userExecutable: { bit: 6, name: 'Executable for user-mode linear addresses' },
  linearValid: { bit: 7, name: 'Guest linear-address field is valid' },
  final: {
    bit: 8,
    name: 'Access is to the translation of the linear address',
    values: { 0: 'paging-structure entry', 1: 'translation of the linear address' },
  },
  user: { bit: 9, name: 'User-mode linear address' },
  readWritePage: { bit: 10, name: 'Linear address is read/write' },
  executeDisablePage: { bit: 11, name: 'Linear address is execute-disable' },
  nmiUnblocking: { bit: 12, name: 'NMI unblocking due to IRET' },
  shadowStack: { bit: 13, name: 'Shadow-stack access' },
  supervisorShadowStack: { bit: 14, name: 'Supervisor shadow-stack control' },
  guestPagingVerification: { bit: 15, name: 'Guest-paging verification' },
  asynchronous: { bit: 16, name: 'Asynchronous to instruction execution' },
} as const;
export const EPT_VIOLATION_QUALIFICATION: readonly BitRow[] = Object.values(EPT);

/** Tables "VM-Exit Interruption Information" and "IDT-Vectoring Information". */
const EVENT = {
  vector: { bit: 0, width: 8, name: 'Vector' },
  type: {
    bit: 8,
    width: 3,
    name: 'Interruption type',
    values: {
      0: 'external interrupt',
      2: 'non-maskable interrupt (NMI)',
      3: 'hardware exception',
      4: 'software interrupt',
      5: 'privileged software exception',
      6: 'software exception',
      7: 'other event',
    },
  },
  errorValid: { bit: 11, name: 'Error code valid' },
  nmiUnblocking: { bit: 12, name: 'NMI unblocking due to IRET' },
  valid: { bit: 31, name: 'Valid' },
} as const;
export const INTERRUPTION_INFORMATION: readonly BitRow[] = Object.values(EVENT);
export const InterruptionType = {
  externalInterrupt: 0,
  nmi: 2,
  hardwareException: 3,
  softwareInterrupt: 4,
  privilegedSoftwareException: 5,
  softwareException: 6,
  other: 7,
} as const;

/** `size` in bytes: 1, 2 or 4. All encoders give unsigned 32-bit numbers and throw RangeError when a part does not fit. */
export function encodeIoQualification(io: {
  port: number;
  size: number;
  in: boolean;
  string?: boolean;
  rep?: boolean;
  immediate?: boolean;
}): number {
  return (
    place(IO.size, io.size - 1) +
    place(IO.in, io.in) +
    place(IO.string, io.string ?? false) +
    place(IO.rep, io.rep ?? false) +
    place(IO.immediate, io.immediate ?? false) +
    place(IO.port, io.port)
  );
}

/** `access`: CrAccess. `register` for MOV; `lmswSource` and `lmswMemory` for LMSW. CLTS is about CR0. */
export function encodeCrQualification(cr: {
  number: number;
  access: number;
  register?: number;
  lmswSource?: number;
  lmswMemory?: boolean;
}): number {
  return (
    place(CR.number, cr.number) +
    place(CR.access, cr.access) +
    place(CR.lmswMemory, cr.lmswMemory ?? false) +
    place(CR.register, cr.register ?? 0) +
    place(CR.lmswSource, cr.lmswSource ?? 0)
  );
}

export function encodeDrQualification(dr: { number: number; from: boolean; register: number }): number {
  return place(DR.number, dr.number) + place(DR.from, dr.from) + place(DR.register, dr.register);
}

/** `source`: 0 CALL, 1 IRET, 2 JMP, 3 task gate in the IDT. */
export function encodeTaskSwitchQualification(task: { selector: number; source: number }): number {
  return place(TASK.selector, task.selector) + place(TASK.source, task.source);
}

/** `access`: the table's type, 0 data read, 1 data write, 2 instruction fetch, 3 event delivery ... */
export function encodeApicAccessQualification(apic: { offset: number; access: number }): number {
  return place(APIC.offset, apic.offset) + place(APIC.access, apic.access);
}

/**
 * `access`: read 1, write 2, fetch 4; `permissions`: what the EPT entries together allow, same bits. `linear`: undefined when
 * the guest-linear address is not valid, else whether the access was to the page itself or to a paging-structure entry.
 * Takes two numbers so that the MMU can call it without allocating.
 */
export function encodeEptViolationQualification(
  access: number,
  permissions: number,
  linear?: 'page' | 'paging structure',
): number {
  const part = linear === undefined ? 0 : place(EPT.linearValid, 1) + (linear === 'page' ? place(EPT.final, 1) : 0);
  return (access & 7) + (permissions & 7) * 2 ** EPT.readable.bit + part;
}

/** `type`: InterruptionType. `error`: an error code was pushed (or would be). For exit, entry and IDT-vectoring information. */
export function encodeInterruptionInformation(
  vector: number,
  type: number,
  error = false,
  nmiUnblocking = false,
): number {
  return (
    place(EVENT.vector, vector) +
    place(EVENT.type, type) +
    place(EVENT.errorValid, error) +
    place(EVENT.nmiUnblocking, nmiUnblocking) +
    place(EVENT.valid, 1)
  );
}

/** 'hardware exception #PF', 'external interrupt 0x20'; '' when the valid bit is clear. */
export function describeInterruption(information: number): string {
  if (information >>> 31 === 0) return '';
  const vector = information & 0xff;
  const type = (information >>> EVENT.type.bit) & 7;
  const kind = (EVENT.type.values as { [type: number]: string })[type] ?? `type ${type}`;
  const exception = type === 3 || type === 5 || type === 6;
  if (type === InterruptionType.nmi) return kind;
  return `${kind} ${(exception && EXCEPTION_NAMES[vector]) || `0x${vector.toString(16)}`}`;
}
