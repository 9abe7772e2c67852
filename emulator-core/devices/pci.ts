/**
 * PCI bus 0 behind configuration mechanism 1 (CF8h/CFCh): an i440FX host bridge, a PIIX3 ISA bridge with its interrupt
 * router, and whatever else is added. PCI Local Bus Specification 3.0; Intel 82441FX and 82371SB data sheets. The host
 * bridge's PAM registers keep their values but do not remap memory: C0000h-FFFFFh is plain RAM.
 */
import { hex, type Field } from '../fields';
import { allOnes, type Bus } from './bus';
import type { Device, IrqLine, PortHandler } from './device';
import { PciFunction } from './pciFunction';

export const PCI_ADDRESS = 0xcf8;
export const PCI_DATA = 0xcfc;
const ISA_BRIDGE = 0x08;
const PIRQ_ROUTE = 0x60;
const INTERRUPT_LINE = 0x3c;
/** ISA lines that firmware gives PIRQ A-D; they are level-triggered then. */
export const PIRQ_IRQS = [10, 10, 11, 11] as const;
/** Where firmware places base address registers. */
const IO_WINDOW = 0xc000;
/** Memory that the host bridge passes on to PCI: guests find it in ACPI's tables. */
export const PCI_MEMORY_WINDOW = { first: 0xe0000000, last: 0xfebfffff } as const;

/** Which of PIRQ A-D (0-3) a device's pin (1-4 for INTA-INTD) is wired to, as on boards with PIIX3: one further each device. */
export function pirqOf(device: number, pin: number): number {
  return (device + pin - 1 + 3) & 3;
}

interface PciState {
  address: number;
  /** Configuration space of each function, by device << 3 | function. */
  functions: [number, Uint8Array][];
  /** Per PIRQ A-D, one bit for each device that asserts it. */
  pirq: number[];
}

interface Mapping {
  kind: 'io' | 'memory';
  base: number;
  size: number;
}

export class Pci implements Device<PciState>, PortHandler {
  readonly name = 'pci';
  private address = 0;
  private pirq = [0, 0, 0, 0];
  private readonly functions = new Map<number, PciFunction>();
  private readonly mappings = new Map<string, Mapping>();

  /** `irqs` are this bus's sources on ISA lines 0-15; `mapped` is told when a memory BAR has appeared, moved or gone. */
  constructor(
    private readonly bus: Bus,
    private readonly irqs: IrqLine[],
    private readonly mapped: () => void,
  ) {
    this.add(0, 0, hostBridge());
    this.add(
      1,
      0,
      isaBridge(() => this.driveIrqs()),
    );
  }

  /** Adds a function. Its BARs get addresses now, as from firmware. Throws if the place is taken. */
  add(device: number, fn: number, pciFunction: PciFunction): void {
    const key = (device << 3) | fn;
    if (device > 31 || fn > 7 || this.functions.has(key)) throw new Error(`PCI 00:${device}.${fn} is taken or absent`);
    this.functions.set(key, pciFunction);
    this.assign();
  }

  /** The interrupt line of a device's pin (1-4 for INTA-INTD), through PIIX3's router. */
  intx(device: number, pin: number): IrqLine {
    const pirq = pirqOf(device, pin);
    return {
      set: (level) => {
        const bit = 1 << device;
        this.pirq[pirq] = level ? this.pirq[pirq] | bit : this.pirq[pirq] & ~bit;
        this.driveIrqs();
      },
    };
  }

  readPort(port: number, size: number): number {
    if (port < PCI_DATA) return size === 4 && port === PCI_ADDRESS ? this.address : 0xffffffff;
    const place = this.place();
    return place === undefined ? 0xffffffff : this.readConfig(place, (this.address & 0xfc) | (port & 3), size);
  }

  writePort(port: number, value: number, size: number): void {
    if (port < PCI_DATA) {
      if (size === 4 && port === PCI_ADDRESS) this.address = (value & 0x80fffffc) >>> 0;
      return;
    }
    const place = this.place();
    if (place !== undefined) this.writeConfig(place, (this.address & 0xfc) | (port & 3), value, size);
  }

  /** A read of configuration space: `place` is device << 3 | function, `offset` + `size` at most 256. All ones where nobody is. */
  readConfig(place: number, offset: number, size: number): number {
    return this.functions.get(place)?.read(offset, size) ?? allOnes(size);
  }

  writeConfig(place: number, offset: number, value: number, size: number): void {
    this.functions.get(place)?.write(offset, value, size);
    if (offset < 0x28) this.map();
  }

  /** The first device number from `from` on that nobody has. Throws when the bus is full. */
  freeDevice(from = 2): number {
    for (let device = from; device < 32; device++) {
      if (!Array.from({ length: 8 }, (_, fn) => (device << 3) | fn).some((key) => this.functions.has(key)))
        return device;
    }
    throw new Error('PCI bus 0 is full: 32 devices');
  }

  reset(): void {
    this.address = 0;
    this.pirq = [0, 0, 0, 0];
    for (const pciFunction of this.functions.values()) pciFunction.reset();
    this.assign();
    this.driveIrqs();
  }

  save(): PciState {
    const functions = [...this.functions].map(([key, { config }]): [number, Uint8Array] => [key, config.slice()]);
    return { address: this.address, functions, pirq: [...this.pirq] };
  }

  restore(state: PciState): void {
    this.address = state.address;
    this.pirq = [...state.pirq];
    for (const [key, config] of state.functions) this.functions.get(key)?.config.set(config);
    this.map();
    this.driveIrqs();
  }

  describe(): Field[] {
    const places = [...this.functions].sort(([a], [b]) => a - b);
    return [
      { name: 'CONFIG_ADDRESS', value: hex(this.address, 32) },
      ...places.map(([key, pciFunction]): Field => {
        const { vendor, device, title } = pciFunction.options;
        const place = `00:${(key >> 3).toString(16).padStart(2, '0')}.${key & 7}`;
        const value = `${hex(vendor, 16).slice(2)}:${hex(device, 16).slice(2)}`;
        return { name: place, value, text: title, children: pciFunction.describe() };
      }),
    ];
  }

  /** Device and function that CONFIG_ADDRESS selects, if enabled and on bus 0. */
  private place(): number | undefined {
    if (this.address < 0x80000000 || this.address & 0x00ff0000) return undefined;
    return (this.address >>> 8) & 0xff;
  }

  /** Firmware's part: routes interrupts, places the BARs, each aligned to its size, and enables their decoding. */
  private assign(): void {
    let io = IO_WINDOW;
    let memory: number = PCI_MEMORY_WINDOW.first;
    PIRQ_IRQS.forEach((irq, i) => this.functions.get(ISA_BRIDGE)?.write(PIRQ_ROUTE + i, irq, 1));
    for (const [key, pciFunction] of [...this.functions].sort(([a], [b]) => a - b)) {
      const pin = pciFunction.options.interruptPin ?? 0;
      if (pin) pciFunction.write(INTERRUPT_LINE, PIRQ_IRQS[pirqOf(key >> 3, pin)], 1);
      (pciFunction.options.bars ?? []).forEach((bar, i) => {
        if (!bar) return;
        const next = bar.kind === 'io' ? io : memory;
        const base = Math.ceil(next / bar.size) * bar.size;
        if (bar.kind === 'io') io = base + bar.size;
        else memory = base + bar.size;
        pciFunction.write(0x10 + 4 * i, base, 4);
        pciFunction.write(4, pciFunction.command | (bar.kind === 'io' ? 1 : 2), 2);
      });
    }
    this.map();
  }

  /**
   * Makes the bus agree with the BARs. One that overlaps something else (a guest can program anything) is not decoded; nor
   * is an address of 0 or one above the ports or what processors can address.
   */
  private map(): void {
    const wanted = new Map<string, Mapping>();
    for (const [key, pciFunction] of this.functions) {
      (pciFunction.options.bars ?? []).forEach((bar, i) => {
        if (!bar || !(pciFunction.command & (bar.kind === 'io' ? 1 : 2))) return;
        const base = pciFunction.barAddress(i);
        if (base === 0 || base + bar.size > (bar.kind === 'io' ? 0x10000 : 2 ** 52)) return;
        wanted.set(`${key}.${i}`, { kind: bar.kind, base, size: bar.size });
      });
    }
    let moved = false;
    for (const [name, { kind, base, size }] of this.mappings) {
      if (wanted.get(name)?.base === base) continue;
      if (kind === 'io') this.bus.removePorts(base, base + size - 1);
      else this.bus.removeMmio(base);
      this.mappings.delete(name);
      moved ||= kind === 'memory';
    }
    for (const [name, mapping] of wanted) {
      if (this.mappings.has(name)) continue;
      const { base, size } = mapping;
      const [key, index] = name.split('.').map(Number);
      const bar = this.functions.get(key)!.options.bars![index]!;
      if (bar.kind === 'io') {
        if (!this.bus.portsFree(base, base + size - 1)) continue;
        this.bus.addPorts(base, base + size - 1, bar.handler, { width: bar.width });
      } else {
        if (!this.bus.mmioFree(base, size)) continue;
        this.bus.addMmio(base, size, bar.handler);
        moved = true;
      }
      this.mappings.set(name, mapping);
    }
    if (moved) this.mapped();
  }

  /** PIIX3 PIRQRC: bit 7 off, bits 3-0 the ISA line. */
  private driveIrqs(): void {
    const bridge = this.functions.get(ISA_BRIDGE);
    let asserted = 0;
    for (let i = 0; i < 4; i++) {
      const route = bridge?.config[PIRQ_ROUTE + i] ?? 0x80;
      if (this.pirq[i] && !(route & 0x80)) asserted |= 1 << (route & 15);
    }
    this.irqs.forEach((line, irq) => line.set(((asserted >> irq) & 1) as 0 | 1));
  }
}

function hostBridge(): PciFunction {
  const ram = (first: number, last: number, writable = 0xff, value = 0) =>
    Array.from({ length: last - first + 1 }, (_, i) => ({ offset: first + i, value, writable }));
  return new PciFunction({
    title: 'i440FX host bridge',
    vendor: 0x8086,
    device: 0x1237,
    revision: 2,
    classCode: 0x060000,
    command: 0x0006,
    commandBits: 0x0100,
    status: 0x0280,
    registers: [
      ...ram(0x50, 0x53), // PMC control, deturbo, DRAM buffer
      ...ram(0x57, 0x58),
      ...ram(0x59, 0x5f, 0xff), // PAM0-PAM6
      ...ram(0x60, 0x67, 0xff, 1), // DRAM row boundaries
      { offset: 0x72, value: 0x02, writable: 0x70 }, // SMRAM
    ],
  });
}

function isaBridge(routed: () => void): PciFunction {
  return new PciFunction({
    title: 'PIIX3 ISA bridge',
    vendor: 0x8086,
    device: 0x7000,
    revision: 0,
    classCode: 0x060100,
    command: 0x0007,
    commandBits: 0x0108,
    status: 0x0200,
    headerType: 0x80,
    registers: [
      { offset: 0x4c, value: 0x4d, writable: 0xff }, // ISA I/O recovery timer
      { offset: 0x4e, value: 0x03, writable: 0xff }, // X-bus chip select
      ...[0, 1, 2, 3].map((i) => ({ offset: PIRQ_ROUTE + i, value: 0x80, writable: 0x8f })),
      { offset: 0x69, value: 0x02, writable: 0xfe }, // top of memory
      { offset: 0x70, value: 0x80, writable: 0xef }, // motherboard IRQ route
    ],
    written: (offset) => {
      if (offset >= PIRQ_ROUTE && offset < PIRQ_ROUTE + 4) routed();
    },
  });
}
