/**
 * DWARF register numbers. System V ABI, AMD64 Architecture Processor Supplement, "DWARF Definition"; Intel386
 * Architecture Processor Supplement, "DWARF Register Number Mapping". Names are those of Target's registers.
 */
const X86_64 = [
  ...['rax', 'rdx', 'rcx', 'rbx', 'rsi', 'rdi', 'rbp', 'rsp'],
  ...['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip'],
  ...Array.from({ length: 16 }, (_, i) => `xmm${i}`), // 17..32
  ...Array.from({ length: 8 }, (_, i) => `st${i}`), // 33..40
  ...Array.from({ length: 8 }, (_, i) => `mm${i}`), // 41..48
  ...['rflags', 'es', 'cs', 'ss', 'ds', 'fs', 'gs', '', '', 'fs.base', 'gs.base', '', '', 'tr', 'ldtr', 'mxcsr'], // 49..64
  ...['fcw', 'fsw'], // 65, 66
];

const I386 = [
  ...['eax', 'ecx', 'edx', 'ebx', 'esp', 'ebp', 'esi', 'edi', 'eip', 'eflags', ''],
  ...Array.from({ length: 8 }, (_, i) => `st${i}`), // 11..18
  ...['', ''],
  ...Array.from({ length: 8 }, (_, i) => `xmm${i}`), // 21..28
  ...Array.from({ length: 8 }, (_, i) => `mm${i}`), // 29..36
  ...['fcw', 'fsw', 'mxcsr', 'es', 'cs', 'ss', 'ds', 'fs', 'gs'], // 37..45
];

/** What stack unwinding needs to know of an architecture. */
export interface RegisterModel {
  addressSize: 4 | 8;
  names: readonly string[];
  stackPointer: number;
  framePointer: number;
  /** Also the return address column of the compilers' frame information. */
  instructionPointer: number;
  /** Registers that a function preserves unless its frame information says otherwise. */
  calleeSaved: readonly number[];
}

export const x86_64: RegisterModel = {
  addressSize: 8,
  names: X86_64,
  stackPointer: 7,
  framePointer: 6,
  instructionPointer: 16,
  calleeSaved: [3, 6, 12, 13, 14, 15],
};

export const i386: RegisterModel = {
  addressSize: 4,
  names: I386,
  stackPointer: 4,
  framePointer: 5,
  instructionPointer: 8,
  calleeSaved: [3, 5, 6, 7],
};

/** Name of a DWARF register, undefined for numbers that have none. */
export function registerName(model: RegisterModel, dwarfNumber: number): string | undefined {
  return model.names[dwarfNumber] || undefined;
}
