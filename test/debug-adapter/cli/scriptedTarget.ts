/** A Target that plays a script instead of running a machine: console output, exits and an end, each at an instruction count. */
import type { EndReason, ExitRecord, RunRequest, Target, TargetEvents, VcpuState } from '../../../debug-adapter/target';

export interface Happening {
  icount: number;
  console?: string | Uint8Array;
  exit?: Partial<ExitRecord>;
  note?: string;
  end?: EndReason;
  /** From here on, the vCPU sleeps. */
  halt?: boolean;
}

export function exitRecord(seq: number, fields: Partial<ExitRecord> = {}): ExitRecord {
  return {
    seq,
    icount: 0,
    cpu: 0,
    name: 'CPUID',
    reason: 10,
    rip: 0x100000n,
    qualification: 0n,
    instructionLength: 2,
    guestLinear: 0n,
    guestPhysical: 0n,
    summary: 'CPUID leaf 0x0 subleaf 0x0',
    ...fields,
  };
}

export class ScriptedTarget {
  readonly runs: RunRequest[] = [];
  readonly typed: number[] = [];
  disposed = 0;
  timeTravel = true;
  /** Exits that the ring keeps. */
  ringSize = 65536;
  fields: Record<string, (exit: ExitRecord) => bigint | undefined> = {};
  private events!: TargetEvents;
  private now = 0;
  private state: VcpuState = 'stopped';
  private next = 0;
  private pausing = false;
  private readonly ring: ExitRecord[] = [];

  constructor(
    private readonly script: Happening[],
    /** Instructions that run at a time. */
    private readonly quantum = 1000,
  ) {}

  /** As the interface; what a run doesn't touch is left out. */
  asTarget(): Target {
    const offered: Partial<Target> = {
      capabilities: {
        exits: true,
        ept: true,
        timeTravel: this.timeTravel,
        writeRegisters: true,
        writeMemory: true,
        dataBreakpoints: true,
      },
      setEvents: (events) => (this.events = events),
      icount: () => this.now,
      running: () => this.state === 'running' || this.state === 'halted',
      vcpus: () => [{ index: 0, name: 'vCPU 0', state: this.state }],
      run: (request) => this.run(request),
      pause: () => {
        this.pausing = true;
        if (this.state === 'halted') setImmediate(() => this.stop('pause'));
      },
      dispose: () => {
        this.disposed++;
        this.state = 'stopped';
      },
      exits: (count, before = Infinity) =>
        this.ring
          .filter((exit) => exit.seq < before)
          .slice(-count)
          .reverse(),
      exitCounters: () => {
        const counts = new Map<string, number>();
        for (const { name } of this.ring) counts.set(name, (counts.get(name) ?? 0) + 1);
        return [...counts].map(([name, count]) => ({ name, reason: 0, count }));
      },
      exitNames: () => ['CPUID', 'IO_INSTRUCTION', 'EPT_VIOLATION'].map((name) => ({ name, description: name })),
      exitField: (exit, name) => this.fields[name]?.(exit),
      registerInfo: () =>
        ['rip', 'rax'].map((name) => ({ name, group: 'Registers' as const, width: 64, writable: true })),
      consoleInput: (data) => {
        this.typed.push(...data);
        return true;
      },
    };
    return offered as Target;
  }

  private run(request: RunRequest): void {
    if (this.state === 'running') throw new Error('already running');
    this.runs.push(request);
    this.state = 'running';
    const target = request.kind === 'gotoIcount' ? request.icount : Infinity;
    const slice = (): void => {
      if (this.state !== 'running') return;
      if (this.pausing) return this.stop('pause');
      const until = Math.min(this.now + this.quantum, target);
      for (; this.next < this.script.length && this.script[this.next].icount <= until; this.next++) {
        const happening = this.script[this.next];
        this.now = happening.icount;
        if (this.happen(happening)) return;
      }
      this.now = until;
      if (until === target) return this.stop('goto');
      setImmediate(slice);
    };
    setImmediate(slice);
  }

  private stop(reason: 'pause' | 'goto'): void {
    this.state = 'stopped';
    this.pausing = false;
    this.events.stopped({ reason, cpu: 0 });
  }

  /** True when nothing runs after it. */
  private happen({ console, exit, note, end, halt }: Happening): boolean {
    if (console !== undefined) {
      this.events.console(typeof console === 'string' ? new TextEncoder().encode(console) : console);
    }
    if (exit) {
      const last = this.ring[this.ring.length - 1];
      this.ring.push(exitRecord(last ? last.seq + 1 : 0, { icount: this.now, ...exit }));
      if (this.ring.length > this.ringSize) this.ring.shift();
    }
    if (note) this.events.note(note);
    if (halt) this.state = 'halted';
    if (end) {
      this.state = 'stopped';
      this.events.ended(end);
    }
    return halt || end !== undefined;
  }
}
