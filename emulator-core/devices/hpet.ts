/**
 * High precision event timers: a 64-bit main counter of 100 MHz and three comparators, at 0xfed00000. IA-PC HPET
 * Specification 1.0a, section 2.3 "Memory Mapped Registers". Messages to the front side bus are not offered. With legacy
 * replacement timer 0 takes IRQ 0 from the 8254 and timer 1 IRQ 8 from the RTC; else a timer is routed to an I/O APIC pin.
 */
import { hex, type Field } from '../fields';
import type { EventQueue } from '../time/eventQueue';
import type { Device, IrqLine, MmioHandler, VirtualClock } from './device';
import { bitField, describeRegister, type Register } from './registers';

export const HPET_BASE = 0xfed00000;
export const HPET_SIZE = 0x400;
/** I/O APIC pins that nothing else of the board drives, as on Intel's chipsets. */
export const HPET_PINS = [20, 21, 22, 23] as const;
/** Low half of the capabilities register: legacy replacement, 64 bits, three timers, revision 1, vendor 8086h. */
export const HPET_CAPABILITIES = 0x8086a201;

const TICK_NS = 10;
const PERIOD_FEMTOSECONDS = TICK_NS * 1e6;
const TIMERS = 3;
/** Names of the events, by timer. */
const EVENTS = Array.from({ length: TIMERS }, (_, n) => `hpet.timer${n}`);
const TIMER_STRIDE = 0x20;
const ROUTE_CAPABILITIES = HPET_PINS.reduce((mask, pin) => mask | (1 << pin), 0);

const CAPABILITIES: Register = {
  offset: 0x000,
  name: 'GCAP_ID',
  access: 'ro',
  width: 32,
  bits: { REV_ID: [7, 0], NUM_TIM_CAP: [12, 8], COUNT_SIZE_CAP: 13, LEG_RT_CAP: 15, VENDOR_ID: [31, 16] },
};
const PERIOD: Register = { offset: 0x004, name: 'COUNTER_CLK_PERIOD', access: 'ro', width: 32 };
const CONFIGURATION: Register = {
  offset: 0x010,
  name: 'GEN_CONF',
  access: 'rw',
  width: 32,
  writable: 0x3,
  bits: { ENABLE_CNF: 0, LEG_RT_CNF: 1 },
};
const STATUS: Register = {
  offset: 0x020,
  name: 'GINTR_STA',
  access: 'rw',
  width: 32,
  writable: 0x7,
  bits: { T0_INT_STS: 0, T1_INT_STS: 1, T2_INT_STS: 2 },
};
/** Low and high half. */
const COUNTER: Register = { offset: 0x0f0, name: 'MAIN_CNT', access: 'rw', width: 32 };
/** The first of a timer's registers: at 100h + 20h * n. */
const TIMER_CONFIGURATION: Register = {
  offset: 0x100,
  name: 'Tn_CONF',
  access: 'rw',
  width: 32,
  writable: 0x3f4e,
  bits: {
    INT_TYPE_CNF: 1,
    INT_ENB_CNF: 2,
    TYPE_CNF: 3,
    PER_INT_CAP: 4,
    SIZE_CAP: 5,
    VAL_SET_CNF: 6,
    '32MODE_CNF': 8,
    INT_ROUTE_CNF: [13, 9],
    FSB_EN_CNF: 14,
    FSB_INT_DEL_CAP: 15,
  },
};
/** Low and high half. */
const COMPARATOR: Register = { offset: 0x108, name: 'Tn_COMP', access: 'rw', width: 32 };

const ENABLE = 1 << 0;
const LEGACY = 1 << 1;
const LEVEL = 1 << 1;
const INTERRUPT = 1 << 2;
const PERIODIC = 1 << 3;
const FIXED_BITS = (1 << 4) | (1 << 5);
const VALUE_SET = 1 << 6;
const MODE_32 = 1 << 8;
const ROUTE = TIMER_CONFIGURATION.bits!.INT_ROUTE_CNF;
const ROUTE_MASK = 0x3e00;

const MASK_32 = 0xffffffffn;

interface TimerState {
  /** Writable bits of the configuration register, but for VAL_SET_CNF, which reads 0. */
  config: number;
  comparator: bigint;
  /** The value last written to the comparator: what a periodic timer adds to it. */
  period: bigint;
  /** VAL_SET_CNF: the next write sets a periodic timer's comparator, too. */
  setNext: boolean;
  /** When such a write came, in ns: the second half of an 8-byte write comes at the same time. -1: none has. */
  setAt: number;
  /** An edge-triggered line stays up until the next interrupt, so that no input misses the edge. */
  raised: boolean;
}

interface HpetState {
  config: number;
  status: number;
  /** The main counter at `since`, in ns of virtual time; it stands still while ENABLE_CNF is 0. */
  counter: bigint;
  since: number;
  timers: TimerState[];
}

function initialState(): HpetState {
  const timer = (): TimerState => ({
    config: 0,
    comparator: 0xffffffffffffffffn,
    period: 0n,
    setNext: false,
    setAt: -1,
    raised: false,
  });
  return { config: 0, status: 0, counter: 0n, since: 0, timers: Array.from({ length: TIMERS }, timer) };
}

export interface HpetOptions {
  clock: VirtualClock;
  events: EventQueue;
  /** Sources of this device on ISA lines 0 and 8. */
  legacy: readonly [IrqLine, IrqLine];
  /** Sources on the pins of HPET_PINS. */
  pins: readonly IrqLine[];
  /** Legacy replacement goes on or off. `restored`: lines have been restored and must not be driven. */
  replaced(on: boolean, restored: boolean): void;
}

export class Hpet implements Device<HpetState>, MmioHandler {
  readonly name = 'hpet';
  private state = initialState();
  /**
   * When the next match of a periodic timer comes that only its comparator tells of, in ns of virtual time; Infinity: none does. Such
   * matches are no events, which an idle guest would be woken for: Linux leaves timer 0 periodic, with its interrupt off.
   */
  private readonly unnoticed = new Array<number>(TIMERS).fill(Infinity);
  /** When a register was written last, in ns; -1: not since a reset. */
  private writtenAt = -1;

  /** Legacy lines, then pins. */
  private readonly lines: readonly IrqLine[];

  constructor(private readonly options: HpetOptions) {
    this.lines = [...options.legacy, ...options.pins];
    for (let n = 0; n < TIMERS; n++) options.events.register(EVENTS[n], () => this.matched(n));
  }

  readMmio(gpa: number, size: number): number {
    const offset = gpa - HPET_BASE;
    const within = 8 * (offset & 3);
    // Narrower reads than the specification allows see part of the register.
    return within + 8 * size > 32 ? 0 : this.readRegister(offset & ~3) >>> within;
  }

  /** Only aligned writes of 4 bytes (8 are two of them) have an effect: "the behavior of others is undefined". */
  writeMmio(gpa: number, value: number, size: number): void {
    const offset = gpa - HPET_BASE;
    if (size === 4 && (offset & 3) === 0) this.writeRegister(offset, value >>> 0);
  }

  reset(): void {
    this.state = initialState();
    this.writtenAt = -1;
    for (let n = 0; n < TIMERS; n++) this.arm(n, false);
    this.drive();
    this.options.replaced(false, false);
  }

  save(): HpetState {
    this.catchUp();
    return structuredClone(this.state);
  }

  restore(state: HpetState): void {
    this.state = structuredClone(state);
    this.writtenAt = -1;
    this.options.replaced((state.config & LEGACY) !== 0, true);
    for (let n = 0; n < TIMERS; n++) this.arm(n, false);
    this.drive();
  }

  describe(): Field[] {
    this.catchUp();
    const { config, status, timers } = this.state;
    return [
      describeRegister(CAPABILITIES, HPET_CAPABILITIES),
      { name: PERIOD.name, value: hex(PERIOD_FEMTOSECONDS, 32), text: `${1e9 / TICK_NS / 1e6} MHz` },
      describeRegister(CONFIGURATION, config),
      describeRegister(STATUS, status),
      { name: COUNTER.name, value: hex(this.counter(), 64) },
      ...timers.map((timer, n): Field => {
        const conf = describeRegister(TIMER_CONFIGURATION, timer.config | FIXED_BITS);
        const comparator = { name: COMPARATOR.name.replace('n', String(n)), value: hex(timer.comparator, 64) };
        return { ...conf, name: conf.name.replace('n', String(n)), children: [...(conf.children ?? []), comparator] };
      }),
    ];
  }

  // ---- registers -------------------------------------------------------------------------------------------------

  private readRegister(offset: number): number {
    const s = this.state;
    switch (offset & ~4) {
      case CAPABILITIES.offset:
        return offset & 4 ? PERIOD_FEMTOSECONDS : HPET_CAPABILITIES;
      case CONFIGURATION.offset:
        return offset & 4 ? 0 : s.config;
      case STATUS.offset:
        return offset & 4 ? 0 : s.status;
      case COUNTER.offset: {
        const count = this.exactCount();
        if (count > Number.MAX_SAFE_INTEGER) return halfOf(this.counter(), offset);
        return offset & 4 ? Math.floor(count / 0x100000000) : count % 0x100000000;
      }
    }
    const timer = this.timerAt(offset);
    if (!timer) return 0;
    switch (registerOf(offset) & ~4) {
      case TIMER_CONFIGURATION.offset:
        return offset & 4 ? ROUTE_CAPABILITIES : timer.config | FIXED_BITS;
      case COMPARATOR.offset:
        this.catchUp();
        return halfOf(timer.comparator, offset);
    }
    return 0;
  }

  private writeRegister(offset: number, value: number): void {
    const s = this.state;
    const now = this.options.clock.now();
    // Between the halves of a write of 8 bytes no time passes in which anything could match.
    if (now !== this.writtenAt) this.catchUp();
    this.writtenAt = now;
    if (offset === CONFIGURATION.offset) {
      this.configure(value & CONFIGURATION.writable!, now);
    } else if (offset === STATUS.offset) {
      s.status &= ~(value & STATUS.writable!); // write 1 to clear
    } else if ((offset & ~4) === COUNTER.offset) {
      s.counter = withHalf(this.counter(), offset, value);
      s.since = now;
      for (let n = 0; n < TIMERS; n++) this.arm(n, true);
    } else {
      const timer = this.timerAt(offset);
      if (!timer) return;
      const register = registerOf(offset);
      if (register === TIMER_CONFIGURATION.offset) this.configureTimer(timer, value);
      else if ((register & ~4) === COMPARATOR.offset) writeComparator(timer, offset, value, now);
      else return;
      this.arm(timerNumber(offset), true);
    }
    this.drive();
  }

  private timerAt(offset: number): TimerState | undefined {
    return this.state.timers[timerNumber(offset)];
  }

  private configure(value: number, now: number): void {
    const s = this.state;
    const changed = value ^ s.config;
    if (changed & ENABLE) {
      s.counter = this.counter();
      s.since = now;
    }
    s.config = value;
    for (let n = 0; n < TIMERS; n++) {
      if (changed) s.timers[n].raised = false;
      if (changed & ENABLE) this.arm(n, true);
    }
    if (changed & LEGACY) {
      this.drive(); // off the old lines before the others get them back
      this.options.replaced((value & LEGACY) !== 0, false);
    }
  }

  private configureTimer(timer: TimerState, value: number): void {
    // "If the value is not supported by this particular timer, the value read back will not match what is written."
    const routable = (ROUTE_CAPABILITIES >>> bitField(value, ROUTE)) & 1;
    const kept = routable ? 0 : ROUTE_MASK;
    const config = (value & TIMER_CONFIGURATION.writable! & ~VALUE_SET & ~kept) | (timer.config & kept);
    if ((config ^ timer.config) & (ROUTE_MASK | INTERRUPT | LEVEL)) timer.raised = false;
    if (config & MODE_32) {
      timer.comparator &= MASK_32; // "the upper 32 bits are loaded with 0's"
      timer.period &= MASK_32;
    }
    timer.config = config;
    timer.setNext = (value & VALUE_SET) !== 0;
    timer.setAt = -1;
  }

  // ---- counting --------------------------------------------------------------------------------------------------

  private get enabled(): boolean {
    return (this.state.config & ENABLE) !== 0;
  }

  private counter(): bigint {
    return BigInt.asUintN(64, this.state.counter + BigInt(this.elapsed()));
  }

  /** Ticks since the counter had the value that is noted; 0 while it stands still. */
  private elapsed(): number {
    return this.enabled ? Math.floor((this.options.clock.now() - this.state.since) / TICK_NS) : 0;
  }

  /** The counter as a number, which costs no BigInts: kernels read it very often. Above MAX_SAFE_INTEGER it is none. */
  private exactCount(): number {
    return Number(this.state.counter) + this.elapsed();
  }

  /** Arms a timer's next match. A comparator that equals the counter matches at once if `equal`, else a turn later. */
  private arm(n: number, equal: boolean): void {
    const { events, clock } = this.options;
    const timer = this.state.timers[n];
    const ns = this.enabled ? this.nextMatch(n, equal) : Infinity;
    const noticed = (timer.config & (LEVEL | INTERRUPT)) !== 0;
    this.unnoticed[n] = noticed || !repeats(timer) ? Infinity : ns;
    events.at(EVENTS[n], noticed ? Math.max(ns, clock.now()) : Infinity);
  }

  /** In ns of virtual time; Infinity: not for more than a hundred days, beyond which no number holds it exactly. */
  private nextMatch(n: number, equal: boolean): number {
    const { timers, since, counter } = this.state;
    const { comparator } = timers[n];
    const bits = bitsOf(timers[n]);
    const from = this.exactCount();
    const to = Number(comparator);
    // The usual case: numbers hold both. No BigInts then, as kernels program a timer very often.
    if (from <= Number.MAX_SAFE_INTEGER && to <= Number.MAX_SAFE_INTEGER) {
      // A turn of 64 bits is longer than anything that is told here.
      const turn = bits === 32 ? 2 ** 32 : Infinity;
      let ticks = (to - from) % turn;
      if (ticks < 0 || (ticks === 0 && !equal)) ticks += turn;
      return matchAt(since, from - Number(counter) + ticks);
    }
    const now = this.counter();
    let ticks = BigInt.asUintN(bits, comparator - now);
    if (ticks === 0n && !equal) ticks = 1n << BigInt(bits);
    const elapsed = BigInt.asUintN(64, now - counter);
    return matchAt(since, Number(elapsed + ticks));
  }

  /** What has matched unnoticed by now has matched. Whoever reads a comparator, or changes what matches depend on, comes here first. */
  private catchUp(): void {
    const now = this.options.clock.now();
    for (let n = 0; n < TIMERS; n++) {
      const ns = this.unnoticed[n];
      if (ns > now) continue;
      advance(this.state.timers[n], BigInt(Math.floor((now - ns) / TICK_NS)));
      this.arm(n, false);
    }
  }

  private matched(n: number): void {
    const s = this.state;
    const timer = s.timers[n];
    if (repeats(timer)) advance(timer, BigInt.asUintN(bitsOf(timer), this.counter() - timer.comparator));
    if (timer.config & LEVEL) {
      s.status |= 1 << n;
    } else if (timer.config & INTERRUPT) {
      timer.raised = false;
      this.drive();
      timer.raised = true;
    }
    this.arm(n, false);
    this.drive();
  }

  /** A line is asserted while any timer routed to it asserts it. Kernels that program a timer come here very often: it makes no garbage. */
  private drive(): void {
    const { status, timers } = this.state;
    let asserted = 0;
    for (let n = 0; n < TIMERS; n++) {
      const { config, raised } = timers[n];
      const asserts = config & LEVEL ? (status >> n) & 1 : raised;
      if (asserts && this.enabled && config & INTERRUPT) asserted |= 1 << this.lineOf(n, config);
    }
    for (let i = 0; i < this.lines.length; i++) this.lines[i].set(((asserted >> i) & 1) as 0 | 1);
  }

  /** Its place in `lines`; a place behind all for route 0, which a timer has after a reset and no pin is. */
  private lineOf(n: number, config: number): number {
    const { legacy } = this.options;
    if (this.state.config & LEGACY && n < legacy.length) return n;
    const pin = (HPET_PINS as readonly number[]).indexOf(bitField(config, ROUTE));
    return pin < 0 ? this.lines.length : legacy.length + pin;
  }
}

/** When a match comes so many ticks after `since`, as nextMatch() has it. */
function matchAt(since: number, ticks: number): number {
  const ns = since + TICK_NS * ticks;
  return ns <= Number.MAX_SAFE_INTEGER ? ns : Infinity;
}

function bitsOf({ config }: TimerState): 32 | 64 {
  return config & MODE_32 ? 32 : 64;
}

function repeats({ config, period }: TimerState): boolean {
  return (config & PERIODIC) !== 0 && period > 0n;
}

/** A periodic timer has matched `behind` ticks ago: matches that went by unseen have all made the same request, and it goes to the next. */
function advance(timer: TimerState, behind: bigint): void {
  const { comparator, period } = timer;
  timer.comparator = BigInt.asUintN(bitsOf(timer), comparator + (behind / period + 1n) * period);
}

/** Whose register an offset is; below 0 or above the last timer when it is nobody's. */
function timerNumber(offset: number): number {
  return (offset - TIMER_CONFIGURATION.offset) >> 5;
}

/** A timer's register, as the offset that timer 0 has it at. */
function registerOf(offset: number): number {
  return TIMER_CONFIGURATION.offset + (offset & (TIMER_STRIDE - 1));
}

/** The half of a register of 64 bits that is read at an offset. */
function halfOf(value: bigint, offset: number): number {
  return Number((offset & 4 ? value >> 32n : value) & MASK_32);
}

/** The register with the half at an offset written. */
function withHalf(old: bigint, offset: number, value: number): bigint {
  return offset & 4 ? (old & MASK_32) | (BigInt(value) << 32n) : (old & ~MASK_32) | BigInt(value);
}

/**
 * "2.3.9.2.2 Periodic Mode": what is written is the period; with VAL_SET_CNF, which a write clears, it goes to the
 * comparator, too. In 32-bit mode the upper half stays 0.
 */
function writeComparator(timer: TimerState, offset: number, value: number, now: number): void {
  if (offset & 4 && timer.config & MODE_32) return;
  const periodic = (timer.config & PERIODIC) !== 0;
  const set = timer.setNext || (offset & 4 && timer.setAt === now);
  if (!periodic || set) timer.comparator = withHalf(timer.comparator, offset, value);
  if (periodic) timer.period = withHalf(timer.period, offset, value);
  timer.setAt = timer.setNext ? now : -1;
  timer.setNext = false;
}
