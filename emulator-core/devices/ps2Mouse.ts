/**
 * PS/2 mouse with the IntelliMouse extensions (wheel, then five buttons). Commands and packets: IBM PS/2 Hardware Interface Technical
 * Reference, "Mouse"; the extensions: Microsoft, "IntelliMouse PS/2 protocol". State is plain data of the 8042 whose second port it is on.
 *
 * It reports as soon as what it reported before is read, not at its sample rate: motion adds up meanwhile, so nothing piles up and nothing is lost.
 */
import { type Field } from '../fields';

const ACK = 0xfa;
const RESEND = 0xfe;
const ERROR = 0xfc;
const SELF_TEST_PASSED = 0xaa;

/** Bytes that wait for the guest at most: button changes queue packets, motion does not. */
const QUEUE_LIMIT = 64;
/** Counts of motion that add up at most while nobody reads. */
const MOTION_LIMIT = 1 << 15;

export interface MouseState {
  /** Bytes for the guest. */
  queue: number[];
  /** The command that waits for its data byte, -1 when none. */
  command: number;
  /** Data reporting: packets are sent in stream mode. */
  enabled: boolean;
  remote: boolean;
  wrap: boolean;
  doubled: boolean;
  /** 0-3: 1, 2, 4 or 8 counts a millimetre. */
  resolution: number;
  /** Reports a second. */
  rate: number;
  /** The last three rates set: two sequences of them switch the extensions on. */
  rates: number[];
  /** Device ID: 0 plain, 3 with wheel, 4 with wheel and five buttons. */
  id: number;
  /** Motion not reported yet: right, up, and the wheel towards the user. */
  x: number;
  y: number;
  z: number;
  /** Bit 0 left, 1 right, 2 middle, 3 fourth, 4 fifth; and as last reported. */
  buttons: number;
  reported: number;
  /** The last packet or answer, for Resend; the byte before was no command. */
  last: number[];
  failed: boolean;
}

const DEFAULTS = { enabled: false, remote: false, wrap: false, doubled: false, resolution: 2, rate: 100 };

export function initialMouse(): MouseState {
  return {
    ...DEFAULTS,
    ...{ queue: [], command: -1, rates: [], id: 0, x: 0, y: 0, z: 0, buttons: 0, reported: 0, last: [], failed: false },
  };
}

/** Whether the guest wants to know what its mouse does. */
export function listens(m: MouseState): boolean {
  return m.enabled || m.remote;
}

/**
 * @param dx counts to the right; @param dy counts down; @param wheel notches towards the user
 * @param buttons those that are down: bit 0 left, 1 right, 2 middle, 3 fourth, 4 fifth
 */
export function moveMouse(m: MouseState, dx: number, dy: number, wheel: number, buttons: number): void {
  const add = (sum: number, more: number) => Math.max(-MOTION_LIMIT, Math.min(MOTION_LIMIT, sum + Math.trunc(more)));
  m.x = add(m.x, dx);
  m.y = add(m.y, -dy);
  m.z = m.id >= 3 ? add(m.z, wheel) : 0;
  m.buttons = buttons & (m.id === 4 ? 0x1f : 0x07);
  // A press and its release are two packets, however slowly they are read.
  if (m.buttons !== m.reported && m.queue.length <= QUEUE_LIMIT - 4) report(m);
  else reportWhenRead(m);
}

/** Streams what has changed, once all before is read: whenever the 8042 has taken a byte. */
export function reportWhenRead(m: MouseState): void {
  if (m.queue.length === 0 && (m.x || m.y || m.z || m.buttons !== m.reported)) report(m);
}

function report(m: MouseState): void {
  if (m.enabled && !m.remote && !m.wrap && m.command < 0) send(m, packet(m, m.doubled));
}

/** Takes as much motion as a packet holds. */
function packet(m: MouseState, doubled: boolean): number[] {
  const take = (value: number, low: number, high: number) => Math.max(low, Math.min(high, value));
  // Scaling 2:1 makes at most twice as much of it.
  const [low, high] = doubled ? [-128, 127] : [-256, 255];
  const [x, y, z] = [take(m.x, low, high), take(m.y, low, high), take(m.z, -8, 7)];
  m.x -= x;
  m.y -= y;
  m.z -= z;
  m.reported = m.buttons;
  const [right, up] = doubled ? [scaled(x), scaled(y)] : [x, y];
  const bytes = [(m.buttons & 7) | 0x08 | (right < 0 ? 0x10 : 0) | (up < 0 ? 0x20 : 0), right & 0xff, up & 0xff];
  if (m.id === 3) bytes.push(z & 0xff);
  if (m.id === 4) bytes.push((z & 0x0f) | ((m.buttons & 0x18) << 1));
  return bytes;
}

/** Scaling 2:1. */
function scaled(counts: number): number {
  const size = Math.abs(counts);
  return Math.sign(counts) * (size <= 5 ? [0, 1, 1, 3, 6, 9][size] : 2 * size);
}

function send(m: MouseState, bytes: number[]): void {
  m.queue.push(...bytes);
  m.last = bytes;
}

/** A byte from the guest. What was not read of the answers before is gone. */
export function writeMouse(m: MouseState, value: number): void {
  m.queue = [];
  const waiting = m.command;
  m.command = -1;
  if (m.wrap && value !== 0xff && value !== 0xec) send(m, [value]);
  else if (waiting === 0xe8 && value <= 3) {
    m.resolution = value;
    send(m, [ACK]);
  } else if (waiting === 0xf3 && value >= 1 && value <= 200) {
    m.rate = value;
    m.rates = [...m.rates, value].slice(-3);
    const knock = m.rates.join();
    if (knock === '200,100,80') m.id = 3;
    else if (knock === '200,200,80' && m.id === 3) m.id = 4;
    send(m, [ACK]);
  } else if (waiting >= 0) refuse(m);
  else command(m, value);
}

/** What is no command is asked for again, and the second time an error. */
function refuse(m: MouseState): void {
  send(m, [m.failed ? ERROR : RESEND]);
  m.failed = !m.failed;
}

function command(m: MouseState, value: number): void {
  const still = () => Object.assign(m, { x: 0, y: 0, z: 0, reported: m.buttons });
  switch (value) {
    case 0xe6: // scaling 1:1
    case 0xe7: // scaling 2:1
      m.doubled = value === 0xe7;
      break;
    case 0xe8: // resolution
    case 0xf3: // sample rate
      m.command = value;
      break;
    case 0xe9: {
      const { remote, enabled, doubled, buttons } = m;
      const down = ((buttons & 1) << 2) | ((buttons & 4) >> 1) | ((buttons & 2) >> 1);
      const status = (remote ? 0x40 : 0) | (enabled ? 0x20 : 0) | (doubled ? 0x10 : 0) | down;
      return answer(m, status, m.resolution, m.rate);
    }
    case 0xea: // stream mode
    case 0xf0: // remote mode
      m.remote = value === 0xf0;
      still();
      break;
    case 0xeb: // read data
      return answer(m, ...packet(m, false));
    case 0xec: // leave wrap mode
    case 0xee: // wrap mode
      m.wrap = value === 0xee;
      still();
      break;
    case 0xf2:
      return answer(m, m.id);
    case 0xf4: // reporting on
    case 0xf5: // reporting off
      m.enabled = value === 0xf4;
      still();
      break;
    case 0xf6: // defaults
      Object.assign(m, DEFAULTS);
      still();
      break;
    case 0xfe:
      m.queue.push(...m.last);
      return;
    case 0xff:
      Object.assign(m, initialMouse());
      return answer(m, SELF_TEST_PASSED, m.id);
    default:
      return refuse(m);
  }
  answer(m);
}

function answer(m: MouseState, ...bytes: number[]): void {
  m.failed = false;
  send(m, [ACK, ...bytes]);
}

export function describeMouse(m: MouseState): Field {
  const mode = m.wrap ? 'wrap' : m.remote ? 'remote' : m.enabled ? 'stream' : 'off';
  const kind = m.id === 4 ? 'wheel and five buttons' : m.id === 3 ? 'wheel' : 'plain';
  return { name: 'mouse', value: mode, text: `${kind}, ${m.rate} reports/s, ${1 << m.resolution} counts/mm` };
}
