import type { ExitRecord, Target } from '../target';

/** Exits asked for in one call: bounds what is held at a time. */
const BATCH = 4096;

/** Takes each exit out of the engine's ring once, oldest first. */
export class ExitDrain {
  private next = 0;
  /** Exits that left the ring before they were taken. */
  lost = 0;

  /** Exits up to now are of no interest: of a guest that starts from a snapshot. */
  begin(target: Pick<Target, 'exits'>): void {
    this.next = (target.exits(1)[0]?.seq ?? -1) + 1;
  }

  /** Exits since the last call. */
  take(target: Pick<Target, 'exits'>): ExitRecord[] {
    const batches: ExitRecord[][] = [];
    const newest = target.exits(1)[0];
    let before: number | undefined;
    // Records are made when they are asked for: only those that are new.
    for (let left = newest ? newest.seq + 1 - this.next : 0; left > 0;) {
      const batch = target.exits(Math.min(BATCH, left), before);
      if (!batch.length) break;
      batches.push(batch);
      left -= batch.length;
      before = batch[batch.length - 1].seq;
    }
    const exits = batches.flat().reverse();
    if (exits.length) {
      this.lost += exits[0].seq - this.next;
      this.next = exits[exits.length - 1].seq + 1;
    }
    return exits;
  }
}
