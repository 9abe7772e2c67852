/** Puts virtio devices on a machine's buses. */
import type { EventQueue } from '../../time/eventQueue';
import type { Bus } from '../bus';
import type { Device, IrqLine, VirtualClock } from '../device';
import type { GuestMemory } from '../guestMemory';
import type { SendMessage } from '../msix';
import type { Pci } from '../pci';
import { VIRTIO_MMIO_BASE, VIRTIO_MMIO_IRQS, VIRTIO_MMIO_SIZE, VirtioMmio } from './mmioTransport';
import { VirtioPci } from './pciTransport';
import type { VirtioCore } from './virtioCore';
import type { VirtioFactory } from './virtioDevice';

/** A virtio device of a machine and the bus that it is on. */
export interface VirtioSlot {
  bus: 'pci' | 'mmio';
  create: VirtioFactory;
}

export interface VirtioBoard {
  memory: GuestMemory;
  events: EventQueue;
  clock: VirtualClock;
  bus: Bus;
  pci: Pci;
  message: SendMessage;
  /** A device's message for the outside. */
  send(device: string, message: Uint8Array): void;
  /** A new source on an ISA line. */
  line(irq: number): IrqLine;
}

/** The first PCI device number that virtio devices take; those below belong to the chipset and to graphics. */
const FIRST_PCI_DEVICE = 4;

/** A virtio device on its bus. */
export interface AttachedVirtio extends Device {
  readonly core: VirtioCore;
}

/** Makes the devices. Throws when there are more than a bus takes. */
export function attachVirtio(slots: readonly VirtioSlot[], board: VirtioBoard): AttachedVirtio[] {
  const { memory, events, clock, bus, pci, send } = board;
  let pages = 0;
  return slots.map(({ bus: kind, create }): AttachedVirtio => {
    if (kind === 'pci') {
      const place = pci.freeDevice(FIRST_PCI_DEVICE);
      const line = pci.intx(place, 1);
      const device = new VirtioPci({ memory, events, clock, create, send, message: board.message, line });
      pci.add(place, 0, device.function);
      return device;
    }
    const irq = VIRTIO_MMIO_IRQS.at(pages);
    if (irq === undefined) throw new Error(`virtio-mmio: ${VIRTIO_MMIO_IRQS.length} devices at most`);
    const device = new VirtioMmio({ memory, events, clock, create, send, line: board.line(irq) });
    bus.addMmio(VIRTIO_MMIO_BASE + VIRTIO_MMIO_SIZE * pages++, VIRTIO_MMIO_SIZE, device);
    return device;
  });
}
