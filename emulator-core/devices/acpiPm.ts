/**
 * ACPI fixed hardware: PM1a event block (600h), PM1a control block (604h) and the 24-bit power management timer (608h).
 * ACPI specification, "ACPI Hardware Features". The machine is always in ACPI mode: SCI_EN reads 1 and FADT.SMI_CMD is 0.
 * Soft-off is SLP_TYP 0; the reset register is CF9h (value 6), see systemControl.ts.
 */
import { hex, type Field } from '../fields';
import type { EventQueue } from '../time/eventQueue';
import type { Device, IrqLine, PortHandler, VirtualClock } from './device';
import { describeRegisters, type Register } from './registers';

export const ACPI_PM1A_EVENT = 0x600;
export const ACPI_PM1A_CONTROL = 0x604;
export const ACPI_PM_TIMER = 0x608;
export const ACPI_SCI_IRQ = 9;
export const ACPI_S5_SLP_TYP = 0;

const EVENT_BITS = { TMR: 0, GBL: 5, PWRBTN: 8, SLPBTN: 9, RTC: 10 } as const;
const REGISTERS: readonly Register[] = [
  { offset: 0, name: 'PM1_STS', access: 'rw', width: 16, writable: 0x8721, bits: { ...EVENT_BITS, WAK: 15 } },
  { offset: 2, name: 'PM1_EN', access: 'rw', width: 16, writable: 0x0721, bits: EVENT_BITS },
  {
    offset: 4,
    name: 'PM1_CNT',
    access: 'rw',
    width: 16,
    writable: 0x1c06,
    bits: { SCI_EN: 0, BM_RLD: 1, GBL_RLS: 2, SLP_TYP: [12, 10], SLP_EN: 13 },
  },
];
const [STATUS, ENABLE, CONTROL] = REGISTERS;
/** 14.31818 MHz / 4 = 315/88 MHz. */
const TICKS = 315;
const PER_NS = 88000;
/** TMR_STS is set whenever bit 23 changes. */
const HALF_TURN = 0x800000;
const PWRBTN_STS = 0x100;

interface AcpiPmState {
  status: number;
  enable: number;
  control: number;
  /** The timer in half turns when TMR_STS was last brought up to date. */
  halfTurns: number;
  /** Deadline of the next change of bit 23 in ns while it interrupts, else -1. */
  timerAt: number;
}

const INITIAL: AcpiPmState = { status: 0, enable: 0, control: 1, halfTurns: 0, timerAt: -1 };

export interface AcpiPmOptions {
  irq: IrqLine;
  clock: VirtualClock;
  events: EventQueue;
  powerOff(): void;
}

export class AcpiPm implements Device<AcpiPmState>, PortHandler {
  readonly name = 'acpiPm';
  private state = { ...INITIAL };

  constructor(private readonly options: AcpiPmOptions) {
    options.events.register('acpiPm.timer', () => {
      this.state.timerAt = -1;
      this.update();
    });
    this.reset();
  }

  /** The user presses the power button. */
  powerButton(): void {
    this.state.status |= PWRBTN_STS;
    this.update();
  }

  /** The power button's event raises the SCI: PM1_EN.PWRBTN_EN. */
  get powerButtonEnabled(): boolean {
    return (this.state.enable & PWRBTN_STS) !== 0;
  }

  readPort(port: number, size: number): number {
    const offset = port - ACPI_PM1A_EVENT;
    if (port >= ACPI_PM_TIMER) return this.timer() >>> (8 * (port & 3));
    this.update();
    const value = offset < 4 ? this.state.status | (this.state.enable << 16) : this.state.control;
    return (value >>> (8 * (offset & 3))) & (size === 4 ? -1 : 2 ** (8 * size) - 1);
  }

  writePort(port: number, value: number, size: number): void {
    if (port >= ACPI_PM_TIMER) return;
    this.update();
    const offset = port - ACPI_PM1A_EVENT;
    for (let i = 0; i < size; i++) this.writeByte(offset + i, (value >>> (8 * i)) & 0xff);
    this.update();
  }

  reset(): void {
    this.state = { ...INITIAL, halfTurns: this.halfTurns() };
    this.update();
  }

  save(): AcpiPmState {
    return { ...this.state };
  }

  restore(state: AcpiPmState): void {
    this.state = { ...state };
    this.schedule(state.timerAt);
    this.drive();
  }

  describe(): Field[] {
    const values = [this.state.status, this.state.enable, this.state.control];
    return [
      ...describeRegisters(REGISTERS, (row) => values[REGISTERS.indexOf(row)]),
      { name: 'PM_TMR', value: hex(this.timer(), 24), text: '3.579545 MHz' },
    ];
  }

  private writeByte(offset: number, byte: number): void {
    const s = this.state;
    const shift = 8 * (offset & 1);
    const merge = (old: number, row: Register) =>
      (old & ~(row.writable! & (0xff << shift))) | ((byte << shift) & row.writable!);
    switch (offset & ~1) {
      case STATUS.offset:
        s.status &= ~((byte << shift) & STATUS.writable!); // write 1 to clear
        break;
      case ENABLE.offset:
        s.enable = merge(s.enable, ENABLE);
        break;
      case CONTROL.offset:
        s.control = (merge(s.control, CONTROL) & ~0x04) | 1; // GBL_RLS is write-only
        if (offset & 1 && byte & 0x20 && ((s.control >> 10) & 7) === ACPI_S5_SLP_TYP) this.options.powerOff();
        break;
    }
  }

  private ticks(): number {
    return Math.floor((this.options.clock.now() * TICKS) / PER_NS);
  }

  private timer(): number {
    return this.ticks() % 0x1000000;
  }

  private halfTurns(): number {
    return Math.floor(this.ticks() / HALF_TURN);
  }

  /** Brings TMR_STS up to date, drives the SCI and arms the timer's event if it interrupts. */
  private update(): void {
    const s = this.state;
    const halfTurns = this.halfTurns();
    if (halfTurns !== s.halfTurns) s.status |= 1;
    s.halfTurns = halfTurns;
    const wanted = s.enable & 1 && !(s.status & 1);
    this.schedule(wanted ? Math.ceil(((halfTurns + 1) * HALF_TURN * PER_NS) / TICKS) : -1);
    this.drive();
  }

  private drive(): void {
    this.options.irq.set(this.state.status & this.state.enable & ENABLE.writable! ? 1 : 0);
  }

  private schedule(ns: number): void {
    this.state.timerAt = ns;
    if (ns < 0) this.options.events.cancel('acpiPm.timer');
    else this.options.events.at('acpiPm.timer', ns);
  }
}
