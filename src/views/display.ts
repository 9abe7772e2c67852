/** The guest's display in an editor tab: VGA text or a framebuffer, live, and its keyboard and mouse. */
import * as vscode from 'vscode';
import type { GuestSession, GuestSessions } from '../session';
import type { DisplayMessage, PageMessage } from '../webview/messages';
import { PointerQueue } from '../webview/pointer';
import type { ScreenUpdate } from '../wire';

/** Between two looks at the display while it is seen and the guest runs (milliseconds): soon after a change others follow. */
const INTERVAL = { changed: 40, unchanged: 100 };

export class DisplayViews implements vscode.Disposable {
  private readonly open = new Map<GuestSession, DisplayPanel>();
  private readonly subscriptions: vscode.Disposable[];

  constructor(
    private readonly extensionUri: vscode.Uri,
    private readonly sessions: GuestSessions,
  ) {
    this.subscriptions = [
      vscode.commands.registerCommand('ringside.showDisplay', () => this.show()),
      sessions.onDidChangeActive(() => this.follow()),
    ];
  }

  dispose(): void {
    for (const subscription of this.subscriptions) subscription.dispose();
    for (const panel of this.open.values()) panel.dispose();
  }

  /** A new session shows its display where an ended one of the same name has shown its own. */
  private follow(): void {
    const guest = this.sessions.active;
    if (!guest || guest.state === 'ended' || this.open.has(guest)) return;
    for (const [ended, panel] of this.open) {
      if (ended.state !== 'ended' || ended.session.name !== guest.session.name) continue;
      this.open.delete(ended);
      this.open.set(guest, panel);
      panel.show(guest);
      return;
    }
  }

  /** Opens the display of the session that the views show, or brings it to the front. */
  private show(): void {
    const guest = this.sessions.active;
    if (!guest || guest.state === 'ended') {
      void vscode.window.showInformationMessage(
        'No guest is being debugged: start one with F5, then show its display.',
      );
      return;
    }
    const panel = this.open.get(guest);
    if (panel) panel.reveal();
    else {
      const created = new DisplayPanel(this.extensionUri, guest, () => {
        for (const [shown, each] of this.open) if (each === created) this.open.delete(shown);
      });
      this.open.set(guest, created);
    }
  }
}

class DisplayPanel {
  private readonly panel: vscode.WebviewPanel;
  private readonly subscriptions: vscode.Disposable[];
  private guestState: vscode.Disposable;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private version = 0;
  private ready = false;
  private asking = false;
  /** Motion of the mouse that waits for the adapter to take what came before. */
  private readonly pointer = new PointerQueue();
  private pointing = false;
  /** State of the guest that the page knows. */
  private told: GuestSession['state'] | undefined;

  constructor(
    extensionUri: vscode.Uri,
    private guest: GuestSession,
    disposed: () => void,
  ) {
    const scripts = vscode.Uri.joinPath(extensionUri, 'out', 'webview');
    this.panel = vscode.window.createWebviewPanel(
      'ringside.display',
      `Display: ${guest.session.name}`,
      { viewColumn: vscode.ViewColumn.Active, preserveFocus: false },
      { enableScripts: true, localResourceRoots: [scripts], retainContextWhenHidden: true },
    );
    this.panel.webview.html = page(this.panel.webview, vscode.Uri.joinPath(scripts, 'display.js'));
    this.subscriptions = [
      this.panel.webview.onDidReceiveMessage((message: PageMessage) => this.received(message)),
      this.panel.onDidChangeViewState(() => this.look()),
      this.panel.onDidDispose(() => {
        clearTimeout(this.timer);
        this.guestState.dispose();
        for (const subscription of this.subscriptions) subscription.dispose();
        disposed();
      }),
    ];
    this.guestState = guest.onDidChangeState(() => this.look());
  }

  /** Shows another guest from now on. */
  show(guest: GuestSession): void {
    this.guestState.dispose();
    this.guest = guest;
    this.guestState = guest.onDidChangeState(() => this.look());
    this.version = 0;
    this.told = undefined;
    this.look();
  }

  reveal(): void {
    this.panel.reveal();
  }

  dispose(): void {
    this.panel.dispose();
  }

  private received(message: PageMessage): void {
    if (message.type === 'ready') {
      this.ready = true;
      this.version = 0;
      this.look();
    } else if (this.guest.state !== 'ended') {
      void this.input(message).catch(() => undefined); // the session is ending
    }
  }

  private async input(message: Exclude<PageMessage, { type: 'ready' }>): Promise<void> {
    switch (message.type) {
      case 'key':
        await this.guest.request('ringside/key', { code: message.code, down: message.down });
        break;
      case 'grab': {
        const { accepted } = await this.guest.request('ringside/pointer', {});
        if (accepted) await this.post({ type: 'grabbed' });
        break;
      }
      case 'pointer':
        for (const { dx, dy, wheel, buttons } of message.changes) {
          this.pointer.press(buttons);
          this.pointer.move(dx, dy, wheel);
        }
        await this.sendPointer();
        break;
    }
  }

  /** One request at a time: with an adapter that is slow, motion adds up here. */
  private async sendPointer(): Promise<void> {
    if (this.pointing) return;
    this.pointing = true;
    try {
      for (let changes = this.pointer.takeAll(); changes.length > 0; changes = this.pointer.takeAll()) {
        for (const change of changes) await this.guest.request('ringside/pointer', { ...change });
      }
    } finally {
      this.pointing = false;
    }
  }

  /** Shows an update, and what state the guest is in. */
  private async tell(update?: ScreenUpdate): Promise<void> {
    const { state } = this.guest;
    this.told = state;
    await this.post({ type: 'update', update, state, status: statusText(state, update) });
  }

  private post(message: DisplayMessage): Thenable<boolean> {
    return this.panel.webview.postMessage(message);
  }

  /** Asks for what has changed: now, and again soon while the guest runs and the page is seen. */
  private look(): void {
    clearTimeout(this.timer);
    void this.ask();
  }

  private async ask(): Promise<void> {
    if (!this.ready || this.asking || !this.panel.visible) return;
    const { guest } = this;
    this.asking = true;
    let more = false;
    let interval = INTERVAL.unchanged;
    try {
      if (this.guest.state !== 'ended' && this.guest.state !== 'starting') {
        const update = await guest.request('ringside/screen', { since: this.version });
        if (guest !== this.guest) return;
        this.version = update.version;
        more = update.kind === 'graphics' && update.more;
        if (update.kind === 'text' || update.kind === 'graphics') interval = INTERVAL.changed;
        // Another state comes with a look of its own.
        if (update.kind !== 'unchanged' || this.told !== this.guest.state) await this.tell(update);
      } else await this.tell();
    } catch {
      this.told = guest.state; // the session is ending: its state says so soon
    } finally {
      this.asking = false;
      // What happened meanwhile had no look of its own.
      if (guest !== this.guest || this.told !== this.guest.state) more = true;
      this.lookAgain(more ? 0 : interval, more);
    }
  }

  private lookAgain(after: number, anyway: boolean): void {
    clearTimeout(this.timer);
    if (anyway || this.guest.state === 'running') this.timer = setTimeout(() => void this.ask(), after);
  }
}

/** The line below the picture while the editor has the keyboard. */
function statusText(state: GuestSession['state'], update: ScreenUpdate | undefined): string {
  if (update?.kind === 'none') return 'This machine has no display.';
  if (state === 'ended') return 'The guest has ended.';
  if (state === 'stopped') return 'The guest is stopped. It takes keyboard and mouse again when it runs.';
  if (state === 'starting') return 'The guest is starting.';
  return 'Click the display to give the guest keyboard and mouse; Ctrl+Alt gives them back.';
}

function page(webview: vscode.Webview, script: vscode.Uri): string {
  const policy = `default-src 'none'; script-src ${webview.cspSource}; style-src ${webview.cspSource} 'unsafe-inline'`;
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>Display</title>
<style>
  html, body { height: 100%; margin: 0; }
  body { display: flex; flex-direction: column; gap: 8px; padding: 12px; box-sizing: border-box; overflow: hidden; }
  main { flex: 1; min-height: 0; display: flex; align-items: center; justify-content: center; position: relative; }
  canvas { background: #000; outline: 1px solid var(--vscode-panel-border); }
  body.captured canvas { outline: 2px solid var(--vscode-focusBorder); }
  body.none canvas { display: none; }
  body.ended canvas { opacity: 0.6; }
  p { display: none; position: absolute; margin: 0; color: #999; pointer-events: none; }
  body.blank p { display: block; }
  output { color: var(--vscode-descriptionForeground); min-height: 1.4em; text-align: center; }
</style>
</head>
<body>
<main>
<canvas tabindex="0" width="720" height="400" role="img" aria-label="The guest's display"></canvas>
<p>The guest has drawn nothing yet.</p>
</main>
<output></output>
<script src="${webview.asWebviewUri(script).toString()}"></script>
</body>
</html>`;
}
