/** The shape of a row in the debugger's register table. */
import type { Vcpu } from './vcpu';

export type RegisterGroup = 'Registers' | 'Segments' | 'Control' | 'MSRs' | 'FPU & SIMD';

export interface RegisterRow {
  name: string;
  group: RegisterGroup;
  /** Bits. */
  width: number;
  writable: boolean;
  read(cpu: Vcpu): bigint;
  /** Throws Error with a message for people when the value is not allowed. */
  write?(cpu: Vcpu, value: bigint): void;
  describe?(value: bigint): string;
  /** The value that text means which is no whole number ('1.5', 'inf'); undefined: none. */
  parse?(text: string): bigint | undefined;
}

/** Names of the masks whose bits are all set, in the table's order. */
export function bitNames(value: bigint, names: Record<string, number>): string {
  const low = Number(value & 0xffffffffn) | 0;
  return Object.entries(names)
    .filter(([, mask]) => (low & mask) === mask)
    .map(([name]) => name)
    .join(' ');
}
