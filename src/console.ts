/** The guest's serial console as a terminal: output as it comes, typing and pasting go to the guest. */
import * as vscode from 'vscode';
import { ConsoleText, isHot, lumpDelay, sizeCommand, typedBytes, type CarriageReturns } from './consoleText';

export class SerialConsole implements vscode.Pseudoterminal {
  private readonly write = new vscode.EventEmitter<string>();
  readonly onDidWrite = this.write.event;
  private terminal: vscode.Terminal | undefined;
  private pending: string[] = [];
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** Characters of the lump before. */
  private lump = 0;
  /** The window has not taken the lump before yet: the next one grows meanwhile. */
  private behind = false;
  private opened = false;
  private size: vscode.TerminalDimensions | undefined;
  ended = false;

  /**
   * @param name the terminal's title
   * @param content keeps output for a terminal that is opened later
   * @param send takes what the user types, as bytes for the UART
   * @param resized hears of the terminal's size
   */
  constructor(
    readonly name: string,
    private readonly content: ConsoleText,
    private readonly send: (data: Uint8Array) => void,
    private readonly resized: (size: vscode.TerminalDimensions) => void,
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
    return this.content.kept;
  }

  owns(terminal: vscode.Terminal): boolean {
    return terminal === this.terminal;
  }

  open(dimensions?: vscode.TerminalDimensions): void {
    this.opened = true;
    if (dimensions) this.setDimensions(dimensions);
    // What waits is among what is kept.
    this.pending = [];
    if (this.content.kept) this.write.fire(this.content.kept);
  }

  setDimensions(dimensions: vscode.TerminalDimensions): void {
    this.size = dimensions;
    if (!this.ended) this.resized(dimensions);
  }

  /** The user closed the terminal; the guest goes on, and the console can be opened again. */
  close(): void {
    this.opened = false;
    this.terminal = undefined;
  }

  handleInput(text: string): void {
    if (this.ended) return;
    this.send(typedBytes(text));
  }

  /** Types the command that tells a shell how large the terminal is; false while nobody knows. */
  sendSize(): boolean {
    if (this.size) this.handleInput(sizeCommand(this.size.rows, this.size.columns));
    return this.size !== undefined;
  }

  output(bytes: Uint8Array): void {
    this.append(this.content.decode(bytes));
  }

  /** A line of Ringside's own among the output. */
  note(text: string): void {
    this.append(this.content.note(`[${text}]`));
  }

  /** A line of Ringside's own, after which nothing comes. */
  end(reason: string): void {
    if (this.ended) return;
    this.note(reason);
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
    this.pending.push(text);
    this.schedule();
  }

  private schedule(): void {
    if (!this.behind) this.timer ??= setTimeout(() => this.flush(), lumpDelay(this.lump));
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    const text = this.pending.join('');
    this.pending = [];
    this.lump = text.length;
    if (!this.opened || !text) return;
    this.write.fire(text);
    if (isHot(text.length)) void this.awaitWindow();
  }

  private async awaitWindow(): Promise<void> {
    this.behind = true;
    await windowTurn().catch(() => undefined); // it is closing
    this.behind = false;
    if (this.pending.length > 0) this.schedule();
  }
}

/** Resolves when the editor's window has taken what it was sent before: it answers in order, and this is the least that one can ask it for. */
async function windowTurn(): Promise<void> {
  await vscode.commands.executeCommand('setContext', 'ringside.hasConsole', true);
}

/** The consoles of all sessions. A new session's console takes the place of an ended one with the same name. */
export class SerialConsoles implements vscode.Disposable {
  private readonly consoles: SerialConsole[] = [];
  private readonly closed = vscode.window.onDidCloseTerminal((terminal) => {
    const closed = this.consoles.find((one) => one.owns(terminal));
    closed?.close();
    if (closed?.ended) this.remove(closed);
  });

  create(
    configuration: string,
    send: (data: Uint8Array) => void,
    resized: (size: vscode.TerminalDimensions) => void,
  ): SerialConsole {
    const name = `Serial: ${configuration}`;
    for (const old of this.consoles.filter((one) => one.ended && one.name === name)) {
      this.remove(old);
      old.dispose();
    }
    const settings = vscode.workspace.getConfiguration('ringside.console');
    const content = new ConsoleText(
      settings.get('scrollback', 1 << 20),
      settings.get<CarriageReturns>('addCarriageReturns', 'auto'),
    );
    const created = new SerialConsole(name, content, send, resized);
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

  /** Tells the guest of the console in front, or of the newest, how large its terminal is. */
  sendSize(): void {
    const active = this.consoles.find((one) => vscode.window.activeTerminal && one.owns(vscode.window.activeTerminal));
    const chosen = active ?? this.consoles.at(-1);
    if (!chosen || chosen.ended)
      void vscode.window.showInformationMessage('No guest with a serial console is running.');
    else if (!chosen.sendSize()) {
      void vscode.window.showInformationMessage('The terminal has no size yet: show the serial console first.');
    }
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
