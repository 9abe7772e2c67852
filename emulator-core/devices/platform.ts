/**
 * The PC: every device, on one bus, with one event queue, wired as on a board with i440FX and PIIX3. The processor cores
 * call the bus for port and memory-mapped I/O, `events` when virtual time passes, and the interrupt methods.
 */
import type { Field } from '../fields';
import { EventQueue, type EventQueueState } from '../time/eventQueue';
import { AcpiPm, ACPI_PM1A_CONTROL, ACPI_PM1A_EVENT, ACPI_PM_TIMER, ACPI_SCI_IRQ } from './acpiPm';
import { ApicBus } from './apicBus';
import { allOnes, Bus } from './bus';
import { CmosRtc } from './cmosRtc';
import { DebugExit, DEBUG_EXIT_PORT } from './debugExit';
import { DELAY_PORTS, DelayPorts } from './delayPorts';
import type { Device, MmioHandler, VirtualClock } from './device';
import { GatedLine } from './gatedLine';
import { plainGuestMemory, type GuestMemory } from './guestMemory';
import { Hpet, HPET_BASE, HPET_PINS, HPET_SIZE } from './hpet';
import { I8042 } from './i8042';
import { IoApic, IO_APIC_BASE } from './ioApic';
import { IrqLines } from './irqLines';
import { LocalApic } from './localApic';
import { Pci, PCI_ADDRESS, PCI_DATA, PIRQ_IRQS } from './pci';
import { PciEcam, PCI_ECAM_BASE, PCI_ECAM_SIZE } from './pciEcam';
import { Pic8259 } from './pic8259';
import { Pit8254 } from './pit8254';
import { SystemControl } from './systemControl';
import { Uart16550 } from './uart16550';
import { VgaText } from './vgaText';
import { attachVirtio, type AttachedVirtio, type VirtioSlot } from './virtio/attach';
import { VirtioConsole } from './virtio/console';
import type { VirtioHost } from './virtio/virtioDevice';

/** What the platform asks of the machine around it. */
export interface PlatformHost {
  /** A byte from COM1, or from the virtio console. */
  console(byte: number): void;
  powerOff(): void;
  /** A write to port 0xf4. */
  debugExit(value: number): void;
  /** The guest asks for a reset. Called in the middle of an I/O access: reset the machine after the instruction. */
  reset(): void;
  /** hasInterrupt(cpu) may have changed. */
  interruptChanged(cpu: number): void;
  /** INIT has arrived (the local APIC has been reset). */
  init(cpu: number): void;
  /** SIPI has arrived: start at vector << 12 if waiting for it, else ignore it. */
  startup(cpu: number, vector: number): void;
  nmi(cpu: number): void;
  /** A device's message for the outside. */
  send?(device: string, message: Uint8Array): void;
  /** bus.mmioRanges() has changed: a PCI BAR or the local APIC has moved. */
  mmioChanged?(): void;
}

export interface PlatformOptions {
  /** 1-255. */
  cpus: number;
  /** Guest RAM, from guest-physical 0. */
  memory: Uint8Array;
  /** Where the bus says which ports keep what is written (devices/bus.ts). Absent: nobody else has to know. */
  ports?: Uint8Array;
  /** Where the registers of a processor's local APIC are kept. Absent: nobody else looks at them. */
  apicRegisters?(cpu: number): Uint32Array;
  /** The same, as bus masters write to it. Absent: nobody has to know of their writes. */
  guestMemory?: GuestMemory;
  /** virtio devices, in the order of their places on the bus. */
  virtio?: readonly VirtioSlot[];
  /** Whether there is a virtio console (hvc0 under Linux), behind all others on the bus. */
  virtioConsole?: boolean;
  clock: VirtualClock;
  /** Rate of the time-stamp counter, for the TSC-deadline timer. */
  tscHz: number;
  /** Whether port 0xf4 ends the run. */
  debugExit: boolean;
  /** Wall time at power-on, milliseconds since 1970-01-01 UTC. */
  startTime: number;
  host: PlatformHost;
}

export interface PlatformState {
  devices: Record<string, unknown>;
  events: EventQueueState;
}

const APIC_LENGTH = 0x1000;

/**
 * What firmware leaves behind in the devices, beyond their reset state: counter 0 at 18.2 Hz, counter 1 at the refresh rate,
 * and the 8259s initialized to vectors 08h and 70h with all inputs masked; the SCI's and the PCI bus's lines level-triggered.
 */
const FIRMWARE_PORTS: readonly [port: number, value: number][] = [
  [0x43, 0x36],
  [0x40, 0x00],
  [0x40, 0x00],
  [0x43, 0x54],
  [0x41, 0x12],
  [0x20, 0x11],
  [0xa0, 0x11],
  [0x21, 0x08],
  [0xa1, 0x70],
  [0x21, 0x04],
  [0xa1, 0x02],
  [0x21, 0x01],
  [0xa1, 0x01],
  [0x21, 0xfb],
  [0xa1, 0xff],
  [0x4d1, [ACPI_SCI_IRQ, ...PIRQ_IRQS].reduce((mask, irq) => mask | (1 << (irq - 8)), 0)],
];
/** Virtual wire mode: MultiProcessor Specification, "Virtual Wire Mode". LINT0 is ExtINT, LINT1 NMI. */
const FIRMWARE_APIC: readonly [offset: number, value: number][] = [
  [0x0f0, 0x1ff],
  [0x350, 0x700],
  [0x360, 0x400],
];

export class Platform {
  readonly bus: Bus;
  readonly events = new EventQueue();
  readonly apicBus = new ApicBus();
  readonly irqLines: IrqLines;
  readonly pic: Pic8259;
  readonly ioApic: IoApic;
  readonly hpet: Hpet;
  readonly pit: Pit8254;
  readonly rtc: CmosRtc;
  readonly uart: Uart16550;
  virtioConsole?: VirtioConsole;
  readonly keyboard: I8042;
  readonly pci: Pci;
  readonly vga: VgaText;
  readonly acpiPm: AcpiPm;
  readonly systemControl: SystemControl;
  /** Interrupt controllers first, in the order in which restore() takes them. */
  readonly devices: Device[];
  private readonly virtio: readonly AttachedVirtio[];
  /** The processor whose accesses the bus sees: the core sets it before it runs another one. */
  currentCpu = 0;

  private readonly host: PlatformHost;
  private apicPages: number[] = [];
  private ready = false;

  constructor(options: PlatformOptions) {
    const { cpus, memory, clock, tscHz, startTime, host } = options;
    if (!(Number.isInteger(cpus) && cpus >= 1 && cpus <= 255)) throw new RangeError(`cpus: ${cpus}, expected 1 to 255`);
    const bus = (this.bus = new Bus(options.ports));
    const { events } = this;
    this.host = host;
    const reset = () => host.reset();
    const mmioChanged = () => {
      if (this.ready) host.mmioChanged?.();
    };

    for (let id = 0; id < cpus; id++) {
      this.apicBus.apics.push(
        new LocalApic({
          id,
          apicBus: this.apicBus,
          clock,
          events,
          tscHz,
          registers: options.apicRegisters?.(id),
          changed: () => this.notify(id),
          moved: () => this.placeApics(),
          nmi: () => host.nmi(id),
          init: () => host.init(id),
          startup: (vector) => host.startup(id, vector),
        }),
      );
    }
    this.ioApic = new IoApic(this.apicBus);
    this.pic = new Pic8259(() => {
      const level = this.pic.intr ? 1 : 0;
      for (const apic of this.apicBus.apics) {
        apic.setLint(0, level);
        this.notify(apic.id);
      }
    });
    this.irqLines = new IrqLines((irq, level) => {
      this.pic.setIrq(irq, level);
      // Pin 2 gets IRQ 0; the cascade has no line of its own.
      if (irq !== 2) this.ioApic.setPin(irq === 0 ? 2 : irq, level);
    });
    const line = (irq: number) => this.irqLines.source(irq);

    const pitLine = new GatedLine(line(0));
    const rtcLine = new GatedLine(line(8));
    this.hpet = new Hpet({
      clock,
      events,
      legacy: [line(0), line(8)],
      pins: HPET_PINS.map((pin) => ({ set: (level) => this.ioApic.setPin(pin, level) })),
      replaced: (on, restored) => [pitLine, rtcLine].forEach((each) => each.connect(!on, restored)),
    });
    this.pit = new Pit8254({ irq: pitLine, clock, events });
    this.rtc = new CmosRtc({ irq: rtcLine, clock, events, startTime, memoryBytes: memory.length, cpus });
    const transmit = (byte: number) => host.console(byte);
    this.uart = new Uart16550({ name: 'uart0', irq: line(4), clock, events, transmit });
    this.keyboard = new I8042({ irq1: line(1), irq12: line(12), resetMachine: reset });
    this.acpiPm = new AcpiPm({ irq: line(ACPI_SCI_IRQ), clock, events, powerOff: () => host.powerOff() });
    this.systemControl = new SystemControl(reset);
    this.vga = new VgaText(memory, clock);
    const delayPorts = new DelayPorts(bus.kept);
    const pciIrqs = Array.from({ length: 16 }, (_, irq) => line(irq));

    for (const [first, last] of [
      [0x20, 0x21],
      [0xa0, 0xa1],
      [0x4d0, 0x4d1],
    ]) {
      bus.addPorts(first, last, this.pic);
    }
    bus.addPorts(0x40, 0x43, this.pit);
    bus.addPorts(0x61, 0x61, this.pit);
    bus.addPorts(0x60, 0x60, this.keyboard);
    bus.addPorts(0x64, 0x64, this.keyboard);
    bus.addPorts(0x70, 0x71, this.rtc);
    for (const port of DELAY_PORTS) bus.addPorts(port, port, delayPorts, { keeps: true });
    bus.addPorts(0x92, 0x92, this.systemControl);
    bus.addPorts(0xcf9, 0xcf9, this.systemControl);
    bus.addPorts(0x3f8, 0x3ff, this.uart);
    bus.addPorts(0x3b4, 0x3b5, this.vga);
    bus.addPorts(0x3ba, 0x3ba, this.vga);
    bus.addPorts(0x3c0, 0x3cf, this.vga);
    bus.addPorts(0x3d4, 0x3d5, this.vga);
    bus.addPorts(0x3da, 0x3da, this.vga);
    bus.addPorts(ACPI_PM1A_EVENT, ACPI_PM1A_EVENT + 3, this.acpiPm, { width: 4 });
    bus.addPorts(ACPI_PM1A_CONTROL, ACPI_PM1A_CONTROL + 1, this.acpiPm, { width: 2 });
    bus.addPorts(ACPI_PM_TIMER, ACPI_PM_TIMER + 3, this.acpiPm, { width: 4 });
    bus.addMmio(IO_APIC_BASE, 0x1000, this.ioApic);
    bus.addMmio(HPET_BASE, HPET_SIZE, this.hpet);
    this.placeApics();
    // PCI comes last: its BARs take what is left.
    this.pci = new Pci(bus, pciIrqs, mmioChanged);
    bus.addPorts(PCI_ADDRESS, PCI_ADDRESS, this.pci, { width: 4 });
    bus.addPorts(PCI_DATA, PCI_DATA + 3, this.pci, { width: 4 });

    bus.addMmio(PCI_ECAM_BASE, PCI_ECAM_SIZE, new PciEcam(this.pci));

    // The HPET before the devices whose lines it may have taken over.
    this.devices = [this.irqLines, ...this.apicBus.apics, this.ioApic, this.pic, this.hpet];
    this.devices.push(this.pit, this.rtc, this.uart, this.keyboard, this.pci, this.vga, this.acpiPm);
    this.devices.push(this.systemControl, delayPorts);
    if (options.debugExit) {
      const debugExit = new DebugExit((value) => host.debugExit(value));
      bus.addPorts(DEBUG_EXIT_PORT, DEBUG_EXIT_PORT, debugExit, { width: 4 });
      this.devices.push(debugExit);
    }
    const slots = [...(options.virtio ?? [])];
    if (options.virtioConsole) {
      const create = (virtio: VirtioHost) => (this.virtioConsole = new VirtioConsole(0, virtio, transmit));
      slots.push({ bus: 'pci', create });
    }
    this.virtio = attachVirtio(slots, {
      memory: options.guestMemory ?? plainGuestMemory(memory),
      events,
      clock,
      bus,
      pci: this.pci,
      message: (address, data) => void this.apicBus.deliverMsi(address, data),
      send: (device, message) => host.send?.(device, message),
      line,
    });
    this.devices.push(...this.virtio);
    this.applyFirmwareState();
    this.ready = true;
  }

  /** A processor's local APIC. */
  apic(cpu: number): LocalApic {
    return this.apicBus.apics[cpu];
  }

  /** Whether address line 20 passes. Guests see it in ports 60h/64h and 92h; memory accesses are not masked by it. */
  get a20(): boolean {
    return this.keyboard.a20 || this.systemControl.a20;
  }

  /** Whether a maskable interrupt is deliverable, from the 8259s (ExtINT) or from the local APIC. */
  hasInterrupt(cpu: number): boolean {
    const apic = this.apicBus.apics[cpu];
    return apic.hasInterrupt() || (this.pic.intr && apic.acceptsExtInt);
  }

  /** The interrupt acknowledge cycle: takes the interrupt and returns its vector, an ExtINT first. */
  acknowledgeInterrupt(cpu: number): number {
    const apic = this.apicBus.apics[cpu];
    return this.pic.intr && apic.acceptsExtInt ? this.pic.acknowledge() : apic.acknowledge();
  }

  /**
   * Console input: to the virtio console once its driver listens, until then to COM1. Returns how many bytes were taken: offer the rest
   * again when the guest has read some.
   */
  consoleInput(bytes: Uint8Array): number {
    const { virtioConsole } = this;
    return virtioConsole?.open ? virtioConsole.input(bytes) : this.uart.receive(bytes);
  }

  /** A message from outside for a virtio device. Throws when there is no such device. */
  receive(device: string, message: Uint8Array): void {
    const found = this.virtio.find(({ name }) => name === device);
    if (!found) throw new Error(`there is no virtio device '${device}'`);
    found.core.receive(message);
  }

  /** What stands behind virtio devices outside has forgotten what was under way. */
  linksLost(): void {
    for (const { core } of this.virtio) core.linkLost();
  }

  /** Every device as after power-on and firmware. */
  reset(): void {
    this.currentCpu = 0;
    // Sources before the controllers that latch what they do.
    for (const device of [...this.devices].reverse()) device.reset();
    this.applyFirmwareState();
  }

  /** The whole platform, as structured-clonable data. */
  save(): PlatformState {
    const devices: Record<string, unknown> = {};
    for (const device of this.devices) devices[device.name] = device.save();
    return { devices, events: this.events.save() };
  }

  /** Takes over what save() gave, on a platform of the same options. Throws if a device's state is missing. */
  restore(state: PlatformState): void {
    for (const device of this.devices) {
      if (!(device.name in state.devices)) throw new Error(`the saved state has no device '${device.name}'`);
    }
    // Controllers come first: the sources then drive the levels that the controllers have seen, which changes nothing.
    for (const device of this.devices) device.restore(state.devices[device.name]);
    this.events.restore(state.events);
    for (const apic of this.apicBus.apics) this.notify(apic.id);
  }

  describe(): Field[] {
    return this.devices.map((device): Field => ({ name: device.name, value: '', children: device.describe() }));
  }

  private notify(cpu: number): void {
    if (this.ready) this.host.interruptChanged(cpu);
  }

  private applyFirmwareState(): void {
    for (const [port, value] of FIRMWARE_PORTS) this.bus.writePort(port, value, 1);
    for (const [offset, value] of FIRMWARE_APIC) this.apic(0).writeRegister(offset, value);
  }

  /** Puts the local APICs' pages on the bus. A page serves those processors whose IA32_APIC_BASE points there. */
  private placeApics(): void {
    const pages = [...new Set(this.apicBus.apics.flatMap((apic) => apic.mmioBase ?? []))].sort((a, b) => a - b);
    if (pages.join() === this.apicPages.join()) return;
    for (const page of this.apicPages) this.bus.removeMmio(page);
    this.apicPages = pages.filter((page) => this.bus.mmioFree(page, APIC_LENGTH));
    for (const page of this.apicPages) this.bus.addMmio(page, APIC_LENGTH, this.apicPage(page));
    if (this.ready) this.host.mmioChanged?.();
  }

  /**
   * Guest-physical page where a processor's reads find its local APIC's registers as they are kept (APIC_PLAIN_REGISTERS). -1: none, or
   * somebody has to know of each access.
   */
  plainApicPage(cpu: number): number {
    const { mmioBase, paravirtualEoi } = this.apicBus.apics[cpu];
    return mmioBase === undefined || paravirtualEoi || !this.apicPages.includes(mmioBase) ? -1 : mmioBase / APIC_LENGTH;
  }

  private apicPage(page: number): MmioHandler {
    const apic = () => {
      const current = this.apicBus.apics[this.currentCpu];
      return current.mmioBase === page ? current : undefined;
    };
    return {
      readMmio: (gpa, size) => apic()?.readMmio(gpa, size) ?? allOnes(size),
      writeMmio: (gpa, value, size) => apic()?.writeMmio(gpa, value, size),
    };
  }
}
