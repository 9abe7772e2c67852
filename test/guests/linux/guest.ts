/** A guest in this process whose first program carries out lines that are typed at its serial console: see COMMANDS. */
import { once } from 'node:events';
import { connect, createServer, type AddressInfo } from 'node:net';
import { createEmbeddedTarget } from '../../../debug-adapter/engines/embedded';
import { planLaunch } from '../../../debug-adapter/launchConfig';
import { nodeHost } from '../../../debug-adapter/node/host';
import type { RunRequest, StopEvent, Target } from '../../../debug-adapter/target';
import { schema } from '../../debug-adapter/client';

/** Lines of an init script that read commands for ever, and tell each one's status. */
export const COMMANDS = `
stty -echo
while read -r line; do eval "$line"; echo "[status $?]"; done
`;

export class Guest {
  output = '';
  readonly notes: string[] = [];
  private stopped?: (stop: StopEvent | undefined) => void;
  private changed?: () => void;

  private constructor(readonly target: Target) {
    target.setEvents({
      console: (data) => {
        this.output += Buffer.from(data).toString('latin1');
        this.changed?.();
      },
      note: (text) => this.notes.push(text),
      exitsChanged: () => undefined,
      continued: () => undefined,
      stopped: (stop) => this.stopped?.(stop),
      ended: () => this.stopped?.(undefined),
    } as Parameters<Target['setEvents']>[0]);
  }

  static async launch(configuration: Record<string, unknown>): Promise<Guest> {
    const plan = await planLaunch(configuration, schema, [], nodeHost);
    return new Guest(await createEmbeddedTarget(plan.engine));
  }

  run(request: RunRequest): Promise<StopEvent | undefined> {
    const done = new Promise<StopEvent | undefined>((resolve) => (this.stopped = resolve));
    this.target.run(request);
    return done;
  }
  go(): void {
    this.target.run({ kind: 'continue', cpu: 0 });
  }
  async pause(): Promise<void> {
    const done = new Promise((resolve) => (this.stopped = resolve));
    this.target.pause();
    await done;
  }

  /** Waits for output behind `from`. */
  async until(pattern: RegExp, from = 0): Promise<string> {
    for (;;) {
      const found = pattern.exec(this.output.slice(from));
      if (found) return this.output.slice(from, from + found.index + found[0].length);
      await new Promise<void>((resolve) => (this.changed = resolve));
    }
  }
  type(line: string): number {
    const from = this.output.length;
    this.target.consoleInput(Buffer.from(`${line}\n`));
    return from;
  }
  /** A command's output, and its status as the last line. */
  async command(line: string): Promise<string> {
    const from = this.type(line);
    return (await this.until(/\[status \d+\]/, from)).replaceAll('\r', '').trim();
  }
}

/** A loopback TCP port that nobody listens on. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** Sends data to a forwarded port, and the end of it; what comes back until the other side's end. Tries until the guest listens. */
export async function exchange(port: number, data: string | Uint8Array): Promise<string> {
  for (;;) {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    let answered = '';
    socket.on('error', () => undefined);
    socket.on('data', (bytes: Buffer) => (answered += bytes.toString('latin1')));
    socket.end(data);
    await new Promise((resolve) => socket.once('close', resolve));
    if (answered !== '') return answered;
  }
}
