/**
 * MONITOR and MWAIT: the line that each vCPU watches, and whether it waits for a store to it.
 * SDM Vol. 3A, "MONITOR/MWAIT Instruction".
 */
import { PAGE } from './layout';

/** Bytes that MONITOR watches, as CPUID leaf 5 announces them. */
const LINE = 64;

interface Monitor {
  /** Guest-physical address of the line, -1: not armed. */
  line: number;
  waiting: boolean;
  /** MWAIT's ECX bit 0: an interrupt ends the wait even when RFLAGS.IF holds it off. */
  anyInterrupt: boolean;
}

const idle = (): Monitor => ({ line: -1, waiting: false, anyInterrupt: false });

export class Monitors {
  private monitors: Monitor[];

  /** @param watchPage turns reports of writes to a physical page on or off */
  constructor(
    cpus: number,
    private readonly watchPage: (physicalPage: number, on: boolean) => void,
  ) {
    this.monitors = Array.from({ length: cpus }, idle);
  }

  /** Watches the line of a guest-physical address. */
  arm(cpu: number, gpa: number): void {
    this.disarm(cpu);
    const line = Math.floor(gpa / LINE) * LINE;
    this.monitors[cpu].line = line;
    this.watchPage(Math.floor(line / PAGE), true);
  }

  armed(cpu: number): boolean {
    return this.monitors[cpu].line >= 0;
  }

  /** MWAIT begins to wait. */
  wait(cpu: number, anyInterrupt: boolean): void {
    this.monitors[cpu].waiting = true;
    this.monitors[cpu].anyInterrupt = anyInterrupt;
  }

  /** The vCPU waits in MWAIT, and interrupts wake it whatever RFLAGS.IF says. */
  wakesOnAnyInterrupt(cpu: number): boolean {
    return this.monitors[cpu].waiting && this.monitors[cpu].anyInterrupt;
  }

  /** The wait is over, or the vCPU was initialized. */
  disarm(cpu: number): void {
    const { line } = this.monitors[cpu];
    this.monitors[cpu] = idle();
    if (line < 0) return;
    const page = Math.floor(line / PAGE);
    const shared = this.monitors.some((other) => other.line >= 0 && Math.floor(other.line / PAGE) === page);
    if (!shared) this.watchPage(page, false);
  }

  /** A store: disarms the monitors that it triggers and returns the vCPUs that waited. */
  written(physicalPage: number, offset: number, size: number): number[] {
    const start = physicalPage * PAGE + offset;
    const woken: number[] = [];
    for (const [cpu, { line, waiting }] of this.monitors.entries()) {
      if (line < 0 || start >= line + LINE || start + size <= line) continue;
      this.disarm(cpu);
      if (waiting) woken.push(cpu);
    }
    return woken;
  }

  reset(): void {
    for (let cpu = 0; cpu < this.monitors.length; cpu++) this.disarm(cpu);
  }

  save(): unknown {
    return structuredClone(this.monitors);
  }

  restore(saved: unknown): void {
    this.reset();
    this.monitors = structuredClone(saved) as Monitor[];
    for (const { line } of this.monitors) if (line >= 0) this.watchPage(Math.floor(line / PAGE), true);
  }
}
