/**
 * Two 8259A interrupt controllers, cascaded through IR2 of the first, with PIIX3's edge/level control registers.
 * Intel 8259A data sheet, "Programming the 8259A"; PIIX3 data sheet, "ELCR1, ELCR2". As in PIIX3, ICW1.LTIM has no
 * effect (ELCR takes its place) and vectors are always in 8086 mode.
 */
import { hex, type Field } from '../fields';
import type { Device, PortHandler } from './device';
import { describeRegisters, type Register } from './registers';

const REGISTERS: readonly Register[] = [
  { offset: 0, name: 'IRR', access: 'ro' },
  { offset: 0, name: 'ISR', access: 'ro' },
  { offset: 1, name: 'IMR', access: 'rw' },
  { offset: 0, name: 'ICW1', access: 'wo', bits: { IC4: 0, SNGL: 1, LTIM: 3 } },
  { offset: 1, name: 'ICW2', access: 'wo', bits: { 'vector base': [7, 3] } },
  { offset: 1, name: 'ICW3', access: 'wo' },
  { offset: 1, name: 'ICW4', access: 'wo', bits: { uPM: 0, AEOI: 1, BUF: [3, 2], SFNM: 4 } },
  { offset: 0x4b0, name: 'ELCR', access: 'rw' },
];

interface ChipState {
  irr: number;
  isr: number;
  imr: number;
  /** Input pins. */
  lines: number;
  elcr: number;
  icw1: number;
  icw2: number;
  icw3: number;
  icw4: number;
  /** The initialization word expected next (2-4), 0 when initialized. */
  expect: number;
  readIsr: boolean;
  poll: boolean;
  specialMask: boolean;
  rotateOnAutoEoi: boolean;
  /** The input of the lowest priority. */
  lowest: number;
}

const ICW4_AEOI = 0x02;
const ICW4_SFNM = 0x10;
const CASCADE = 2;

function chipState(): ChipState {
  return {
    irr: 0,
    isr: 0,
    imr: 0,
    lines: 0,
    elcr: 0,
    icw1: 0,
    icw2: 0,
    icw3: 0,
    icw4: 0,
    expect: 0,
    readIsr: false,
    poll: false,
    specialMask: false,
    rotateOnAutoEoi: false,
    lowest: 7,
  };
}

/** One 8259A. The pair below connects two. */
class Chip {
  state = chipState();

  constructor(
    private readonly master: boolean,
    /** ELCR bits that can be set: IRQ 0, 1, 2, 8 and 13 are always edge-triggered. */
    private readonly elcrBits: number,
  ) {}

  setLine(input: number, level: 0 | 1): void {
    const s = this.state;
    const bit = 1 << input;
    const was = s.lines & bit;
    s.lines = level ? s.lines | bit : s.lines & ~bit;
    // The request latch follows the pin down: an input must stay active until it is acknowledged.
    if (!level) s.irr &= ~bit;
    else if (!was || s.elcr & bit) s.irr |= bit;
  }

  /** The input to be served now, or -1. */
  pending(): number {
    const s = this.state;
    const requests = s.irr & ~s.imr;
    if (requests === 0 || s.expect !== 0) return -1;
    let inService = s.specialMask ? s.isr & ~s.imr : s.isr;
    if (this.master && s.icw4 & ICW4_SFNM) inService &= ~(1 << CASCADE);
    for (let i = 1; i <= 8; i++) {
      const input = (s.lowest + i) & 7;
      if (inService & (1 << input)) return -1;
      if (requests & (1 << input)) return input;
    }
    return -1;
  }

  /** The INTA cycle for an input. */
  acknowledge(input: number): void {
    const s = this.state;
    const bit = 1 << input;
    if (!(s.elcr & bit)) s.irr &= ~bit;
    if (!(s.icw4 & ICW4_AEOI)) s.isr |= bit;
    else if (s.rotateOnAutoEoi) s.lowest = input;
  }

  read(a0: number): number {
    const s = this.state;
    if (s.poll) {
      s.poll = false;
      const input = this.pending();
      if (input < 0) return 0;
      this.acknowledge(input);
      return 0x80 | input;
    }
    if (a0) return s.imr;
    return s.readIsr ? s.isr : s.irr;
  }

  write(a0: number, value: number): void {
    const s = this.state;
    if (a0) this.writeData(value);
    else if (value & 0x10) this.startInitialization(value);
    else if (value & 0x08) {
      // OCW3
      if (value & 0x02) s.readIsr = (value & 0x01) !== 0;
      if (value & 0x04) s.poll = true;
      if (value & 0x40) s.specialMask = (value & 0x20) !== 0;
    } else this.endOfInterrupt(value);
  }

  writeElcr(value: number): void {
    const s = this.state;
    s.elcr = value & this.elcrBits;
    s.irr = (s.irr & ~s.elcr) | (s.lines & s.elcr);
  }

  private startInitialization(value: number): void {
    const { lines, elcr, icw2, icw3 } = this.state;
    // Edges seen so far are forgotten; level-triggered inputs ask again.
    this.state = { ...chipState(), lines, elcr, icw2, icw3, icw1: value, expect: 2, irr: lines & elcr };
  }

  private writeData(value: number): void {
    const s = this.state;
    switch (s.expect) {
      case 2:
        s.icw2 = value & 0xf8;
        s.expect = s.icw1 & 0x02 ? (s.icw1 & 0x01 ? 4 : 0) : 3;
        break;
      case 3:
        s.icw3 = value;
        s.expect = s.icw1 & 0x01 ? 4 : 0;
        break;
      case 4:
        s.icw4 = value;
        s.expect = 0;
        break;
      default:
        s.imr = value; // OCW1
    }
  }

  /** OCW2: bits 7-5 are R, SL, EOI; bits 2-0 the input for the specific ones. */
  private endOfInterrupt(value: number): void {
    const s = this.state;
    const input = value & 7;
    switch (value >> 5) {
      case 0b000:
      case 0b100:
        s.rotateOnAutoEoi = (value & 0x80) !== 0;
        break;
      case 0b001:
      case 0b101: {
        const served = this.highestInService();
        if (served < 0) break;
        s.isr &= ~(1 << served);
        if (value & 0x80) s.lowest = served;
        break;
      }
      case 0b011:
        s.isr &= ~(1 << input);
        break;
      case 0b111:
        s.isr &= ~(1 << input);
        s.lowest = input;
        break;
      case 0b110:
        s.lowest = input;
        break;
    }
  }

  /** A non-specific EOI skips masked inputs in special mask mode. */
  private highestInService(): number {
    const s = this.state;
    const candidates = s.specialMask ? s.isr & ~s.imr : s.isr;
    for (let i = 1; i <= 8; i++) {
      const input = (s.lowest + i) & 7;
      if (candidates & (1 << input)) return input;
    }
    return -1;
  }
}

interface PicState {
  master: ChipState;
  slave: ChipState;
}

export class Pic8259 implements Device<PicState>, PortHandler {
  readonly name = 'pic';
  private readonly master = new Chip(true, 0xf8);
  private readonly slave = new Chip(false, 0xde);
  private output = false;

  /** `outputChanged` is told when the master's INT pin changes. */
  constructor(private readonly outputChanged: () => void) {}

  /** The master's INT pin. */
  get intr(): boolean {
    return this.output;
  }

  /** Input `irq`, 0-15 (2 is the cascade and has no input of its own). */
  setIrq(irq: number, level: 0 | 1): void {
    if (irq === CASCADE) return;
    if (irq < 8) this.master.setLine(irq, level);
    else this.slave.setLine(irq - 8, level);
    this.update();
  }

  /** The processor's INTA cycles: the vector. IR7 (or IR15) of the vector base if the request has gone: a spurious one. */
  acknowledge(): number {
    const input = this.master.pending();
    let vector = this.master.state.icw2 | (input < 0 ? 7 : input);
    if (input >= 0) this.master.acknowledge(input);
    if (input === CASCADE && this.master.state.icw3 & (1 << CASCADE)) {
      const slaveInput = this.slave.pending();
      vector = this.slave.state.icw2 | (slaveInput < 0 ? 7 : slaveInput);
      if (slaveInput >= 0) this.slave.acknowledge(slaveInput);
      // The slave's INT drops during INTA; if more is pending it rises again as a new edge.
      this.master.setLine(CASCADE, 0);
    }
    this.update();
    return vector;
  }

  readPort(port: number): number {
    if (port >= 0x4d0) return (port & 1 ? this.slave : this.master).state.elcr;
    const chip = port & 0x80 ? this.slave : this.master;
    const polled = chip.state.poll;
    const value = chip.read(port & 1);
    if (polled) this.update();
    return value;
  }

  writePort(port: number, value: number): void {
    if (port >= 0x4d0) (port & 1 ? this.slave : this.master).writeElcr(value);
    else (port & 0x80 ? this.slave : this.master).write(port & 1, value);
    this.update();
  }

  reset(): void {
    this.master.state = chipState();
    this.slave.state = chipState();
    this.update();
  }

  save(): PicState {
    return structuredClone({ master: this.master.state, slave: this.slave.state });
  }

  restore(state: PicState): void {
    this.master.state = structuredClone(state.master);
    this.slave.state = structuredClone(state.slave);
    this.update();
  }

  describe(): Field[] {
    const chip = (name: string, s: ChipState): Field => {
      const values = [s.irr, s.isr, s.imr, s.icw1, s.icw2, s.icw3, s.icw4, s.elcr];
      return {
        name,
        value: hex(s.icw2, 8),
        text: s.expect ? `initializing, ICW${s.expect} is next` : `vectors from ${hex(s.icw2, 8)}`,
        children: [
          ...describeRegisters(REGISTERS, (row) => values[REGISTERS.indexOf(row)]),
          { name: 'lowest priority', value: `IR${s.lowest}` },
          { name: 'special mask mode', value: s.specialMask ? 'on' : 'off' },
        ],
      };
    };
    return [chip('master', this.master.state), chip('slave', this.slave.state)];
  }

  private update(): void {
    this.master.setLine(CASCADE, this.slave.pending() >= 0 ? 1 : 0);
    const output = this.master.pending() >= 0;
    if (output === this.output) return;
    this.output = output;
    this.outputChanged();
  }
}
