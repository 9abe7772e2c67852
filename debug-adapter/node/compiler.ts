/** Compiles regions in a thread of its own, so that neither guest nor debugger waits for it. */
import { MessageChannel, receiveMessageOnPort, Worker, type MessagePort } from 'node:worker_threads';
import { Core } from '../../emulator-core/cpu/core';
import type { CompiledJob, RegionCompiler } from '../../emulator-core/translate/region/compileJob';
import type { CompileReply, CompileRequest } from './compilerMessages';

/** Jobs of a machine that are done. */
type Done = { id: number; done: CompiledJob }[];

/** What it makes is short-lived, and none of it large: without limits its heap takes 50 MB more. */
const MEMORY = { maxYoungGenerationSizeMb: 4, maxOldGenerationSizeMb: 96 };

/** Machines made from now on that compile what is hot do so in the thread that runs `file`. */
export function useCompilerThread(file: string, options: { execArgv?: string[] } = {}): CompilerThread {
  const thread = new CompilerThread(file, options.execArgv);
  Core.compiler = () => thread.compiler();
  return thread;
}

/** One thread for all machines of the process. It begins with the first, and keeps nobody from ending. */
export class CompilerThread {
  private port: MessagePort | undefined;
  private worker: Worker | undefined;
  private failed = false;
  private machines = 0;
  private readonly done = new Map<number, WeakRef<Done>>();
  /** Replies since the thread began. */
  replies = 0;

  constructor(
    private readonly file: string,
    private readonly execArgv?: string[],
  ) {}

  /** For one machine. */
  compiler(): RegionCompiler {
    this.start();
    const machine = this.machines++;
    const mine: Done = [];
    this.done.set(machine, new WeakRef(mine));
    return {
      compile: (id, job) => {
        const request: CompileRequest = { machine, id, job };
        this.port?.postMessage(request, [job.plans.buffer, job.uops.buffer]);
      },
      finished: () => {
        this.receive();
        return mine.shift() ?? (this.failed ? 'failed' : undefined);
      },
    };
  }

  /** Ends the thread: its jobs will not be done. */
  async end(): Promise<void> {
    this.fail();
    await this.worker?.terminate();
  }

  private start(): void {
    if (this.worker || this.failed) return;
    const { port1, port2 } = new MessageChannel();
    const worker = new Worker(this.file, {
      ...{ execArgv: this.execArgv, resourceLimits: MEMORY },
      ...{ workerData: port2, transferList: [port2] },
    });
    // What it was doing is done by whoever asked for it.
    worker.on('error', () => this.fail());
    worker.on('exit', () => this.fail());
    worker.unref();
    port1.unref();
    this.port = port1;
    this.worker = worker;
  }

  private fail(): void {
    this.failed = true;
    this.port?.close();
    this.port = undefined;
  }

  /** Replies are looked for, as guests run without a turn of the event loop in between. */
  private receive(): void {
    for (;;) {
      const message = this.port && (receiveMessageOnPort(this.port) as { message: CompileReply } | undefined);
      if (!message) return;
      const { machine, id, done } = message.message;
      this.replies++;
      const results = this.done.get(machine)?.deref();
      if (results) results.push({ id, done });
      else this.done.delete(machine);
    }
  }
}
