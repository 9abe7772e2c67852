/**
 * Changes from outside (typed keys, a debugger's write to a register or memory), each with the instruction count from which the guest
 * sees it. When history is replayed, they are applied again at the same counts.
 */

interface Change {
  icount: number;
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

  /** Adds a change at `icount`, the present, for the next applyDue(). What had been recorded behind the present is forgotten. */
  add(icount: number, apply: () => void, bytes = 0): void {
    this.count++;
    for (const forgotten of this.changes.splice(this.next)) this.bytes -= forgotten.bytes;
    this.changes.push({ icount, apply, bytes, applied: false });
    this.bytes += bytes;
  }

  /** Those applied already can't be applied again: nobody goes back behind the present. */
  forgetApplied(): void {
    for (const forgotten of this.changes.splice(0, this.next)) this.bytes -= forgotten.bytes;
    this.next = 0;
  }

  /** Applies what the guest sees by `icount`. */
  applyDue(icount: number): void {
    while (this.next < this.changes.length) {
      const change = this.changes[this.next];
      if (change.icount > icount) return;
      this.next++;
      this.repeating = change.applied;
      change.applied = true;
      change.apply();
      this.repeating = false;
    }
  }

  /** Instruction count of the next change that is not applied yet, Infinity when there is none. */
  get nextDue(): number {
    return this.changes[this.next]?.icount ?? Infinity;
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
