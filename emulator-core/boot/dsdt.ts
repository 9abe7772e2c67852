/**
 * What the differentiated system description table says: soft off, the PCI bus, and the devices that cannot be enumerated.
 * ACPI Specification 6.5, chapters 6 "Device Configuration" and 7.4 "OEM-Supplied System-Level Control Methods"; plug and
 * play ids: the PNP ID registry, "EISA ID for ACPI Devices".
 */
import { ACPI_PM1A_CONTROL, ACPI_PM1A_EVENT, ACPI_PM_TIMER, ACPI_S5_SLP_TYP } from '../devices/acpiPm';
import { HPET_BASE, HPET_SIZE } from '../devices/hpet';
import { PCI_ADDRESS, PCI_MEMORY_WINDOW, pirqOf, PIRQ_IRQS } from '../devices/pci';
import { PCI_ECAM_BASE, PCI_ECAM_SIZE } from '../devices/pciEcam';
import { VIRTIO_MMIO_BASE, VIRTIO_MMIO_IRQS, VIRTIO_MMIO_SIZE } from '../devices/virtio/mmioTransport';
import {
  busNumbers,
  device,
  eisaId,
  fixedMemory,
  integer,
  ioPorts,
  ioWindow,
  irq,
  levelInterrupt,
  memoryWindow,
  named,
  packageOf,
  resources,
  scope,
  string,
  type Aml,
} from './aml';

/** Devices behind the ISA bridge: name, plug and play id, and what they occupy. */
const ISA_DEVICES: readonly { name: string; id: string; uid?: number; resources: readonly Aml[] }[] = [
  { name: 'RTC', id: 'PNP0B00', resources: [ioPorts(0x70, 2), irq(8)] },
  { name: 'KBD', id: 'PNP0303', resources: [ioPorts(0x60, 1), ioPorts(0x64, 1), irq(1)] },
  { name: 'MOU', id: 'PNP0F13', resources: [irq(12)] },
  { name: 'COM1', id: 'PNP0501', uid: 1, resources: [ioPorts(0x3f8, 8), irq(4)] },
];

function isaDevice(row: (typeof ISA_DEVICES)[number]): Aml {
  const uid = row.uid === undefined ? [] : [named('_UID', integer(row.uid))];
  return device(row.name, named('_HID', eisaId(row.id)), ...uid, named('_CRS', resources(...row.resources)));
}

/** `_PRT`: for each device and pin the global system interrupt, through PIIX3's router as firmware has set it. */
function interruptRouting(): Aml {
  const places = Array.from({ length: 32 }, (_, place) => place).slice(1);
  const rows = places.flatMap((place) =>
    [0, 1, 2, 3].map((pin) => {
      const gsi = PIRQ_IRQS[pirqOf(place, pin + 1)];
      return packageOf(integer(place * 0x10000 + 0xffff), integer(pin), integer(0), integer(gsi));
    }),
  );
  return packageOf(...rows);
}

/** What the board itself occupies, so that nobody gives it away. */
const MOTHERBOARD = [
  ioPorts(0x20, 2),
  ioPorts(0x40, 4),
  ioPorts(0x61, 1),
  ioPorts(0x80, 1),
  ioPorts(0x92, 1),
  ioPorts(0xa0, 2),
  ioPorts(0x4d0, 2),
  ioPorts(ACPI_PM1A_EVENT, 4),
  ioPorts(ACPI_PM1A_CONTROL, 2),
  ioPorts(ACPI_PM_TIMER, 4),
  fixedMemory(PCI_ECAM_BASE, PCI_ECAM_SIZE, 'rw'),
];

/** A virtio device over MMIO. Linux knows the id: drivers/virtio/virtio_mmio.c, virtio_mmio_acpi_match. */
function virtioMmioDevice(index: number): Aml {
  const registers = fixedMemory(VIRTIO_MMIO_BASE + VIRTIO_MMIO_SIZE * index, VIRTIO_MMIO_SIZE, 'rw');
  return device(
    `VIO${index}`,
    named('_HID', string('LNRO0005')),
    named('_UID', integer(index)),
    named('_CRS', resources(registers, levelInterrupt(VIRTIO_MMIO_IRQS[index]))),
  );
}

/**
 * Definition block of the DSDT, without the table's header.
 * @param virtioMmio number of virtio devices over MMIO
 */
export function dsdtBody(virtioMmio: number): Uint8Array {
  const sleep = packageOf(integer(ACPI_S5_SLP_TYP), integer(ACPI_S5_SLP_TYP), integer(0), integer(0));
  const window = PCI_MEMORY_WINDOW;
  const host = device(
    'PCI0',
    named('_HID', eisaId('PNP0A03')),
    named('_UID', integer(0)),
    named('_BBN', integer(0)),
    named(
      '_CRS',
      resources(
        busNumbers(0, 0),
        ioPorts(PCI_ADDRESS, 8),
        ioWindow(0, PCI_ADDRESS - 1),
        ioWindow(PCI_ADDRESS + 8, 0xffff),
        memoryWindow(0xa0000, 0xbffff),
        memoryWindow(window.first, PCI_ECAM_BASE - 1),
        memoryWindow(PCI_ECAM_BASE + PCI_ECAM_SIZE, window.last),
      ),
    ),
    named('_PRT', interruptRouting()),
    device('ISA', named('_ADR', integer(0x10000)), ...ISA_DEVICES.map(isaDevice)),
  );
  const hpet = device(
    'HPET',
    named('_HID', eisaId('PNP0103')),
    named('_UID', integer(0)),
    named('_CRS', resources(fixedMemory(HPET_BASE, HPET_SIZE, 'ro'))),
  );
  const board = device(
    'MBRD',
    named('_HID', eisaId('PNP0C02')),
    named('_UID', integer(0)),
    named('_CRS', resources(...MOTHERBOARD)),
  );
  const virtio = Array.from({ length: virtioMmio }, (_, index) => virtioMmioDevice(index));
  return Uint8Array.from([...named('_S5', sleep), ...scope('\\_SB', host, hpet, board, ...virtio)]);
}
