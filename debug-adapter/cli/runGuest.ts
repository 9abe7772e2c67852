/** Runs a guest from power-on to an end: its own, a text on its console, or a limit. Over Target, so that any engine does. */
import type { EndReason, EngineCounters, ExitCounter, ExitRecord, StopEvent, Target, TargetEvents } from '../target';
import { totalIcount } from '../totalIcount';
import { ConsoleWatch, panicMarks } from './consoleWatch';
import { ExitDrain } from './exitDrain';
import { exitStatus, type RunEnd } from './runEnd';

/** What is to be run. */
export interface GuestSource {
  createTarget(): Promise<Target>;
}

export interface RunOptions {
  /** Bytes of the serial console as they come. */
  onConsole?: (data: Uint8Array) => void;
  /** Notes of the engine: 'unimplemented instruction ...'. */
  onNote?: (text: string) => void;
  /** Every VM exit, oldest first. */
  onExits?: (exits: ExitRecord[]) => void;
  /** The machine, before its first instruction: for input, for breakpoints. */
  onStart?: (target: Target) => void;
  /** The machine, stopped at its end, before it is disposed of. */
  onEnd?: (target: Target, end: RunEnd) => Promise<void>;
  /** Where the run stops on its way, for `onStop`: the total instruction count (totalIcount), more than the present one. */
  nextStop?: () => number;
  /** At each stop; the run goes on when it has resolved. */
  onStop?: (event: StopEvent) => Promise<void>;
  /** Ends the run when this has appeared on the console. */
  until?: string;
  /** Ends the run when so many instructions have retired, over resets by the guest, too. */
  maxIcount?: number;
  /** Ends the run early, with end 'quit'. */
  signal?: AbortSignal;
  /** True when the user may still type: a guest that sleeps for ever is then not taken for dead. */
  inputPossible?: boolean;
  /**
   * With `onExits` and an engine that does not say when exits would be lost, but can stop at an exact instruction: how many run between
   * two looks at the exit ring. Half of the ring's size loses no exit, as good as every exit belonging to an instruction of its own.
   */
  exitSlice?: number;
}

export interface RunOutcome {
  end: RunEnd;
  /** Exit status of `ringside run`. */
  status: number;
  /** Retired instructions, all vCPUs. */
  icount: number;
  exitCounters: ExitCounter[];
  engine?: EngineCounters;
  /** Exits that `onExits` didn't see. */
  lostExits: number;
}

/** How often a guest that seems to sleep is looked at, ms, and how many times before it is taken for dead. */
const IDLE_CHECK_MS = 200;
const IDLE_CHECKS = 10;

/** Boots a guest and runs it to its end. Errors of createTarget (bad input) are passed on; the target is disposed of. */
export async function runGuest(source: GuestSource, options: RunOptions = {}): Promise<RunOutcome> {
  const target = await source.createTarget();
  try {
    return await new GuestRun(target, options).finish();
  } finally {
    target.dispose();
  }
}

class GuestRun {
  private readonly drain = new ExitDrain();
  private readonly until?: ConsoleWatch;
  private readonly panic = new ConsoleWatch(panicMarks);
  /** Why the run is being ended: set before pause(), becomes the outcome when the machine has stopped. */
  private wanted?: RunEnd;
  private done!: (end: RunEnd) => void;
  private fail!: (error: unknown) => void;
  private readonly end = new Promise<RunEnd>((resolve, reject) => {
    this.done = resolve;
    this.fail = reject;
  });
  private idleChecks = 0;
  private idleIcount = -1;

  constructor(
    private readonly target: Target,
    private readonly options: RunOptions,
  ) {
    if (options.until) this.until = new ConsoleWatch([options.until]);
  }

  async finish(): Promise<RunOutcome> {
    const { target, options } = this;
    target.setEvents(this.events());
    this.drain.begin(target);
    if (options.onExits) target.beforeExitsAreLost?.(() => this.guard(() => this.takeExits()));
    options.onStart?.(target);
    const quit = () => this.stop({ kind: 'quit' });
    options.signal?.addEventListener('abort', quit);
    const timer = setInterval(() => this.guard(() => this.checkIdle()), IDLE_CHECK_MS);
    try {
      if (options.signal?.aborted) this.done({ kind: 'quit' });
      else if (!target.running()) this.guard(() => this.goOn());
      const end = await this.end;
      this.takeExits();
      await options.onEnd?.(target, end);
      return {
        end,
        status: exitStatus(end),
        icount: totalIcount(target),
        exitCounters: target.exitCounters(),
        engine: target.engineCounters?.(),
        lostExits: this.drain.lost,
      };
    } finally {
      clearInterval(timer);
      options.signal?.removeEventListener('abort', quit);
    }
  }

  private events(): TargetEvents {
    return {
      stopped: (event) => this.guard(() => this.stopped(event)),
      continued: () => {},
      ended: (reason) => this.done(this.wanted ?? endOf(reason)),
      console: (data) => {
        this.guard(() => this.console(data));
        return undefined;
      },
      note: (text) => this.options.onNote?.(text),
      exitsChanged: () => this.guard(() => this.takeExits()),
    };
  }

  /** An error inside an event handler ends the run and reaches the caller of runGuest. */
  private guard(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.fail(error);
    }
  }

  private stopped(event: StopEvent): void {
    this.takeExits();
    if (this.wanted) return this.done(this.wanted);
    const { onStop } = this.options;
    if (!onStop) return this.goOn();
    const goOn = () => {
      // Whoever wanted an end meanwhile has got it: the machine stood still.
      if (!this.wanted) this.goOn();
    };
    void onStop(event).then(
      () => this.guard(goOn),
      (error) => this.fail(error),
    );
  }

  /** The next leg: to the instruction limit, to the next look at the exits, or without a bound. */
  private goOn(): void {
    const { target, options } = this;
    const icount = totalIcount(target);
    const limit = options.maxIcount ?? Infinity;
    if (icount >= limit) return this.done({ kind: 'limit', icount });
    const slices = options.onExits && !target.beforeExitsAreLost;
    const slice = slices ? (options.exitSlice ?? 32768) : Infinity;
    const next = Math.min(limit, icount + slice, options.nextStop?.() ?? Infinity);
    if (next === Infinity || !target.capabilities.timeTravel) target.run({ kind: 'continue' });
    else target.run({ kind: 'gotoIcount', icount: next - icount + target.icount() });
  }

  private console(data: Uint8Array): void {
    this.options.onConsole?.(data);
    if (this.until?.sees(data)) this.stop({ kind: 'until', text: this.options.until! });
    else if (this.panic.sees(data)) this.stop({ kind: 'panic', text: this.panic.found! });
  }

  private stop(end: RunEnd): void {
    if (this.wanted) return;
    this.wanted = end;
    if (this.target.running()) this.target.pause();
    else this.done(end);
  }

  private takeExits(): void {
    if (this.options.onExits) {
      const exits = this.drain.take(this.target);
      if (exits.length) this.options.onExits(exits);
    }
    const { maxIcount } = this.options;
    // An engine without time travel can't stop at an exact instruction: close to it then.
    if (maxIcount !== undefined && this.target.running() && totalIcount(this.target) >= maxIcount) {
      this.stop({ kind: 'limit', icount: maxIcount });
    }
  }

  /** A guest that has halted with nothing left that could wake it would sit there for ever. */
  private checkIdle(): void {
    this.takeExits();
    const { target } = this;
    const icount = totalIcount(target);
    const asleep = target.running() && target.vcpus().every((vcpu) => vcpu.state !== 'running');
    const idle = asleep && icount === this.idleIcount && !this.options.inputPossible;
    this.idleIcount = icount;
    this.idleChecks = idle ? this.idleChecks + 1 : 0;
    if (this.idleChecks >= IDLE_CHECKS) this.stop({ kind: 'asleep' });
  }
}

function endOf(reason: EndReason): RunEnd {
  if (reason.kind === 'triple fault')
    return { kind: 'triple fault', text: reason.text, cpu: reason.cpu, rip: reason.rip };
  return reason;
}
