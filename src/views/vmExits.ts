/** VM Exits: counters by reason, live, and the newest exits decoded. */
import * as vscode from 'vscode';
import { count, hex } from '../format';
import type { ExitUpdate, GuestSession, GuestSessions } from '../session';
import type { ExitCounter, ExitRecord } from '../wire';
import {
  counterDescription,
  decodedLines,
  details,
  exitFields,
  mergeExits,
  noFilter,
  place,
  shownCounters,
  shownExits,
  type ExitFilter,
} from './vmExitsModel';

interface CounterNode {
  kind: 'counter';
  counter: ExitCounter;
  total: number;
}
interface GroupNode {
  kind: 'group';
}
export interface ExitNode {
  kind: 'exit';
  exit: ExitRecord;
  parent: CounterNode | GroupNode;
}
type Node = CounterNode | GroupNode | ExitNode;

/** So many exits below a reason make it needless to read older ones. */
const enoughPerReason = 20;
/** How many exits are read then. */
const olderExits = 10_000;

export class VmExitsView implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  private readonly tree: vscode.TreeView<Node>;
  private readonly subscriptions: vscode.Disposable[];
  private counters: ExitCounter[] = [];
  private exits: ExitRecord[] = [];
  private filter: ExitFilter = noFilter;
  private guest: GuestSession | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** Exits read for rare reasons, as they were at one stop. */
  private older: { guest: GuestSession; stop: number; exits: Promise<ExitRecord[]> } | undefined;
  /** Number of the last request: an answer that comes late does not replace a later one. */
  private requests = 0;

  constructor(private readonly sessions: GuestSessions) {
    this.tree = vscode.window.createTreeView('ringside.vmExits', { treeDataProvider: this, showCollapseAll: true });
    this.subscriptions = [
      this.tree,
      this.changed,
      sessions.onDidChangeActive(() => this.activeChanged()),
      sessions.onDidChangeExits((update) => this.take(update)),
      this.tree.onDidChangeVisibility(({ visible }) => visible && this.load()),
      vscode.commands.registerCommand('ringside.exits.refresh', () => this.load()),
      vscode.commands.registerCommand('ringside.exits.filter', (text?: string) => this.askFilter(text)),
      vscode.commands.registerCommand('ringside.exits.clearFilter', () => this.setFilter({ ...this.filter, text: '' })),
      vscode.commands.registerCommand('ringside.exits.clear', () => this.clear()),
      vscode.commands.registerCommand('ringside.exits.copy', (node: Node) =>
        vscode.env.clipboard.writeText(textOf(node)),
      ),
    ];
    this.activeChanged();
  }

  dispose(): void {
    clearTimeout(this.timer);
    for (const subscription of this.subscriptions) subscription.dispose();
  }

  async getChildren(node?: Node): Promise<Node[]> {
    const exits = shownExits(this.exits, this.filter);
    if (node?.kind === 'exit') return [];
    if (node) {
      const those = node.kind === 'group' ? exits : await this.exitsOf(node.counter);
      return those.map((exit) => ({ kind: 'exit', exit, parent: node }));
    }
    const counters = shownCounters(this.counters, this.filter);
    const total = counters.reduce((sum, counter) => sum + counter.count, 0);
    const nodes: Node[] = counters.map((counter) => ({ kind: 'counter', counter, total }));
    return exits.length ? [...nodes, { kind: 'group' }] : nodes;
  }

  /** The newest exits of one reason. A rare one may lie far back: the older exits are read when its row is opened. */
  private async exitsOf({ name, count: wanted }: ExitCounter): Promise<ExitRecord[]> {
    const ofName = (exits: ExitRecord[]) => shownExits(exits, this.filter).filter((exit) => exit.name === name);
    const found = ofName(this.exits);
    const guest = this.guest;
    if (found.length >= Math.min(wanted, enoughPerReason) || guest?.state !== 'stopped') return found;
    if (this.older?.stop !== guest.stop || this.older.guest !== guest) {
      this.older = { guest, stop: guest.stop, exits: guest.exits(olderExits).catch(() => []) };
    }
    return ofName(await this.older.exits).slice(0, this.shown());
  }

  getParent(node: Node): Node | undefined {
    return node.kind === 'exit' ? node.parent : undefined;
  }

  getTreeItem(node: Node): vscode.TreeItem {
    const { Collapsed, Expanded } = vscode.TreeItemCollapsibleState;
    if (node.kind === 'exit') return exitItem(node);
    if (node.kind === 'group') {
      const item = new vscode.TreeItem('Last exits', Expanded);
      item.id = 'last';
      item.description = 'newest first';
      item.iconPath = new vscode.ThemeIcon('history');
      return item;
    }
    const item = new vscode.TreeItem(node.counter.name, Collapsed);
    item.id = `counter ${node.counter.name}`;
    item.description = counterDescription(node.counter, node.total);
    item.iconPath = new vscode.ThemeIcon('graph');
    item.contextValue = 'counter';
    item.tooltip = `${node.counter.name}, basic exit reason ${node.counter.reason}: ${count(node.counter.count)} exits`;
    return item;
  }

  /** The tooltip, when the mouse rests on an exit: its fields are asked for then. */
  async resolveTreeItem(item: vscode.TreeItem, node: Node): Promise<vscode.TreeItem> {
    if (node.kind !== 'exit') return item;
    const decoded = (await this.guest?.exitFields(node.exit.seq).catch(() => [])) ?? [];
    const lines = [...exitFields(node.exit), ...decodedLines(decoded)];
    const cell = (text: string) =>
      text.replace(/\|/g, '\\|').replace(/^ +/, (indent) => '\u00a0'.repeat(indent.length));
    item.tooltip = new vscode.MarkdownString(
      ['|||', '|-|-|', ...lines.map(([name, value]) => `|${cell(name)}|${cell(value)}|`)].join('\n'),
    );
    return item;
  }

  private activeChanged(): void {
    const guest = this.sessions.active;
    if (guest !== this.guest) {
      this.guest = guest;
      this.counters = [];
      this.exits = [];
      this.filter = { ...noFilter, text: this.filter.text };
      this.show();
    }
    if (guest?.state === 'stopped') this.load();
    else this.updateContext();
  }

  /** Takes in what the adapter reports, and shows it soon: at most once in a refresh interval. */
  private take({ counters, newest }: ExitUpdate): void {
    this.counters = counters;
    this.exits = mergeExits(this.exits, newest, this.shown());
    if (!this.tree.visible) return;
    const interval = vscode.workspace.getConfiguration('ringside.exits').get('refreshInterval', 250);
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      this.show();
    }, interval);
  }

  private shown(): number {
    return vscode.workspace.getConfiguration('ringside.exits').get('shown', 200);
  }

  private load(): void {
    void this.read().catch(() => undefined);
  }

  /** Reads all that is shown, at a stop and when asked to. */
  private async read(): Promise<void> {
    const guest = this.guest;
    if (!this.tree.visible || !guest || guest.state === 'ended' || guest.state === 'starting') return;
    const request = ++this.requests;
    const [counters, exits] = await Promise.all([guest.exitCounters(), guest.exits(this.shown())]);
    if (guest !== this.guest || request !== this.requests) return;
    this.counters = counters;
    this.exits = exits;
    this.show();
  }

  private show(): void {
    const total = shownCounters(this.counters, this.filter).reduce((sum, counter) => sum + counter.count, 0);
    this.tree.description = total ? count(total) : undefined;
    this.tree.message = this.filter.text ? `Only exits with “${this.filter.text}”` : undefined;
    this.updateContext();
    this.changed.fire(undefined);
  }

  private updateContext(): void {
    const set = (key: string, value: unknown) => void vscode.commands.executeCommand('setContext', key, value);
    const any = this.counters.some((counter) => counter.count > 0);
    const ended = this.guest?.state === 'ended';
    set('ringside.exits', this.filter.text && any ? 'filtered' : ended && !any ? 'ended' : 'empty');
    set('ringside.exitsFiltered', this.filter.text !== '');
    set('ringside.sessionKept', this.guest !== undefined);
  }

  private async askFilter(typed?: string): Promise<void> {
    const text =
      typed ??
      (await vscode.window.showInputBox({
        title: 'Filter VM Exits',
        prompt: 'Part of a name, a symbol or a decoded field. Empty shows everything.',
        placeHolder: 'CPUID, 0x3f8, timer_handler ...',
        value: this.filter.text,
      }));
    if (text !== undefined) this.setFilter({ ...this.filter, text: text.trim() });
  }

  private clear(): void {
    const baseline = new Map(this.counters.map((counter) => [counter.name, counter.count]));
    this.setFilter({ ...this.filter, after: this.exits[0]?.seq ?? -1, baseline });
  }

  private setFilter(filter: ExitFilter): void {
    this.filter = filter;
    this.show();
  }
}

function exitItem(node: ExitNode): vscode.TreeItem {
  const { exit, parent } = node;
  const item = new vscode.TreeItem(parent.kind === 'group' ? exit.name : `#${exit.seq}`);
  item.id = `${parent.kind} ${exit.seq}`;
  item.description = `${details(exit)} · ${place(exit)}${parent.kind === 'group' ? ` · #${exit.seq}` : ''}`;
  item.contextValue = 'exit';
  item.command = { command: 'ringside.exits.show', title: 'Show Exit in Disassembly', arguments: [node] };
  return item;
}

function textOf(node: Node): string {
  if (node.kind === 'counter') return `${node.counter.name} ${node.counter.count}`;
  if (node.kind === 'group') return '';
  const { exit } = node;
  return `#${exit.seq} icount ${exit.icount} vCPU ${exit.cpu} ${exit.name} ${hex(exit.rip)} ${exit.summary}`;
}
