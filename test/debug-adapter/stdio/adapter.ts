/** The built adapter as a program of its own, with a client on its standard streams (or on a port of its server). */
import assert from 'node:assert/strict';
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { connect } from 'node:net';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { DebugClient } from '@vscode/debugadapter-testsupport';
import type { DebugProtocol as DAP } from '@vscode/debugprotocol';

export const root = path.join(__dirname, '..', '..', '..');
export const program = path.join(root, 'out/debug-adapter/main.js');
export const hello = path.join(root, 'samples/hello-guest/hello.elf');
export const guest = (name: string): string => path.join(root, 'test/guests', `${name}.bin`);
/** A source file of hello-guest as its debug information names it. */
export const source = (name: string): string => path.join(root, 'samples/hello-guest', name);

const TIMEOUT = 20_000;
const EVENTS = ['stopped', 'continued', 'output', 'terminated', 'exited', 'breakpoint', 'initialized', 'invalidated'];
const RINGSIDE_EVENTS = ['ringside/console', 'ringside/exitsChanged', 'ringside/note'];

export type Launch = Record<string, unknown>;
export type Stop = DAP.StoppedEvent['body'];

/** Starts the adapter as a process. */
export function spawnAdapter(...args: string[]): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, [program, ...args], { cwd: root });
}

export class Adapter extends DebugClient {
  readonly events: DAP.Event[] = [];
  /** What the adapter printed on standard error: always nothing. */
  errors = '';
  exited: Promise<number | null> = Promise.resolve(null);
  private child?: ChildProcessWithoutNullStreams;
  private readonly watchers = new Set<(event: DAP.Event) => void>();

  private constructor(readable: Readable, writable: Writable) {
    super('node', '', 'ringside');
    this.defaultTimeout = TIMEOUT;
    for (const name of [...EVENTS, ...RINGSIDE_EVENTS]) {
      this.on(name, (event: DAP.Event) => {
        this.events.push(event);
        for (const watcher of [...this.watchers]) watcher(event);
      });
    }
    this.connect(readable, writable);
  }

  /** A new adapter process over stdio. */
  static start(): Adapter {
    const child = spawnAdapter();
    const adapter = new Adapter(child.stdout, child.stdin);
    adapter.child = child;
    child.stdin.on('error', () => undefined);
    child.stderr.on('data', (data: Buffer) => (adapter.errors += data.toString()));
    adapter.exited = new Promise((resolve) => child.once('exit', resolve));
    return adapter;
  }

  /** A session on a port of an adapter that runs with --server. */
  static async connectTo(port: number): Promise<Adapter> {
    const socket = connect(port, '127.0.0.1');
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new Adapter(socket, socket);
  }

  get pid(): number {
    return this.child!.pid!;
  }

  /** Stops reading what the adapter sends, or reads on. */
  hold(on: boolean): void {
    if (on) this.child!.stdout.pause();
    else this.child!.stdout.resume();
  }

  /** initialize, launch, `configure`, configurationDone; returns the first stop, or what ended the guest. */
  async begin(attributes: Launch = {}, configure: () => Promise<unknown> = async () => undefined): Promise<Stop> {
    await this.configure(attributes, configure);
    return this.stop_(() => this.configurationDoneRequest());
  }

  /** As begin(), but up to configurationDone. */
  async configure(attributes: Launch = {}, configure: () => Promise<unknown> = async () => undefined): Promise<void> {
    await this.initializeRequest({
      adapterID: 'ringside',
      linesStartAt1: true,
      columnsStartAt1: true,
      pathFormat: 'path',
      supportsInvalidatedEvent: true,
    });
    const initialized = this.event('initialized');
    // A failed launch has no `initialized`: its own error says more.
    initialized.catch(() => undefined);
    await this.launchRequest({
      kernel: hello,
      memory: '16M',
      stopOnEntry: true,
      ...attributes,
    } as DAP.LaunchRequestArguments);
    await initialized;
    await configure();
  }

  /** The next event of that name that `matches`. */
  event(name: string, matches: (event: DAP.Event) => boolean = () => true, timeout = TIMEOUT): Promise<DAP.Event> {
    return this.anyOf((event) => event.event === name && matches(event), name, timeout);
  }

  private anyOf(matches: (event: DAP.Event) => boolean, what: string, timeout: number): Promise<DAP.Event> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        clearTimeout(timer);
        this.watchers.delete(watcher);
      };
      const timer = setTimeout(() => {
        end();
        reject(new Error(`no '${what}' within ${timeout} ms; output so far: ${this.output('console')}${this.errors}`));
      }, timeout);
      const watcher = (event: DAP.Event): void => {
        if (!matches(event)) return;
        end();
        resolve(event);
      };
      this.watchers.add(watcher);
    });
  }

  /** Sends a request that makes the guest run and returns how it stops. A guest that ends instead fails. */
  async stop_(action: () => Promise<unknown>, timeout = TIMEOUT): Promise<Stop> {
    const seen = this.anyOf((event) => event.event === 'stopped' || event.event === 'terminated', 'stopped', timeout);
    seen.catch(() => undefined);
    await action();
    const event = await seen;
    if (event.event === 'terminated') throw new Error(`the guest ended: ${this.output('console')}`);
    return event.body as Stop;
  }

  /** Runs until the guest ends; returns its exit code. */
  async end(action: () => Promise<unknown>, timeout = TIMEOUT): Promise<number> {
    const exit = this.event('exited', undefined, timeout);
    const terminated = this.event('terminated', undefined, timeout);
    for (const each of [exit, terminated]) each.catch(() => undefined);
    const stopped: Stop[] = [];
    const onStop = (event: DAP.Event): void => void (event.event === 'stopped' && stopped.push(event.body));
    this.watchers.add(onStop);
    await action();
    await Promise.race([exit, this.event('stopped', undefined, timeout).catch(() => undefined)]);
    this.watchers.delete(onStop);
    assert.deepEqual(stopped, [], 'a stop where the guest was to end');
    await terminated;
    return (await exit).body.exitCode;
  }

  go(threadId = 1): Promise<Stop> {
    return this.stop_(() => this.continueRequest({ threadId }));
  }
  next(granularity: DAP.SteppingGranularity = 'statement'): Promise<Stop> {
    return this.stop_(() => this.nextRequest({ threadId: 1, granularity }));
  }
  into(granularity: DAP.SteppingGranularity = 'statement'): Promise<Stop> {
    return this.stop_(() => this.stepInRequest({ threadId: 1, granularity }));
  }
  out(): Promise<Stop> {
    return this.stop_(() => this.stepOutRequest({ threadId: 1 }));
  }
  back(granularity: DAP.SteppingGranularity = 'statement'): Promise<Stop> {
    return this.stop_(() => this.stepBackRequest({ threadId: 1, granularity }));
  }
  reverse(): Promise<Stop> {
    return this.stop_(() => this.reverseContinueRequest({ threadId: 1 }));
  }
  goto(icount: number): Promise<Stop> {
    return this.stop_(() => this.evaluateRequest({ expression: `goto icount ${icount}`, context: 'repl' }));
  }
  finish(): Promise<number> {
    return this.end(() => this.continueRequest({ threadId: 1 }));
  }

  async breakAt(file: string, ...breakpoints: (number | DAP.SourceBreakpoint)[]): Promise<DAP.Breakpoint[]> {
    const wanted = breakpoints.map((each) => (typeof each === 'number' ? { line: each } : each));
    const set = await this.setBreakpointsRequest({ source: { path: source(file) }, breakpoints: wanted });
    return set.body.breakpoints;
  }

  async breakIn(...functions: (string | DAP.FunctionBreakpoint)[]): Promise<DAP.Breakpoint[]> {
    const breakpoints = functions.map((each) => (typeof each === 'string' ? { name: each } : each));
    return (await this.setFunctionBreakpointsRequest({ breakpoints })).body.breakpoints;
  }

  /** Instruction breakpoints. */
  async breakOn(...breakpoints: (bigint | DAP.InstructionBreakpoint)[]): Promise<DAP.Breakpoint[]> {
    const wanted = breakpoints.map((each) => (typeof each === 'bigint' ? { instructionReference: hex(each) } : each));
    return (await this.request('setInstructionBreakpoints', { breakpoints: wanted })).breakpoints;
  }

  async watch(...breakpoints: DAP.DataBreakpoint[]): Promise<DAP.Breakpoint[]> {
    return (await this.request('setDataBreakpoints', { breakpoints })).breakpoints;
  }

  /** Exception filters: 'CPUID' or 'MSR_WRITE if msr == IA32_LSTAR'. */
  async filters(...filters: string[]): Promise<DAP.Breakpoint[]> {
    const filterOptions = filters.map((each) => {
      const [filterId, condition] = each.split(' if ');
      return { filterId, condition };
    });
    return (await this.request('setExceptionBreakpoints', { filters: [], filterOptions })).breakpoints;
  }

  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- bodies of requests that the client has no method for
  async request(command: string, args?: unknown): Promise<any> {
    return (await this.customRequest(command, args)).body;
  }

  async frames(): Promise<DAP.StackFrame[]> {
    return (await this.stackTraceRequest({ threadId: 1 })).body.stackFrames;
  }
  /** 'factorial:261' of each frame. */
  async stack(): Promise<string[]> {
    return (await this.frames()).map(({ name, line }) => `${name}:${line}`);
  }
  async line(): Promise<number> {
    return (await this.frames())[0].line;
  }

  /** Scope of the frame `level` of the stack. */
  async scope(name: string, level = 0): Promise<Record<string, string>> {
    return values(await this.children(await this.scopeReference(name, level)));
  }
  async scopeReference(name: string, level = 0): Promise<number> {
    const { scopes } = (await this.scopesRequest({ frameId: (await this.frames())[level].id })).body;
    const scope = scopes.find((each) => each.name === name);
    assert.ok(scope, `no scope '${name}' among ${scopes.map((each) => each.name).join(', ')}`);
    return scope.variablesReference;
  }
  async children(variablesReference: number): Promise<DAP.Variable[]> {
    return (await this.variablesRequest({ variablesReference })).body.variables;
  }

  async evaluate(expression: string, level = 0, context = 'watch'): Promise<string> {
    const frameId = (await this.frames())[level].id;
    return (await this.evaluateRequest({ expression, frameId, context })).body.result;
  }
  async number(expression: string): Promise<bigint> {
    return BigInt((await this.evaluate(expression)).split(' ')[0]);
  }
  async icount(): Promise<number> {
    return Number(await this.number('$icount'));
  }
  /** A command of the debug console. */
  async repl(expression: string): Promise<string> {
    return (await this.evaluateRequest({ expression, context: 'repl' })).body.result;
  }

  /** Sets a register through its scope and returns how it looks then. */
  async setRegister(scope: string, name: string, value: string): Promise<string> {
    const variablesReference = await this.scopeReference(scope);
    return (await this.setVariableRequest({ variablesReference, name, value })).body.value;
  }

  async memory(memoryReference: string, count: number): Promise<Buffer> {
    return Buffer.from((await this.request('readMemory', { memoryReference, count })).data ?? '', 'base64');
  }

  /** Output events of a category, joined. stdout is the guest's serial console. */
  output(category: string): string {
    const output = this.events.filter((each) => each.event === 'output' && each.body.category === category);
    return output.map((each) => each.body.output as string).join('');
  }
  get console(): string {
    return this.output('stdout').replace(/\r/g, '');
  }

  /** Disconnects; the process must end by itself. */
  async close(): Promise<void> {
    await this.disconnectRequest({}).catch(() => undefined);
    if (!this.child) return;
    const { child } = this;
    const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
    const status = await this.exited;
    clearTimeout(timer);
    assert.equal(status, 0, `the adapter's exit status after disconnect; it printed: ${this.errors}`);
    assert.equal(this.errors, '');
  }
}

export function values(variables: DAP.Variable[]): Record<string, string> {
  return Object.fromEntries(variables.map(({ name, value }) => [name, value]));
}

export const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/** Runs `body` with a fresh adapter, which ends with it. */
export async function withAdapter(body: (adapter: Adapter) => Promise<void>): Promise<void> {
  const adapter = Adapter.start();
  let failed = true;
  try {
    await body(adapter);
    failed = false;
  } finally {
    await adapter.close().catch((error: Error) => {
      if (!failed) throw error;
    });
  }
}

/** Message of a request that must fail. */
export async function refusal(request: Promise<unknown>, title = 'the request'): Promise<string> {
  const outcome = await request.then(
    () => undefined,
    (error: Error) => error,
  );
  assert.ok(outcome, `${title} was to fail`);
  return outcome.message;
}
