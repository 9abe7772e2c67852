/**
 * NS16550A UART. Registers, FIFOs, interrupt identification and loopback as in National's PC16550D data sheet.
 *
 * Timing. A transmitted byte reaches the host at once and LSR.THRE and LSR.TEMT stay set, so a guest that polls never
 * waits. The THRE interrupt of a write follows 10 us later, so that an interrupt handler that writes until nothing is
 * pending comes to an end. Received bytes arrive at the programmed line speed; while the receive FIFO is full the rest
 * waits in the input queue, so no byte is lost to an overrun (loopback can overrun, as on hardware).
 */
import { type Field } from '../fields';
import type { EventQueue } from '../time/eventQueue';
import type { Device, IrqLine, PortHandler, VirtualClock } from './device';
import { describeRegisters, type Register } from './registers';

const RBR = 0;
const IER = 1;
const FCR = 2;
const LCR = 3;
const MCR = 4;
const LSR = 5;
const MSR = 6;

const REGISTERS: readonly Register[] = [
  { offset: IER, name: 'IER', access: 'rw', writable: 0x0f, bits: { ERBFI: 0, ETBEI: 1, ELSI: 2, EDSSI: 3 } },
  { offset: 2, name: 'IIR', access: 'ro', bits: { 'no interrupt': 0, ID: [3, 1], 'FIFOs enabled': [7, 6] } },
  { offset: FCR, name: 'FCR', access: 'wo', writable: 0xc9, bits: { enable: 0, 'DMA mode': 3, trigger: [7, 6] } },
  { offset: LCR, name: 'LCR', access: 'rw', bits: { WLS: [1, 0], STB: 2, PEN: 3, EPS: 4, SP: 5, break: 6, DLAB: 7 } },
  { offset: MCR, name: 'MCR', access: 'rw', writable: 0x1f, bits: { DTR: 0, RTS: 1, OUT1: 2, OUT2: 3, loop: 4 } },
  {
    offset: LSR,
    name: 'LSR',
    access: 'ro',
    bits: { DR: 0, OE: 1, PE: 2, FE: 3, BI: 4, THRE: 5, TEMT: 6, 'FIFO error': 7 },
  },
  {
    offset: MSR,
    name: 'MSR',
    access: 'ro',
    bits: { DCTS: 0, DDSR: 1, TERI: 2, DDCD: 3, CTS: 4, DSR: 5, RI: 6, DCD: 7 },
  },
  { offset: 7, name: 'SCR', access: 'rw' },
];
const writableBits = (offset: number) => REGISTERS.find((row) => row.offset === offset && row.writable)!.writable!;
const IER_BITS = writableBits(IER);
const MCR_BITS = writableBits(MCR);

const LSR_DR = 0x01;
const LSR_OE = 0x02;
const LSR_BI = 0x10;
const LSR_EMPTY = 0x60; // THRE and TEMT
const LSR_ERRORS = 0x1e;
const MCR_OUT2 = 0x08;
const MCR_LOOP = 0x10;
const TRIGGER_LEVELS = [1, 4, 8, 14];
const FIFO_DEPTH = 16;
/** The host's end of the cable asserts CTS, DSR and DCD. */
const MODEM_CONNECTED = 0xb0;
const CRYSTAL_HZ = 1843200;
const THRE_DELAY_NS = 10000;
/** Input that waits for the guest here; each checkpoint copies it, so it is short, and the rest waits with whoever sends it. */
const INPUT_LIMIT = 4096;

interface UartState {
  ier: number;
  fcr: number;
  lcr: number;
  mcr: number;
  scr: number;
  divisor: number;
  /** OE; the per-byte errors are with their bytes. */
  overrun: boolean;
  /** MSR bits 7-4 and the delta bits 3-0. */
  msr: number;
  /** Received bytes; bits 15-8 hold the byte's LSR error bits. */
  rx: number[];
  input: number[];
  threPending: boolean;
  timeoutPending: boolean;
  /** Deadlines in ns, -1 when not armed. */
  rxAt: number;
  timeoutAt: number;
  threAt: number;
}

function initialState(): UartState {
  return {
    ier: 0,
    fcr: 0,
    lcr: 0,
    mcr: 0,
    scr: 0,
    divisor: 12,
    overrun: false,
    msr: MODEM_CONNECTED,
    rx: [],
    input: [],
    threPending: false,
    timeoutPending: false,
    rxAt: -1,
    timeoutAt: -1,
    threAt: -1,
  };
}

export interface UartOptions {
  name: string;
  irq: IrqLine;
  clock: VirtualClock;
  events: EventQueue;
  /** Gets each transmitted byte. */
  transmit(byte: number): void;
}

export class Uart16550 implements Device<UartState>, PortHandler {
  readonly name: string;
  private readonly threEvent: string;
  private state = initialState();

  constructor(private readonly options: UartOptions) {
    this.name = options.name;
    this.threEvent = `${this.name}.thre`;
    options.events.register(`${this.name}.rx`, (now) => this.receiveNext(now));
    options.events.register(`${this.name}.timeout`, () => this.characterTimeout());
    options.events.register(this.threEvent, () => this.transmitterEmpty());
  }

  /** Queues input for the guest. Returns how many bytes were taken: fewer than given while the queue (4 KiB) is full. */
  receive(bytes: Uint8Array): number {
    const count = Math.min(bytes.length, INPUT_LIMIT - this.state.input.length);
    for (let i = 0; i < count; i++) this.state.input.push(bytes[i]);
    this.scheduleReceive();
    return count;
  }

  /** Bytes of input that the guest's receive FIFO has not taken yet. */
  get inputPending(): number {
    return this.state.input.length;
  }

  reset(): void {
    this.state = initialState();
    this.schedule();
    this.updateIrq();
  }

  save(): UartState {
    return structuredClone(this.state);
  }

  restore(state: UartState): void {
    this.state = structuredClone(state);
    this.schedule();
    this.updateIrq();
  }

  describe(): Field[] {
    const s = this.state;
    const values: Record<string, number> = {
      IER: s.ier,
      IIR: this.interruptId(),
      FCR: s.fcr,
      LCR: s.lcr,
      MCR: s.mcr,
      LSR: this.lineStatus(),
      MSR: s.msr,
      SCR: s.scr,
    };
    const bits = 5 + (s.lcr & 3);
    const parity = s.lcr & 8 ? (s.lcr & 0x10 ? 'E' : 'O') : 'N';
    return [
      { name: 'line', value: `${CRYSTAL_HZ / 16 / (s.divisor || 1)} baud ${bits}${parity}${s.lcr & 4 ? 2 : 1}` },
      ...describeRegisters(REGISTERS, (row) => values[row.name]),
      { name: 'receive FIFO', value: `${s.rx.length} bytes`, text: `${s.input.length} more waiting` },
    ];
  }

  readPort(port: number): number {
    const s = this.state;
    switch (port & 7) {
      case RBR:
        return s.lcr & 0x80 ? s.divisor & 0xff : this.readData();
      case IER:
        return s.lcr & 0x80 ? s.divisor >> 8 : s.ier;
      case FCR: {
        const id = this.interruptId();
        // Reading IIR while it shows THRE takes that interrupt back.
        if ((id & 0x0f) === 0x02) {
          s.threPending = false;
          this.updateIrq();
        }
        return id;
      }
      case LCR:
        return s.lcr;
      case MCR:
        return s.mcr;
      case LSR: {
        const status = this.lineStatus();
        s.overrun = false;
        if (s.rx.length > 0) s.rx[0] &= 0xff;
        this.updateIrq();
        return status;
      }
      case MSR: {
        const status = s.msr;
        s.msr &= 0xf0;
        this.updateIrq();
        return status;
      }
      default:
        return s.scr;
    }
  }

  writePort(port: number, value: number): void {
    const s = this.state;
    switch (port & 7) {
      case RBR:
        if (s.lcr & 0x80) s.divisor = (s.divisor & 0xff00) | value;
        else this.writeData(value);
        return;
      case IER:
        if (s.lcr & 0x80) {
          s.divisor = (s.divisor & 0x00ff) | (value << 8);
          return;
        }
        // Enabling ETBEI while the transmitter is empty interrupts at once.
        if (value & ~s.ier & 0x02) s.threPending = true;
        s.ier = value & IER_BITS;
        this.updateIrq();
        return;
      case FCR:
        this.writeFifoControl(value);
        return;
      case LCR:
        // A break that the guest sends in loopback comes back as a zero byte with BI.
        if (value & ~s.lcr & 0x40 && s.mcr & MCR_LOOP) this.pushReceived(LSR_BI << 8);
        s.lcr = value;
        this.updateIrq();
        return;
      case MCR:
        s.mcr = value & MCR_BITS;
        this.updateModemStatus();
        this.scheduleReceive();
        this.updateIrq();
        return;
      case 7:
        s.scr = value;
        return;
      default:
        return; // LSR and MSR are written in factory tests only
    }
  }

  private readData(): number {
    const s = this.state;
    const byte = (s.rx.shift() ?? 0) & 0xff;
    s.timeoutPending = false;
    this.armTimeout();
    this.scheduleReceive();
    this.updateIrq();
    return byte;
  }

  private writeData(value: number): void {
    const s = this.state;
    s.threPending = false;
    if (s.mcr & MCR_LOOP) this.pushReceived(value & (0xff >> (3 - (s.lcr & 3))));
    else this.options.transmit(value);
    s.threAt = this.options.clock.now() + THRE_DELAY_NS;
    this.options.events.at(this.threEvent, s.threAt);
    this.updateIrq();
  }

  private writeFifoControl(value: number): void {
    const s = this.state;
    const toggled = (value ^ s.fcr) & 1;
    if (toggled || (value & 1 && value & 2)) {
      s.rx = [];
      s.timeoutPending = false;
    }
    // The other bits are not programmed unless FIFO enable is set in the same write.
    s.fcr = value & 1 ? value & 0xc9 : 0;
    this.armTimeout();
    this.scheduleReceive();
    this.updateIrq();
  }

  private get capacity(): number {
    return this.state.fcr & 1 ? FIFO_DEPTH : 1;
  }

  private pushReceived(entry: number): void {
    const s = this.state;
    if (s.rx.length >= this.capacity) {
      s.overrun = true;
      // Without FIFO the new byte replaces the old one; with it, the shift register's byte is lost.
      if (!(s.fcr & 1)) s.rx[0] = entry;
    } else {
      s.rx.push(entry);
    }
    s.timeoutPending = false;
    this.armTimeout();
  }

  /** Time of one character on the line. */
  private characterNs(): number {
    const { lcr, divisor } = this.state;
    const bits = 1 + 5 + (lcr & 3) + (lcr & 8 ? 1 : 0) + (lcr & 4 ? (lcr & 3 ? 2 : 1.5) : 1);
    return Math.ceil((bits * 16 * (divisor || 1) * 1e9) / CRYSTAL_HZ);
  }

  private scheduleReceive(): void {
    const s = this.state;
    const wanted = s.input.length > 0 && s.rx.length < this.capacity && !(s.mcr & MCR_LOOP);
    if (wanted === s.rxAt >= 0) return;
    s.rxAt = wanted ? this.options.clock.now() + this.characterNs() : -1;
    this.arm('rx', s.rxAt);
  }

  private receiveNext(now: number): void {
    const s = this.state;
    s.rxAt = -1;
    if (s.input.length > 0) this.pushReceived(s.input.shift()!);
    if (s.input.length > 0 && s.rx.length < this.capacity) {
      s.rxAt = now + this.characterNs();
      this.arm('rx', s.rxAt);
    }
    this.updateIrq();
  }

  /** With FIFOs: bytes below the trigger level that nobody reads interrupt after four character times. */
  private armTimeout(): void {
    const s = this.state;
    const wanted = s.fcr & 1 && s.rx.length > 0;
    s.timeoutAt = wanted ? this.options.clock.now() + 4 * this.characterNs() : -1;
    this.arm('timeout', s.timeoutAt);
  }

  private characterTimeout(): void {
    this.state.timeoutAt = -1;
    this.state.timeoutPending = this.state.rx.length > 0;
    this.updateIrq();
  }

  private transmitterEmpty(): void {
    this.state.threAt = -1;
    this.state.threPending = true;
    this.updateIrq();
  }

  private arm(event: string, ns: number): void {
    if (ns < 0) this.options.events.cancel(`${this.name}.${event}`);
    else this.options.events.at(`${this.name}.${event}`, ns);
  }

  private schedule(): void {
    this.arm('rx', this.state.rxAt);
    this.arm('timeout', this.state.timeoutAt);
    this.arm('thre', this.state.threAt);
  }

  private lineStatus(): number {
    const s = this.state;
    let status = LSR_EMPTY;
    if (s.overrun) status |= LSR_OE;
    if (s.rx.length > 0) status |= LSR_DR | (s.rx[0] >> 8);
    if (s.fcr & 1 && s.rx.some((entry) => entry > 0xff)) status |= 0x80;
    return status;
  }

  private updateModemStatus(): void {
    const s = this.state;
    let lines = MODEM_CONNECTED;
    if (s.mcr & MCR_LOOP) {
      // DTR -> DSR, RTS -> CTS, OUT1 -> RI, OUT2 -> DCD
      lines = ((s.mcr & 2) << 3) | ((s.mcr & 1) << 5) | ((s.mcr & 4) << 4) | ((s.mcr & 8) << 4);
    }
    const changed = (s.msr ^ lines) & 0xf0;
    const deltas = ((changed >> 4) & 0x0b) | (changed & s.msr & 0x40 ? 0x04 : 0); // TERI: RI going away
    s.msr = lines | (s.msr & 0x0f) | deltas;
  }

  /** IIR: the pending enabled interrupt of the highest priority. */
  private interruptId(): number {
    const s = this.state;
    const fifo = s.fcr & 1 ? 0xc0 : 0;
    if (s.ier & 4 && this.lineStatus() & LSR_ERRORS) return fifo | 0x06;
    if (s.ier & 1) {
      const trigger = s.fcr & 1 ? TRIGGER_LEVELS[s.fcr >> 6] : 1;
      if (s.rx.length >= trigger) return fifo | 0x04;
      if (s.timeoutPending) return fifo | 0x0c;
    }
    if (s.ier & 2 && s.threPending) return fifo | 0x02;
    if (s.ier & 8 && s.msr & 0x0f) return fifo;
    return fifo | 0x01;
  }

  /** On a PC, OUT2 gates the interrupt line; loopback holds the OUT2 pin inactive. */
  private updateIrq(): void {
    const gate = (this.state.mcr & (MCR_OUT2 | MCR_LOOP)) === MCR_OUT2;
    this.options.irq.set(gate && !(this.interruptId() & 1) ? 1 : 0);
  }
}
