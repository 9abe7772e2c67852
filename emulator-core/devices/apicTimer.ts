/**
 * The local APIC's timer: one-shot, periodic and TSC-deadline. SDM Vol. 3A, "APIC Timer". Its input clock is 1 GHz, so one
 * count at divide-by-1 is one virtual nanosecond.
 */
import type { EventQueue } from '../time/eventQueue';

export interface ApicTimerState {
  initialCount: number;
  /** Divide configuration register. */
  divide: number;
  /** LVT timer mode: 0 one-shot, 1 periodic, 2 TSC-deadline. */
  mode: number;
  /** When it expires next, in virtual ns; -1 when stopped. */
  deadline: number;
  /** IA32_TSC_DEADLINE, low and high half. */
  tscDeadline: [number, number];
}

/** The timer as after reset. */
export function apicTimerState(): ApicTimerState {
  return { initialCount: 0, divide: 0, mode: 0, deadline: -1, tscDeadline: [0, 0] };
}

export const TIMER_ONE_SHOT = 0;
export const TIMER_PERIODIC = 1;
export const TIMER_TSC_DEADLINE = 2;

export class ApicTimer {
  state = apicTimerState();

  constructor(
    private readonly event: string,
    private readonly events: EventQueue,
    private readonly expired: () => void,
  ) {
    events.register(event, (now) => this.expire(now));
  }

  /** Takes over a state and arms its deadline. */
  load(state: ApicTimerState): void {
    this.state = structuredClone(state);
    this.schedule(state.deadline);
  }

  /** LVT timer mode. Going to or from TSC-deadline mode disarms the timer. */
  setMode(mode: number): void {
    const s = this.state;
    if (mode === s.mode) return;
    if ((mode === TIMER_TSC_DEADLINE) !== (s.mode === TIMER_TSC_DEADLINE)) {
      s.tscDeadline = [0, 0];
      this.schedule(-1);
    }
    s.mode = mode;
  }

  /** Initial-count register: starts counting, 0 stops. No effect in TSC-deadline mode. */
  start(count: number, now: number): void {
    const s = this.state;
    if (s.mode === TIMER_TSC_DEADLINE) return;
    s.initialCount = count >>> 0;
    this.schedule(count ? now + s.initialCount * this.divisor() : -1);
  }

  /** Divide configuration: what is left of the count goes on at the new rate. */
  setDivide(value: number, now: number): void {
    const left = this.currentCount(now);
    this.state.divide = value & 0x0b;
    if (this.state.mode !== TIMER_TSC_DEADLINE && this.state.deadline >= 0) this.schedule(now + left * this.divisor());
  }

  /** Current-count register. */
  currentCount(now: number): number {
    const s = this.state;
    if (s.deadline < 0 || s.mode === TIMER_TSC_DEADLINE) return 0;
    let left = Math.ceil((s.deadline - now) / this.divisor());
    if (left <= 0) {
      if (s.mode !== TIMER_PERIODIC) return 0;
      left = s.initialCount - (-left % s.initialCount);
    }
    return Math.min(left, s.initialCount);
  }

  /** IA32_TSC_DEADLINE: arms for `ns`; 0 disarms. Ignored, as on hardware, unless the LVT is in TSC-deadline mode. */
  setTscDeadline(deadline: bigint, ns: number): void {
    const s = this.state;
    if (s.mode !== TIMER_TSC_DEADLINE) return;
    s.tscDeadline = [Number(deadline & 0xffffffffn), Number(deadline >> 32n)];
    this.schedule(deadline === 0n ? -1 : ns);
  }

  /** IA32_TSC_DEADLINE: 0 when disarmed or expired. */
  get tscDeadline(): bigint {
    const [low, high] = this.state.tscDeadline;
    return (BigInt(high) << 32n) | BigInt(low);
  }

  private divisor(): number {
    const { divide } = this.state;
    const code = ((divide & 8) >> 1) | (divide & 3);
    return code === 7 ? 1 : 2 << code;
  }

  private expire(now: number): void {
    const s = this.state;
    if (s.mode === TIMER_PERIODIC && s.initialCount > 0) {
      // Periods that went by unseen have all set the same IRR bit: skip to the next one.
      const period = s.initialCount * this.divisor();
      this.schedule(s.deadline + (Math.floor((now - s.deadline) / period) + 1) * period);
    } else {
      s.tscDeadline = [0, 0];
      this.schedule(-1);
    }
    this.expired();
  }

  private schedule(ns: number): void {
    this.state.deadline = ns;
    if (ns < 0) this.events.cancel(this.event);
    else this.events.at(this.event, ns);
  }
}
