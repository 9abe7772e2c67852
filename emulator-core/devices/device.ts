/**
 * The shape every device shares: registers described in one table, state that can be saved and restored, a reset, and a
 * decoded description for the debugger.
 *
 * Rules: all that changes while the guest runs is in `state`, plain structured-clonable data, so that checkpoints copy it.
 * No clock, no randomness: time comes from the event queue, outside input through `Machine` inputs (logged).
 */
import type { Field } from '../fields';

export interface Device<State = unknown> {
  /** Unique, lower case: 'uart0', 'pic', 'pit'. */
  readonly name: string;
  /** Power-on state. */
  reset(): void;
  /** A deep copy of the state. */
  save(): State;
  /** Takes over a state that save() gave; must leave interrupt lines and events as they were then. */
  restore(state: State): void;
  /** What the device is doing, decoded. */
  describe(): Field[];
}

/** Port I/O. `size` in bytes: 1, 2 or 4. Values are unsigned 32-bit numbers. Unclaimed ports read all ones and ignore writes. */
export interface PortHandler {
  readPort(port: number, size: number): number;
  writePort(port: number, value: number, size: number): void;
}

/** Memory-mapped I/O. `gpa` is guest-physical; `size` in bytes: 1, 2, 4 or 8 (8 comes as two 4-byte accesses, low first). */
export interface MmioHandler {
  readMmio(gpa: number, size: number): number;
  writeMmio(gpa: number, value: number, size: number): void;
}

/** An interrupt line: level 1 asserts. Edge-triggered inputs latch the rising edge. */
export interface IrqLine {
  set(level: 0 | 1): void;
}

/** Virtual time in nanoseconds since power-on: a function of retired instructions, never of the host's clock. */
export interface VirtualClock {
  now(): number;
}
