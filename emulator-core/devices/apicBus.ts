/**
 * Interrupt messages between I/O APIC, message-signaled interrupts and local APICs: who is addressed, and what arrives.
 * SDM Vol. 3A, "Determining IPI Destination" and "Message Signalled Interrupts".
 */
import type { LocalApic } from './localApic';

/** Delivery modes of ICR, LVT, redirection table entries and MSI data. */
export const DeliveryMode = { fixed: 0, lowest: 1, smi: 2, nmi: 4, init: 5, startup: 6, extInt: 7 } as const;

export interface ApicMessage {
  /** Destination field: 8 bits from xAPIC, I/O APIC and MSI, 32 from x2APIC. */
  destination: number;
  /** Set for x2APIC senders: 0xffffffff is broadcast, not 0xff. */
  wide?: boolean;
  logical: boolean;
  mode: number;
  vector: number;
  level: boolean;
}

export class ApicBus {
  readonly apics: LocalApic[] = [];
  /** Told of each EOI of a level-triggered vector. */
  private readonly eoiListeners: ((vector: number) => void)[] = [];

  onEoi(listener: (vector: number) => void): void {
    this.eoiListeners.push(listener);
  }

  broadcastEoi(vector: number): void {
    for (const listener of this.eoiListeners) listener(vector);
  }

  /** Delivers a message to whom it addresses. False if no local APIC took it. */
  deliver(message: ApicMessage): boolean {
    const targets = this.apics.filter((apic) => apic.isDestination(message));
    return this.deliverTo(targets, message);
  }

  /** Delivers to given local APICs; of them only the one with the lowest processor priority in lowest-priority mode. */
  deliverTo(targets: LocalApic[], message: ApicMessage): boolean {
    if (message.mode === DeliveryMode.lowest) {
      // Priorities count from when an interrupt has ended, however its end was told.
      for (const apic of targets) apic.paravirtualEoi?.accessed();
      let chosen: LocalApic | undefined;
      for (const apic of targets) {
        if (apic.acceptsVectors && (!chosen || apic.processorPriority < chosen.processorPriority)) chosen = apic;
      }
      return chosen ? chosen.accept({ ...message, mode: DeliveryMode.fixed }) : false;
    }
    let taken = false;
    for (const apic of targets) taken = apic.accept(message) || taken;
    return taken;
  }

  /** A message-signaled interrupt: a device's write of `data` to `address` (0xfee.....). */
  deliverMsi(address: number, data: number): boolean {
    return this.deliver({
      destination: (address >>> 12) & 0xff,
      logical: (address & 4) !== 0,
      mode: (data >> 8) & 7,
      vector: data & 0xff,
      level: (data & 0x8000) !== 0,
    });
  }
}
