/**
 * MC146818 real-time clock with 128 bytes of CMOS RAM, at ports 70h (index) and 71h (data). The time registers hold what
 * the guest reads and are advanced when somebody looks; they run from the configured start time and virtual time.
 */
import { hex, type Field } from '../fields';
import type { EventQueue } from '../time/eventQueue';
import type { Device, IrqLine, PortHandler, VirtualClock } from './device';
import { describeRegisters, type Register } from './registers';

const SECONDS = 0;
const SECONDS_ALARM = 1;
const MINUTES = 2;
const MINUTES_ALARM = 3;
const HOURS = 4;
const HOURS_ALARM = 5;
const WEEKDAY = 6;
const DAY = 7;
const MONTH = 8;
const YEAR = 9;
const REG_A = 0x0a;
const REG_B = 0x0b;
const REG_C = 0x0c;
const REG_D = 0x0d;
const CENTURY = 0x32;

const REGISTERS: readonly Register[] = [
  { offset: SECONDS, name: 'seconds', access: 'rw' },
  { offset: SECONDS_ALARM, name: 'seconds alarm', access: 'rw' },
  { offset: MINUTES, name: 'minutes', access: 'rw' },
  { offset: MINUTES_ALARM, name: 'minutes alarm', access: 'rw' },
  { offset: HOURS, name: 'hours', access: 'rw' },
  { offset: HOURS_ALARM, name: 'hours alarm', access: 'rw' },
  { offset: WEEKDAY, name: 'day of week', access: 'rw' },
  { offset: DAY, name: 'day of month', access: 'rw' },
  { offset: MONTH, name: 'month', access: 'rw' },
  { offset: YEAR, name: 'year', access: 'rw' },
  { offset: REG_A, name: 'A', access: 'rw', writable: 0x7f, bits: { RS: [3, 0], DV: [6, 4], UIP: 7 } },
  {
    offset: REG_B,
    name: 'B',
    access: 'rw',
    bits: { DSE: 0, '24h': 1, DM: 2, SQWE: 3, UIE: 4, AIE: 5, PIE: 6, SET: 7 },
  },
  { offset: REG_C, name: 'C', access: 'ro', bits: { UF: 4, AF: 5, PF: 6, IRQF: 7 } },
  { offset: REG_D, name: 'D', access: 'ro', bits: { VRT: 7 } },
  { offset: 0x0f, name: 'shutdown status', access: 'rw' },
  { offset: CENTURY, name: 'century', access: 'rw' },
];

const B_24H = 0x02;
const B_BINARY = 0x04;
const B_SET = 0x80;
const UF = 0x10;
const AF = 0x20;
const PF = 0x40;
const SECOND_NS = 1e9;
/** UIP rises 244 us before the update, which takes 1984 us. */
const UPDATE_NS = 2228000;

interface CmosState {
  index: number;
  ram: Uint8Array;
  /** The latest update of the time registers, and the origin of the periodic interrupt, in ns. */
  updatedAt: number;
  periodicAt: number;
  /** Deadline of the next event that interrupts, -1 when none. */
  eventAt: number;
}

export interface CmosRtcOptions {
  irq: IrqLine;
  clock: VirtualClock;
  events: EventQueue;
  /** Wall time at power-on, milliseconds since 1970-01-01 UTC. */
  startTime: number;
  memoryBytes: number;
  cpus: number;
}

export class CmosRtc implements Device<CmosState>, PortHandler {
  readonly name = 'rtc';
  private state: CmosState = { index: 0, ram: new Uint8Array(128), updatedAt: 0, periodicAt: 0, eventAt: -1 };

  constructor(private readonly options: CmosRtcOptions) {
    options.events.register('rtc.event', () => {
      this.state.eventAt = -1;
      this.sync();
      this.update();
    });
    this.reset();
  }

  reset(): void {
    const now = this.options.clock.now();
    const milliseconds = this.options.startTime + now / 1e6;
    const seconds = Math.floor(milliseconds / 1000);
    // The next update falls on the next whole second of wall time.
    const updatedAt = now - Math.floor((milliseconds - seconds * 1000) * 1e6);
    this.state = { index: 0, ram: new Uint8Array(128), updatedAt, periodicAt: now, eventAt: -1 };
    const { ram } = this.state;
    ram[REG_A] = 0x26; // 32.768 kHz, 1024 Hz periodic rate
    ram[REG_B] = B_24H;
    ram[REG_D] = 0x80;
    this.writeTime(seconds);
    this.describeMachine();
    this.update();
  }

  save(): CmosState {
    return structuredClone(this.state);
  }

  restore(state: CmosState): void {
    this.state = structuredClone(state);
    this.schedule(state.eventAt);
    this.drive();
  }

  describe(): Field[] {
    const { ram } = this.state;
    const time = new Date(this.readTime() * 1000).toISOString();
    return [
      { name: 'time', value: time },
      { name: 'index', value: hex(this.state.index, 8) },
      ...describeRegisters(REGISTERS, (row) => ram[row.offset]),
    ];
  }

  readPort(port: number): number {
    if (!(port & 1)) return 0xff; // the index register is write-only
    const s = this.state;
    const index = s.index & 0x7f;
    this.sync();
    switch (index) {
      case REG_A:
        return s.ram[REG_A] | (this.updateInProgress() ? 0x80 : 0);
      case REG_C: {
        const flags = this.flags();
        s.ram[REG_C] = 0;
        this.update();
        return flags;
      }
      default:
        return s.ram[index];
    }
  }

  writePort(port: number, value: number): void {
    const s = this.state;
    if (!(port & 1)) {
      s.index = value;
      return;
    }
    const index = s.index & 0x7f;
    this.sync();
    const { ram } = s;
    switch (index) {
      case REG_A: {
        const wasRunning = this.running();
        if ((ram[REG_A] ^ value) & 0x0f) s.periodicAt = this.options.clock.now();
        ram[REG_A] = value & 0x7f;
        // Out of divider reset, the first update comes half a second later.
        if (!wasRunning && this.running()) {
          s.periodicAt = this.options.clock.now();
          s.updatedAt = s.periodicAt - SECOND_NS / 2;
        }
        break;
      }
      case REG_B:
        ram[REG_B] = value & B_SET ? value & ~0x10 : value; // SET clears UIE
        break;
      case REG_C:
      case REG_D:
        return;
      default:
        ram[index] = value;
    }
    this.update();
  }

  /** Whether the divider runs: DV is 010 (32.768 kHz crystal). */
  private running(): boolean {
    return (this.state.ram[REG_A] & 0x70) === 0x20;
  }

  private updating(): boolean {
    return this.running() && !(this.state.ram[REG_B] & B_SET);
  }

  private updateInProgress(): boolean {
    return this.updating() && this.options.clock.now() >= this.state.updatedAt + SECOND_NS - UPDATE_NS;
  }

  /** Period of PF in ns, 0 when off. Rates 1 and 2 are 3.90625 ms and 7.8125 ms, then 122 us doubling. */
  private periodNs(): number {
    const rate = this.state.ram[REG_A] & 15;
    if (rate === 0 || !this.running()) return 0;
    return (SECOND_NS * 2 ** ((rate < 3 ? rate + 7 : rate) - 1)) / 32768;
  }

  /** Does the updates and sets the flags of the time that has passed. */
  private sync(): void {
    const s = this.state;
    const now = this.options.clock.now();
    const period = this.periodNs();
    if (period > 0 && now >= s.periodicAt + period) {
      s.periodicAt += Math.floor((now - s.periodicAt) / period) * period;
      s.ram[REG_C] |= PF;
    }
    const seconds = Math.floor((now - s.updatedAt) / SECOND_NS);
    if (seconds <= 0) return;
    s.updatedAt += seconds * SECOND_NS;
    if (!this.updating()) return;
    const time = this.readTime();
    if (this.alarmWithin(time, seconds)) s.ram[REG_C] |= AF;
    s.ram[REG_C] |= UF;
    this.writeTime(time + seconds);
  }

  private decode(value: number): number {
    return this.state.ram[REG_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 15);
  }

  private encode(value: number): number {
    return this.state.ram[REG_B] & B_BINARY ? value : (Math.floor(value / 10) << 4) | (value % 10);
  }

  private decodeHours(value: number): number {
    if (this.state.ram[REG_B] & B_24H) return this.decode(value);
    return (this.decode(value & 0x7f) % 12) + (value & 0x80 ? 12 : 0);
  }

  private encodeHours(hours: number): number {
    if (this.state.ram[REG_B] & B_24H) return this.encode(hours);
    return this.encode(hours % 12 || 12) | (hours >= 12 ? 0x80 : 0);
  }

  /** The time registers as seconds since 1970. Registers out of range carry over as a calendar would. */
  private readTime(): number {
    const { ram } = this.state;
    const year = this.decode(ram[CENTURY]) * 100 + this.decode(ram[YEAR]);
    const date = new Date(0);
    date.setUTCFullYear(year, this.decode(ram[MONTH]) - 1, this.decode(ram[DAY]));
    return (
      Math.floor(date.getTime() / 1000) +
      this.decodeHours(ram[HOURS]) * 3600 +
      this.decode(ram[MINUTES]) * 60 +
      this.decode(ram[SECONDS])
    );
  }

  private writeTime(seconds: number): void {
    const { ram } = this.state;
    const date = new Date(seconds * 1000);
    const year = date.getUTCFullYear();
    ram[SECONDS] = this.encode(date.getUTCSeconds());
    ram[MINUTES] = this.encode(date.getUTCMinutes());
    ram[HOURS] = this.encodeHours(date.getUTCHours());
    ram[WEEKDAY] = this.encode(date.getUTCDay() + 1);
    ram[DAY] = this.encode(date.getUTCDate());
    ram[MONTH] = this.encode(date.getUTCMonth() + 1);
    ram[YEAR] = this.encode(year % 100);
    ram[CENTURY] = this.encode(Math.floor(year / 100) % 100);
  }

  /** Whether the alarm goes off in the `seconds` seconds after `time`. 11xxxxxx in an alarm register is "don't care". */
  private alarmWithin(time: number, seconds: number): boolean {
    const { ram } = this.state;
    const wanted = [
      ram[HOURS_ALARM] >= 0xc0 ? -1 : this.decodeHours(ram[HOURS_ALARM]),
      ram[MINUTES_ALARM] >= 0xc0 ? -1 : this.decode(ram[MINUTES_ALARM]),
      ram[SECONDS_ALARM] >= 0xc0 ? -1 : this.decode(ram[SECONDS_ALARM]),
    ];
    for (let i = 1; i <= Math.min(seconds, 86400); i++) {
      const ofDay = (((time + i) % 86400) + 86400) % 86400;
      const is = [Math.floor(ofDay / 3600), Math.floor(ofDay / 60) % 60, ofDay % 60];
      if (wanted.every((value, k) => value < 0 || value === is[k])) return true;
    }
    return false;
  }

  private flags(): number {
    const { ram } = this.state;
    return ram[REG_C] | (ram[REG_C] & ram[REG_B] & (UF | AF | PF) ? 0x80 : 0);
  }

  private drive(): void {
    this.options.irq.set(this.flags() & 0x80 ? 1 : 0);
  }

  private schedule(ns: number): void {
    this.state.eventAt = ns;
    if (ns < 0) this.options.events.cancel('rtc.event');
    else this.options.events.at('rtc.event', ns);
  }

  /** Drives IRQ 8 and arms the next event, if any interrupt is enabled. */
  private update(): void {
    const s = this.state;
    let next = Infinity;
    const period = this.periodNs();
    if (s.ram[REG_B] & PF && period > 0) next = s.periodicAt + period;
    if (s.ram[REG_B] & (UF | AF) && this.updating()) next = Math.min(next, s.updatedAt + SECOND_NS);
    this.schedule(next === Infinity ? -1 : Math.ceil(next));
    this.drive();
  }

  /** What PC firmware leaves in CMOS RAM about the machine. */
  private describeMachine(): void {
    const { ram } = this.state;
    const { memoryBytes, cpus } = this.options;
    const word = (offset: number, value: number) => {
      ram[offset] = value & 0xff;
      ram[offset + 1] = value >> 8;
    };
    const clamp = (value: number) => Math.max(0, Math.min(0xffff, Math.floor(value)));
    const extendedKiB = clamp((memoryBytes - 0x100000) / 1024);
    ram[0x14] = 0x06; // equipment: mouse port, FPU; display with its own BIOS, no floppy
    word(0x15, Math.min(640, clamp(memoryBytes / 1024)));
    word(0x17, extendedKiB);
    word(0x30, extendedKiB);
    word(0x34, clamp((memoryBytes - 0x1000000) / 65536));
    ram[0x5f] = (cpus - 1) & 0xff;
    let sum = 0;
    for (let i = 0x10; i <= 0x2d; i++) sum += ram[i];
    ram[0x2e] = sum >> 8;
    ram[0x2f] = sum & 0xff;
  }
}
