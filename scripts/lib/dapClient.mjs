/**
 * A small Debug Adapter Protocol client over a child process's standard input and output, for the demo and the benchmarks.
 * Messages: https://microsoft.github.io/debug-adapter-protocol (a Content-Length header, then JSON).
 */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { root } from './project.mjs';

/** The adapter as `npm run build` makes it. */
export const adapterProgram = path.join(root, 'out/debug-adapter/main.js');

const separator = Buffer.from('\r\n\r\n');

export class DapClient {
  #child;
  #buffer = Buffer.alloc(0);
  #seq = 0;
  #pending = new Map();
  #waiting = [];
  #backlog = [];
  #listeners = new Map();
  #stderr = '';

  /** Starts an adapter. */
  constructor(program = adapterProgram, { cwd = root, node = process.execPath, nodeArguments = [] } = {}) {
    this.#child = spawn(node, [...nodeArguments, program], { cwd, stdio: ['pipe', 'pipe', 'pipe'] });
    this.#child.stdout.on('data', (chunk) => this.#receive(chunk));
    this.#child.stderr.setEncoding('utf8').on('data', (text) => (this.#stderr = (this.#stderr + text).slice(-4000)));
    this.#child.stdin.on('error', () => {}); // the end of the process is reported by 'close'
    this.#child.on('error', (error) => this.#fail(error));
    this.#child.on('close', (code) => this.#fail(new Error(`the adapter ended with status ${code}\n${this.#stderr}`)));
  }

  get pid() {
    return this.#child.pid;
  }

  #receive(chunk) {
    this.#buffer = this.#buffer.length ? Buffer.concat([this.#buffer, chunk]) : chunk;
    for (;;) {
      const end = this.#buffer.indexOf(separator);
      if (end < 0) return;
      const length = Number(/Content-Length: *(\d+)/i.exec(this.#buffer.toString('latin1', 0, end))?.[1]);
      const start = end + separator.length;
      if (!(this.#buffer.length >= start + length)) return;
      const message = JSON.parse(this.#buffer.toString('utf8', start, start + length));
      this.#buffer = this.#buffer.subarray(start + length);
      this.#dispatch(message);
    }
  }

  #dispatch(message) {
    if (message.type === 'response') {
      const waiting = this.#pending.get(message.request_seq);
      this.#pending.delete(message.request_seq);
      if (message.success) waiting?.resolve(message.body ?? {});
      else waiting?.reject(new Error(message.body?.error?.format ?? message.message ?? `${message.command} failed`));
    } else if (message.type === 'event') {
      for (const listener of this.#listeners.get(message.event) ?? []) listener(message.body ?? {});
      const at = this.#waiting.findIndex((one) => one.event === message.event);
      if (at >= 0) this.#waiting.splice(at, 1)[0].resolve(message.body ?? {});
      else if (message.event !== 'output' && !message.event.includes('/')) this.#backlog.push(message);
    } else if (message.type === 'request') {
      this.#send({ type: 'response', request_seq: message.seq, command: message.command, success: false });
    }
  }

  #fail(error) {
    for (const one of [...this.#pending.values(), ...this.#waiting]) one.reject(error);
    this.#pending.clear();
    this.#waiting = [];
  }

  #send(message) {
    const text = JSON.stringify({ seq: ++this.#seq, ...message });
    this.#child.stdin.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
    return this.#seq;
  }

  /** Sends a request; the promise takes the response's body, or fails with the adapter's message. */
  request(command, args = {}) {
    return new Promise((resolve, reject) => {
      this.#pending.set(this.#send({ type: 'request', command, arguments: args }), { resolve, reject });
    });
  }

  /** Calls back for every event of a name. */
  on(event, listener) {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
  }

  /** The next event of one of these names that nobody has taken yet. Fails after `seconds`. */
  next(event, seconds = 60) {
    const at = this.#backlog.findIndex((message) => message.event === event);
    if (at >= 0) return Promise.resolve(this.#backlog.splice(at, 1)[0].body ?? {});
    return new Promise((resolve, reject) => {
      const late = () => reject(new Error(`no '${event}' event within ${seconds} s\n${this.#stderr}`));
      const timer = setTimeout(late, seconds * 1000);
      const settle = (how) => (value) => {
        clearTimeout(timer);
        how(value);
      };
      this.#waiting.push({ event, resolve: settle(resolve), reject: settle(reject) });
    });
  }

  /**
   * Everything up to the first stop: initialize, launch, the breakpoints that `configure` sets, configurationDone.
   * @returns the `stopped` event, or undefined for a configuration with stopOnEntry false
   */
  async launch(configuration, configure = async () => {}) {
    await this.request('initialize', {
      adapterID: 'ringside',
      clientID: 'ringside-scripts',
      linesStartAt1: true,
      columnsStartAt1: true,
      pathFormat: 'path',
      supportsMemoryReferences: true,
    });
    const launched = this.request('launch', { type: 'ringside', request: 'launch', name: 'script', ...configuration });
    // A launch that fails has no 'initialized' to wait for.
    await Promise.race([this.next('initialized'), launched.then(() => this.next('initialized'))]);
    await configure();
    await this.request('configurationDone');
    await launched;
    return configuration.stopOnEntry === false ? undefined : this.next('stopped');
  }

  /** A resuming request, then its `stopped` event. */
  async resume(command, args = {}, seconds = 60) {
    const threadId = this.threadId ?? (this.threadId = (await this.request('threads')).threads[0].id);
    const stopped = this.next('stopped', seconds);
    stopped.catch(() => {}); // when the request itself fails, that error is the one to report
    await this.request(command, { threadId, ...args });
    return stopped;
  }

  /** The topmost stack frame of the first thread. */
  async topFrame() {
    const threadId = this.threadId ?? (this.threadId = (await this.request('threads')).threads[0].id);
    const { stackFrames } = await this.request('stackTrace', { threadId, startFrame: 0, levels: 1 });
    return stackFrames[0];
  }

  /** The variables of a scope of the topmost frame. */
  async scope(name) {
    const frame = await this.topFrame();
    const { scopes } = await this.request('scopes', { frameId: frame.id });
    const scope = scopes.find((one) => one.name === name);
    if (!scope) throw new Error(`no scope '${name}'; there are ${scopes.map((one) => one.name).join(', ')}`);
    const { variables } = await this.request('variables', { variablesReference: scope.variablesReference });
    return variables;
  }

  /** Evaluates an expression or a debug-console command; gives its text. */
  async evaluate(expression, context = 'repl') {
    const frame = await this.topFrame().catch(() => undefined);
    return (await this.request('evaluate', { expression, context, frameId: frame?.id })).result;
  }

  /** Ends the session and the process. */
  async close() {
    const closed = new Promise((resolve) => {
      if (this.#child.exitCode !== null || this.#child.signalCode !== null) resolve();
      else this.#child.once('close', resolve);
    });
    this.request('disconnect', { terminateDebuggee: true }).catch(() => {});
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 2000);
    this.#child.stdin.end();
    await closed;
    clearTimeout(late);
  }
}
