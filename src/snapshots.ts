/** Snapshots of the guest by file dialogs: the debug console's `save` and `restore` do the rest. */
import * as vscode from 'vscode';
import { debugType } from './launch';
import type { GuestSession, GuestSessions } from './session';

const filters = { 'Ringside snapshots': ['snapshot'], 'All files': ['*'] };

export function registerSnapshots(context: vscode.ExtensionContext, sessions: GuestSessions): void {
  context.subscriptions.push(
    vscode.commands.registerCommand('ringside.saveSnapshot', async () => {
      const guest = stopped(sessions);
      if (!guest) return;
      const options = { title: 'Save Snapshot', saveLabel: 'Save', filters, defaultUri: defaultFile(guest) };
      const file = await vscode.window.showSaveDialog(options);
      if (file) await run(guest, `save ${file.fsPath}`);
    }),
    vscode.commands.registerCommand('ringside.restoreSnapshot', async () => {
      const guest = stopped(sessions);
      if (!guest) return;
      const options = { title: 'Restore Snapshot', openLabel: 'Restore', filters, defaultUri: defaultFile(guest) };
      const [file] = (await vscode.window.showOpenDialog(options)) ?? [];
      if (file) await run(guest, `restore ${file.fsPath}`);
    }),
  );
}

/** The session in focus, if its guest is stopped; else the user learns why not. */
function stopped(sessions: GuestSessions): GuestSession | undefined {
  const session = vscode.debug.activeDebugSession;
  const guest = session?.type === debugType ? sessions.get(session.id) : sessions.active;
  if (guest?.state === 'stopped') return guest;
  const why = guest?.state === 'running' ? 'The guest is running. Pause it first.' : 'No guest is being debugged.';
  void vscode.window.showInformationMessage(why);
  return undefined;
}

/** What the launch configuration names, else the kernel's name, as the adapter takes it. */
function defaultFile({ session }: GuestSession): vscode.Uri | undefined {
  const { snapshot, kernel } = session.configuration as { snapshot?: string; kernel?: string };
  const name = snapshot || `${(kernel ?? 'guest').replace(/^.*[\\/]/, '')}.snapshot`;
  if (/^([/\\]|[A-Za-z]:[/\\])/.test(name)) return vscode.Uri.file(name);
  const folder = session.workspaceFolder?.uri ?? vscode.workspace.workspaceFolders?.[0]?.uri;
  return folder && vscode.Uri.joinPath(folder, name);
}

async function run(guest: GuestSession, command: string): Promise<void> {
  try {
    const { result } = await guest.dap<{ result: string }>('evaluate', { expression: command, context: 'repl' });
    vscode.window.setStatusBarMessage(`$(check) ${result.split('\n')[0]}`, 10_000);
  } catch (error) {
    void vscode.window.showErrorMessage(error instanceof Error ? error.message : String(error));
  }
}
