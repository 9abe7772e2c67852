/** Structures that a hypervisor and its guest share in guest memory: one table a structure, from which it is written and shown. */
import type { GuestMemory } from '../devices/guestMemory';
import { hex, type Field } from '../fields';

export interface StructField {
  readonly name: string;
  /** Bytes. */
  readonly offset: number;
  readonly size: 1 | 2 | 4 | 8;
  readonly signed?: boolean;
  /** What a value means; `get` gives the structure's other fields. */
  readonly text?: (value: bigint, get: (name: string) => bigint) => string;
}

export interface Struct {
  /** As in the header that defines it. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  readonly fields: readonly StructField[];
}

/** A structure at a place in guest memory. */
export class SharedStruct {
  private constructor(
    private readonly memory: GuestMemory,
    private readonly struct: Struct,
    readonly gpa: number,
  ) {}

  /** The structure at guest-physical `gpa`; undefined where RAM does not hold all of it. */
  static at(memory: GuestMemory, struct: Struct, gpa: bigint): SharedStruct | undefined {
    if (gpa + BigInt(struct.size) > BigInt(memory.size)) return undefined;
    return new SharedStruct(memory, struct, Number(gpa));
  }

  get(name: string): bigint {
    return this.value(this.field(name));
  }

  /** Writes fields in the order given. Values are taken modulo their size. */
  set(values: Readonly<Record<string, bigint | number>>): void {
    for (const [name, value] of Object.entries(values)) {
      const { offset, size } = this.field(name);
      let rest = BigInt.asUintN(size * 8, BigInt(value));
      const bytes = new Uint8Array(size);
      for (let i = 0; i < size; i++, rest >>= 8n) bytes[i] = Number(rest & 0xffn);
      this.memory.write(this.gpa + offset, bytes);
    }
  }

  describe(): Field[] {
    return this.struct.fields.map((field) => {
      const value = this.value(field);
      const text = field.text?.(value, (name) => this.get(name));
      return { name: field.name, value: hex(value, field.size * 8), ...(text ? { text } : {}) };
    });
  }

  private field(name: string): StructField {
    const field = this.struct.fields.find((each) => each.name === name);
    if (!field) throw new Error(`${this.struct.name} has no field '${name}'`);
    return field;
  }

  private value({ offset, size, signed }: StructField): bigint {
    const bytes = this.memory.read(this.gpa + offset, size);
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]);
    return signed ? BigInt.asIntN(size * 8, value) : value;
  }
}

/**
 * Begins an update under a sequence counter: readers that see an odd version try again.
 * @returns what ends it
 */
export function beginUpdate(area: SharedStruct, name = 'version'): () => void {
  // A guest may have left an odd number there.
  const odd = (area.get(name) + 1n) | 1n;
  area.set({ [name]: odd });
  return () => area.set({ [name]: odd + 1n });
}
