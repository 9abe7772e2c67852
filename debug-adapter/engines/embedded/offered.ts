/** Exits and exceptions that the embedded VMM can stop at, with what they are called. */
import { EXCEPTION_NAMES } from '../../../emulator-core/virt/vmx/controls';
import { EXIT_REASONS } from '../../../emulator-core/virt/vmx/exitReasons';
import type { NamedFilter } from '../../engine';

/** Exits that this VMM can take; what the exception filters offer. */
const OFFERED = [
  'EXCEPTION_OR_NMI',
  'EXTERNAL_INTERRUPT',
  'TRIPLE_FAULT',
  'INTERRUPT_WINDOW',
  'CPUID',
  'HLT',
  'INVD',
  'INVLPG',
  'RDPMC',
  'RDTSC',
  'VMCALL',
  'CR_ACCESS',
  'MOV_DR',
  'IO_INSTRUCTION',
  'MSR_READ',
  'MSR_WRITE',
  'PAUSE',
  'EPT_VIOLATION',
  'EPT_MISCONFIG',
  'RDTSCP',
  'WBINVD',
];

/** The exits by name, in the manual's order. */
export function exitNames(): NamedFilter[] {
  return EXIT_REASONS.filter((row) => OFFERED.includes(row.name)).map(({ name, description }) => ({
    name,
    description,
  }));
}

const EXCEPTION_TITLES: Record<string, string> = {
  '#DE': 'Divide Error',
  '#DB': 'Debug Exception',
  '#BP': 'Breakpoint',
  '#OF': 'Overflow',
  '#BR': 'BOUND Range Exceeded',
  '#UD': 'Invalid Opcode',
  '#NM': 'Device Not Available',
  '#DF': 'Double Fault',
  '#TS': 'Invalid TSS',
  '#NP': 'Segment Not Present',
  '#SS': 'Stack-Segment Fault',
  '#GP': 'General Protection',
  '#PF': 'Page Fault',
  '#MF': 'x87 FPU Floating-Point Error',
  '#AC': 'Alignment Check',
  '#XM': 'SIMD Floating-Point Exception',
};

/** The exceptions by name, by vector. */
export function exceptionNames(): NamedFilter[] {
  return Object.values(EXCEPTION_NAMES)
    .filter((name) => EXCEPTION_TITLES[name])
    .map((name) => ({ name, description: EXCEPTION_TITLES[name] }));
}
