/** The serial console of a guest that prints more than a megabyte as fast as it can, in the editor with the real adapter. */
import assert from 'node:assert';
import { spawn } from 'node:child_process';
import * as vscode from 'vscode';
import { flood } from '../../guests/serialFlood';
import type { GuestSession } from '../../../src/session';
import { ringside, until } from '../fixtures/helpers';
import { longTasks } from '../fixtures/window';

const CONSOLE = { rows: 24, columns: 80 };
/** Pieces of the flood, one each 100 ms, of a terminal without a guest. */
const LUMPS = 20;
const asNode = { ...process.env, ELECTRON_RUN_AS_NODE: '1' };

/** Milliseconds of each measurement. */
interface Delays {
  /** A request through the editor: to its window, from there to the adapter, and back the same way. */
  trips: number[];
  /** The adapter's part of that, on this side of its streams. */
  adapter: number[];
  /** How late this event loop turns. */
  turns: number[];
  /** Tasks of 50 ms and more on the window's thread; undefined: nobody can tell. */
  tasks?: number[];
  seconds: number;
}

const middle = (values: number[]) => [...values].sort((a, b) => a - b)[values.length >> 1]?.toFixed(1);
const figures = (values: number[]) =>
  values.length ? `median ${middle(values)} ms, at most ${Math.max(...values).toFixed(1)} ms` : 'none';
function describeDelays({ trips, adapter, turns, tasks, seconds }: Delays): string {
  return (
    `${seconds.toFixed(1)} s; threads through the editor: ${figures(trips)}; the adapter's part: ${figures(adapter)}; ` +
    `the extension host's event loop late: ${figures(turns)}; ` +
    `long tasks in the window: ${tasks ? `${tasks.length}, ${figures(tasks)}` : 'not known'}`
  );
}

describe('the serial console', () => {
  const settings = () => vscode.workspace.getConfiguration('ringside.console');

  let answers: number[] = [];
  const asked = new Map<number, number>();
  const tracker = vscode.debug.registerDebugAdapterTrackerFactory('ringside', {
    createDebugAdapterTracker: () => ({
      onWillReceiveMessage: ({ seq }: { seq: number }) => void asked.set(seq, performance.now()),
      onDidSendMessage: (message: { type: string; request_seq?: number }) => {
        const since = message.type === 'response' ? asked.get(message.request_seq!) : undefined;
        if (since !== undefined) answers.push(performance.now() - since);
      },
    }),
  });

  before(() => settings().update('scrollback', 4 << 20, vscode.ConfigurationTarget.Global));
  after(async () => {
    tracker.dispose();
    await vscode.debug.stopDebugging().then(undefined, () => undefined); // it may be ending by itself
    await settings().update('scrollback', undefined, vscode.ConfigurationTarget.Global);
  });

  /** Asks the guest's adapter for its threads until something is over. */
  async function measure(guest: GuestSession, over: () => boolean): Promise<Delays> {
    const trips: number[] = [];
    const turns: number[] = [];
    let at = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      turns.push(now - at - 10);
      at = now;
    }, 10);
    const began = Date.now();
    answers = [];
    while (!over()) {
      const since = performance.now();
      const answered = await guest.dap('threads', {}).then(() => true, () => false); // prettier-ignore
      if (answered) trips.push(performance.now() - since);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    clearInterval(timer);
    const seconds = (Date.now() - began) / 1000;
    return { trips, adapter: answers, turns, tasks: await longTasks(began), seconds };
  }

  async function launch(name: string): Promise<GuestSession> {
    const api = await ringside();
    const extension = vscode.extensions.all.find((one) => one.packageJSON.name === 'ringside')!;
    await vscode.debug.startDebugging(vscode.workspace.workspaceFolders?.[0], {
      type: 'ringside',
      request: 'launch',
      name,
      kernel: vscode.Uri.joinPath(extension.extensionUri, 'test/guests/serialFlood.bin').fsPath,
      boot: 'multiboot',
      memory: '16M',
      stopOnEntry: true,
    });
    await until(
      () => api.sessions.active?.session.name === name && api.sessions.active.state === 'stopped',
      'the stop on entry',
    );
    return api.sessions.active!;
  }

  it('shows all of it, in order, while the extension host goes on', async function () {
    this.timeout(120_000);
    const api = await ringside();
    const guest = await launch('Flood');
    const console_ = api.consoles.all.at(-1)!;
    const shown: string[] = [];
    console_.onDidWrite((text) => shown.push(text));
    let rest = 50;
    const quiet = await measure(guest, () => rest-- === 0);
    await guest.dap('continue', { threadId: 1 });
    const hot = await measure(guest, () => guest.state === 'ended');
    await until(() => console_.ended, 'the end of the guest');
    Object.assign(this.test!, {
      figures: [
        `before the output: ${describeDelays(quiet)}`,
        `1.28 MB in ${shown.length} lumps: ${describeDelays(hot)}`,
      ].join('\n      '),
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
    console_.open(CONSOLE);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(shown.join(''), before);
  });

  it("delays the editor as the editor's own terminals do: what these do is measured", async function () {
    this.timeout(120_000);
    const guest = await launch('Stopped');
    const text = flood();
    const results: string[] = [];
    // About as fast as the guest printed, in as large lumps; alone, and while a processor is busy as it is with a guest.
    for (const busy of [false, true]) {
      const output = new vscode.EventEmitter<string>();
      const terminal = await new Promise<vscode.Terminal>((resolve) => {
        const pty = { onDidWrite: output.event, open: () => resolve(made), close: () => undefined };
        const made = vscode.window.createTerminal({ name: 'Flood alone', pty });
        made.show(true);
      });
      const computing = busy ? spawn(process.execPath, ['-e', 'while (1);'], { env: asNode }) : undefined;
      const size = Math.ceil(text.length / LUMPS);
      let at = 0;
      const timer = setInterval(() => {
        if (at < text.length) output.fire(text.slice(at, at + size));
        at += size;
      }, 100);
      const delays = await measure(guest, () => at > text.length);
      clearInterval(timer);
      computing?.kill('SIGKILL');
      terminal.dispose();
      results.push(`a terminal of the editor's${busy ? ', a processor busy' : ''}: ${describeDelays(delays)}`);
    }
    // Now that the window has drawn that much before, as it had for these two.
    await guest.dap('continue', { threadId: 1 });
    results.push(`the guest's again: ${describeDelays(await measure(guest, () => guest.state === 'ended'))}`);
    Object.assign(this.test!, { figures: results.join('\n      ') });
  });
});
