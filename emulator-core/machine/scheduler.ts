/** Which vCPU runs: each in turn for a quantum of instructions, halted ones when something wakes them. */
import type { Core } from '../cpu/core';
import type { Delivery } from '../cpu/delivery';
import type { Monitors } from '../cpu/monitor';
import type { Vcpu } from '../cpu/vcpu';
import type { Platform } from '../devices/platform';

/** Instructions that a vCPU runs before the next one gets its turn. */
const QUANTUM = 20_000;

export class Scheduler {
  private turn = 0;
  /** The running vCPU gave its turn away. */
  private yielded = false;
  /** icount at which the turn ends. */
  private quantumEnd = QUANTUM;

  constructor(
    private readonly vcpus: readonly Vcpu[],
    private readonly core: Core,
    private readonly delivery: Delivery,
    private readonly monitors: Monitors,
    private readonly platform: Platform,
  ) {}

  /** Instructions left of the turn, at least 1. */
  get left(): number {
    return Math.max(1, this.quantumEnd - this.core.retired);
  }

  /**
   * The vCPU whose turn it is; undefined when none can run.
   * @param only freeze all other vCPUs
   */
  pick(only?: number): Vcpu | undefined {
    this.yielded = false;
    if (only !== undefined) return this.runnable(this.vcpus[only]) ? this.vcpus[only] : undefined;
    const { vcpus } = this;
    if (this.core.retired >= this.quantumEnd) this.turn = (this.turn + 1) % vcpus.length;
    for (let i = 0; i < vcpus.length; i++) {
      const index = (this.turn + i) % vcpus.length;
      if (!this.runnable(vcpus[index])) continue;
      if (i > 0 || this.core.retired >= this.quantumEnd) this.quantumEnd = this.core.retired + QUANTUM;
      this.turn = index;
      return vcpus[index];
    }
    return undefined;
  }

  /** The turn of `from`, which runs, goes to `to`. */
  yieldTo(from: Vcpu, to: Vcpu): void {
    this.turn = to.index;
    this.quantumEnd = this.core.icount + QUANTUM;
    this.yielded = true;
    from.attention = true;
  }
  /** The running vCPU has to stop for another one. */
  get switches(): boolean {
    return this.yielded;
  }

  /** Ends the HLT of a vCPU. */
  wake(cpu: Vcpu): void {
    cpu.activity = 'active';
    this.monitors.disarm(cpu.index);
  }

  private runnable(cpu: Vcpu): boolean {
    if (cpu.activity === 'halted' && (this.delivery.wakes(cpu) || this.monitorWakes(cpu))) {
      this.wake(cpu);
    }
    return cpu.activity === 'active';
  }

  /** An interrupt that RFLAGS.IF holds off ends a wait in MWAIT. */
  private monitorWakes(cpu: Vcpu): boolean {
    return this.monitors.wakesOnAnyInterrupt(cpu.index) && this.platform.hasInterrupt(cpu.index);
  }

  /** Some halted vCPU takes interrupts at all. */
  canWake(): boolean {
    return this.vcpus.some(
      (cpu) => cpu.activity === 'halted' && (cpu.interruptsEnabled || this.monitors.wakesOnAnyInterrupt(cpu.index)),
    );
  }

  reset(): void {
    this.turn = 0;
    this.quantumEnd = QUANTUM;
  }
  save(): { turn: number; quantumEnd: number } {
    return { turn: this.turn, quantumEnd: this.quantumEnd };
  }
  restore(saved: ReturnType<Scheduler['save']>): void {
    this.turn = saved.turn;
    this.quantumEnd = saved.quantumEnd;
  }
}
