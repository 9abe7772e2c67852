/** The guest's serial console as a terminal: output as it comes, typing and pasting go to the guest. */
import * as vscode from 'vscode';

/** Output is handed to the terminal in lumps, at most this often (milliseconds). */
const flushInterval = 16;

export class SerialConsole implements vscode.Pseudoterminal {
  private readonly write = new vscode.EventEmitter<string>();
  readonly onDidWrite = this.write.event;
  private readonly decoder = new TextDecoder();
  private terminal: vscode.Terminal | undefined;
  private pending: string[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** Output so far, at most `scrollback` bytes of it, for a terminal opened late or opened again. */
  private kept = '';
  private lastCharacter = '';
  private opened = false;
  ended = false;

  /**
   * @param name the terminal's title
   * @param scrollback how many characters of output to keep for a terminal that is opened later
   * @param send takes what the user types, as bytes for the UART
   */
  constructor(
    readonly name: string,
    private readonly scrollback: number,
    private readonly send: (data: Uint8Array) => void,
  ) {}

  /** Opens the terminal, or brings it to the front. */
  show(preserveFocus: boolean): void {
    this.terminal ??= vscode.window.createTerminal({
      name: this.name,
      pty: this,
      iconPath: new vscode.ThemeIcon('vm-connect'),
      isTransient: true,
    });
    this.terminal.show(preserveFocus);
  }

  /** The output that is kept, as the terminal got it. */
  get text(): string {
    return this.kept;
  }

  owns(terminal: vscode.Terminal): boolean {
    return terminal === this.terminal;
  }

  open(): void {
    this.opened = true;
    if (this.kept) this.write.fire(this.kept);
  }

  /** The user closed the terminal; the guest goes on, and the console can be opened again. */
  close(): void {
    this.opened = false;
    this.terminal = undefined;
  }

  handleInput(text: string): void {
    if (this.ended) return;
    // Enter on a serial terminal is CR; pasted text brings LF or CRLF.
    this.send(new TextEncoder().encode(text.replace(/\r?\n/g, '\r')));
  }

  output(bytes: Uint8Array): void {
    this.append(this.decoder.decode(bytes, { stream: true }));
  }

  /** A line of Ringside's own, after which nothing comes. */
  end(reason: string): void {
    if (this.ended) return;
    const newLine = this.kept && this.lastCharacter !== '\n' ? '\r\n' : '';
    this.append(`${this.decoder.decode()}\x1b[0m${newLine}\x1b[2m${reason}\x1b[0m\r\n`);
    this.flush();
    this.ended = true;
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.terminal?.dispose();
    this.terminal = undefined;
  }

  private append(text: string): void {
    if (!text) return;
    // Many guests end lines with LF alone, as they would for a terminal driver that adds the CR.
    const lines = text.replace(/\r?\n/g, (end, at: number) =>
      end === '\n' && at === 0 && this.lastCharacter === '\r' ? '\n' : '\r\n',
    );
    this.lastCharacter = text.at(-1)!;
    this.kept += lines;
    if (this.kept.length > this.scrollback * 1.25) this.kept = this.kept.slice(-this.scrollback || this.kept.length);
    this.pending.push(lines);
    this.timer ??= setTimeout(() => this.flush(), flushInterval);
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const text = this.pending.join('');
    this.pending = [];
    if (this.opened && text) this.write.fire(text);
  }
}

/** The consoles of all sessions. A new session's console takes the place of an ended one with the same name. */
export class SerialConsoles implements vscode.Disposable {
  private readonly consoles: SerialConsole[] = [];
  private readonly closed = vscode.window.onDidCloseTerminal((terminal) => {
    const closed = this.consoles.find((one) => one.owns(terminal));
    closed?.close();
    if (closed?.ended) this.remove(closed);
  });

  create(configuration: string, send: (data: Uint8Array) => void): SerialConsole {
    const name = `Serial: ${configuration}`;
    for (const old of this.consoles.filter((one) => one.ended && one.name === name)) {
      this.remove(old);
      old.dispose();
    }
    const settings = vscode.workspace.getConfiguration('ringside.console');
    const created = new SerialConsole(name, settings.get('scrollback', 1 << 20), send);
    this.consoles.push(created);
    if (settings.get('openOnStart', true)) created.show(true);
    this.updateContext();
    return created;
  }

  /** Oldest first. */
  get all(): readonly SerialConsole[] {
    return this.consoles;
  }

  /** Brings the newest console to the front. */
  show(): void {
    const newest = this.consoles.at(-1);
    if (newest) newest.show(false);
    else void vscode.window.showInformationMessage('No guest with a serial console has run yet.');
  }

  dispose(): void {
    this.closed.dispose();
    for (const one of this.consoles) one.dispose();
  }

  private remove(console: SerialConsole): void {
    this.consoles.splice(this.consoles.indexOf(console), 1);
    this.updateContext();
  }

  private updateContext(): void {
    void vscode.commands.executeCommand('setContext', 'ringside.hasConsole', this.consoles.length > 0);
  }
}
