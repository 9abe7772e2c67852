/** One session's machine from launch to end: makes it, runs and steps it, and turns what it reports into events for the client. */
import { messageOf } from './errors';
import type { DebugProtocol } from '@vscode/debugprotocol';
import { Breakpoints } from './breakpoints';
import { exitItem } from './customRequests';
import type { Debuggee } from './debuggee';
import type { Engine, Host, OutputFile, Saving } from './engine';
import { Evaluator } from './evaluate';
import { GuestConsole, OutputBatch } from './guestConsole';
import { LinuxKernel } from './introspection/linux/kernel';
import { planLaunch, type LaunchPlan } from './launchConfig';
import type { Schema } from './launchSchema';
import { toBase64 } from './memoryReference';
import { ModuleList } from './modules';
import { Progress } from './progress';
import type { RingsideEvent, RingsideEvents } from './protocol';
import { ScreenChanges } from './screen';
import { SessionSnapshots } from './snapshotFiles';
import { StackWalker } from './stack';
import { Stepper, type NextRun, type Step } from './stepping';
import { SymbolStore } from './symbols/symbolStore';
import type { EndReason, RunRequest, StopEvent } from './target';
import { Variables } from './variables';

export interface ControllerOptions {
  engine: Engine;
  host: Host;
  /** configurationAttributes.launch of package.json. */
  schema: Schema;
  send(event: string, body?: unknown): void;
  /** A promise while the client has much to take that was sent before; it resolves once it has taken it. */
  congested?(): Promise<void> | undefined;
}

const NEWEST_EXITS = 50;
/** Milliseconds after which a run through history shows its progress. */
const PROGRESS_DELAY = 500;
const HISTORY_RUNS: ReadonlySet<RunRequest['kind']> = new Set([
  'reverseContinue',
  'stepBackInstructions',
  'stepBackRange',
  'gotoIcount',
]);

/** DAP's `stopped` reason for what a Target reports, where no breakpoint decides. */
const REASONS: Record<StopEvent['reason'], string> = {
  entry: 'entry',
  step: 'step',
  breakpoint: 'breakpoint',
  'data breakpoint': 'data breakpoint',
  exit: 'exception',
  exception: 'exception',
  pause: 'pause',
  goto: 'goto',
  'history start': 'entry',
};
const KIND_REASONS = {
  source: 'breakpoint',
  function: 'function breakpoint',
  instruction: 'instruction breakpoint',
  data: 'data breakpoint',
  exit: 'exception',
  exception: 'exception',
};

/** Bytes of a symbol file from which on memory counts: its debug information takes long to read, and much room. */
const LARGE_SYMBOLS = 64 << 20;

export class Controller {
  debuggee: Debuggee | undefined;
  /** The stop that the machine is at; undefined while it runs. */
  lastStop: StopEvent | undefined;
  readonly breakpoints: Breakpoints;
  private readonly notes: OutputBatch;
  private readonly modules = new ModuleList();
  private plan: Step['plan'];
  private largeSymbols = false;
  private stepping = false;
  private planName = '';
  private launched: LaunchPlan | undefined;
  private ended = false;
  /** The run that is under way, and how many there were: a run that a stop of the adapter's own interrupted goes on. */
  private request: RunRequest | undefined;
  private runs = 0;
  private configured = false;
  private lastSeq = -1;
  private consoleFile: OutputFile | undefined;
  /** Stop at entry that waits for configurationDone. */
  private entryStop: StopEvent | undefined;
  private startWaits = false;

  /** Set while restart() waits for a running machine to stop: that stop is nobody else's business. */
  private stopWaiter: (() => void) | undefined;
  private progressTimer: ReturnType<typeof setTimeout> | undefined;
  private progress: Progress | undefined;

  constructor(private readonly options: ControllerOptions) {
    this.notes = new OutputBatch((output) => this.send('output', { category: 'console', output }));
    this.breakpoints = new Breakpoints({
      log: (text) => this.notes.write(text),
      changed: (breakpoint) => this.send('breakpoint', { reason: 'changed', breakpoint }),
    });
  }

  private send(event: string, body?: unknown): void {
    this.options.send(event, body);
  }

  private sendRingside<K extends RingsideEvent>(event: K, body: RingsideEvents[K]): void {
    this.send(event, body);
  }

  /** The machine. Throws an Error before there is one. */
  get machine(): Debuggee {
    if (!this.debuggee) throw new Error('there is no machine yet: launch comes first');
    return this.debuggee;
  }

  /** The machine, stopped. Throws an Error while it runs. */
  get stopped(): Debuggee {
    const { machine } = this;
    if (this.ended) throw new Error('the guest has ended');
    if (machine.target.running()) throw new Error('the guest is running; pause it first');
    return machine;
  }

  /** Builds the machine of a launch configuration. Throws a LaunchError or what the engine says. */
  async launch(configuration: Record<string, unknown>): Promise<void> {
    if (this.debuggee) throw new Error('this session has launched already');
    const { engine, host, schema } = this.options;
    const names = [...engine.exitNames(), ...engine.exceptionNames()].map((each) => each.name);
    const plan = await planLaunch(configuration, schema, names, host);
    this.launched = plan;

    this.largeSymbols = plan.symbols.some(({ contents }) => ('size' in contents ? contents.size : contents.length) > LARGE_SYMBOLS); // prettier-ignore
    this.saveMemory('most');
    const symbols = new SymbolStore();
    for (const { name, contents, offset } of plan.symbols) symbols.addFile(name, contents, { offset });
    await symbols.prepare();
    symbols.setSourceMap(plan.sourceMap);

    const target = await engine.create(plan.engine);
    if (typeof plan.console === 'object') this.consoleFile = await host.createFile(plan.console.file);
    const route = this.consoleFile ? 'file' : plan.attachConsole && plan.console === 'terminal' ? 'attach' : 'output';
    const guestConsole = new GuestConsole(route, {
      text: (output) => this.send('output', { category: 'stdout', output }),
      bytes: (data) => this.sendRingside('ringside/console', { data: toBase64(data) }),
      file: (data) => this.consoleFile?.write(data),
      congested: () => this.options.congested?.(),
    });
    const evaluator = new Evaluator(target, symbols);
    const stack = new StackWalker(target, symbols);
    const kernel = new LinuxKernel(target, symbols, {
      changed: () => this.symbolsChanged(),
      note: (text) => this.note(text),
    });
    const debuggee: Debuggee = {
      target,
      symbols,
      evaluator,
      stack,
      stepper: new Stepper(symbols, stack),
      variables: new Variables(target, symbols, evaluator),
      console: guestConsole,
      screen: new ScreenChanges(),
      breakpoints: this.breakpoints,
      kernel,
      snapshots: new SessionSnapshots(
        target,
        { host, resolve: plan.resolve, file: plan.snapshot },
        (event, body) => this.send(event, body),
        (text) => this.restored(text),
      ),
      run: (request) => {
        this.start({ request });
        this.send('continued', { threadId: 1, allThreadsContinued: true });
      },
    };
    this.debuggee = debuggee;
    target.setEvents({
      stopped: (event) => {
        this.saveMemory('most');
        void this.onStopped(event);
      },
      continued: () => this.saveMemory('some'),
      ended: (reason) => this.onEnded(reason),
      console: (data) => guestConsole.write(data),
      note: (text) => this.note(text),
      exitsChanged: () => this.onExits(),
    });
    this.breakpoints.ownExits = () => kernel.exitBreakpoints;
    this.modules.changes(symbols);
    kernel.prepare(plan.engine.kernel);
    for (const name of plan.engine.exits) await this.breakpoints.arm(name);
    await this.breakpoints.attach({ target, symbols, evaluator });
    if (plan.engine.from) await kernel.arrived();
    for (const warning of symbols.warnings) this.note(warning);
    if (this.configured) this.begin();
    else this.startWaits = true;
  }

  /** configurationDone: all breakpoints are set. */
  configurationDone(): void {
    this.configured = true;
    if (this.startWaits) this.begin();
  }

  private begin(): void {
    this.startWaits = false;
    if (this.entryStop) {
      const event = this.entryStop;
      this.entryStop = undefined;
      this.report(event);
    } else if (this.launched!.engine.stopOnEntry) this.report({ reason: 'entry', cpu: 0 });
    else this.start({ request: { kind: 'continue' } });
  }

  /** Large debug information is read in little memory; a guest runs as fast as it can. */
  private saveMemory(saving: Saving): void {
    if (this.largeSymbols) this.options.host.saveMemory?.(saving);
  }

  note(text: string): void {
    this.notes.write(text.endsWith('\n') ? text : `${text}\n`);
    this.sendRingside('ringside/note', { text });
  }

  /** Starts a run of a stopped machine. */
  start(step: Step, name = ''): void {
    const { stack, variables } = this.stopped;
    this.plan = step.plan;
    this.stepping = name !== '';
    this.planName = name;
    this.lastStop = undefined;
    stack.clear();
    variables.clear();
    if (HISTORY_RUNS.has(step.request.kind)) this.startProgress();
    this.run(step.request);
  }

  private run(request: RunRequest): void {
    this.request = request;
    this.runs++;
    this.machine.target.run(request);
  }

  /** The stopped machine has become another by a snapshot. */
  private async restored(text: string): Promise<void> {
    const { kernel, stack, variables, console: guestConsole } = this.machine;
    guestConsole.flush();
    stack.clear();
    variables.clear();
    this.runs++;
    this.lastSeq = -1;
    await kernel.reset();
    await kernel.arrived();
    await this.breakpoints.refresh();
    this.send('invalidated', { areas: ['all'] });
    this.report({ reason: 'goto', cpu: 0, text });
  }

  /** The symbols of the kernel came or moved, and files of the same kernel with them. */
  private async symbolsChanged(): Promise<void> {
    const { stack, symbols } = this.machine;
    stack.clearValues();
    await this.breakpoints.refresh();
    for (const change of this.modules.changes(symbols)) this.send('module', change);
    // A client that shows a stop asks for its stacks again.
    if (this.lastStop) this.send('invalidated', { areas: ['stacks'] });
  }

  private startProgress(): void {
    this.progressTimer ??= setTimeout(() => {
      this.progress = new Progress((event, body) => this.send(event, body), 'Going through history');
    }, PROGRESS_DELAY);
  }

  private endProgress(): void {
    clearTimeout(this.progressTimer);
    this.progressTimer = undefined;
    this.progress?.end();
    this.progress = undefined;
  }

  pause(cpu: number): void {
    this.plan = undefined;
    this.stepping = false;
    const { target } = this.machine;
    if (target.running()) target.pause(cpu);
    else if (!this.lastStop && !this.ended) this.report({ reason: 'pause', cpu });
  }

  async restart(): Promise<void> {
    const { target, stack, variables, console: guestConsole } = this.machine;
    this.plan = undefined;
    this.stepping = false;
    if (target.running()) {
      await new Promise<void>((resolve) => {
        this.stopWaiter = resolve;
        target.pause();
      });
    }
    this.endProgress();
    this.breakpoints.mute(false);
    this.ended = false;
    this.lastSeq = -1;
    stack.clear();
    variables.clear();
    guestConsole.flush();
    this.breakpoints.reset();
    this.lastStop = undefined;
    // Whether the engine reports its entry stop by itself or not, the client sees one `stopped`, or a running guest.
    this.configured = false;
    this.entryStop = undefined;
    this.runs++;
    await this.machine.kernel.reset();
    await target.restart();
    if (this.launched!.engine.from) await this.machine.kernel.arrived();
    this.configured = true;
    if (!target.running()) this.begin();
  }

  async dispose(): Promise<void> {
    this.plan = undefined;
    this.ended = true;
    this.saveMemory('none');
    this.endProgress();
    this.debuggee?.target.dispose();
    this.debuggee?.console.flush();
    this.notes.flush();
    this.debuggee?.symbols.close();
    await this.consoleFile?.close();
    this.consoleFile = undefined;
  }

  /** Ends the session at the client's wish. */
  async terminate(): Promise<void> {
    const first = !this.ended;
    await this.dispose();
    if (first) this.send('terminated');
  }

  private async onStopped(event: StopEvent): Promise<void> {
    const { stack, variables, kernel } = this.machine;
    stack.clear();
    variables.clear();
    if (this.awaited()) return;
    const { runs } = this;
    if (kernel.owns(event)) {
      await kernel.stopped(event);
      // Ended, started anew or paused meanwhile.
      if (!this.ended && runs === this.runs && !this.lastStop) this.run(this.request!);
      return;
    }
    if (this.plan && (event.reason === 'step' || event.reason === 'goto')) {
      const { plan } = this;
      let next: NextRun | undefined;
      try {
        next = await plan(event);
      } catch (error) {
        this.note(`${this.planName}: ${messageOf(error)}`);
      }
      if (this.ended) return;
      if (next && this.plan === plan) {
        stack.clear();
        const { quiet = false, ...request } = next;
        this.breakpoints.mute(quiet);
        this.run(request as RunRequest);
        return;
      }
    }
    this.breakpoints.mute(false);
    const stepped = this.stepping && (event.reason === 'step' || event.reason === 'goto');
    this.plan = undefined;
    this.stepping = false;
    await kernel.stopped(event);
    if (this.ended || runs !== this.runs) return;
    this.report(stepped ? { ...event, reason: 'step' } : event);
  }

  private report(event: StopEvent): void {
    if (!this.configured) {
      this.entryStop = event;
      return;
    }
    const { console: guestConsole } = this.machine;
    this.lastStop = event;
    this.endProgress();
    guestConsole.flush();
    this.notes.flush();
    this.onExits();
    const kinds = this.breakpoints.kindsOf(event);
    const first = kinds[0];
    const body: DebugProtocol.StoppedEvent['body'] = {
      reason: first ? KIND_REASONS[first.kind] : REASONS[event.reason],
      threadId: event.cpu + 1,
      allThreadsStopped: true,
    };
    if (event.exit && event.reason === 'exit') {
      body.text = event.exit.name;
      body.description = `VM exit ${event.exit.name}: ${event.exit.summary}`;
    } else if (event.exception && event.reason === 'exception') {
      body.text = event.exception.name;
      body.description = `Guest exception ${event.exception.name}`;
    } else if (event.access) {
      const { kind, address, length } = event.access;
      body.text = `${kind} of ${length} bytes at 0x${address.toString(16)}`;
      body.description = `Data breakpoint: ${body.text}`;
    } else if (event.text) {
      body.text = event.text;
      body.description = event.text;
    }
    const ids = kinds.filter(({ kind }) => kind !== 'exit' && kind !== 'exception').map(({ id }) => id);
    if (ids.length > 0) body.hitBreakpointIds = ids;
    this.send('stopped', body);
  }

  private onExits(): void {
    const { target } = this.machine;
    if (!target.capabilities.exits) return;
    const newest = target.exits(NEWEST_EXITS).filter((exit) => exit.seq > this.lastSeq);
    if (newest.length === 0 && this.lastSeq >= 0) return;
    if (newest.length > 0) this.lastSeq = newest[0].seq;
    this.sendRingside('ringside/exitsChanged', {
      counters: target.exitCounters(),
      newest: newest.map((exit) => exitItem(this.machine, exit)),
      icount: target.icount(),
    });
  }

  /** Whether restart() was waiting for this stop or end. */
  private awaited(): boolean {
    const waiter = this.stopWaiter;
    this.stopWaiter = undefined;
    waiter?.();
    return waiter !== undefined;
  }

  private onEnded(reason: EndReason): void {
    if (this.ended || this.awaited()) return;
    this.endProgress();
    this.ended = true;
    this.plan = undefined;
    const { console: guestConsole, target } = this.machine;
    guestConsole.flush();
    this.onExits();
    this.notes.write(`${this.endText(reason)} after ${target.icount()} instructions.\n`);
    this.notes.flush();
    this.send('exited', { exitCode: exitCode(reason) });
    this.send('terminated');
  }

  private endText(reason: EndReason): string {
    switch (reason.kind) {
      case 'power off':
        return 'The guest powered off';
      case 'debug exit':
        return `The guest ended the run through the debug-exit port with value 0x${reason.value.toString(16)}`;
      case 'triple fault': {
        const { symbols } = this.machine;
        const place = symbols.describeAddress(reason.rip);
        const line = symbols.lineAt(reason.rip);
        const where = [place && `<${place}>`, line && `(${line.file}:${line.line})`].filter(Boolean).join(' ');
        return `Triple fault on vCPU ${reason.cpu} at 0x${reason.rip.toString(16)}${where ? ` ${where}` : ''}: ${reason.text}. The guest ended`;
      }
      case 'error':
        return `The machine can't go on: ${reason.text}. It ended`;
    }
  }
}

/** Exit status of a run, as the command line's: 0 power off, 3 the guest died, isa-debug-exit as in QEMU, 1 for an engine's error. */
function exitCode(reason: EndReason): number {
  switch (reason.kind) {
    case 'power off':
      return 0;
    case 'debug exit':
      return reason.value === 0 ? 0 : ((reason.value << 1) | 1) & 0xff;
    case 'triple fault':
      return 3;
    case 'error':
      return 1;
  }
}
