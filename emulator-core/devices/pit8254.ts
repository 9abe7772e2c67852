/**
 * Intel 8254 programmable interval timer and the parts of port 61h that belong to it. Counter 0 drives IRQ 0, counter 1
 * paced memory refresh, counter 2 the speaker, with its gate and output at port 61h.
 */
import { hex, type Field } from '../fields';
import type { EventQueue } from '../time/eventQueue';
import type { Device, IrqLine, PortHandler, VirtualClock } from './device';
import { PitChannel, type PitChannelState } from './pitChannel';
import { bitField, describeRegister, type Register } from './registers';

const CONTROL: Register = {
  offset: 0x43,
  name: 'control word',
  access: 'wo',
  bits: { SC: [7, 6], RW: [5, 4], M: [3, 1], BCD: 0 },
};
const PORT_61: Register = {
  offset: 0x61,
  name: 'port 61h',
  access: 'rw',
  writable: 0x0f,
  bits: {
    'timer 2 gate': 0,
    'speaker data': 1,
    'SERR# off': 2,
    'IOCHK# off': 3,
    'refresh toggle': 4,
    'timer 2 OUT': 5,
  },
};
const MODE_NAMES = [
  'interrupt on terminal count',
  'retriggerable one-shot',
  'rate generator',
  'square wave',
  'software-triggered strobe',
  'hardware-triggered strobe',
];

/** CLK: 14.31818 MHz / 12 = 105/88 MHz = 1.193182 MHz. */
const PULSES = 105;
const PER_NS = 88000;
/** Memory is refreshed every 18 pulses, 15 us; each time toggles bit 4 of port 61h. */
const REFRESH_PULSES = 18;

interface PitState {
  channels: PitChannelState[];
  port61: number;
  irqLevel: 0 | 1;
  /** Deadline of counter 0's next change of OUT, in ns, -1 when none. */
  changeAt: number;
}

export interface PitOptions {
  irq: IrqLine;
  clock: VirtualClock;
  events: EventQueue;
}

export class Pit8254 implements Device<PitState>, PortHandler {
  readonly name = 'pit';
  private readonly channels = [new PitChannel(), new PitChannel(), new PitChannel()];
  private port61 = 0;
  private irqLevel: 0 | 1 = 0;
  private changeAt = -1;

  constructor(private readonly options: PitOptions) {
    options.events.register('pit.out0', (now) => this.outputChanged(now));
    this.reset();
  }

  reset(): void {
    for (const channel of this.channels) channel.control(0x36);
    this.port61 = 0;
    this.channels[2].setGate(0, this.pulses());
    this.irqLevel = 0;
    this.options.irq.set(0);
    this.schedule(-1);
  }

  save(): PitState {
    const channels = this.channels.map((channel) => channel.state);
    return structuredClone({ channels, port61: this.port61, irqLevel: this.irqLevel, changeAt: this.changeAt });
  }

  restore(state: PitState): void {
    this.channels.forEach((channel, i) => (channel.state = structuredClone(state.channels[i])));
    this.port61 = state.port61;
    this.irqLevel = state.irqLevel;
    this.options.irq.set(this.irqLevel);
    this.schedule(state.changeAt);
  }

  describe(): Field[] {
    const now = this.pulses();
    const fields = this.channels.map((channel, i): Field => {
      const s = channel.state;
      return {
        name: `counter ${i}`,
        value: hex(channel.value(now), 16),
        text: `mode ${s.mode}, ${MODE_NAMES[s.mode]}${s.loaded ? '' : ', not started'}`,
        children: [
          { name: 'count', value: hex(s.count, 20), text: s.count ? `${1193182 / s.count} Hz` : 'none' },
          { name: 'GATE', value: hex(s.gate, 1) },
          { name: 'OUT', value: hex(channel.out(now), 1) },
        ],
      };
    });
    return [...fields, describeRegister(PORT_61, this.readPort61())];
  }

  readPort(port: number): number {
    if (port === PORT_61.offset) return this.readPort61();
    if (port === CONTROL.offset) return 0xff; // write-only: the data bus floats
    return this.channels[port & 3].read(this.pulses());
  }

  writePort(port: number, value: number): void {
    const now = this.pulses();
    if (port === PORT_61.offset) {
      this.port61 = value & PORT_61.writable!;
      this.channels[2].setGate((value & 1) as 0 | 1, now);
    } else if (port === CONTROL.offset) {
      this.writeControl(value, now);
    } else {
      this.channels[port & 3].write(value, now);
      if (port === 0x40) this.updateOutput(now);
    }
  }

  private writeControl(value: number, now: number): void {
    const select = bitField(value, CONTROL.bits!.SC);
    if (select === 3) {
      // Read-back: bits 5 and 4 low latch count and status of the counters in bits 3-1.
      for (let i = 0; i < 3; i++) {
        if (!(value & (2 << i))) continue;
        if (!(value & 0x20)) this.channels[i].latchCount(now);
        if (!(value & 0x10)) this.channels[i].latchStatus(now);
      }
    } else if (bitField(value, CONTROL.bits!.RW) === 0) {
      this.channels[select].latchCount(now);
    } else {
      this.channels[select].control(value);
      if (select === 0) this.updateOutput(now);
    }
  }

  private readPort61(): number {
    const now = this.pulses();
    const refresh = Math.floor(now / REFRESH_PULSES) & 1;
    return this.port61 | (refresh << 4) | (this.channels[2].out(now) << 5);
  }

  private pulses(): number {
    return Math.floor((this.options.clock.now() * PULSES) / PER_NS);
  }

  private outputChanged(now: number): void {
    this.changeAt = -1;
    const pulse = Math.floor((now * PULSES) / PER_NS);
    // The end of a low that lasted one pulse.
    if ([2, 4, 5].includes(this.channels[0].state.mode)) {
      this.irqLevel = 0;
      this.options.irq.set(0);
    }
    this.updateOutput(pulse);
  }

  /** Drives IRQ 0 and arms the event of its next change. */
  private updateOutput(pulse: number): void {
    const channel = this.channels[0];
    // A one-pulse low that this moment falls into is played at its end.
    const level = channel.state.mode === 2 || channel.state.mode >= 4 ? 1 : channel.out(pulse);
    this.irqLevel = level;
    this.options.irq.set(level);
    const next = channel.nextChange(pulse);
    this.schedule(next === Infinity ? -1 : Math.ceil((next * PER_NS) / PULSES));
  }

  private schedule(ns: number): void {
    this.changeAt = ns;
    if (ns < 0) this.options.events.cancel('pit.out0');
    else this.options.events.at('pit.out0', ns);
  }
}
