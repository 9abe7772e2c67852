/**
 * The time of an idle guest that waits for somebody outside of the machine: it passes as theirs does, else every timeout of the guest's
 * would be over before they had their turn. A guest that computes is never held up.
 */
import type { Machine } from '../../../emulator-core/machine';

export interface WaitingHost {
  /** Milliseconds. */
  clock(): number;
  /** Whether the guest waits for somebody outside. */
  expecting(): boolean;
}

/** Milliseconds by which virtual time may be ahead: shorter sleeps are not worth one of ours. */
const AHEAD = 2;
/** Apart by more than this, both clocks start anew: neither is to catch up. */
const APART = 20;
/** The longest rest, after which one looks again. */
const REST = 20;
const NS = 1e6;

export class Waiting {
  /** Both clocks, in milliseconds, when the guest began to wait. */
  private since?: { wall: number; virtual: number };

  constructor(
    private readonly machine: Machine,
    private readonly host: WaitingHost,
  ) {}

  /** Virtual time in ns up to which an idle guest may go at once: Machine.run. */
  idleUntil(): number {
    if (!this.host.expecting()) {
      this.since = undefined;
      return Infinity;
    }
    const wall = this.host.clock();
    const virtual = this.machine.clock.now() / NS;
    this.since ??= { wall, virtual };
    const ours = this.since.virtual + wall - this.since.wall;
    if (Math.abs(virtual - ours) > APART) this.since = { wall, virtual };
    return Math.floor((this.since.virtual + wall - this.since.wall + AHEAD) * NS);
  }

  /** Milliseconds until what the guest waits for is due, if nothing comes before. */
  rest(): number {
    const due = (this.machine.platform.events.nextDeadline() - this.machine.clock.now()) / NS;
    return Math.max(0, Math.min(due, REST));
  }
}
