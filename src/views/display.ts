/** The guest's display in an editor tab: VGA text or a framebuffer, live, and its keyboard. */
import * as vscode from 'vscode';
import type { GuestSession, GuestSessions } from '../session';
import type { ScreenUpdate } from '../wire';

/** Between two looks at the display while it is seen and the guest runs (milliseconds). */
const INTERVAL = 100;

/** What the page says. */
type PageMessage = { type: 'ready' } | { type: 'key'; code: string; down: boolean };

export class DisplayViews implements vscode.Disposable {
  private readonly open = new Map<GuestSession, DisplayPanel>();
  private readonly subscriptions: vscode.Disposable[];

  constructor(
    private readonly extensionUri: vscode.Uri,
    private readonly sessions: GuestSessions,
  ) {
    this.subscriptions = [vscode.commands.registerCommand('ringside.showDisplay', () => this.show())];
  }

  dispose(): void {
    for (const subscription of this.subscriptions) subscription.dispose();
    for (const panel of this.open.values()) panel.dispose();
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
    else this.open.set(guest, new DisplayPanel(this.extensionUri, guest, () => this.open.delete(guest)));
  }
}

class DisplayPanel {
  private readonly panel: vscode.WebviewPanel;
  private readonly subscriptions: vscode.Disposable[];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private version = 0;
  private ready = false;
  private asking = false;

  constructor(
    extensionUri: vscode.Uri,
    private readonly guest: GuestSession,
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
      guest.onDidChangeState(() => this.look()),
      this.panel.onDidDispose(() => {
        clearTimeout(this.timer);
        for (const subscription of this.subscriptions) subscription.dispose();
        disposed();
      }),
    ];
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
      const { code, down } = message;
      void this.guest.request('ringside/key', { code, down }).catch(() => undefined);
    }
  }

  /** Asks for what has changed: now, and again soon while the guest runs and the page is seen. */
  private look(): void {
    clearTimeout(this.timer);
    void this.ask();
  }

  private async ask(): Promise<void> {
    if (!this.ready || this.asking || !this.panel.visible) return;
    this.asking = true;
    let more = false;
    try {
      if (this.guest.state !== 'ended' && this.guest.state !== 'starting') {
        const update = await this.guest.request('ringside/screen', { since: this.version });
        this.version = update.version;
        more = update.kind === 'graphics' && update.more;
        await this.panel.webview.postMessage({ type: 'update', update, status: statusText(this.guest.state, update) });
      } else await this.panel.webview.postMessage({ type: 'update', status: statusText(this.guest.state, undefined) });
    } catch {
      // The session is ending: its state says so soon.
    } finally {
      this.asking = false;
    }
    clearTimeout(this.timer);
    if (more) this.timer = setTimeout(() => void this.ask(), 0);
    else if (this.guest.state === 'running') this.timer = setTimeout(() => void this.ask(), INTERVAL);
  }
}

/** The line below the picture. */
function statusText(state: GuestSession['state'], update: ScreenUpdate | undefined): string {
  if (update?.kind === 'none') return 'This machine has no display.';
  if (state === 'ended') return 'The guest has ended.';
  if (state === 'stopped') return 'The guest is stopped.';
  return 'Click the display to type into the guest; Ctrl+Alt gives the keyboard back.';
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
  body { display: flex; flex-direction: column; align-items: center; gap: 8px; padding: 12px; }
  canvas { max-width: 100%; max-height: calc(100vh - 60px); background: #000; outline: 1px solid var(--vscode-panel-border); }
  body.captured canvas { outline: 2px solid var(--vscode-focusBorder); }
  output { color: var(--vscode-descriptionForeground); min-height: 1.4em; }
</style>
</head>
<body>
<canvas tabindex="0" width="720" height="400" role="img" aria-label="The guest's display"></canvas>
<output></output>
<script src="${webview.asWebviewUri(script).toString()}"></script>
</body>
</html>`;
}
