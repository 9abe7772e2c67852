/**
 * Register tables. A device lists its registers once, one row each; names, access rules and the decoded description for
 * the debugger all come from the rows.
 */
import { hex, type Field } from '../fields';

/** A bit number, or the highest and lowest bit of a multi-bit field. */
export type BitRange = number | readonly [high: number, low: number];

export interface Register {
  /** Offset from the device's base, or the index behind an index/data port pair. */
  offset: number;
  /** The manual's name or abbreviation. */
  name: string;
  access: 'rw' | 'ro' | 'wo';
  /** Width in bits; 8 unless told. */
  width?: 8 | 16 | 32;
  /** Bits that a write can change; all unless told. */
  writable?: number;
  bits?: Record<string, BitRange>;
}

/** The value of a bit field in a register. */
export function bitField(value: number, range: BitRange): number {
  if (typeof range === 'number') return (value >>> range) & 1;
  const [high, low] = range;
  return Math.floor((value >>> 0) / 2 ** low) % 2 ** (high - low + 1);
}

/** One register's value as a field; its children are the bits that are set and the multi-bit fields. */
export function describeRegister(row: Register, value: number): Field {
  const field: Field = { name: row.name, value: hex(value >>> 0, row.width ?? 8) };
  if (row.bits) {
    const entries = Object.entries(row.bits);
    const set = entries.filter(([, range]) => typeof range === 'number' && bitField(value, range));
    if (set.length > 0) field.text = set.map(([name]) => name).join(' ');
    field.children = entries.map(([name, range]) => {
      const bits = typeof range === 'number' ? 1 : range[0] - range[1] + 1;
      return { name, value: hex(bitField(value, range), bits) };
    });
  }
  return field;
}

/** Every row for which `read` gives a value, decoded. `read` must have no side effects. */
export function describeRegisters(rows: readonly Register[], read: (row: Register) => number | undefined): Field[] {
  const fields: Field[] = [];
  for (const row of rows) {
    const value = read(row);
    if (value !== undefined) fields.push(describeRegister(row, value));
  }
  return fields;
}
