/** From an exit in the view to its place in the code, and to its moment in time. */
import * as vscode from 'vscode';
import { hex } from './format';
import { disassemblyPage, type DisassemblyPage, type Instruction } from './disassemblyText';
import type { GuestSession, GuestSessions } from './session';
import type { ExitNode } from './views/vmExits';
import { decodedLines, exitFields } from './views/vmExitsModel';
import type { ExitRecord } from './wire';

const scheme = 'ringside-exit';
/** Instructions shown before and after the exit's. */
const before = 12;
const after = 28;
/** So many pages stay for editors that show them. */
const keptPages = 50;

export function registerExitPlace(context: vscode.ExtensionContext, sessions: GuestSessions): void {
  const pages = new Map<string, DisassemblyPage>();
  const changed = new vscode.EventEmitter<vscode.Uri>();
  const marked = vscode.window.createTextEditorDecorationType({
    isWholeLine: true,
    backgroundColor: new vscode.ThemeColor('editor.stackFrameHighlightBackground'),
    overviewRulerColor: new vscode.ThemeColor('editor.stackFrameHighlightBackground'),
  });
  const keep = (uri: vscode.Uri, page: DisassemblyPage) => {
    pages.delete(uri.toString());
    pages.set(uri.toString(), page);
    for (const old of [...pages.keys()].slice(0, -keptPages)) pages.delete(old);
    changed.fire(uri);
  };

  const showExit = async ({ exit }: ExitNode): Promise<void> => {
    const guest = sessions.active;
    if (!guest) return;
    if (await isCurrent(guest, exit)) {
      await vscode.commands.executeCommand('debug.action.openDisassemblyView');
      return;
    }
    const uri = vscode.Uri.from({
      scheme,
      path: `/${exit.name} at ${hex(exit.rip)}`,
      query: `${guest.session.id} ${exit.seq}`,
    });
    const page = await exitPage(guest, exit);
    keep(uri, page);
    const document = await vscode.workspace.openTextDocument(uri);
    await vscode.languages.setTextDocumentLanguage(document, 'ringside-disassembly');
    const at = new vscode.Range(page.line, 0, page.line, 0);
    const editor = await vscode.window.showTextDocument(document, {
      preview: true,
      preserveFocus: true,
      selection: at,
    });
    editor.setDecorations(marked, [at]);
    editor.revealRange(at, vscode.TextEditorRevealType.InCenterIfOutsideViewport);
  };

  context.subscriptions.push(
    changed,
    marked,
    vscode.workspace.registerTextDocumentContentProvider(scheme, {
      onDidChange: changed.event,
      provideTextDocumentContent: (uri) =>
        pages.get(uri.toString())?.text ?? '; This exit belongs to an earlier session.\n',
    }),
    vscode.commands.registerCommand('ringside.exits.show', showExit),
    vscode.commands.registerCommand('ringside.exits.travel', ({ exit }: ExitNode) =>
      travel(sessions.active, exit.icount),
    ),
    vscode.commands.registerCommand('ringside.gotoIcount', (icount?: number) => askAndTravel(sessions.active, icount)),
  );
}

/** Whether the focused frame stands at the exit's instruction. */
async function isCurrent(guest: GuestSession, exit: ExitRecord): Promise<boolean> {
  const item = vscode.debug.activeStackItem;
  if (guest.state !== 'stopped' || !item || item.session.id !== guest.session.id || !('frameId' in item)) return false;
  type Frames = { stackFrames: { id: number; instructionPointerReference?: string }[] };
  try {
    const answer = await guest.dap<Frames>('stackTrace', { threadId: item.threadId, startFrame: 0, levels: 1 });
    const [top] = answer.stackFrames;
    return top?.instructionPointerReference !== undefined && BigInt(top.instructionPointerReference) === exit.rip;
  } catch {
    return false;
  }
}

async function exitPage(guest: GuestSession, exit: ExitRecord): Promise<DisassemblyPage> {
  const title = `VM exit #${exit.seq} of ${guest.session.name}`;
  const fields = [...exitFields(exit), ...(await decoded(guest, exit))];
  try {
    const answer = await guest.dap<{ instructions: Instruction[] }>('disassemble', {
      memoryReference: hex(exit.rip),
      instructionOffset: -before,
      instructionCount: before + after,
      resolveSymbols: true,
    });
    return disassemblyPage(title, fields, answer.instructions, exit.rip);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return disassemblyPage(title, [...fields, ['Disassembly', why]], [], exit.rip);
  }
}

/** What the exit's fields mean, as far as the adapter still knows. */
async function decoded(guest: GuestSession, exit: ExitRecord): Promise<[name: string, value: string][]> {
  const fields = await guest.exitFields(exit.seq).catch(() => []);
  return decodedLines(fields);
}

async function askAndTravel(guest: GuestSession | undefined, icount?: number): Promise<void> {
  const text =
    icount ??
    (await vscode.window.showInputBox({
      title: 'Travel to Instruction Count',
      prompt: 'The number of instructions that the guest has retired.',
      validateInput: (typed) => (/^[\d,_]+$/.test(typed.trim()) ? undefined : 'Expected a whole number.'),
    }));
  if (text !== undefined) await travel(guest, Number(String(text).replace(/[,_\s]/g, '')));
}

async function travel(guest: GuestSession | undefined, icount: number): Promise<void> {
  if (!guest || guest.state === 'ended') {
    void vscode.window.showInformationMessage('The guest has ended. Start it again to travel in its history.');
    return;
  }
  try {
    await guest.dap('evaluate', { expression: `goto icount ${icount}`, context: 'repl' });
  } catch (error) {
    void vscode.window.showErrorMessage(error instanceof Error ? error.message : String(error));
  }
}
