/** The views and the console on a made-up guest whose exits and tables are known. */
import assert from 'node:assert';
import * as vscode from 'vscode';
import type { RingsideApi } from '../../../src/extension';
import { startFakeAdapter } from '../fixtures/fakeAdapter';
import { ringside, until } from '../fixtures/helpers';

type Provider = vscode.TreeDataProvider<unknown>;

/** A tree as lines of text, indented by depth; `deep` says which items to open. */
async function lines(provider: unknown, deep = (_label: string) => true): Promise<string[]> {
  const tree = provider as Provider;
  const walk = async (node: unknown, indent: string): Promise<string[]> => {
    const result: string[] = [];
    for (const child of (await tree.getChildren(node as never)) ?? []) {
      const item = await tree.getTreeItem(child);
      result.push(`${indent}${item.label} | ${item.description ?? ''}`);
      if (item.collapsibleState && deep(String(item.label))) result.push(...(await walk(child, indent + '  ')));
    }
    return result;
  };
  return walk(undefined, '');
}

describe('views', () => {
  let api: RingsideApi;
  let server: { port: number; close: () => void };

  before(async () => {
    api = await ringside();
    server = await startFakeAdapter();
    const started = await vscode.debug.startDebugging(vscode.workspace.workspaceFolders?.[0], {
      type: 'ringside',
      request: 'launch',
      name: 'Made-up guest',
      kernel: vscode.Uri.joinPath(vscode.workspace.workspaceFolders![0].uri, 'hello-guest/hello.elf').fsPath,
      debugServer: server.port,
    });
    assert.ok(started);
    await until(() => api.sessions.active?.state === 'stopped', 'the first stop');
  });

  after(async () => {
    await vscode.debug.stopDebugging();
    server.close();
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
  });

  it('the console is a terminal with the backlog, and takes input', async () => {
    const terminal = vscode.window.terminals.find((one) => one.name === 'Serial: Made-up guest');
    assert.ok(terminal);
    const seen: string[] = [];
    const console = api.consoles.all.at(-1)!;
    await until(() => console.text !== '', 'the backlog');
    console.onDidWrite((text) => seen.push(text));
    console.handleInput('ls\n');
    await until(() => seen.join('').includes('you typed'), 'the echo');
    assert.equal(seen.join('').replace(/^early\r\n/, ''), 'you typed "ls\\r"\r\n');
    assert.equal(console.text, 'early\r\nyou typed "ls\\r"\r\n');
  });

  it('VM Exits has counters and the last exits', async () => {
    await vscode.commands.executeCommand('ringside.vmExits.focus');
    await until(async () => (await lines(api.vmExits)).length > 2, 'exits');
    assert.deepEqual(await lines(api.vmExits, (label) => label === 'Last exits'), [
      'CPUID | 3 · 75%',
      'HLT | 1 · 25%',
      'Last exits | newest first',
      '  HLT | hlt · probe+0x6 · #3',
      '  CPUID | leaf 0x2 subleaf 0x0 · probe+0x4 · #2',
      '  CPUID | leaf 0x1 subleaf 0x0 · probe+0x2 · #1',
      '  CPUID | leaf 0x0 subleaf 0x0 · probe+0x0 · #0',
    ]);
    await vscode.commands.executeCommand('ringside.exits.filter', 'hlt');
    assert.deepEqual(await lines(api.vmExits, () => false), ['HLT | 1 · 100%', 'Last exits | newest first']);
    await vscode.commands.executeCommand('ringside.exits.clearFilter');
  });

  it('EPT merges alike pages, loads level by level and walks', async () => {
    await vscode.commands.executeCommand('ringside.ept.focus');
    const open = (label: string) =>
      !label.includes('–ffffff') || label.endsWith('7fffffffff') || label.endsWith('3fffffff');
    assert.deepEqual(await lines(api.ept, open), [
      '0x0000000000–7fffffffff | rwx A · PML4E → 0x0',
      '  0x00000000–3fffffff | rwx A · PDPTE → 0x0',
      '    0x00000000–ffffff | rwx WB A- · 8 × 2M → 0x0',
    ]);
    await vscode.commands.executeCommand('ringside.ept.walk', '0x200000');
    const [walk, ...steps] = await lines(api.ept, (label) => label.startsWith('Walk'));
    assert.equal(walk, 'Walk of 0x200000 | → 0x200000');
    assert.equal(steps[2], '  Host-physical | 0x200000');
    await vscode.commands.executeCommand('ringside.ept.walk', '');
  });

  it('Page Tables is empty while paging is off', async () => {
    await vscode.commands.executeCommand('ringside.pageTables.focus');
    assert.deepEqual(await lines(api.pageTables), []);
    assert.equal(api.pageTables.context, 'off');
  });

  it('a click on an exit elsewhere opens its disassembly with its fields', async () => {
    const tree = api.vmExits as Provider;
    const groups = (await tree.getChildren(undefined))!;
    const exits = (await tree.getChildren(groups.at(-1)))!;
    await vscode.commands.executeCommand('ringside.exits.show', exits[1]);
    const document = vscode.window.activeTextEditor!.document;
    assert.equal(document.languageId, 'ringside-disassembly');
    const text = document.getText();
    assert.match(text, /^; VM exit #2 of Made-up guest$/m);
    assert.match(text, /^; {3}Exit reason +0x0000000a \(CPUID\)$/m);
    assert.match(text, /^=> 0x100004 {2}0f a2 {2}cpuid$/m);
    assert.equal(document.lineAt(vscode.window.activeTextEditor!.selection.start.line).text.slice(0, 2), '=>');
  });

  it('marks entries that changed since the stop before, and says when the guest runs', async () => {
    const guest = api.sessions.active!;
    await lines(api.ept, (label) => !label.endsWith('–ffffff'));
    await guest.dap('continue', { threadId: 1 });
    await until(() => guest.state === 'running', 'the guest to run');
    assert.deepEqual(await lines(api.ept), []);
    assert.equal(api.ept.context, 'running');
    await guest.dap('pause', { threadId: 1 });
    await until(() => guest.state === 'stopped', 'the second stop');
    const rows = await lines(api.ept, (label) => !label.endsWith('–dfffff'));
    assert.deepEqual(rows.slice(2), [
      '    0x00000000–dfffff | rwx WB A- · 7 × 2M → 0x0',
      '    0x00e00000–ffffff | rwx WB AD · 2M → 0xe00000 · changed',
    ]);
  });

  it('travels to an exit', async () => {
    const guest = api.sessions.active!;
    const stop = guest.stop;
    await vscode.commands.executeCommand('ringside.gotoIcount', 100);
    await until(() => guest.stop > stop, 'the stop after goto');
  });

  it('keeps the console and the exits after the end', async () => {
    const guest = api.sessions.active!;
    await vscode.debug.stopDebugging(guest.session);
    await until(() => guest.state === 'ended', 'the end');
    assert.match(api.consoles.all.at(-1)!.text, /last words\r\n.*Made-up guest: the guest has ended.*\r\n$/);
    assert.ok(vscode.window.terminals.some((one) => one.name === 'Serial: Made-up guest'));
    assert.ok((await lines(api.vmExits)).length > 2);
    assert.equal(api.ept.context, 'ended');
  });
});
