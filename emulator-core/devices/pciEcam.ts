/**
 * Configuration space as memory: the enhanced configuration access mechanism. PCI Express Base Specification, "PCI Express
 * Enhanced Configuration Access Mechanism (ECAM)"; PCI Firmware Specification, "MCFG Table". One megabyte, for bus 0 alone.
 */
import { allOnes } from './bus';
import type { MmioHandler } from './device';
import type { Pci } from './pci';

/** Above all RAM, inside of the PCI window, away from where firmware puts BARs. The MCFG table and the memory map name it. */
export const PCI_ECAM_BASE = 0xe8000000;
export const PCI_ECAM_SIZE = 0x100000;
export const PCI_ECAM_BUSES = { first: 0, last: 0 } as const;

export class PciEcam implements MmioHandler {
  constructor(private readonly pci: Pci) {}

  /** The functions are conventional ones, with 256 bytes each: the extended space reads all ones. */
  readMmio(gpa: number, size: number): number {
    const offset = gpa & 0xfff;
    return offset + size <= 0x100 ? this.pci.readConfig(place(gpa), offset, size) : allOnes(size);
  }

  writeMmio(gpa: number, value: number, size: number): void {
    const offset = gpa & 0xfff;
    if (offset + size <= 0x100) this.pci.writeConfig(place(gpa), offset, value, size);
  }
}

/** Device << 3 | function. */
function place(gpa: number): number {
  return (gpa >>> 12) & 0xff;
}
