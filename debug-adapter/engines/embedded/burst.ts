/** How much to run between two looks at the clock: little where it takes long, as it does to leave the guest. */

/** Instructions. */
const MOST = 400_000;
const LEAST = 500;
/** Milliseconds that one burst should take at most: well below a slice. */
const AIM_MS = 3;
/**
 * Slow steps (Core.patience), some twenty microseconds each at most, and more as long as the engine's own code is new to JavaScript. Bursts
 * learn from the one before: without this bound a guest that begins to do what is slow would have the debugger wait for 400,000 instructions.
 */
const MOST_PATIENCE = 500;
const LEAST_PATIENCE = 50;

export class Burst {
  private size = MOST;
  private patience = LEAST_PATIENCE;

  /** @param clock milliseconds */
  constructor(private readonly clock: () => number) {}

  /** Has `run` execute at most `left` instructions, and so many slow steps, and learns from how long they took. */
  run<T>(left: number, run: (count: number, patience: number) => T): T {
    const since = this.clock();
    const result = run(Math.min(left, this.size), this.patience);
    const took = this.clock() - since;
    if (took > AIM_MS) {
      this.size = Math.max(LEAST, Math.floor((this.size * AIM_MS) / took));
      this.patience = Math.max(LEAST_PATIENCE, Math.floor((this.patience * AIM_MS) / took));
    } else if (took < AIM_MS / 2) {
      this.size = Math.min(MOST, this.size * 2);
      this.patience = Math.min(MOST_PATIENCE, this.patience * 2);
    }
    return result;
  }
}
