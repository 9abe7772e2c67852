/** The local APIC's register table: SDM Vol. 3A, "Local APIC Register Address Map" and "x2APIC Register Address Space". */
import type { Register } from './registers';

export interface ApicRegister extends Register {
  /** Access by MSR in x2APIC mode; absent where that MSR does not exist. */
  x2apic?: 'rw' | 'ro' | 'wo';
}

const banks = (name: string, offset: number): ApicRegister[] =>
  Array.from({ length: 8 }, (_, i) => ({
    offset: offset + 16 * i,
    name: `${name}${i}`,
    access: 'ro',
    width: 32,
    x2apic: 'ro',
  }));

const LVT_BITS = { vector: [7, 0], mode: [10, 8], pending: 12, masked: 16 } as const;
const LINT_BITS = { ...LVT_BITS, 'active low': 13, 'remote IRR': 14, level: 15 } as const;

export const APIC_REGISTERS: readonly ApicRegister[] = [
  { offset: 0x020, name: 'ID', access: 'rw', width: 32, writable: 0xff000000, x2apic: 'ro' },
  { offset: 0x030, name: 'VERSION', access: 'ro', width: 32, x2apic: 'ro' },
  { offset: 0x080, name: 'TPR', access: 'rw', width: 32, writable: 0xff, x2apic: 'rw' },
  { offset: 0x090, name: 'APR', access: 'ro', width: 32 },
  { offset: 0x0a0, name: 'PPR', access: 'ro', width: 32, x2apic: 'ro' },
  { offset: 0x0b0, name: 'EOI', access: 'wo', width: 32, x2apic: 'wo' },
  { offset: 0x0c0, name: 'RRD', access: 'ro', width: 32 },
  { offset: 0x0d0, name: 'LDR', access: 'rw', width: 32, writable: 0xff000000, x2apic: 'ro' },
  { offset: 0x0e0, name: 'DFR', access: 'rw', width: 32, writable: 0xf0000000 },
  {
    offset: 0x0f0,
    name: 'SVR',
    access: 'rw',
    width: 32,
    writable: 0x3ff,
    x2apic: 'rw',
    bits: { vector: [7, 0], enabled: 8, 'focus off': 9 },
  },
  ...banks('ISR', 0x100),
  ...banks('TMR', 0x180),
  ...banks('IRR', 0x200),
  {
    offset: 0x280,
    name: 'ESR',
    access: 'rw',
    width: 32,
    writable: 0,
    x2apic: 'rw',
    bits: { 'send illegal vector': 5, 'receive illegal vector': 6, 'illegal register': 7 },
  },
  {
    offset: 0x300,
    name: 'ICR',
    access: 'rw',
    width: 32,
    writable: 0x000ccfff,
    x2apic: 'rw',
    bits: { vector: [7, 0], mode: [10, 8], logical: 11, assert: 14, level: 15, shorthand: [19, 18] },
  },
  { offset: 0x310, name: 'ICR high', access: 'rw', width: 32, writable: 0xff000000 },
  {
    offset: 0x320,
    name: 'LVT timer',
    access: 'rw',
    width: 32,
    writable: 0x000700ff,
    x2apic: 'rw',
    bits: { vector: [7, 0], pending: 12, masked: 16, 'timer mode': [18, 17] },
  },
  { offset: 0x330, name: 'LVT thermal', access: 'rw', width: 32, writable: 0x000107ff, x2apic: 'rw', bits: LVT_BITS },
  { offset: 0x340, name: 'LVT perf', access: 'rw', width: 32, writable: 0x000107ff, x2apic: 'rw', bits: LVT_BITS },
  { offset: 0x350, name: 'LVT LINT0', access: 'rw', width: 32, writable: 0x0001a7ff, x2apic: 'rw', bits: LINT_BITS },
  { offset: 0x360, name: 'LVT LINT1', access: 'rw', width: 32, writable: 0x0001a7ff, x2apic: 'rw', bits: LINT_BITS },
  { offset: 0x370, name: 'LVT error', access: 'rw', width: 32, writable: 0x000100ff, x2apic: 'rw', bits: LVT_BITS },
  { offset: 0x380, name: 'initial count', access: 'rw', width: 32, x2apic: 'rw' },
  { offset: 0x390, name: 'current count', access: 'ro', width: 32, x2apic: 'ro' },
  { offset: 0x3e0, name: 'divide', access: 'rw', width: 32, writable: 0x0b, x2apic: 'rw' },
  { offset: 0x3f0, name: 'SELF IPI', access: 'wo', width: 32, writable: 0xff, x2apic: 'wo' },
];

/** Offset / 16 -> row. */
export const APIC_REGISTER_AT: readonly (ApicRegister | undefined)[] = Array.from({ length: 64 }, (_, i) =>
  APIC_REGISTERS.find((row) => row.offset === i * 16),
);

/** Registers whose value is made when it is read: ID, version, priorities, and those of the timer; and SELF IPI, which xAPIC mode has not. */
const COMPUTED = [0x020, 0x030, 0x090, 0x0a0, 0x380, 0x390, 0x3e0, 0x3f0];

/** Bit offset / 16: a read gives what the array of registers has there, and does nothing else. */
export const APIC_PLAIN_REGISTERS = APIC_REGISTERS.reduce(
  (bits, { offset }) => (COMPUTED.includes(offset) ? bits : bits | (1n << BigInt(offset / 16))),
  0n,
);
