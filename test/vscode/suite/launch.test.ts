/** Configurations: what F5 starts with nothing given, and what the provider adds. */
import assert from 'node:assert';
import * as vscode from 'vscode';
import { ringside } from '../fixtures/helpers';

describe('launch configurations', () => {
  let folder: vscode.WorkspaceFolder;
  const empty = {} as vscode.DebugConfiguration;

  before(() => {
    [folder] = vscode.workspace.workspaceFolders!;
  });

  it('finds the images of a folder', async () => {
    const { launch } = await ringside();
    const found = await launch.dynamicConfigurations(folder);
    const hello = found.find((config) => config.kernel.endsWith('hello.elf'));
    assert.equal(hello?.name, 'Debug hello.elf');
    const written = await launch.provideDebugConfigurations(folder);
    assert.ok(written!.some((config) => config.kernel === '${workspaceFolder}/hello-guest/hello.elf'));
  });

  it('without anything, F5 takes the image in the active editor', async () => {
    const { launch } = await ringside();
    const kernel = vscode.Uri.joinPath(folder.uri, 'hello-guest/hello.elf');
    await vscode.commands.executeCommand('vscode.open', kernel);
    const config = await launch.resolveDebugConfiguration(folder, empty);
    await vscode.commands.executeCommand('workbench.action.closeAllEditors');
    assert.deepEqual(config, {
      type: 'ringside',
      request: 'launch',
      name: 'Debug hello.elf',
      kernel: kernel.fsPath,
      stopOnEntry: true,
      __attachConsole: true,
      __workspaceFolder: folder.uri.fsPath,
    });
  });

  it('keeps what launch.json says', async () => {
    const { launch } = await ringside();
    const given = { type: 'ringside', request: 'launch', name: 'mine', kernel: 'k.elf', memory: '1G' };
    const config = await launch.resolveDebugConfiguration(folder, given);
    assert.deepEqual(config, { ...given, __attachConsole: true, __workspaceFolder: folder.uri.fsPath });
  });

  it('offers assembly languages and breakpoints in them', async () => {
    const document = await vscode.workspace.openTextDocument(vscode.Uri.joinPath(folder.uri, 'hello-guest/entry.S'));
    assert.equal(document.languageId, 'gas');
    const languages = await vscode.languages.getLanguages();
    for (const id of ['nasm', 'gas', 'ringside-exits']) assert.ok(languages.includes(id), id);
  });
});
