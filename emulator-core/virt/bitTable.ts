/** Bit fields as table rows: one table names the bits of a register, a control or a qualification; decoding and encoding follow. */
import { hex, type Field } from '../fields';

export interface BitRow {
  /** The manual's name of the bit or field. */
  readonly name: string;
  /** Lowest bit. */
  readonly bit: number;
  /** Bits; 1 when absent. */
  readonly width?: number;
  /** Meaning by value. */
  readonly values?: { readonly [value: number]: string };
}

/** The row's value inside `value`. */
export function extract(row: BitRow, value: bigint): bigint {
  return BigInt.asUintN(row.width ?? 1, value >> BigInt(row.bit));
}

/** Every row of `rows` with its value and meaning. Wider fields print as hex of their own width, bits as 0 or 1. */
export function describeBits(rows: readonly BitRow[], value: bigint): Field[] {
  return rows.map((row) => {
    const part = extract(row, value);
    const width = row.width ?? 1;
    const text = row.values?.[Number(part)];
    return {
      name: width === 1 ? `${row.name} (bit ${row.bit})` : `${row.name} (bits ${row.bit + width - 1}:${row.bit})`,
      value: width === 1 ? String(part) : hex(part, width),
      ...(text === undefined ? {} : { text }),
    };
  });
}

/** Names of the single bits that are set, in table order, and `name=value` of the non-zero wider fields. */
export function setBits(rows: readonly BitRow[], value: bigint): string[] {
  const names: string[] = [];
  for (const row of rows) {
    const part = extract(row, value);
    if (part === 0n) continue;
    if ((row.width ?? 1) === 1) names.push(row.name);
    else names.push(`${row.name}=${row.values?.[Number(part)] ?? part}`);
  }
  return names;
}

/** `part` placed at the row's bits, as a number: for fields below bit 32. Error when it does not fit. */
export function place(row: BitRow, part: number | boolean): number {
  const value = Number(part);
  if (!Number.isInteger(value) || value < 0 || value >= 2 ** (row.width ?? 1)) {
    throw new RangeError(`${row.name}: ${value} does not fit in ${row.width ?? 1} bits`);
  }
  return value * 2 ** row.bit;
}
