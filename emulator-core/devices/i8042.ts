/**
 * 8042 keyboard controller (ports 60h and 64h) with an MF2 keyboard on its first port and a PS/2 mouse on its second.
 * Commands take no time, so the input buffer is never full. What keyboard and mouse send waits in bounded queues.
 */
import { type Field } from '../fields';
import type { Device, IrqLine, PortHandler } from './device';
import {
  describeMouse,
  initialMouse,
  listens,
  moveMouse,
  reportWhenRead,
  writeMouse,
  type MouseState,
} from './ps2Mouse';
import { describeRegisters, type Register } from './registers';
import { scanSet2To1 } from './scanCodes';

const REGISTERS: readonly Register[] = [
  {
    offset: 0x64,
    name: 'status',
    access: 'ro',
    bits: { OBF: 0, IBF: 1, SYS: 2, command: 3, unlocked: 4, AUX: 5, timeout: 6, parity: 7 },
  },
  {
    offset: 0x20,
    name: 'command byte',
    access: 'rw',
    bits: { INT: 0, INT2: 1, SYS: 2, 'keyboard off': 4, 'aux off': 5, translate: 6 },
  },
  { offset: 0xd0, name: 'output port', access: 'rw', bits: { reset: 0, A20: 1, IRQ1: 4, IRQ12: 5 } },
];

const STATUS_OBF = 0x01;
const STATUS_SYS = 0x04;
const STATUS_COMMAND = 0x08;
const STATUS_UNLOCKED = 0x10;
const STATUS_AUX = 0x20;
const CONFIG_INT = 0x01;
const CONFIG_INT2 = 0x02;
const CONFIG_KEYBOARD_OFF = 0x10;
const CONFIG_AUX_OFF = 0x20;
const CONFIG_TRANSLATE = 0x40;
const ACK = 0xfa;
const RESEND = 0xfe;
const QUEUE_LIMIT = 1024;

interface I8042State {
  /** Command byte. */
  config: number;
  outputPort: number;
  /** Status bits that persist: SYS and command/data. */
  lastWrite: number;
  /** The output buffer, -1 when empty, and STATUS_AUX when it holds a byte of the mouse. */
  output: number;
  outputFlags: number;
  /** Bytes of the controller that wait: value | flags << 8. */
  replies: number[];
  /** Bytes of the keyboard that wait (scan set 2, untranslated). */
  keyboard: number[];
  /** The command that waits for its data byte, -1 when none: of the controller, and of the keyboard. */
  command: number;
  keyboardCommand: number;
  scanning: boolean;
  scanSet: number;
  leds: number;
  /** Translation has seen the release prefix F0h. */
  released: boolean;
  mouse: MouseState;
  ram: number[];
}

/** As firmware leaves it: self test done, interrupts and translation on, A20 open. */
function initialState(): I8042State {
  return {
    config: CONFIG_INT | CONFIG_TRANSLATE | CONFIG_AUX_OFF | STATUS_SYS,
    outputPort: 0xcf,
    lastWrite: STATUS_COMMAND,
    output: -1,
    outputFlags: 0,
    replies: [],
    keyboard: [],
    command: -1,
    keyboardCommand: -1,
    scanning: true,
    scanSet: 2,
    leds: 0,
    released: false,
    mouse: initialMouse(),
    ram: new Array<number>(32).fill(0),
  };
}

export interface I8042Options {
  irq1: IrqLine;
  irq12: IrqLine;
  /** Pulses the processor's reset line. */
  resetMachine(): void;
}

export class I8042 implements Device<I8042State>, PortHandler {
  readonly name = 'i8042';
  private state = initialState();

  constructor(private readonly options: I8042Options) {}

  get a20(): boolean {
    return (this.state.outputPort & 0x02) !== 0;
  }

  /** Keys: bytes of scan set 2. Returns how many were taken: fewer than given when the queue is full, 0 when disabled. */
  keys(bytes: Uint8Array): number {
    const s = this.state;
    if (!s.scanning) return 0;
    const count = Math.min(bytes.length, QUEUE_LIMIT - s.keyboard.length);
    for (let i = 0; i < count; i++) s.keyboard.push(bytes[i]);
    this.fill();
    return count;
  }

  /** Whether the guest wants to know what its mouse does. */
  get mouseListens(): boolean {
    return listens(this.state.mouse);
  }

  /** The mouse moves: counts to the right and down, notches of the wheel towards the user, and the buttons that are down (see ps2Mouse.ts). */
  moveMouse(dx: number, dy: number, wheel: number, buttons: number): void {
    moveMouse(this.state.mouse, dx, dy, wheel, buttons);
    this.fill();
  }

  reset(): void {
    this.state = initialState();
    this.drive();
  }

  save(): I8042State {
    return structuredClone(this.state);
  }

  restore(state: I8042State): void {
    this.state = structuredClone(state);
    this.drive();
  }

  describe(): Field[] {
    const values = [this.status(), this.state.config, this.state.outputPort];
    return [
      ...describeRegisters(REGISTERS, (row) => values[REGISTERS.indexOf(row)]),
      { name: 'keyboard', value: this.state.scanning ? 'scanning' : 'off', text: `set ${this.state.scanSet}` },
      describeMouse(this.state.mouse),
    ];
  }

  readPort(port: number): number {
    if (port & 4) return this.status();
    const s = this.state;
    const value = s.output < 0 ? 0 : s.output;
    if (s.output >= 0) {
      s.output = -1;
      reportWhenRead(s.mouse);
      this.drive(); // the interrupt line drops before the next byte raises it
      this.fill();
    }
    return value;
  }

  writePort(port: number, value: number): void {
    const s = this.state;
    s.lastWrite = port & 4 ? STATUS_COMMAND : 0;
    if (port & 4) this.writeCommand(value);
    else this.writeData(value);
    this.fill();
  }

  private status(): number {
    const s = this.state;
    const output = s.output < 0 ? 0 : STATUS_OBF | s.outputFlags;
    return STATUS_UNLOCKED | (s.config & STATUS_SYS) | s.lastWrite | output;
  }

  private reply(value: number, flags = 0): void {
    if (this.state.replies.length < QUEUE_LIMIT) this.state.replies.push(value | (flags << 8));
  }

  private writeCommand(value: number): void {
    const s = this.state;
    s.command = -1;
    if (value >= 0x20 && value <= 0x3f) {
      this.reply(value === 0x20 ? s.config : s.ram[value - 0x20]);
      return;
    }
    if (value >= 0xf0) {
      // Pulses output port bits 3-0 that are 0 in the command; bit 0 is the reset line.
      if (!(value & 0x01)) this.options.resetMachine();
      return;
    }
    switch (value) {
      case 0xa7:
        s.config |= CONFIG_AUX_OFF;
        break;
      case 0xa8:
        s.config &= ~CONFIG_AUX_OFF;
        break;
      case 0xa9: // test of the mouse interface: no error
      case 0xab: // test of the keyboard interface: no error
        this.reply(0x00);
        break;
      case 0xaa:
        s.config |= STATUS_SYS;
        this.reply(0x55);
        break;
      case 0xad:
        s.config |= CONFIG_KEYBOARD_OFF;
        break;
      case 0xae:
        s.config &= ~CONFIG_KEYBOARD_OFF;
        break;
      case 0xc0: // input port: keyboard not locked
        this.reply(0x80);
        break;
      case 0xd0:
        this.reply(this.outputPort());
        break;
      case 0xdd: // A20 off
        s.outputPort &= ~0x02;
        break;
      case 0xdf: // A20 on
        s.outputPort |= 0x02;
        break;
      default:
        if ((value >= 0x60 && value <= 0x7f) || (value >= 0xd1 && value <= 0xd4)) s.command = value;
    }
  }

  private writeData(value: number): void {
    const s = this.state;
    const { command } = s;
    s.command = -1;
    if (command === 0x60) s.config = value & 0x7f;
    else if (command > 0x60 && command <= 0x7f) s.ram[command - 0x60] = value;
    else if (command === 0xd1) {
      s.outputPort = value;
      if (!(value & 0x01)) this.options.resetMachine();
    } else if (command === 0xd2) this.reply(value);
    else if (command === 0xd3) this.reply(value, STATUS_AUX);
    else if (command === 0xd4) writeMouse(s.mouse, value);
    else {
      s.config &= ~CONFIG_KEYBOARD_OFF; // sending to the keyboard enables it
      this.writeKeyboard(value);
    }
  }

  private writeKeyboard(value: number): void {
    const s = this.state;
    const send = (...bytes: number[]) => {
      for (const byte of bytes) if (s.keyboard.length < QUEUE_LIMIT) s.keyboard.push(byte);
    };
    const waiting = s.keyboardCommand;
    s.keyboardCommand = -1;
    if (waiting >= 0 && value < 0xed) {
      if (waiting === 0xed) s.leds = value & 7;
      if (waiting === 0xf0 && value > 3) {
        send(RESEND);
        return;
      }
      send(ACK);
      if (waiting === 0xf0 && value === 0) send(s.scanSet);
      else if (waiting === 0xf0) s.scanSet = value;
      return;
    }
    switch (value) {
      case 0xed: // LEDs
      case 0xf0: // scan code set
      case 0xf3: // typematic rate
        s.keyboardCommand = value;
        send(ACK);
        break;
      case 0xee:
        send(0xee);
        break;
      case 0xf2:
        send(ACK, 0xab, 0x83);
        break;
      case 0xf4:
      case 0xf5:
      case 0xf6:
        s.keyboard = [];
        s.scanning = value !== 0xf5;
        if (value !== 0xf4) s.scanSet = 2;
        send(ACK);
        break;
      case 0xff:
        Object.assign(s, { keyboard: [], scanning: true, scanSet: 2, leds: 0, released: false });
        send(ACK, 0xaa);
        break;
      default:
        send(RESEND);
    }
  }

  /** Moves the next waiting byte into the output buffer. */
  private fill(): void {
    const s = this.state;
    if (s.output < 0 && s.replies.length > 0) {
      const reply = s.replies.shift()!;
      s.output = reply & 0xff;
      s.outputFlags = reply >> 8;
    }
    while (s.output < 0 && s.keyboard.length > 0 && !(s.config & CONFIG_KEYBOARD_OFF)) {
      let byte = s.keyboard.shift()!;
      if (s.config & CONFIG_TRANSLATE) {
        if (byte === 0xf0) {
          s.released = true;
          continue;
        }
        byte = scanSet2To1(byte) | (s.released ? 0x80 : 0);
        s.released = false;
      }
      s.output = byte;
      s.outputFlags = 0;
    }
    if (s.output < 0 && s.mouse.queue.length > 0 && !(s.config & CONFIG_AUX_OFF)) {
      s.output = s.mouse.queue.shift()!;
      s.outputFlags = STATUS_AUX;
    }
    this.drive();
  }

  private outputPort(): number {
    const s = this.state;
    const full = s.output < 0 ? 0 : s.outputFlags & STATUS_AUX ? 0x20 : 0x10;
    return (s.outputPort & ~0x30) | full;
  }

  private drive(): void {
    const s = this.state;
    const full = this.outputPort();
    this.options.irq1.set(full & 0x10 && s.config & CONFIG_INT ? 1 : 0);
    this.options.irq12.set(full & 0x20 && s.config & CONFIG_INT2 ? 1 : 0);
  }
}
