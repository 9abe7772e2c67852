/**
 * Going back: restore a checkpoint and run forward again. All of it in slices, so that the adapter keeps answering.
 */
import type { Machine } from '../../../emulator-core/machine';
import type { Vcpu } from '../../../emulator-core/cpu/vcpu';
import { turn } from '../../introspection/slices';
import type { Burst } from './burst';
import type { Hits } from './hits';

/** Runs `step` again and again until it returns true, giving the event loop its turn every few milliseconds. */
export type Slicer = (step: () => boolean) => Promise<void>;

export interface TracePoint {
  icount: number;
  rip: bigint;
  rsp: bigint;
}

/** Instructions looked at in one go when walking back. */
const WINDOW = 4096;
/** With fewer known instructions before a place, the way there is walked anew. */
const ENOUGH = 256;

export class Travel {
  /** The newest trace: stepping back again and again looks at the same instructions. */
  private known?: { cpu: Vcpu; changes: number; begin: number; end: number; points: TracePoint[] };

  constructor(
    private readonly machine: Machine,
    private readonly hits: Hits,
    private readonly burst: Burst,
    private readonly slice: Slicer,
  ) {}

  get start(): number {
    return this.machine.history.start;
  }
  get now(): number {
    return this.machine.core.retired;
  }

  /** Runs forward without stopping at anything until `icount`; true when it got there. */
  private async forward(icount: number): Promise<void> {
    const { machine } = this;
    await this.slice(() => {
      const left = icount - machine.core.retired;
      if (left <= 0) return true;
      machine.resume();
      const result = this.burst.run(left, (count, patience) => machine.run(count, undefined, Infinity, patience));
      return result === 'ended' || result === 'idle';
    });
    machine.resume();
  }

  /** To an instruction count in the recorded past (or the present). */
  async to(icount: number): Promise<void> {
    const mode = this.hits.mode;
    this.hits.mode = 'mute';
    try {
      this.machine.history.restoreBefore(icount);
      await turn();
      await this.forward(icount);
      // vCPUs that idled to this very point: time stands still from here.
      this.machine.run(0);
    } finally {
      this.hits.mode = mode;
    }
  }

  /** The last `WINDOW` instructions before `end`, oldest first, as vCPU `cpu` went through them. Leaves the machine anywhere in history. */
  async trace(end: number, cpu: Vcpu): Promise<TracePoint[]> {
    const { known, machine } = this;
    const usable = known && known.cpu === cpu && known.changes === machine.changes && end <= known.end;
    if (usable && end > known.begin && (end - known.begin >= ENOUGH || known.begin === this.start)) {
      return known.points.filter((point) => point.icount < end);
    }
    const begin = Math.max(this.start, end - WINDOW);
    await this.to(begin);
    // The next walk back starts from here, not from the last full checkpoint.
    this.machine.history.take();
    const points: TracePoint[] = [];
    const mode = this.hits.mode;
    this.hits.mode = 'mute';
    try {
      await this.slice(() => {
        for (let i = 0; i < 256; i++) {
          const icount = this.now;
          if (icount >= end) return true;
          points.push({ icount, rip: cpu.rip, rsp: cpu.gpr(4) });
          machine.resume();
          const result = machine.run(1);
          if (result === 'ended' || (result === 'idle' && this.now === icount)) return true;
        }
        return false;
      });
    } finally {
      this.hits.mode = mode;
    }
    if (this.now >= end) this.known = { cpu, changes: machine.changes, begin, end, points };
    return [...points];
  }

  /** The last moment before `end` at which a breakpoint would stop. Leaves the machine somewhere in the past. */
  async lastHit(end: number): Promise<Hits['found']> {
    const { machine, hits } = this;
    let limit = end;
    hits.searchEnd = end;
    for (;;) {
      const checkpoint = machine.history.checkpointBefore(limit);
      if (checkpoint === undefined) return undefined;
      machine.history.restoreBefore(checkpoint);
      hits.mode = 'search';
      hits.found = undefined;
      machine.resumeHere();
      const bound = limit;
      try {
        await this.slice(() => {
          const left = bound - machine.core.retired;
          if (left <= 0) return true;
          const result = this.burst.run(left, (count, patience) => machine.run(count, undefined, Infinity, patience));
          return result === 'ended' || result === 'idle';
        });
      } finally {
        hits.mode = 'live';
      }
      if (hits.found) return hits.found;
      limit = checkpoint;
    }
  }
}
