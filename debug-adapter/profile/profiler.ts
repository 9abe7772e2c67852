/** Samples of a guest's call stacks, one each so many retired instructions. */
import { LinuxKernel } from '../introspection/linux/kernel';
import type { LaunchPlan } from '../launchConfig';
import { StackWalker, type Frame } from '../stack';
import { SymbolStore } from '../symbols/symbolStore';
import type { StopEvent, Target } from '../target';
import { totalIcount } from '../totalIcount';
import { CallTree, type ProfileFrame } from './callTree';

/** Instructions between two samples, unless it is told. */
export const PROFILE_EVERY = 100_000;
/** Frames of a stack that count. */
const MAX_DEPTH = 256;
const PAGE_BITS = 12n;

export class Profiler {
  readonly tree = new CallTree();
  private readonly symbols = new SymbolStore();
  private readonly stack: StackWalker;
  private readonly kernel: LinuxKernel;
  private last: number;

  private constructor(
    private readonly target: Target,
    /** Instructions between two samples. */
    public every: number,
    note: (text: string) => void,
  ) {
    this.stack = new StackWalker(target, this.symbols);
    this.kernel = new LinuxKernel(target, this.symbols, { changed: async () => this.arm(), note });
    this.last = totalIcount(target);
  }

  /** For a machine that has not run. `note`: what the user should know of symbols. */
  static async create(
    target: Target,
    plan: Pick<LaunchPlan, 'symbols' | 'engine'>,
    every: number,
    note: (text: string) => void,
  ): Promise<Profiler> {
    const profiler = new Profiler(target, every, note);
    const { symbols, kernel } = profiler;
    for (const { name, contents, offset } of plan.symbols) symbols.addFile(name, contents, { offset });
    await symbols.prepare();
    kernel.prepare(plan.engine.kernel);
    // Samples do not depend on how fast that goes.
    await kernel.ready;
    if (plan.engine.from) await kernel.arrived();
    profiler.arm();
    for (const warning of symbols.warnings) note(warning);
    return profiler;
  }

  /** What stops the machine where the kernel's place can be found. */
  private arm(): void {
    this.target.setBreakpoints({ execution: [], data: [], exits: this.kernel.exitBreakpoints, exceptions: [] });
  }

  /** The total instruction count of the next sample. */
  get next(): number {
    return (Math.floor(totalIcount(this.target) / this.every) + 1) * this.every;
  }

  /** The machine has stopped: takes a sample where one is due. */
  async stopped(event: StopEvent): Promise<void> {
    const { target, kernel, stack } = this;
    stack.clear();
    if (kernel.owns(event)) return kernel.stopped(event);
    const icount = totalIcount(target);
    if (icount % this.every !== 0 || icount === this.last) return;
    await kernel.stopped(event);
    const cpu = target.lastVcpu?.() ?? event.cpu;
    const { frames } = await stack.frames(cpu, 0, MAX_DEPTH);
    stack.clear();
    const weight = icount - this.last;
    this.last = icount;
    const name = target.vcpus().find(({ index }) => index === cpu)?.name ?? `vCPU ${cpu}`;
    if (this.tree.add(name, frames.map((frame) => this.frameOf(frame)).reverse(), weight)) this.every *= 2;
  }

  private frameOf({ name, inlined, file, line, activation }: Frame): ProfileFrame {
    const { lookup } = activation;
    const found = this.symbols.framesAt(lookup);
    // A function is where it is declared, whatever line of it was sampled first.
    const declared = found.find((each) => each.name === name)?.declarationLine;
    if (found.length > 0 || inlined) return { name, file, line: declared ?? line };
    const symbol = this.symbols.symbolAt(lookup);
    if (symbol) return { name: symbol.name, file, line };
    // Code that no symbol covers: its page.
    return { name: `0x${((lookup >> PAGE_BITS) << PAGE_BITS).toString(16)}`, line: 0 };
  }

  close(): void {
    this.symbols.close();
  }
}
