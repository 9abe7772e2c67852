/**
 * Stepping by statements, in both directions, out of the ranges and runs that Target offers. A step is a first run and a plan that says,
 * at each stop, whether to run on: a step ends only where a statement begins.
 */
import type { StackWalker } from './stack';
import type { SymbolStore } from './symbols/symbolStore';
import type { RunRequest, StopEvent } from './target';

/** `quiet`: without breakpoints; this way was gone before, and nobody wants to stop on it. */
export type NextRun = RunRequest & { quiet?: boolean };

export interface Step {
  request: RunRequest;
  /** What to run after a stop of the step itself; undefined: the step is done. */
  plan?: (event: StopEvent) => Promise<NextRun | undefined>;
}

export type Granularity = 'statement' | 'line' | 'instruction';

/** Runs of one step; more mean that it goes in circles without reaching a statement. */
const MAX_RUNS = 10_000;

export class Stepper {
  constructor(
    private readonly symbols: SymbolStore,
    private readonly stack: StackWalker,
  ) {}

  /** next (`over`) and stepIn. */
  async forward(cpu: number, granularity: Granularity, over: boolean, singleThread: boolean): Promise<Step> {
    const byInstruction: Step = { request: { kind: 'stepInstruction', cpu, over, singleThread } };
    if (granularity === 'instruction') return byInstruction;
    const { pc } = (await this.stack.top(cpu)).activation;
    const ranges = this.symbols.lineRanges(pc);
    if (ranges.length === 0) return byInstruction;
    let runs = 0;
    const plan = async (): Promise<RunRequest | undefined> => {
      if (++runs > MAX_RUNS) return undefined;
      const here = (await this.stack.top(cpu)).activation.pc;
      const line = this.symbols.lineAt(here);
      if (!line) return this.outOfUnknown(cpu);
      const entered = this.symbols.functionAt(here);
      if (entered && entered.low === here && entered.prologueEnd > here) {
        return { kind: 'runTo', cpu, address: entered.prologueEnd, singleThread };
      }
      if (entered && entered.prologueEnd === here) return undefined;
      if (line.isStmt && line.low === here) return undefined;
      const rest = this.symbols.lineRanges(here);
      return rest.length === 0 ? undefined : { kind: 'stepRange', cpu, ranges: rest, over, singleThread };
    };
    return { request: { kind: 'stepRange', cpu, ranges, over, singleThread }, plan };
  }

  /** Code without line information that a step came into: back to its caller, when that has some. */
  private async outOfUnknown(cpu: number): Promise<RunRequest | undefined> {
    const top = await this.stack.top(cpu);
    const caller = await this.stack.callerOf(cpu);
    if (!caller || !this.symbols.lineAt(caller.pc)) return undefined;
    return { kind: 'runTo', cpu, address: caller.pc, stackPointer: top.activation.sp };
  }

  /** Runs to the caller. Throws an Error at the outermost frame. */
  async out(cpu: number, singleThread: boolean): Promise<Step> {
    const top = await this.stack.top(cpu);
    const caller = await this.stack.callerOf(cpu);
    if (!caller) throw new Error('this is the outermost frame: there is no caller to step out to');
    return { request: { kind: 'runTo', cpu, address: caller.pc, stackPointer: top.activation.sp, singleThread } };
  }

  /** To the start of the statement, or from there to the start of the one that was executed before. */
  async back(cpu: number, granularity: Granularity): Promise<Step> {
    const byInstruction: Step = { request: { kind: 'stepBackInstructions', count: 1 } };
    if (granularity === 'instruction') return byInstruction;
    const { pc } = (await this.stack.top(cpu)).activation;
    const ranges = this.symbols.lineRanges(pc);
    if (ranges.length === 0) return byInstruction;
    if (this.symbols.lineAt(pc)?.low !== pc) return { request: { kind: 'stepBackRange', cpu, ranges, toStart: true } };
    let arrived = false;
    const plan = async (): Promise<NextRun | undefined> => {
      if (arrived) return undefined;
      // At the end of the statement before: on to where that one begins.
      arrived = true;
      const here = (await this.stack.top(cpu)).activation.pc;
      const before = this.symbols.lineRanges(here);
      return before.length === 0 ? undefined : { kind: 'stepBackRange', cpu, ranges: before, toStart: true };
    };
    return { request: { kind: 'stepBackRange', cpu, ranges }, plan };
  }
}
