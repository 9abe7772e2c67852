/** A user's terminal on the guest's serial console, over DAP as the extension's terminal is: debug-adapter/protocol.ts, `ringside/console*`. */
import type { DebugProtocol as DAP } from '@vscode/debugprotocol';
import type { Adapter } from '../../debug-adapter/stdio/adapter';

/** What a terminal is asked for by a shell's line editor: where the cursor is. ECMA-48, "DSR" and "CPR". */
const CURSOR_POSITION_REQUEST = '\x1b[6n';
const CURSOR_POSITION = '\x1b[24;1R';
const ESCAPE_SEQUENCE = /\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1b[=>78MD]|\r/g;
/** Milliseconds between two looks at how far the guest is. */
const POLL = 500;
/** Milliseconds after which a guest hangs that retires no instructions, waiting for something that never comes. */
export const PATIENCE = 1_800_000;

/** The launch attribute with which the console goes to a terminal instead of output events. */
export const withTerminal = { console: 'terminal', __attachConsole: true };

export class GuestTerminal {
  private bytes = '';
  private readonly decoder = new TextDecoder();
  /** Where in `text` the next expect() begins to look. */
  private from = 0;
  private changed: () => void = () => undefined;
  private ended?: string;
  /** Questions for the cursor's position that have been answered, in all and before the last line was typed. */
  private answered = 0;
  private answeredBefore = 0;

  private constructor(private readonly adapter: Adapter) {
    adapter.on('ringside/console', ({ body }: DAP.Event) => this.receive(body.data as string));
    adapter.on('terminated', () => {
      this.ended = adapter.output('console').trim().split('\n').pop();
      this.changed();
    });
  }

  /** Attaches to the console of a session that is launched. */
  static async attach(adapter: Adapter): Promise<GuestTerminal> {
    const terminal = new GuestTerminal(adapter);
    terminal.receive((await adapter.request('ringside/consoleAttach', {})).data);
    return terminal;
  }

  private receive(base64: string): void {
    const text = this.decoder.decode(Buffer.from(base64, 'base64'), { stream: true });
    this.bytes += text;
    if (text.includes(CURSOR_POSITION_REQUEST)) {
      this.answered++;
      void this.type(CURSOR_POSITION).catch(() => undefined);
    }
    this.changed();
  }

  /** All that was shown, without escape sequences. */
  get text(): string {
    return this.bytes.replace(ESCAPE_SEQUENCE, '');
  }

  /** The last lines that were shown. */
  tail(lines: number): string {
    return this.text.trimEnd().split('\n').slice(-lines).join('\n');
  }

  /** Types; the Enter key is '\r'. */
  async type(keys: string): Promise<void> {
    const { accepted } = await this.adapter.request('ringside/consoleInput', {
      data: Buffer.from(keys).toString('base64'),
    });
    if (!accepted) throw new Error('the machine has no serial console');
  }

  /** Types a line. */
  enter(line: string): Promise<void> {
    this.answeredBefore = this.answered;
    return this.type(`${line}\r`);
  }

  /**
   * Waits for text after what the expect() before has found.
   * @param limit instructions since power-on by which it must have come
   * @throws Error with the last lines when the guest panics, ends, or passes the limit
   */
  expect(pattern: RegExp, limit: number): Promise<RegExpExecArray> {
    return this.until(`${pattern}`, limit, () => {
      const found = new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, '')).exec(this.text.slice(this.from));
      if (found) this.from += found.index + found[0].length;
      return found;
    });
  }

  /**
   * Waits for the prompt of the next line, and until the shell has asked where the cursor is: a line that is typed sooner would come
   * before the answer, which would then be shown among what the command prints.
   */
  async prompt(limit: number): Promise<void> {
    await this.expect(/^ringside:\S+# $/m, limit);
    await this.until('the cursor', limit, () => this.answered > this.answeredBefore || null);
  }

  private async until<T>(what: string, limit: number, look: () => T | null): Promise<T> {
    const fail = (why: string): never => {
      throw new Error(`waiting for ${what}: ${why}; the console ends with\n${this.tail(15)}`);
    };
    const end = Date.now() + PATIENCE;
    for (;;) {
      const { bytes } = this;
      const found = look();
      if (found !== null) return found;
      const panic = /Kernel panic - not syncing.*/.exec(this.text);
      if (panic) fail(panic[0]);
      if (this.ended !== undefined) fail(`the guest ended: ${this.ended}`);
      const { icount } = await this.adapter.request('ringside/exitCounters', {});
      if (icount > limit) fail(`${icount} instructions`);
      if (Date.now() > end) fail(`${icount} instructions and half an hour`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, POLL);
        this.changed = () => {
          clearTimeout(timer);
          resolve();
        };
        if (this.bytes !== bytes) this.changed();
      });
    }
  }

  /** Types the line that ends the guest; returns the exit code that the session ends with. */
  async end(line: string): Promise<number> {
    const ended = ['exited', 'terminated'].map((name) => this.adapter.event(name, undefined, PATIENCE));
    for (const each of ended) each.catch(() => undefined);
    await this.enter(line);
    const [exited] = await Promise.all(ended);
    return exited.body.exitCode;
  }
}
