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
    let before: number | undefined;
    for (;;) {
      const batch = target.exits(BATCH, before);
      const fresh = batch.filter((exit) => exit.seq >= this.next);
      if (fresh.length) batches.push(fresh);
      if (batch.length < BATCH || fresh.length < batch.length) break;
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
