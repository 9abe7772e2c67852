/** A paging structure as a tree, for both the EPT and the guest's page tables: tables load when they are opened. */
import * as vscode from 'vscode';
import { byteSize, hex, parseAddress } from '../format';
import type { GuestSession, GuestSessions, PagingStructure, TableReference } from '../session';
import type { PagingEntry, PagingWalk } from '../wire';
import {
  EntryHistory,
  entryDetails,
  findRow,
  pagingRows,
  rowDescription,
  rowLabel,
  rowRange,
  type PagingRow,
} from './pagingModel';

/** How the two views differ. */
export interface PagingViewDescription {
  id: string;
  structure: PagingStructure;
  /** 'guest-physical address', 'linear address'. */
  addressName: string;
  /** What a walk ends at: 'host-physical', 'guest-physical'. */
  resultName: string;
}

interface RowNode {
  kind: 'row';
  row: PagingRow;
  depth: number;
  parent?: Node;
  children?: Node[];
}
interface WalkNode {
  kind: 'walk';
  walk: PagingWalk;
}
interface StepNode {
  kind: 'step';
  parent: WalkNode;
  text: string;
  description: string;
  entry?: PagingEntry;
}
type Node = RowNode | WalkNode | StepNode;

export class PagingView implements vscode.TreeDataProvider<Node>, vscode.Disposable {
  private readonly changed = new vscode.EventEmitter<Node | undefined>();
  readonly onDidChangeTreeData = this.changed.event;
  private readonly tree: vscode.TreeView<Node>;
  private readonly subscriptions: vscode.Disposable[];
  private readonly histories = new WeakMap<GuestSession, EntryHistory>();
  private roots: Node[] | undefined;
  private shown: string | undefined;
  /** Which text stands in for an empty tree: the value of the view's context key. */
  context = 'none';
  /** The address that the user walks; looked up again at every stop. */
  private walked: bigint | undefined;

  constructor(
    private readonly what: PagingViewDescription,
    private readonly sessions: GuestSessions,
  ) {
    this.tree = vscode.window.createTreeView(what.id, { treeDataProvider: this, showCollapseAll: true });
    this.subscriptions = [
      this.tree,
      sessions.onDidChangeActive(() => this.stateChanged()),
      vscode.commands.registerCommand(`${what.id}.refresh`, () => this.refresh()),
      vscode.commands.registerCommand(`${what.id}.walk`, (address?: string) => this.walk(address)),
    ];
    this.stateChanged();
  }

  dispose(): void {
    for (const subscription of this.subscriptions) subscription.dispose();
  }

  refresh(): void {
    this.roots = undefined;
    this.changed.fire(undefined);
  }

  getTreeItem(node: Node): vscode.TreeItem {
    if (node.kind === 'row') return this.rowItem(node);
    if (node.kind === 'walk') return this.walkItem(node.walk);
    const item = new vscode.TreeItem(node.text);
    item.description = node.description;
    item.iconPath = new vscode.ThemeIcon(node.entry ? 'arrow-small-right' : 'target');
    if (node.entry) {
      item.tooltip = new vscode.MarkdownString(entryDetails(node.entry));
      item.contextValue = 'pagingStep';
    }
    return item;
  }

  getParent(node: Node): Node | undefined {
    return node.kind === 'walk' ? undefined : node.parent;
  }

  async getChildren(node?: Node): Promise<Node[]> {
    const guest = this.sessions.active;
    if (!guest || guest.state !== 'stopped') return [];
    if (!node) return (this.roots ??= await this.loadRoots(guest));
    if (node.kind === 'walk') return walkSteps(node, this.what.resultName);
    if (node.kind === 'step') return [];
    return (node.children ??= await this.loadChildren(guest, node));
  }

  private async loadRoots(guest: GuestSession): Promise<Node[]> {
    const cpu = guest.focusedCpu();
    const stop = guest.stop;
    let rows: Node[];
    let walk: PagingWalk | undefined;
    try {
      rows = this.rowNodes(guest, 'root', await guest.pagingTable(this.what.structure, cpu), 0);
      // Paging that is off looks like an empty table; a walk says why.
      if (this.walked !== undefined || !rows.length) {
        walk = await guest.pagingWalk(this.what.structure, cpu, this.walked ?? 0n);
      }
    } catch (error) {
      if (guest.stop === stop && guest.state === 'stopped') {
        this.setContext('unsupported');
        this.tree.message = error instanceof Error ? error.message : String(error);
      }
      return [];
    }
    this.tree.message = undefined;
    if (!rows.length) this.setContext(/\boff\b|disabled/i.test(walk?.fault ?? '') ? 'off' : 'empty');
    if (!rows.length && this.walked === undefined) return [];
    return walk && this.walked !== undefined ? [{ kind: 'walk', walk }, ...rows] : rows;
  }

  private async loadChildren(guest: GuestSession, node: RowNode): Promise<Node[]> {
    const { row, depth } = node;
    if (row.entries.length > 1) {
      const history = this.history(guest);
      return row.entries.map((entry) => {
        const single: PagingRow = { entries: [entry], changed: history.isChanged(entry) ? 1 : 0 };
        return { kind: 'row', row: single, depth, parent: node };
      });
    }
    const [entry] = row.entries;
    if (entry.leaf) return [];
    const table: TableReference = { address: entry.target, level: tableLevel(entry), base: entry.address };
    const entries = await guest.pagingTable(this.what.structure, guest.focusedCpu(), table);
    return this.rowNodes(guest, `${hex(table.address)} level ${table.level}`, entries, depth + 1, node);
  }

  private rowNodes(guest: GuestSession, table: string, entries: PagingEntry[], depth: number, parent?: Node): Node[] {
    const isChanged = this.history(guest).update(table, guest.stop, entries);
    return pagingRows(entries, isChanged).map((row) => ({ kind: 'row', row, depth, parent }));
  }

  private history(guest: GuestSession): EntryHistory {
    let history = this.histories.get(guest);
    if (!history) this.histories.set(guest, (history = new EntryHistory()));
    return history;
  }

  /** Asks for an address, shows the walk on top of the tree and opens the tree where it ends. */
  private async walk(typed?: string): Promise<void> {
    const guest = this.sessions.active;
    if (!guest || guest.state !== 'stopped') {
      void vscode.window.showInformationMessage('The guest is running. Pause it to walk its paging structures.');
      return;
    }
    const text = typed ?? (await this.askAddress());
    if (text === undefined) return;
    this.walked = text.trim() ? parseAddress(text) : undefined;
    this.refresh();
    const [top] = await this.getChildren();
    if (this.walked === undefined || top?.kind !== 'walk') return;
    await this.tree.reveal(top, { expand: true, focus: true });
    const row = await this.find(this.walked);
    if (row) await this.tree.reveal(row, { select: true });
  }

  private askAddress(): Thenable<string | undefined> {
    return vscode.window.showInputBox({
      title: `Walk a ${this.what.addressName}`,
      prompt: 'Hexadecimal. Empty removes the walk.',
      placeHolder: '0x200000',
      value: this.walked === undefined ? '' : hex(this.walked),
      validateInput: (text) =>
        !text.trim() || parseAddress(text) !== undefined ? undefined : 'Expected up to 16 hexadecimal digits.',
    });
  }

  /** The deepest row that maps an address, loading tables on the way. */
  private async find(address: bigint): Promise<Node | undefined> {
    let found: Node | undefined;
    let nodes = await this.getChildren();
    for (let depth = 0; depth < 8 && nodes.length; depth++) {
      const rows = nodes.filter((node) => node.kind === 'row');
      const row = findRow(
        rows.map((node) => node.row),
        address,
      );
      const next = rows.find((node) => node.row === row);
      if (!next) break;
      found = next;
      nodes = await this.getChildren(next);
    }
    return found;
  }

  private stateChanged(): void {
    const guest = this.sessions.active;
    const shown = guest && `${guest.session.id} ${guest.state} ${guest.stop} ${guest.focusedCpu()}`;
    if (shown === this.shown && guest?.state !== 'stopped') return;
    this.shown = shown;
    this.setContext(!guest ? 'none' : guest.state === 'starting' ? 'running' : guest.state);
    this.tree.message = undefined;
    this.refresh();
  }

  private setContext(value: string): void {
    this.context = value;
    void vscode.commands.executeCommand('setContext', this.what.id, value);
  }

  private rowItem(node: RowNode): vscode.TreeItem {
    const { row } = node;
    const [entry] = row.entries;
    const { None, Collapsed } = vscode.TreeItemCollapsibleState;
    const item = new vscode.TreeItem(rowLabel(row), entry.leaf && row.entries.length === 1 ? None : Collapsed);
    const [first, last] = rowRange(row);
    // The same row keeps its identity over stops, so that what was opened stays open.
    item.id = `${hex(first)} ${hex(last)} ${entry.level} ${node.depth} ${row.entries.length}`;
    item.description = rowDescription(row);
    item.contextValue = entry.leaf ? 'pagingPage' : 'pagingTable';
    const icon = !entry.leaf ? 'list-tree' : row.entries.length > 1 ? 'layers' : 'file';
    const colour = row.changed ? new vscode.ThemeColor('gitDecoration.modifiedResourceForeground') : undefined;
    item.iconPath = new vscode.ThemeIcon(icon, colour);
    item.tooltip = new vscode.MarkdownString(
      row.entries.length === 1
        ? entryDetails(entry)
        : `${row.entries.length} entries of ${byteSize(entry.span)}, ${entry.level}[${entry.index}] to [${row.entries.at(-1)!.index}]. The first:\n\n${entryDetails(entry)}`,
    );
    return item;
  }

  private walkItem(walk: PagingWalk): vscode.TreeItem {
    const item = new vscode.TreeItem(`Walk of ${hex(walk.input)}`, vscode.TreeItemCollapsibleState.Expanded);
    item.id = 'walk';
    item.description = walk.result === undefined ? (walk.fault ?? 'not mapped') : `→ ${hex(walk.result)}`;
    item.iconPath =
      walk.result === undefined
        ? new vscode.ThemeIcon('error', new vscode.ThemeColor('errorForeground'))
        : new vscode.ThemeIcon('search');
    return item;
  }
}

/** One line per entry that the walk read, and where it ended. */
function walkSteps(node: WalkNode, resultName: string): StepNode[] {
  const steps: StepNode[] = node.walk.entries.map((entry) => ({
    kind: 'step',
    parent: node,
    text: `${entry.level}[${entry.index}]`,
    description: entry.present
      ? rowDescription({ entries: [entry], changed: 0 })
      : `${hex(entry.raw, 16)} · not present`,
    entry,
  }));
  const { result, fault } = node.walk;
  const end = result === undefined ? (fault ?? 'not mapped') : hex(result);
  return [
    ...steps,
    { kind: 'step', parent: node, text: result === undefined ? 'Fault' : resultName, description: end },
  ];
}

/** Level of the table that an entry refers to; 1 is a page table. From the span, which says it in every paging mode. */
function tableLevel(entry: PagingEntry): number {
  if (entry.span >= 1n << 48n) return 4;
  if (entry.span >= 1n << 39n) return 3;
  return entry.span >= 1n << 30n ? 2 : 1;
}

/** The row or step under the context menu, for the copy commands of both views. */
export function registerPagingCommands(): vscode.Disposable[] {
  const entryOf = (node: Node) =>
    node.kind === 'row' ? node.row.entries[0] : node.kind === 'step' ? node.entry : undefined;
  const copy = (text: string | undefined) => text !== undefined && vscode.env.clipboard.writeText(text);
  return [
    vscode.commands.registerCommand('ringside.paging.copyAddress', (node: Node) => {
      const entry = entryOf(node);
      return copy(entry && hex(entry.address));
    }),
    vscode.commands.registerCommand('ringside.paging.copyEntry', (node: Node) => {
      const entry = entryOf(node);
      return copy(entry && hex(entry.raw, 16));
    }),
  ];
}
