/**
 * A capability in a PCI function's configuration space: PCI Local Bus Specification 3.0, "Capabilities List". The bytes live in
 * the function's configuration space, which the PCI bus saves and restores.
 */
import { hex, type Field } from '../fields';
import { readLittleEndian } from './littleEndian';

/** Capability IDs: PCI Local Bus Specification 3.0, appendix "Capability IDs". */
export const PciCapabilityId = { msi: 0x05, vendor: 0x09, msix: 0x11 } as const;

export interface PciCapabilityOptions {
  id: number;
  /** For people: 'MSI-X'. */
  name: string;
  /** What follows the ID and the pointer to the next one. */
  data: ArrayLike<number>;
  /** Bits of `data` that the guest can write; none unless told. */
  writable?: ArrayLike<number>;
  /** Before the guest reads a byte: `offset` from the capability's beginning. */
  reading?(offset: number): void;
  /** After the guest has written a byte. */
  written?(offset: number): void;
  /** Beyond the raw bytes. */
  describe?(): Field[];
}

export class PciCapability {
  /** From the ID on; part of the configuration space once a function has the capability. */
  bytes: Uint8Array;

  constructor(readonly options: PciCapabilityOptions) {
    this.bytes = new Uint8Array(this.length);
  }

  get length(): number {
    return 2 + this.options.data.length;
  }

  /** A little-endian value of `size` bytes at `offset`. */
  get(offset: number, size: 1 | 2 | 4): number {
    return readLittleEndian(this.bytes, offset, size);
  }

  describe(): Field {
    const { name, id, describe } = this.options;
    const value = Array.from(this.bytes.subarray(2), (byte) => hex(byte, 8).slice(2)).join(' ');
    return { name, value, text: `capability ${hex(id, 8)}`, ...(describe ? { children: describe() } : {}) };
  }
}
