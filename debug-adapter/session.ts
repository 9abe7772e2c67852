/** The DAP session: one table, request -> handler. What handlers do is in the files they call. */
import { Response, Event } from '@vscode/debugadapter';
import { ProtocolServer } from '@vscode/debugadapter/lib/protocol';
import type { DebugProtocol as DAP } from '@vscode/debugprotocol';
import { capabilities } from './capabilities';
import { commandHint, runCommand } from './commands/commands';
import { completions } from './completions';
import { Controller, type ControllerOptions } from './controller';
import { customRequests } from './customRequests';
import { dataBreakpointInfo } from './dataBreakpointInfo';
import { Listing } from './disassembly';
import { messageOf } from './errors';
import { exceptionInfo } from './exceptionInfo';
import { LaunchError } from './launchSchema';
import { formatMemoryReference, fromBase64, parseMemoryReference, toBase64 } from './memoryReference';
import { modulesOf } from './modules';
import type { RingsideRequest } from './protocol';
import type { Frame } from './stack';
import type { Granularity } from './stepping';
import { baseName } from './symbols/paths';
import type { VcpuState } from './target';

export type SessionOptions = Omit<ControllerOptions, 'send'> & {
  /** The client has disconnected: a process of its own may end now. */
  onDisconnect?(): void;
};

/** Arguments and response body of every DAP request that the adapter answers. */
interface Requests {
  initialize: [DAP.InitializeRequestArguments, DAP.Capabilities];
  launch: [DAP.LaunchRequestArguments, void];
  attach: [DAP.AttachRequestArguments, void];
  configurationDone: [DAP.ConfigurationDoneArguments, void];
  disconnect: [DAP.DisconnectArguments, void];
  terminate: [DAP.TerminateArguments, void];
  restart: [DAP.RestartArguments, void];
  cancel: [DAP.CancelArguments, void];
  threads: [void, DAP.ThreadsResponse['body']];
  continue: [DAP.ContinueArguments, DAP.ContinueResponse['body']];
  pause: [DAP.PauseArguments, void];
  next: [DAP.NextArguments, void];
  stepIn: [DAP.StepInArguments, void];
  stepOut: [DAP.StepOutArguments, void];
  stepBack: [DAP.StepBackArguments, void];
  reverseContinue: [DAP.ReverseContinueArguments, void];
  gotoTargets: [DAP.GotoTargetsArguments, DAP.GotoTargetsResponse['body']];
  goto: [DAP.GotoArguments, void];
  stackTrace: [DAP.StackTraceArguments, DAP.StackTraceResponse['body']];
  scopes: [DAP.ScopesArguments, DAP.ScopesResponse['body']];
  variables: [DAP.VariablesArguments, DAP.VariablesResponse['body']];
  setVariable: [DAP.SetVariableArguments, DAP.SetVariableResponse['body']];
  setExpression: [DAP.SetExpressionArguments, DAP.SetExpressionResponse['body']];
  evaluate: [DAP.EvaluateArguments, DAP.EvaluateResponse['body']];
  completions: [DAP.CompletionsArguments, DAP.CompletionsResponse['body']];
  setBreakpoints: [DAP.SetBreakpointsArguments, DAP.SetBreakpointsResponse['body']];
  setFunctionBreakpoints: [DAP.SetFunctionBreakpointsArguments, DAP.SetFunctionBreakpointsResponse['body']];
  setInstructionBreakpoints: [DAP.SetInstructionBreakpointsArguments, DAP.SetInstructionBreakpointsResponse['body']];
  setExceptionBreakpoints: [DAP.SetExceptionBreakpointsArguments, DAP.SetExceptionBreakpointsResponse['body']];
  dataBreakpointInfo: [DAP.DataBreakpointInfoArguments, DAP.DataBreakpointInfoResponse['body']];
  setDataBreakpoints: [DAP.SetDataBreakpointsArguments, DAP.SetDataBreakpointsResponse['body']];
  breakpointLocations: [DAP.BreakpointLocationsArguments, DAP.BreakpointLocationsResponse['body']];
  exceptionInfo: [DAP.ExceptionInfoArguments, DAP.ExceptionInfoResponse['body']];
  readMemory: [DAP.ReadMemoryArguments, DAP.ReadMemoryResponse['body']];
  writeMemory: [DAP.WriteMemoryArguments, DAP.WriteMemoryResponse['body']];
  disassemble: [DAP.DisassembleArguments, DAP.DisassembleResponse['body']];
  modules: [DAP.ModulesArguments, DAP.ModulesResponse['body']];
  loadedSources: [DAP.LoadedSourcesArguments, DAP.LoadedSourcesResponse['body']];
}

type Handlers = { [K in keyof Requests]: (args: Requests[K][0]) => Requests[K][1] | Promise<Requests[K][1]> };

const RUN_REQUESTS: ReadonlySet<string> = new Set([
  ...[
    'continue',
    'next',
    'stepIn',
    'stepOut',
    'stepBack',
    'reverseContinue',
    'goto',
    'pause',
    'restart',
    'evaluate',
    'terminate',
  ],
]);
const MAX_MEMORY_READ = 1 << 24;
const MAX_INSTRUCTIONS = 20_000;
/** What a vCPU does when the machine stands still: a client keeps a thread's name while it runs. */
const STATES: Partial<Record<VcpuState, string>> = {
  halted: ' (halted)',
  'wait-for-sipi': ' (waits for SIPI)',
  shutdown: ' (shut down)',
};

export class Session extends ProtocolServer {
  private readonly controller: Controller;
  private linesStartAt1 = true;
  private columnsStartAt1 = true;
  private readonly pending = new Set<number>();
  private readonly cancelled = new Set<number>();
  /** Of pending requests that can be given up. */
  private readonly aborts = new Map<number, AbortController>();
  /** Run requests that are being answered: events wait, so that `stopped` never overtakes the response of what led to it. */
  private holding = 0;
  private held: DAP.Event[] = [];
  private client: DAP.InitializeRequestArguments = { adapterID: 'ringside' };
  private gotoPlaces: bigint[] = [];

  constructor(private readonly options: SessionOptions) {
    super();
    this.controller = new Controller({ ...options, send: (event, body) => this.emitEvent(new Event(event, body)) });
    this.on('close', () => void this.leave());
    this.on('error', () => void this.leave());
  }

  /** Ends the machine without a word: the client is gone. */
  async leave(): Promise<void> {
    await this.controller.dispose();
    this.options.onDisconnect?.();
  }

  private emitEvent(event: DAP.Event): void {
    const progress = event.event.startsWith('progress');
    if (progress && !this.client.supportsProgressReporting) return;
    if (event.event === 'invalidated' && !this.client.supportsInvalidatedEvent) return;
    // A request that takes long shows its progress before its response.
    if (this.holding > 0 && !progress) this.held.push(event);
    else this.sendEvent(event);
  }

  protected override dispatchRequest(request: DAP.Request): void {
    void this.answer(request);
  }

  private async answer(request: DAP.Request): Promise<void> {
    const response: DAP.Response = new Response(request);
    const holds = RUN_REQUESTS.has(request.command);
    if (holds) this.holding++;
    this.pending.add(request.seq);
    try {
      const body = await this.handle(request.command, request.arguments ?? {}, request.seq);
      if (this.cancelled.delete(request.seq)) throw new Error('cancelled');
      if (body !== undefined) response.body = body;
    } catch (error) {
      response.success = false;
      response.message = messageOf(error);
      const showUser = error instanceof LaunchError || request.command === 'launch' || request.command === 'attach';
      // Braces in a DAP message format are variables: the text goes in as one.
      response.body = { error: { id: 1, format: '{text}', variables: { text: response.message }, showUser } };
    }
    this.pending.delete(request.seq);
    this.sendResponse(response);
    if (holds && --this.holding === 0) {
      const { held } = this;
      this.held = [];
      for (const event of held) this.sendEvent(event);
    }
    if (request.command === 'launch' && response.success) this.sendEvent(new Event('initialized'));
    if (request.command === 'configurationDone' && response.success) this.controller.configurationDone();
    if (request.command === 'disconnect') this.options.onDisconnect?.();
  }

  private handle(command: string, args: unknown, seq: number): unknown {
    if (command === 'evaluate')
      return this.cancellable(seq, (signal) => this.evaluate(args as DAP.EvaluateArguments, signal));
    if (Object.hasOwn(this.requests, command))
      return (this.requests[command as keyof Requests] as (a: unknown) => unknown)(args);
    if (Object.hasOwn(customRequests, command)) {
      const handler = customRequests[command as RingsideRequest] as (debuggee: unknown, args: unknown) => unknown;
      return handler(this.controller.machine, args);
    }
    throw new Error(`the request '${command}' is not known`);
  }

  /** Runs what ends early when the client cancels request `seq`. */
  private async cancellable<T>(seq: number, action: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const abort = new AbortController();
    this.aborts.set(seq, abort);
    try {
      return await action(abort.signal);
    } finally {
      this.aborts.delete(seq);
    }
  }

  /** The table. */
  private readonly requests: Handlers = {
    initialize: (args) => {
      this.client = args;
      this.linesStartAt1 = args.linesStartAt1 ?? true;
      this.columnsStartAt1 = args.columnsStartAt1 ?? true;
      if (args.pathFormat !== undefined && args.pathFormat !== 'path') throw new Error("pathFormat: expected 'path'");
      return capabilities(this.options.engine);
    },
    launch: (args) => this.controller.launch(args as Record<string, unknown>),
    attach: () => {
      throw new LaunchError(
        'request: "attach" is not available in this version, which supports "launch" with the engine "embedded"',
      );
    },
    // The machine starts once the response is on its way: see answer().
    configurationDone: () => undefined,
    disconnect: () => this.controller.dispose(),
    terminate: () => this.controller.terminate(),
    restart: () => this.controller.restart(),
    cancel: ({ requestId, progressId }) => {
      if (progressId !== undefined) this.controller.debuggee?.snapshots.cancel(progressId);
      if (requestId === undefined || !this.pending.has(requestId)) return;
      this.cancelled.add(requestId);
      this.aborts.get(requestId)?.abort();
    },

    threads: () => {
      const target = this.controller.debuggee?.target;
      const doing = (state: VcpuState): string => (target?.running() ? '' : (STATES[state] ?? ''));
      const vcpus = target?.vcpus() ?? [];
      return { threads: vcpus.map(({ index, name, state }) => ({ id: index + 1, name: name + doing(state) })) };
    },
    continue: ({ threadId, singleThread }) => {
      this.controller.start({ request: { kind: 'continue', cpu: threadId - 1, singleThread } });
      return { allThreadsContinued: !singleThread };
    },
    pause: ({ threadId }) => this.controller.pause(Math.max(0, threadId - 1)),
    next: (args) => this.step('next', args, true),
    stepIn: (args) => this.step('stepIn', args, false),
    stepOut: async ({ threadId, singleThread }) => {
      const { stepper } = this.controller.stopped;
      this.controller.start(await stepper.out(threadId - 1, singleThread ?? false), 'stepOut');
    },
    stepBack: async ({ threadId, granularity }) => {
      const { stepper } = this.timeTraveller();
      this.controller.start(await stepper.back(threadId - 1, (granularity ?? 'statement') as Granularity), 'stepBack');
    },
    reverseContinue: () => {
      this.timeTraveller();
      this.controller.start({ request: { kind: 'reverseContinue' } });
    },
    gotoTargets: async ({ source, line }) => {
      const places = await this.controller.machine.symbols.findLine(source.path ?? '', this.fromLine(line));
      const targets = places.map((place) => {
        this.gotoPlaces.push(place.address);
        const reference = formatMemoryReference({ space: 'virtual', address: place.address });
        return {
          id: this.gotoPlaces.length,
          label: `set rip to ${reference}`,
          line: this.toLine(place.line),
          instructionPointerReference: reference,
        };
      });
      return { targets };
    },
    goto: async ({ threadId, targetId }) => {
      const { target, stack, variables } = this.controller.stopped;
      const address = this.gotoPlaces[targetId - 1];
      if (address === undefined) throw new Error(`no goto target ${targetId}`);
      await target.writeRegister(threadId - 1, 'rip', address);
      stack.clear();
      variables.clear();
      this.emitEvent(new Event('stopped', { reason: 'goto', threadId, allThreadsStopped: true }));
    },

    stackTrace: async ({ threadId, startFrame = 0, levels = 0, format }) => {
      const { stack } = this.controller.stopped;
      this.checkThread(threadId);
      const { frames, total, complete } = await stack.frames(threadId - 1, startFrame, levels);
      return {
        stackFrames: frames.map((frame) => this.stackFrame(frame, format)),
        totalFrames: complete ? total : total + 1,
      };
    },
    scopes: ({ frameId }) => ({ scopes: this.controller.stopped.variables.scopes(this.frame(frameId)) }),
    variables: async ({ variablesReference, start, count, filter, format }) => ({
      variables: await this.controller.stopped.variables.children(variablesReference, {
        start,
        count,
        filter,
        hex: format?.hex,
      }),
    }),
    setVariable: async ({ variablesReference, name, value, format }) => {
      const { variables } = this.controller.stopped;
      const changed = await variables.set(variablesReference, name, value, format?.hex ?? false);
      this.valuesChanged(changed.memoryReference);
      const {
        value: text,
        type,
        variablesReference: reference,
        namedVariables,
        indexedVariables,
        memoryReference,
      } = changed;
      return { value: text, type, variablesReference: reference, namedVariables, indexedVariables, memoryReference };
    },
    setExpression: async ({ expression, value, frameId, format }) => {
      const { evaluator, variables } = this.controller.stopped;
      const frame = await this.frameOrTop(frameId);
      const evaluated = await evaluator.assign(expression, value, frame, { hex: format?.hex });
      this.valuesChanged(evaluated.memoryReference);
      const shown = variables.variable(expression, evaluated, frame);
      const { value: text, type, variablesReference, namedVariables, indexedVariables, memoryReference } = shown;
      return { value: text, type, variablesReference, namedVariables, indexedVariables, memoryReference };
    },
    evaluate: (args) => this.evaluate(args),
    completions: async ({ text, column, frameId }) => {
      const before = text.slice(0, this.columnsStartAt1 ? column - 1 : column);
      return { targets: await completions(this.controller.machine, before, () => this.frameOrTop(frameId)) };
    },

    setBreakpoints: async ({ source, breakpoints = [] }) => {
      const wanted = breakpoints.map((each) => ({ ...each, line: this.fromLine(each.line) }));
      const set = await this.controller.breakpoints.setSource(source.path ?? source.name ?? '', wanted);
      return { breakpoints: set.map((each) => ({ ...each, line: each.line && this.toLine(each.line) })) };
    },
    setFunctionBreakpoints: async ({ breakpoints }) => ({
      breakpoints: await this.controller.breakpoints.setFunctions(breakpoints),
    }),
    setInstructionBreakpoints: async ({ breakpoints }) => ({
      breakpoints: await this.controller.breakpoints.setInstructions(breakpoints),
    }),
    setExceptionBreakpoints: async ({ filters, filterOptions = [], exceptionOptions = [] }) => {
      const wanted: { name: string; condition?: string }[] = filters.map((name) => ({ name }));
      for (const { filterId, condition } of filterOptions) wanted.push({ name: filterId, condition });
      for (const { path, breakMode } of exceptionOptions) {
        if (breakMode === 'never') continue;
        for (const name of path?.[path.length - 1]?.names ?? []) wanted.push({ name });
      }
      return { breakpoints: await this.controller.breakpoints.setFilters(wanted) };
    },
    dataBreakpointInfo: (args) =>
      dataBreakpointInfo(this.controller.machine, args, () => this.frameOrTop(args.frameId)),
    setDataBreakpoints: async ({ breakpoints }) => ({
      breakpoints: await this.controller.breakpoints.setData(breakpoints),
    }),
    breakpointLocations: async ({ source, line, endLine }) => {
      const { symbols } = this.controller.machine;
      const last = Math.min(endLine ?? line, line + 10_000);
      const lines = await symbols.findLines(source.path ?? '', this.fromLine(line), this.fromLine(last));
      return { breakpoints: lines.map((each) => ({ line: this.toLine(each) })) };
    },
    exceptionInfo: () => exceptionInfo(this.controller.stopped, this.controller.lastStop),

    readMemory: async ({ memoryReference, offset = 0, count }) => {
      const { target } = this.controller.machine;
      const place = parseMemoryReference(memoryReference, offset);
      const wanted = Math.max(0, Math.min(count, MAX_MEMORY_READ));
      const bytes =
        wanted > 0 ? await target.readMemory(place.space, this.cpu(), place.address, wanted) : new Uint8Array(0);
      const missing = count - bytes.length;
      return {
        address: formatMemoryReference(place),
        data: toBase64(bytes),
        ...(missing > 0 ? { unreadableBytes: missing } : {}),
      };
    },
    writeMemory: async ({ memoryReference, offset = 0, data, allowPartial }) => {
      const { target } = this.controller.machine;
      const place = parseMemoryReference(memoryReference, offset);
      const bytes = fromBase64(data);
      if (!allowPartial) {
        const present = await target.readMemory(place.space, this.cpu(), place.address, bytes.length);
        if (present.length < bytes.length) {
          const end = formatMemoryReference({ ...place, address: place.address + BigInt(present.length) });
          throw new Error(`can't write ${bytes.length} bytes at ${formatMemoryReference(place)}: ${end} is not mapped`);
        }
      }
      const written = await target.writeMemory(place.space, this.cpu(), place.address, bytes);
      this.valuesChanged();
      return { offset, bytesWritten: written };
    },
    disassemble: async ({ memoryReference, offset = 0, instructionOffset = 0, instructionCount }) => {
      const { target, symbols } = this.controller.machine;
      const { space, address } = parseMemoryReference(memoryReference, offset);
      if (instructionCount > MAX_INSTRUCTIONS) throw new Error(`instructionCount: at most ${MAX_INSTRUCTIONS}`);
      const cpu = this.cpu();
      const rows = await new Listing(target, symbols, cpu, space, target.bitness(cpu)).rows(
        address,
        instructionOffset,
        instructionCount,
      );
      let previous = '';
      return {
        instructions: rows.map((row) => {
          const instruction: DAP.DisassembledInstruction = {
            address: formatMemoryReference({ space, address: row.address }),
            instruction: row.text,
            instructionBytes: Array.from(row.bytes, (byte) => byte.toString(16).padStart(2, '0')).join(' '),
          };
          if (row.symbol) instruction.symbol = row.symbol;
          if (!row.valid) instruction.presentationHint = 'invalid';
          if (row.file && row.line) {
            if (row.file !== previous) instruction.location = { name: baseName(row.file), path: row.file };
            previous = row.file;
            instruction.line = this.toLine(row.line);
            if (row.column) instruction.column = this.toColumn(row.column);
          }
          return instruction;
        }),
      };
    },

    modules: ({ startModule = 0, moduleCount }) => {
      const all = modulesOf(this.controller.machine.symbols);
      return {
        modules: all.slice(startModule, moduleCount ? startModule + moduleCount : undefined),
        totalModules: all.length,
      };
    },
    loadedSources: async () => ({
      sources: (await this.controller.machine.symbols.findSourceFiles()).map((path) => ({
        name: baseName(path),
        path,
      })),
    }),
  };

  private fromLine(line: number): number {
    return this.linesStartAt1 ? line : line + 1;
  }

  private toLine(line: number): number {
    return this.linesStartAt1 ? line : line - 1;
  }

  private toColumn(column: number): number {
    return this.columnsStartAt1 ? column : column - 1;
  }

  private timeTraveller(): Controller['stopped'] {
    const debuggee = this.controller.stopped;
    if (!debuggee.target.capabilities.timeTravel) throw new Error('going back needs "record": true in launch.json');
    return debuggee;
  }

  private async step(
    name: string,
    { threadId, granularity, singleThread }: DAP.NextArguments,
    over: boolean,
  ): Promise<void> {
    const { stepper } = this.controller.stopped;
    this.checkThread(threadId);
    const step = await stepper.forward(
      threadId - 1,
      (granularity ?? 'statement') as Granularity,
      over,
      singleThread ?? false,
    );
    this.controller.start(step, name);
  }

  private checkThread(threadId: number): void {
    const { target } = this.controller.machine;
    if (!target.vcpus().some(({ index }) => index === threadId - 1)) throw new Error(`there is no thread ${threadId}`);
  }

  /** vCPU for requests that name none: the one of the last stop. */
  private cpu(): number {
    return this.controller.lastStop?.cpu ?? 0;
  }

  private frame(id: number): Frame {
    const frame = this.controller.stopped.stack.frame(id);
    if (!frame) throw new Error('this frame belongs to an earlier stop');
    return frame;
  }

  private async frameOrTop(id: number | undefined): Promise<Frame> {
    // A frame of an earlier stop is no reason to fail: watches may come late.
    const { stack } = this.controller.machine;
    return (id === undefined ? undefined : stack.frame(id)) ?? stack.top(this.cpu());
  }

  private stackFrame(frame: Frame, format?: DAP.StackFrameFormat): DAP.StackFrame {
    const { pc } = frame.activation;
    const hex = `0x${pc.toString(16)}`;
    const result: DAP.StackFrame = {
      id: frame.id,
      name: format?.hex ? `${hex} ${frame.name}` : frame.name,
      line: 0,
      column: 0,
      instructionPointerReference: hex,
    };
    if (frame.inlined) result.name += ' [inlined]';
    if (frame.file && frame.line > 0) {
      result.source = { name: baseName(frame.file), path: frame.file };
      result.line = this.toLine(frame.line);
      result.column = frame.column > 0 ? this.toColumn(frame.column) : this.toColumn(1);
    }
    // Editors fold such frames away; of those with names a kernel without sources has no others.
    else if (/^0x/.test(frame.name)) result.presentationHint = 'subtle';
    return result;
  }

  /** Registers or memory were written: what the client shows is old. */
  private valuesChanged(memoryReference?: string): void {
    this.controller.machine.stack.clearValues();
    this.emitEvent(new Event('invalidated', { areas: ['variables'] }));
    if (this.client.supportsMemoryEvent && memoryReference) {
      this.sendEvent(new Event('memory', { memoryReference, offset: 0, count: 64 }));
    }
  }

  private async evaluate(
    { expression, frameId, context, format }: DAP.EvaluateArguments,
    signal?: AbortSignal,
  ): Promise<DAP.EvaluateResponse['body']> {
    const { machine } = this.controller;
    const text = expression.trim();
    if (text === '') return { result: '', variablesReference: 0 };
    const frame = await this.frameOrTop(frameId);
    if (context === 'repl') {
      const output = await runCommand({ debuggee: machine, frame, signal }, text);
      if (output !== undefined) return { result: output, variablesReference: 0 };
    }
    try {
      const evaluated = await machine.evaluator.evaluate(text, frame, { hex: format?.hex });
      if (context === 'repl' && /(?<![=<>!])=(?!=)/.test(text)) this.valuesChanged(evaluated.memoryReference);
      const { value, type, variablesReference, namedVariables, indexedVariables, memoryReference } =
        machine.variables.variable(text, evaluated, frame, text);
      return { result: value, type, variablesReference, namedVariables, indexedVariables, memoryReference };
    } catch (error) {
      throw context === 'repl' ? new Error(messageOf(error) + commandHint(text)) : error;
    }
  }
}
