/**
 * The adapter as a process of its own that speaks DAP over its standard streams. The editor's window gets what is DAP. Ringside's own
 * events, the console's output above all, stay in the extension host: the window has no use for them and would send each of them back.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import * as vscode from 'vscode';
import { encodeMessage, MessageReader } from './dapStream';

interface Message {
  type: string;
  seq: number;
  command?: string;
  request_seq?: number;
  event?: string;
  body?: unknown;
}

/** One of Ringside's own events. */
export type OwnEvent = Message & { event: string };

/** Characters of the adapter's error output that a message about its end shows. */
const SHOWN = 1000;

export class AdapterProcess implements vscode.DebugAdapter {
  private readonly messages = new vscode.EventEmitter<vscode.DebugProtocolMessage>();
  readonly onDidSendMessage = this.messages.event;
  private readonly reader = new MessageReader();
  private readonly process: ChildProcess;
  /** Requests that were not answered yet. */
  private readonly open = new Map<number, Message>();
  private errors = '';
  private ended = false;
  /** The adapter has said that its session is at its end. */
  private over = false;

  /**
   * @param command program and arguments
   * @param own takes Ringside's own events
   */
  constructor(
    command: readonly string[],
    options: { cwd?: string; env: NodeJS.ProcessEnv },
    private readonly own: (event: OwnEvent) => void,
  ) {
    const [program, ...rest] = command;
    this.process = spawn(program, rest, { ...options, stdio: 'pipe', windowsHide: true });
    const { stdin, stdout, stderr } = this.process;
    // There are none where the process could not be started for want of resources.
    stdout?.on('data', (data: Buffer) => this.received(data));
    stderr?.on('data', (data: Buffer) => (this.errors = (this.errors + data.toString()).slice(-SHOWN)));
    stdin?.on('error', () => undefined); // its end says why
    this.process.on('error', (error) => this.end(`can't be started: ${error.message}`));
    // When its streams are closed, too: what it said last has come.
    this.process.on('close', (code, signal) => this.end(`has ended by itself (${signal ?? `status ${code}`})`));
  }

  handleMessage(message: vscode.DebugProtocolMessage): void {
    const request = message as Message;
    if (request.type === 'request') this.open.set(request.seq, request);
    if (this.ended) this.refuse();
    else this.process.stdin?.write(encodeMessage(message));
  }

  /** The session is over. */
  dispose(): void {
    this.ended = true;
    this.process.kill();
  }

  private received(data: Buffer): void {
    const messages = this.reader.add(data) as Generator<Message, void>;
    for (;;) {
      let next: IteratorResult<Message, void>;
      try {
        next = messages.next();
      } catch (error) {
        this.end(`does not speak DAP: ${(error as Error).message}`);
        this.process.kill();
        return;
      }
      if (next.done) return;
      this.pass(next.value);
    }
  }

  private pass(message: Message): void {
    if (message.type === 'response') this.open.delete(message.request_seq!);
    if (message.event === 'terminated' || message.command === 'disconnect') this.over = true;
    if (message.event?.startsWith('ringside/')) this.own(message as OwnEvent);
    else this.messages.fire(message);
  }

  /** The process is gone. */
  private end(why: string): void {
    if (this.ended) return;
    this.ended = true;
    this.refuse();
    if (this.over) return;
    this.messages.fire({ type: 'event', seq: 0, event: 'terminated' } as vscode.DebugProtocolMessage);
    void vscode.window.showErrorMessage(`Ringside's debug adapter ${why}. ${this.errors}`.trim());
  }

  /** Answers what the adapter will answer no more. */
  private refuse(): void {
    for (const { seq, command } of this.open.values()) {
      const message = 'the debug adapter has ended';
      const refusal = { type: 'response', seq: 0, request_seq: seq, command, success: false, message };
      this.messages.fire(refusal as vscode.DebugProtocolMessage);
    }
    this.open.clear();
  }
}
