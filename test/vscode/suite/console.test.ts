/** The serial console of a guest that prints more than a megabyte as fast as it can, in the editor with the real adapter. */
import assert from 'node:assert';
import * as vscode from 'vscode';
import { flood } from '../../guests/serialFlood';
import { ringside, until } from '../fixtures/helpers';

describe('the serial console', () => {
  const settings = () => vscode.workspace.getConfiguration('ringside.console');

  /** How late the adapter answered each request, and messages from it: on this side of its streams, without the rest of the editor. */
  const adapter = { answers: [] as number[], messages: 0 };
  const asked = new Map<number, number>();
  const tracker = vscode.debug.registerDebugAdapterTrackerFactory('ringside', {
    createDebugAdapterTracker: () => ({
      onWillReceiveMessage: ({ seq }: { seq: number }) => void asked.set(seq, performance.now()),
      onDidSendMessage: (message: { type: string; request_seq?: number }) => {
        adapter.messages++;
        const since = message.type === 'response' ? asked.get(message.request_seq!) : undefined;
        if (since !== undefined) adapter.answers.push(performance.now() - since);
      },
    }),
  });

  before(() => settings().update('scrollback', 4 << 20, vscode.ConfigurationTarget.Global));
  after(async () => {
    tracker.dispose();
    await vscode.debug.stopDebugging().then(undefined, () => undefined); // it may be ending by itself
    await settings().update('scrollback', undefined, vscode.ConfigurationTarget.Global);
  });

  it('shows all of it, in order, while the extension host goes on', async function () {
    this.timeout(120_000);
    const api = await ringside();
    const extension = vscode.extensions.all.find((one) => one.packageJSON.name === 'ringside')!;
    await vscode.debug.startDebugging(vscode.workspace.workspaceFolders?.[0], {
      type: 'ringside',
      request: 'launch',
      name: 'Flood',
      kernel: vscode.Uri.joinPath(extension.extensionUri, 'test/guests/serialFlood.bin').fsPath,
      boot: 'multiboot',
      memory: '16M',
      stopOnEntry: true,
    });
    await until(() => api.sessions.active?.state === 'stopped', 'the stop on entry');
    const guest = api.sessions.active!;
    const console_ = api.consoles.all.at(-1)!;
    const shown: string[] = [];
    console_.onDidWrite((text) => shown.push(text));
    const ask = async (into: number[]): Promise<boolean> => {
      const since = performance.now();
      const answered = await guest.dap('threads', {}).then(() => true, () => false); // prettier-ignore
      if (answered) into.push(performance.now() - since);
      await new Promise((resolve) => setTimeout(resolve, 20));
      return answered;
    };
    // Before, and while output is hot: how late an answer is that goes through the editor's window twice; and how late this event loop turns.
    const quiet: number[] = [];
    const answers: number[] = [];
    const turns: number[] = [];
    for (let i = 0; i < 50; i++) await ask(quiet);
    let at = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      turns.push(now - at - 10);
      at = now;
    }, 10);
    const began = performance.now();
    adapter.answers = [];
    adapter.messages = 0;
    await guest.dap('continue', { threadId: 1 });
    while (api.sessions.active?.state !== 'ended' && (await ask(answers))) continue;
    await until(() => api.sessions.active?.state === 'ended' && console_.ended, 'the end of the guest');
    clearInterval(timer);
    const middle = (values: number[]) => [...values].sort((a, b) => a - b)[values.length >> 1].toFixed(1);
    const figures = (values: number[]) => `median ${middle(values)} ms, at most ${Math.max(...values).toFixed(1)} ms`;
    const seconds = ((performance.now() - began) / 1000).toFixed(1);
    Object.assign(this.test!, {
      figures:
        `1.28 MB in ${seconds} s in ${shown.length} lumps and ${adapter.messages} messages; the adapter answered: ` +
        `${figures(adapter.answers)}; threads through the editor: ${figures(answers)}, before the output: ${figures(quiet)}; ` +
        `the extension host's event loop late: ${figures(turns)}`,
    });
    const expected = flood();
    const actual = console_.text.slice(0, expected.length);
    let same = 0;
    while (same < expected.length && actual[same] === expected[same]) same++;
    assert.equal(
      same,
      expected.length,
      `differs from character ${same}: ${JSON.stringify(actual.slice(same, same + 80))}`,
    );
    assert.match(console_.text.slice(expected.length), /Flood: the guest has ended/);
    assert.ok(shown.join('').startsWith(expected), 'the terminal got the same');
  });

  it('opened again, shows what was written, once', async () => {
    const api = await ringside();
    const console_ = api.consoles.all.at(-1)!;
    const before = console_.text;
    const shown: string[] = [];
    console_.onDidWrite((text) => shown.push(text));
    console_.open({ rows: 24, columns: 80 });
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(shown.join(''), before);
  });
});
