/** What the commands need of the machine they run on, and of the rest of the adapter: given by the entry point. */
import type { Engine, Host } from '../engine';
import type { Schema } from './launchFlags';

/** Keys or bytes from standard input. */
export interface Keyboard {
  /** A terminal, in raw mode while started: every key comes as typed, Ctrl-C too. */
  terminal: boolean;
  start(typed: (data: Uint8Array) => void): void;
  stop(): void;
}

export interface Services {
  /** configurationAttributes.launch of package.json. */
  schema: Schema & { properties: Record<string, Schema> };
  version: string;
  host: Host;
  engine: Engine;
  userHome: string;
  env: Readonly<Record<string, string | undefined>>;
  out(data: Uint8Array | string): void;
  err(text: string): void;
  keyboard?: Keyboard;
  /** Opens a file for a trace or a profile, emptied. It and `write` throw with the system's reason. */
  createTrace(path: string): { write(text: string): void; close(): void };
  /** Calls `action` at SIGINT or SIGTERM; the result takes it back. */
  onInterrupt(action: () => void): () => void;
  /** Wall clock, milliseconds. */
  now(): number;
  /** Serves DAP until the client is gone: on loopback `port`, or on standard input and output. */
  serveDap(port: number | undefined): Promise<number>;
}
