/**
 * ACPI tables that describe the platform: RSDP, RSDT, XSDT, FADT, FACS, MADT, HPET, MCFG, DSDT.
 * Source: ACPI Specification 6.5, chapter 5 "ACPI Software Programming Model" (section of each table named below).
 */
import {
  ACPI_PM1A_CONTROL as PM1A_CONTROL,
  ACPI_PM1A_EVENT as PM1A_EVENT,
  ACPI_PM_TIMER as PM_TIMER,
  ACPI_SCI_IRQ as SCI_IRQ,
} from '../devices/acpiPm';
import { HPET_BASE, HPET_CAPABILITIES } from '../devices/hpet';
import { IO_APIC_BASE } from '../devices/ioApic';
import { PIRQ_IRQS } from '../devices/pci';
import { PCI_ECAM_BASE, PCI_ECAM_BUSES } from '../devices/pciEcam';
import { dsdtBody } from './dsdt';
import { Writer } from '../writer';

/** FADT's reset register: PIIX3's, in systemControl.ts. */
const RESET_PORT = 0xcf9;
const RESET_VALUE = 6;

export const LOCAL_APIC_BASE = 0xfee00000;
/** Where the RSDP lies, in the BIOS area that operating systems search. */
export const RSDP_ADDRESS = 0xf5a00;

const OEM_ID = 'RINGSD';
const OEM_TABLE_ID = 'RINGSIDE';

/** A table with the header all of them but RSDP and FACS share ("System Description Table Header"), checksummed. */
function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  return new Writer()
    .text(signature, 4)
    .u32(36 + body.length)
    .u8(revision)
    .u8(0)
    .text(OEM_ID, 6, 0x20)
    .text(OEM_TABLE_ID, 8, 0x20)
    .u32(1)
    .text('RNGS', 4)
    .u32(1)
    .bytes(body)
    .checksum(9)
    .done();
}

/** "Multiple APIC Description Table (MADT)": processors, the IOAPIC, and how ISA interrupts reach it. */
function madt(cpus: number): Uint8Array {
  const PCAT_COMPAT = 1;
  const body = new Writer().u32(LOCAL_APIC_BASE).u32(PCAT_COMPAT);
  for (let id = 0; id < cpus; id++) body.u8(0).u8(8).u8(id).u8(id).u32(1);
  body.u8(1).u8(12).u8(0).u8(0).u32(IO_APIC_BASE).u32(0);
  // Interrupt source overrides: bus 0 (ISA), source IRQ, global system interrupt, flags.
  body.u8(2).u8(10).u8(0).u8(0).u32(2).u16(0);
  const ACTIVE_HIGH_LEVEL = 0xd;
  for (const irq of [SCI_IRQ, ...new Set(PIRQ_IRQS)]) body.u8(2).u8(10).u8(0).u8(irq).u32(irq).u16(ACTIVE_HIGH_LEVEL);
  // Local APIC NMI: LINT1 of every processor.
  body.u8(4).u8(6).u8(0xff).u16(0).u8(1);
  return table('APIC', 3, body.done());
}

/** "Generic Address Structure": a register in memory (space 0) or I/O space (1); `access`: 0 any, 1 bytes, 2 words, 3 dwords. */
function address(w: Writer, space: 0 | 1, at: number, bits: number, access: number): Writer {
  return w.u8(space).u8(bits).u8(0).u8(access).u64(at);
}

/** "Fixed ACPI Description Table (FADT)", revision 4. */
function fadt(facs: number, dsdt: number): Uint8Array {
  const WBINVD = 1 << 0;
  const PROC_C1 = 1 << 2;
  const NO_SLEEP_BUTTON = 1 << 5;
  const NO_FIXED_RTC = 1 << 6;
  const RESET_REG_SUP = 1 << 10;
  const LEGACY_DEVICES = 1;
  const HAS_8042 = 2;
  const body = new Writer();
  const port = (at: number, bits: number, access: number): Writer => address(body, 1, at, bits, access);
  const none = (): Writer => address(body, 0, 0, 0, 0);
  body.u32(facs).u32(dsdt).u8(0).u8(0); // INT_MODEL, Preferred_PM_Profile: unspecified
  body.u16(SCI_IRQ).u32(0).u8(0).u8(0).u8(0).u8(0); // SMI_CMD 0: always in ACPI mode
  body.u32(PM1A_EVENT).u32(0).u32(PM1A_CONTROL).u32(0).u32(0).u32(PM_TIMER).u32(0).u32(0);
  body.u8(4).u8(2).u8(0).u8(4).u8(0).u8(0).u8(0).u8(0); // lengths of the register blocks
  body.u16(0xffff).u16(0xffff); // no C2, no C3
  body.u16(0).u16(0).u8(0).u8(0).u8(0).u8(0).u8(0x32); // CENTURY: CMOS index
  body.u16(LEGACY_DEVICES | HAS_8042).u8(0);
  body.u32(WBINVD | PROC_C1 | NO_SLEEP_BUTTON | NO_FIXED_RTC | RESET_REG_SUP);
  port(RESET_PORT, 8, 1);
  body.u8(RESET_VALUE).u16(0).u8(0);
  body.u64(0).u64(dsdt); // X_FIRMWARE_CTRL 0: the 32-bit field counts
  port(PM1A_EVENT, 32, 2);
  none();
  port(PM1A_CONTROL, 16, 2);
  none();
  none();
  port(PM_TIMER, 32, 3);
  none();
  none();
  return table('FACP', 4, body.done());
}

/** IA-PC HPET Specification 1.0a, "The ACPI 2.0 HPET Description Table": the first block, its shortest period 100 ticks. */
function hpet(): Uint8Array {
  const SHORTEST_PERIOD = 100;
  const body = address(new Writer().u32(HPET_CAPABILITIES), 0, HPET_BASE, 64, 0);
  return table('HPET', 1, body.u8(0).u16(SHORTEST_PERIOD).u8(0).done());
}

/** PCI Firmware Specification 3.0, "MCFG Table Description": configuration space of bus 0, segment 0, as memory. */
function mcfg(): Uint8Array {
  const body = new Writer().zeros(8).u64(PCI_ECAM_BASE).u16(0);
  return table('MCFG', 1, body.u8(PCI_ECAM_BUSES.first).u8(PCI_ECAM_BUSES.last).u32(0).done());
}

/** "Firmware ACPI Control Structure (FACS)": 64 bytes, no checksum. */
function facs(): Uint8Array {
  return new Writer().text('FACS', 4).u32(64).u32(0).u32(0).u32(0).u32(0).u64(0).u8(2).align(64).done();
}

export interface AcpiTables {
  /** The Root System Description Pointer: 36 bytes, of which the first 20 are revision 0's. */
  rsdp: Uint8Array;
  /** The other tables, contiguous from the address given. */
  tables: Uint8Array;
  facs: Uint8Array;
}

/**
 * Builds all tables.
 * @param cpus number of processors, with local APIC ids 0 to cpus - 1
 * @param virtioMmio number of virtio devices over MMIO
 * @param address guest-physical address of `tables`
 * @param facsAddress guest-physical address of the FACS, a multiple of 64
 */
export function acpiTables(cpus: number, virtioMmio: number, address: number, facsAddress: number): AcpiTables {
  const out = new Writer();
  const add = (bytes: Uint8Array): number => {
    out.align(16);
    const at = address + out.length;
    out.bytes(bytes);
    return at;
  };
  const dsdt = add(table('DSDT', 2, dsdtBody(virtioMmio)));
  const entries = [fadt(facsAddress, dsdt), madt(cpus), hpet(), mcfg()].map(add);
  const rsdtBody = new Writer();
  const xsdtBody = new Writer();
  for (const entry of entries) {
    rsdtBody.u32(entry);
    xsdtBody.u64(entry);
  }
  const rsdt = add(table('RSDT', 1, rsdtBody.done()));
  const xsdt = add(table('XSDT', 1, xsdtBody.done()));
  // "Root System Description Pointer (RSDP)": the first checksum covers 20 bytes, the extended one all 36.
  const rsdp = new Writer().text('RSD PTR ').u8(0).text(OEM_ID, 6, 0x20).u8(2).u32(rsdt).u32(36).u64(xsdt).u32(0);
  return { rsdp: rsdp.checksum(8, 0, 20).checksum(32).done(), tables: out.done(), facs: facs() };
}
