/**
 * Changes from outside (typed keys, a debugger's write to a register or memory), each with the instruction count from which the guest
 * sees it. When history is replayed, they are applied again at the same counts.
 */

interface Change {
  icount: number;
  apply: () => void;
}

export class Changes {
  /** Changes ever made: a recorded future is another one after each. */
  count = 0;
  private changes: Change[] = [];
  /** Index of the first change that is not applied yet. Restoring a checkpoint sets it back. */
  private next = 0;

  /** Adds a change at `icount`, the present, for the next applyDue(). What had been recorded behind the present is forgotten. */
  add(icount: number, apply: () => void): void {
    this.count++;
    this.changes.length = this.next;
    this.changes.push({ icount, apply });
  }

  /** Applies what the guest sees by `icount`. */
  applyDue(icount: number): void {
    for (; this.next < this.changes.length; this.next++) {
      const change = this.changes[this.next];
      if (change.icount > icount) return;
      change.apply();
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
  }
  save(): number {
    return this.next;
  }
  restore(saved: number): void {
    this.next = saved;
  }
}
