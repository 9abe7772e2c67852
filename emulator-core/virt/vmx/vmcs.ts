/**
 * A virtual-machine control structure: the values of all fields, and the same decoded for the debugger.
 * Source: Intel SDM Vol. 3C, chapter "Virtual Machine Control Structures".
 */
import { hex, type Field as DecodedField } from '../../fields';
import { VMCS_FIELDS, type VmcsField, type VmcsGroup } from './vmcsFields';

export { Field } from './vmcsFields';

/** Position of a field in VMCS_FIELDS by encoding, -1 where there is none. Bit 0 (high half of 64 bits) is left out. */
const POSITION = new Int16Array(0x8000).fill(-1);
VMCS_FIELDS.forEach((field, position) => (POSITION[field.encoding] = position));

/** The groups in the order of the debugger's tree. */
export const VMCS_GROUPS: readonly VmcsGroup[] = ['Guest state', 'Host state', 'Control', 'Exit information'];

/** Row of the field that `encoding` (also of a high half) names, or undefined: VM-instruction error 12. */
export function vmcsField(encoding: number): VmcsField | undefined {
  if (!(encoding >= 0 && encoding < 0x8000)) return undefined;
  const field = VMCS_FIELDS[POSITION[encoding & ~1]];
  // Only the fields of the 64-bit width type have a high half.
  return field && (encoding & 1) !== 0 && ((encoding >> 13) & 3) !== 1 ? undefined : field;
}

export class Vmcs {
  private readonly values = new BigUint64Array(VMCS_FIELDS.length);

  /** The field's value, zero-extended; with bit 0 of the encoding set, bits 63:32 of a 64-bit field. RangeError for no field. */
  read(encoding: number): bigint {
    const value = this.values[this.position(encoding)];
    return (encoding & 1) !== 0 ? value >> 32n : value;
  }

  /** As read(), for fields below 2^53: no bigint to handle. */
  readNumber(encoding: number): number {
    return Number(this.read(encoding));
  }

  /** Stores `value`, cut to the field's width; a high access changes bits 63:32 alone. RangeError for no field. */
  write(encoding: number, value: bigint | number): void {
    const position = this.position(encoding);
    const wide = BigInt(value);
    if ((encoding & 1) !== 0) {
      this.values[position] = (this.values[position] & 0xffffffffn) | (BigInt.asUintN(32, wide) << 32n);
    } else {
      this.values[position] = BigInt.asUintN(VMCS_FIELDS[position].width, wide);
    }
  }

  /** All fields in the groups 'Guest state', 'Host state', 'Control' and 'Exit information', decoded. */
  describe(): DecodedField[] {
    return VMCS_GROUPS.map((group) => ({
      name: group,
      value: '',
      children: VMCS_FIELDS.flatMap((field, position) => {
        if (field.group !== group) return [];
        const value = this.values[position];
        const text = field.describe?.(value);
        return [{ name: field.name, value: hex(value, field.width), ...(text ? { text } : {}) }];
      }),
    }));
  }

  /** All values as plain data. */
  save(): BigUint64Array {
    return this.values.slice();
  }

  /** Takes over what save() gave. RangeError when it is of another size. */
  restore(values: BigUint64Array): void {
    if (values.length !== this.values.length) {
      throw new RangeError(`VMCS: ${values.length} saved fields, expected ${this.values.length}`);
    }
    this.values.set(values);
  }

  private position(encoding: number): number {
    if (!vmcsField(encoding)) throw new RangeError(`VMCS: no field has encoding 0x${encoding.toString(16)}`);
    return POSITION[encoding & ~1];
  }
}
