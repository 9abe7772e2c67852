/**
 * 82093AA I/O APIC: 24 pins, at 0xfec00000. `level` of a pin means asserted: the polarity bit of an entry is kept for the
 * guest but not applied. As the data sheet says, an edge on a masked pin is lost.
 */
import { hex, type Field } from '../fields';
import { DeliveryMode, type ApicBus } from './apicBus';
import type { Device, MmioHandler } from './device';
import { bitField, describeRegister, type Register } from './registers';

export const IO_APIC_BASE = 0xfec00000;
export const IO_APIC_PINS = 24;

const WINDOW: readonly Register[] = [
  { offset: 0x00, name: 'IOREGSEL', access: 'rw', width: 32, writable: 0xff },
  { offset: 0x10, name: 'IOWIN', access: 'rw', width: 32 },
];
const REGISTERS: readonly Register[] = [
  { offset: 0, name: 'IOAPICID', access: 'rw', width: 32, writable: 0x0f000000, bits: { ID: [27, 24] } },
  { offset: 1, name: 'IOAPICVER', access: 'ro', width: 32, bits: { version: [7, 0], 'last entry': [23, 16] } },
  { offset: 2, name: 'IOAPICARB', access: 'ro', width: 32, bits: { ID: [27, 24] } },
];
/** Low half of a redirection table entry; the high half's bits 31-24 are the destination. */
const ENTRY: Register = {
  offset: 0x10,
  name: 'IOREDTBL',
  access: 'rw',
  width: 32,
  writable: 0x0001afff,
  bits: {
    vector: [7, 0],
    mode: [10, 8],
    logical: 11,
    pending: 12,
    'active low': 13,
    'remote IRR': 14,
    level: 15,
    masked: 16,
  },
};
const VERSION_VALUE = 0x11 | ((IO_APIC_PINS - 1) << 16);
const REMOTE_IRR = 0x4000;
const LEVEL = 0x8000;
const MASKED = 0x10000;

interface IoApicState {
  select: number;
  id: number;
  low: number[];
  high: number[];
  /** Asserted pins, one bit each. */
  pins: number;
}

function initialState(): IoApicState {
  return {
    select: 0,
    id: 0,
    low: new Array<number>(IO_APIC_PINS).fill(MASKED),
    high: new Array<number>(IO_APIC_PINS).fill(0),
    pins: 0,
  };
}

export class IoApic implements Device<IoApicState>, MmioHandler {
  readonly name = 'ioapic';
  private state = initialState();

  constructor(private readonly apicBus: ApicBus) {
    apicBus.onEoi((vector) => this.endOfInterrupt(vector));
  }

  /** Input pin 0-23. */
  setPin(pin: number, level: 0 | 1): void {
    const s = this.state;
    const bit = 1 << pin;
    const was = s.pins & bit;
    s.pins = level ? s.pins | bit : s.pins & ~bit;
    if (level && (!was || s.low[pin] & LEVEL)) this.service(pin);
  }

  readMmio(gpa: number, size: number): number {
    const offset = gpa & 0xff;
    const value = (offset & ~3) === WINDOW[0].offset ? this.state.select : this.readSelected(offset & ~3);
    return (offset & 3) + size <= 4 ? value >>> (8 * (offset & 3)) : 0;
  }

  writeMmio(gpa: number, value: number, size: number): void {
    const offset = gpa & 0xff;
    if (offset === WINDOW[0].offset) this.state.select = value & WINDOW[0].writable!;
    else if (offset === WINDOW[1].offset && size === 4) this.writeSelected(value);
  }

  reset(): void {
    this.state = initialState();
  }

  save(): IoApicState {
    return structuredClone(this.state);
  }

  restore(state: IoApicState): void {
    this.state = structuredClone(state);
  }

  describe(): Field[] {
    const s = this.state;
    const values = [s.id, VERSION_VALUE, s.id];
    return [
      ...REGISTERS.map((row, i) => describeRegister(row, values[i])),
      { name: 'asserted pins', value: hex(s.pins, IO_APIC_PINS) },
      ...s.low.map((low, pin): Field => {
        const field = describeRegister(ENTRY, low);
        const to = `${low & 0x800 ? 'logical' : 'physical'} ${hex(s.high[pin] >>> 24, 8)}`;
        return {
          ...field,
          name: `pin ${pin}`,
          value: hex((BigInt(s.high[pin]) << 32n) | BigInt(low), 64),
          text: low & MASKED ? 'masked' : `vector ${hex(low & 0xff, 8)} to ${to}`,
        };
      }),
    ];
  }

  private readSelected(offset: number): number {
    if (offset !== WINDOW[1].offset) return 0;
    const { select, id, low, high } = this.state;
    if (select === 1) return VERSION_VALUE;
    if (select === 0 || select === 2) return id;
    const pin = (select - ENTRY.offset) >> 1;
    if (select < ENTRY.offset || pin >= IO_APIC_PINS) return 0;
    return (select & 1 ? high[pin] : low[pin]) >>> 0;
  }

  private writeSelected(value: number): void {
    const s = this.state;
    if (s.select === 0) s.id = value & REGISTERS[0].writable!;
    const pin = (s.select - ENTRY.offset) >> 1;
    if (s.select < ENTRY.offset || pin >= IO_APIC_PINS) return;
    if (s.select & 1) {
      s.high[pin] = (value & 0xff000000) >>> 0;
      return;
    }
    // Remote IRR is read-only; going to edge-triggered clears it.
    s.low[pin] = (value & ENTRY.writable!) | (value & LEVEL ? s.low[pin] & REMOTE_IRR : 0);
    if (s.low[pin] & LEVEL && s.pins & (1 << pin)) this.service(pin);
  }

  /** Sends a pin's interrupt unless it is masked, or level-triggered and still in service. */
  private service(pin: number): void {
    const s = this.state;
    const entry = s.low[pin];
    if (entry & MASKED || (entry & LEVEL && entry & REMOTE_IRR)) return;
    const mode = bitField(entry, ENTRY.bits!.mode);
    const level = (entry & LEVEL) !== 0;
    const vectored = mode === DeliveryMode.fixed || mode === DeliveryMode.lowest;
    // Set before delivery: an EOI cannot come earlier, but delivery may call out.
    if (level && vectored) s.low[pin] = entry | REMOTE_IRR;
    const taken = this.apicBus.deliver({
      destination: s.high[pin] >>> 24,
      logical: (entry & 0x800) !== 0,
      mode,
      vector: entry & 0xff,
      level: level && vectored,
    });
    if (!taken) s.low[pin] &= ~REMOTE_IRR;
  }

  private endOfInterrupt(vector: number): void {
    const s = this.state;
    for (let pin = 0; pin < IO_APIC_PINS; pin++) {
      const entry = s.low[pin];
      if ((entry & (LEVEL | REMOTE_IRR)) !== (LEVEL | REMOTE_IRR) || (entry & 0xff) !== vector) continue;
      s.low[pin] = entry & ~REMOTE_IRR;
      if (s.pins & (1 << pin)) this.service(pin);
    }
  }
}
