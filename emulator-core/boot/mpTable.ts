/**
 * The MP floating pointer structure and configuration table, for guests that look for processors without ACPI.
 * Source: Intel MultiProcessor Specification 1.4, chapter 4 "MP Configuration Table".
 */
import { IO_APIC_BASE } from '../devices/ioApic';
import { pirqOf, PIRQ_IRQS } from '../devices/pci';
import { LOCAL_APIC_BASE } from './acpi';
import { Writer } from '../writer';

/** Where the floating pointer lies, on a 16-byte boundary of the BIOS area; the table follows it. */
export const MP_POINTER_ADDRESS = 0xf5b00;

/**
 * Floating pointer and table as one block for MP_POINTER_ADDRESS.
 * @param cpus number of processors, with local APIC ids 0 to cpus - 1; the first is the boot processor
 */
export function mpTable(cpus: number): Uint8Array {
  const tableAddress = MP_POINTER_ADDRESS + 16;
  const pointer = new Writer().text('_MP_').u32(tableAddress).u8(1).u8(4).u8(0).zeros(5).checksum(10).done();

  const [ENABLED, BOOT_PROCESSOR] = [1, 2];
  const APIC_VERSION = 0x14;
  const entries = new Writer();
  let count = 0;
  for (let id = 0; id < cpus; id++, count++) {
    // Entry "Processor": signature family 6, feature flags FPU and APIC.
    entries
      .u8(0)
      .u8(id)
      .u8(APIC_VERSION)
      .u8(ENABLED | (id === 0 ? BOOT_PROCESSOR : 0));
    entries.u32(0x600).u32(0x201).zeros(8);
  }
  entries.u8(1).u8(0).text('PCI', 6, 0x20);
  entries.u8(1).u8(1).text('ISA', 6, 0x20);
  entries.u8(2).u8(0).u8(0x11).u8(ENABLED).u32(IO_APIC_BASE);
  count += 3;
  // Entry "I/O Interrupt Assignment": ISA IRQ n goes to IOAPIC pin n, but IRQ 0 to pin 2, where the cascade would be.
  for (let irq = 0; irq < 16; irq++) {
    if (irq === 2 || PIRQ_IRQS.some((line) => line === irq)) continue; // the PCI bus has these
    entries
      .u8(3)
      .u8(0)
      .u16(0)
      .u8(1)
      .u8(irq)
      .u8(0)
      .u8(irq === 0 ? 2 : irq);
    count++;
  }
  // The same for PCI: source bus IRQs are device << 2 | pin; the router's lines are active high and level-triggered.
  const ACTIVE_HIGH_LEVEL = 0xd;
  for (let source = 1 << 2; source < 32 << 2; source++) {
    const pin = PIRQ_IRQS[pirqOf(source >> 2, (source & 3) + 1)];
    entries.u8(3).u8(0).u16(ACTIVE_HIGH_LEVEL).u8(0).u8(source).u8(0).u8(pin);
    count++;
  }
  // Entry "Local Interrupt Assignment": LINT0 of all is ExtINT (the 8259), LINT1 is NMI.
  const [NMI, EXT_INT, ALL_APICS] = [1, 3, 0xff];
  entries.u8(4).u8(EXT_INT).u16(0).u8(1).u8(0).u8(ALL_APICS).u8(0);
  entries.u8(4).u8(NMI).u16(0).u8(1).u8(0).u8(ALL_APICS).u8(1);
  count += 2;

  const table = new Writer()
    .text('PCMP')
    .u16(44 + entries.length)
    .u8(4)
    .u8(0)
    .text('RINGSIDE', 8, 0x20)
    .text('VMM', 12, 0x20)
    .u32(0)
    .u16(0)
    .u16(count)
    .u32(LOCAL_APIC_BASE)
    .u32(0)
    .bytes(entries.done())
    .checksum(7);
  return new Writer().bytes(pointer).bytes(table.done()).done();
}
