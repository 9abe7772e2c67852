/**
 * The guest-physical memory map, in the form of BIOS call E820: RAM, the extended BIOS data area, the adapter and ROM
 * window, and the ACPI area at the top of RAM. Source: ACPI specification, "System Address Map Interfaces".
 */
import { PCI_ECAM_BASE, PCI_ECAM_SIZE } from '../devices/pciEcam';
import { BootError } from './bootError';

export const E820_RAM = 1;
export const E820_RESERVED = 2;
export const E820_ACPI = 3;
export const E820_NVS = 4;

export interface MemoryRange {
  base: number;
  length: number;
  /** E820 type: 1 RAM, 2 reserved, 3 ACPI reclaimable, 4 ACPI non-volatile. */
  type: number;
}

/** Extended BIOS data area: the last KiB below 640 KiB. */
export const EBDA = 0x9fc00;
/** Video memory, option ROMs and the BIOS: not RAM for the guest. */
export const ROM_WINDOW = { start: 0xa0000, end: 0x100000 };
/** 64 KiB at the top of RAM: ACPI tables, and in the last 4 KiB the firmware ACPI control structure (FACS). */
export const ACPI_AREA = 0x10000;
export const ACPI_NVS = 0x1000;

export const MIN_MEMORY = 0x200000;
/** RAM ends here at most: above lie PCI, the IOAPIC and the local APICs. */
export const MAX_MEMORY = 0xc0000000;

/** Where ordinary RAM ends: at the ACPI area, or at the memory reserved below it, from a whole MiB on. */
export function ramEndOf(size: number, reserved = 0): number {
  const acpi = size - ACPI_AREA;
  return reserved === 0 ? acpi : Math.floor((acpi - reserved) / 0x100000) * 0x100000;
}

const mib = (bytes: number): string => `${bytes / 0x100000} MiB`;

/**
 * The map of a machine with `size` bytes of RAM, of which `reserved` bytes below the ACPI area are not the guest's to use.
 * @throws BootError when size is below 2 MiB, above 3 GiB (RAM above 4 GiB is not supported) or not a multiple of 4 KiB
 */
export function memoryMap(size: number, reserved = 0): MemoryRange[] {
  if (size < MIN_MEMORY || size > MAX_MEMORY) {
    throw new BootError(`memory: ${mib(size)}, expected ${mib(MIN_MEMORY)} to ${mib(MAX_MEMORY)}`);
  }
  if (size % 0x1000) throw new BootError(`memory: ${size} bytes, expected a multiple of 4096`);
  const acpi = size - ACPI_AREA;
  const ramEnd = ramEndOf(size, reserved);
  if (reserved > 0 && ramEnd < ROM_WINDOW.end + 0x100000) {
    throw new BootError(`memory: ${mib(size)} are too little with ${mib(reserved)} for the display`);
  }
  return [
    { base: 0, length: EBDA, type: E820_RAM },
    { base: EBDA, length: ROM_WINDOW.start - EBDA, type: E820_RESERVED },
    { base: ROM_WINDOW.start, length: ROM_WINDOW.end - ROM_WINDOW.start, type: E820_RESERVED },
    { base: ROM_WINDOW.end, length: ramEnd - ROM_WINDOW.end, type: E820_RAM },
    ...(ramEnd < acpi ? [{ base: ramEnd, length: acpi - ramEnd, type: E820_RESERVED }] : []),
    { base: acpi, length: ACPI_AREA - ACPI_NVS, type: E820_ACPI },
    { base: size - ACPI_NVS, length: ACPI_NVS, type: E820_NVS },
    { base: PCI_ECAM_BASE, length: PCI_ECAM_SIZE, type: E820_RESERVED },
    { base: 0xfec00000, length: 0x1000, type: E820_RESERVED },
    { base: 0xfee00000, length: 0x1000, type: E820_RESERVED },
  ];
}
