/** Virtual time, a function of the instructions retired and of idle time skipped, and the time-stamp counters that follow it. */

/** Virtual nanoseconds per retired instruction, and the time-stamp counter's rate: one count a nanosecond. */
export const NS_PER_INSTRUCTION = 8;
export const TSC_HZ = 1e9;

export interface SavedClock {
  idleNs: number;
  tscOffset: bigint[];
}

export class MachineClock {
  /** Virtual time that passed while all vCPUs were halted. */
  private idleNs = 0;
  private tscOffset: bigint[];

  /**
   * @param icount instructions retired
   * @param tscChanged a vCPU's counter was set
   */
  constructor(
    cpus: number,
    private readonly icount: () => number,
    private readonly tscChanged: () => void,
  ) {
    this.tscOffset = Array.from({ length: cpus }, () => 0n);
  }

  /** Virtual nanoseconds since power-on. */
  now(): number {
    return this.icount() * NS_PER_INSTRUCTION + this.idleNs;
  }

  /** All vCPUs idle until virtual time `ns`. Time is whole nanoseconds, so that it comes to the same in however many steps. */
  skipTo(ns: number): void {
    this.idleNs += Math.max(0, Math.ceil(ns) - this.now());
  }

  /** A vCPU's time-stamp counter. */
  tsc(cpu: number): bigint {
    const count = BigInt(this.counts());
    const offset = this.tscOffset[cpu];
    return offset ? BigInt.asUintN(64, count + offset) : count;
  }
  /** The same as a number, where the counter has not been set. Kernels read it very often: it costs no BigInt. */
  plainTsc(cpu: number): number | undefined {
    return this.tscOffset[cpu] ? undefined : this.counts();
  }
  /** Of a counter that nobody has set. */
  private counts(): number {
    return Math.floor((this.now() * TSC_HZ) / 1e9);
  }
  setTsc(cpu: number, value: bigint): void {
    this.tscOffset[cpu] += value - this.tsc(cpu);
    this.tscChanged();
  }
  tscOffsetOf(cpu: number): bigint {
    return this.tscOffset[cpu];
  }

  reset(): void {
    this.idleNs = 0;
    this.tscOffset.fill(0n);
  }
  save(): SavedClock {
    return { idleNs: this.idleNs, tscOffset: [...this.tscOffset] };
  }
  restore(saved: SavedClock): void {
    this.idleNs = saved.idleNs;
    this.tscOffset = [...saved.tscOffset];
  }
}
