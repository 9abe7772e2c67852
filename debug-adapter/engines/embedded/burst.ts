/** How many instructions to run between two looks at the clock: few where each takes long, as those that leave the guest do. */

const MOST = 100_000;
const LEAST = 500;
/** Milliseconds that one burst should take at most: well below a slice. */
const AIM_MS = 3;

export class Burst {
  private size = MOST;

  /** @param clock milliseconds */
  constructor(private readonly clock: () => number) {}

  /** Runs at most `left` instructions, given to `run`, and learns from how long they took. */
  run<T>(left: number, run: (count: number) => T): T {
    const since = this.clock();
    const result = run(Math.min(left, this.size));
    const took = this.clock() - since;
    if (took > AIM_MS) this.size = Math.max(LEAST, Math.floor((this.size * AIM_MS) / took));
    else if (took < AIM_MS / 2) this.size = Math.min(MOST, this.size * 2);
    return result;
  }
}
