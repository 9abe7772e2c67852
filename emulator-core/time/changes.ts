/**
 * Changes from outside (typed keys, a debugger's write to a register or memory), each with the moment from which the guest
 * sees it. When history is replayed, they are applied again at the same moments.
 */

/** A point of a run. Instructions alone do not tell: virtual time also passes while every vCPU is halted. */
export interface Moment {
  /** Instructions retired. */
  icount: number;
  /** Virtual time. */
  ns: number;
  /** What was due by then has happened, and no vCPU has anything to do. */
  idle: boolean;
}

interface Change {
  moment: Moment;
  apply: () => void;
  /** Memory that it holds. */
  bytes: number;
  applied: boolean;
}

export class Changes {
  /** Changes ever made: a recorded future is another one after each. */
  count = 0;
  /** A change is being applied again. */
  repeating = false;
  /** Memory that the recorded changes hold. */
  bytes = 0;
  private changes: Change[] = [];
  /** Index of the first change that is not applied yet. Restoring a checkpoint sets it back. */
  private next = 0;

  /** Adds a change at the present moment, for the next applyDue(). What had been recorded behind the present is forgotten. */
  add(moment: Moment, apply: () => void, bytes = 0): void {
    this.count++;
    for (const forgotten of this.changes.splice(this.next)) this.bytes -= forgotten.bytes;
    this.changes.push({ moment, apply, bytes, applied: false });
    this.bytes += bytes;
  }

  /** Those applied already can't be applied again: nobody goes back behind the present. */
  forgetApplied(): void {
    for (const forgotten of this.changes.splice(0, this.next)) this.bytes -= forgotten.bytes;
    this.next = 0;
  }

  /** Applies what the guest sees by `now`. Returns whether there was anything. */
  applyDue(now: Moment): boolean {
    const first = this.next;
    while (this.next < this.changes.length) {
      const change = this.changes[this.next];
      if (isAfter(change.moment, now)) break;
      this.next++;
      this.repeating = change.applied;
      change.applied = true;
      change.apply();
      this.repeating = false;
    }
    return this.next > first;
  }

  /** Instruction count of the next change that is not applied yet, Infinity when there is none. */
  get nextDue(): number {
    return this.changes[this.next]?.moment.icount ?? Infinity;
  }

  /** Virtual time of the next change, if it comes before another instruction retires; else Infinity. */
  nextIdle(icount: number): number {
    return this.nextDue <= icount ? this.changes[this.next].moment.ns : Infinity;
  }

  reset(): void {
    this.count++;
    this.changes = [];
    this.next = 0;
    this.bytes = 0;
  }
  save(): number {
    return this.next;
  }
  restore(saved: number): void {
    this.next = saved;
  }
}

/** Whether `a` comes later in a run than `b`. */
export function isAfter(a: Moment, b: Moment): boolean {
  if (a.icount !== b.icount) return a.icount > b.icount;
  if (a.ns !== b.ns) return a.ns > b.ns;
  return a.idle && !b.idle;
}
