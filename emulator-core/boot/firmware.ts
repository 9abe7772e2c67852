/** What firmware leaves in memory before any guest starts: vectors, BIOS data, ROM, ACPI tables, MP table, SMBIOS. */
import { acpiTables, RSDP_ADDRESS } from './acpi';
import { BIOS_BASE, biosDataArea, biosRom, interruptVectors } from './biosRom';
import type { BootRequest } from './boot';
import { ACPI_NVS, EBDA } from './memoryMap';
import { MP_POINTER_ADDRESS, mpTable } from './mpTable';
import type { Placement } from './placement';
import { SMBIOS_ADDRESS, smbiosTables } from './smbios';

export interface Firmware {
  /** The RSDP, for protocols that hand over a copy. */
  rsdp: Uint8Array;
}

/** Writes the firmware's memory and lists it as loaded. `disks`: number of hard disks the BIOS offers. */
export function writeFirmware(request: BootRequest, placement: Placement, disks: number): Firmware {
  const { memory, cpus, virtioMmio = 0 } = request;
  if (!Number.isInteger(cpus) || cpus < 1 || cpus > 255) throw placement.error(`cpus: ${cpus}, expected 1 to 255`);
  const tablesAddress = placement.acpiArea;
  const facsAddress = memory.length - ACPI_NVS;
  const acpi = acpiTables(cpus, virtioMmio, tablesAddress, facsAddress);
  const mp = mpTable(cpus);
  const rom = biosRom();
  const put = (what: string, gpa: number, data: Uint8Array): void => {
    memory.set(data, gpa);
    placement.loaded.push({ what, gpa, length: data.length });
  };
  put('interrupt vectors', 0, interruptVectors());
  put('BIOS data area', 0x400, biosDataArea(disks));
  put('extended BIOS data area', EBDA, Uint8Array.of(1)); // its size in KiB
  put('BIOS', BIOS_BASE, rom);
  put('ACPI RSDP', RSDP_ADDRESS, acpi.rsdp);
  put('MP table', MP_POINTER_ADDRESS, mp);
  put('SMBIOS', SMBIOS_ADDRESS, smbiosTables(cpus, memory.length));
  put('ACPI tables', tablesAddress, acpi.tables);
  put('ACPI FACS', facsAddress, acpi.facs);
  return { rsdp: acpi.rsdp };
}
