/** One model per debug session, fed by the adapter's events; what the views show comes from the active one. */
import * as vscode from 'vscode';
import { debugType } from './launch';
import { SerialConsole, type SerialConsoles } from './console';
import type { RingsideEvents, RingsideRequest, RingsideRequests } from '../debug-adapter/protocol';
import {
  entryFromWire,
  exitFromWire,
  fromBase64,
  toBase64,
  toHex,
  walkFromWire,
  type DecodedField,
  type ExitCounter,
  type ExitRecord,
  type PagingEntry,
  type PagingWalk,
} from './wire';

export type SessionState = 'starting' | 'running' | 'stopped' | 'ended';
export type PagingStructure = 'ept' | 'pageTables';

/** A table below the root: its physical address, its level (1: page table), and the lowest address that it maps. */
export interface TableReference {
  address: bigint;
  level: number;
  base: bigint;
}

/** Exits as the adapter reports them while the guest runs. */
export interface ExitUpdate {
  counters: ExitCounter[];
  /** Newest first; the newest few, not all since the last update. */
  newest: ExitRecord[];
}

export class GuestSession implements vscode.Disposable {
  private readonly stateEmitter = new vscode.EventEmitter<void>();
  private readonly exitsEmitter = new vscode.EventEmitter<ExitUpdate>();
  readonly onDidChangeState = this.stateEmitter.event;
  readonly onDidChangeExits = this.exitsEmitter.event;
  state: SessionState = 'starting';
  /** Running number of the stop; views compare what they show with the stop before. */
  stop = 0;
  private exitCode: number | undefined;
  private console: SerialConsole | undefined;
  /** Output that overtook the backlog on its way through the editor. */
  private early: Uint8Array[] | undefined = [];

  constructor(
    readonly session: vscode.DebugSession,
    private readonly consoles: SerialConsoles,
  ) {}

  /** Every message from the adapter: Ringside's own events from its process, all else as the debug adapter tracker sees it. */
  received(message: { type: string; event?: string; command?: string; success?: boolean; body?: unknown }): void {
    if (message.type === 'response') {
      const runs = ['continue', 'next', 'stepIn', 'stepOut', 'stepBack', 'reverseContinue', 'configurationDone'];
      if (message.success && this.state !== 'ended' && runs.includes(message.command!)) this.enter('running');
      return;
    }
    switch (message.event) {
      case 'stopped':
        this.stop++;
        this.enter('stopped');
        break;
      case 'continued':
        this.enter('running');
        break;
      case 'exited':
        this.exitCode = (message.body as { exitCode: number }).exitCode;
        break;
      case 'terminated':
        this.end();
        break;
      case 'invalidated':
      case 'memory':
        if (this.state === 'stopped') this.stateEmitter.fire();
        break;
      default:
        if (message.event) this.custom(message.event, message.body);
    }
  }

  /** A custom event; through the tracker, too, where the adapter is a server (debugServer). */
  private custom(event: string, body: unknown): void {
    switch (event) {
      case 'ringside/exitsChanged': {
        const { counters, newest } = body as RingsideEvents['ringside/exitsChanged'];
        this.exitsEmitter.fire({ counters, newest: newest.map(exitFromWire) });
        break;
      }
      case 'ringside/console':
        this.consoleOutput(fromBase64((body as RingsideEvents['ringside/console']).data));
        break;
      case 'ringside/note':
        // The debug console has it too; the status bar is for those who look elsewhere.
        vscode.window.setStatusBarMessage(`$(info) ${(body as RingsideEvents['ringside/note']).text}`, 10_000);
        break;
    }
  }

  /** The adapter is gone. */
  end(): void {
    if (this.state === 'ended') return;
    const status = this.exitCode ? ` with status ${this.exitCode}` : '';
    this.console?.end(`${this.session.name}: the guest has ended${status}`);
    this.enter('ended');
  }

  dispose(): void {
    this.end();
    this.stateEmitter.dispose();
    this.exitsEmitter.dispose();
  }

  /** Makes the serial console ready before the first byte comes. */
  async attachConsole(): Promise<void> {
    const configured = this.session.configuration.console ?? 'terminal';
    if (configured !== 'terminal') return;
    const console = this.openConsole();
    const backlog = await this.request('ringside/consoleAttach', {}).catch(() => undefined);
    if (backlog?.missing) console.note(`${backlog.missing} bytes of earlier output are not kept`);
    if (backlog) console.output(fromBase64(backlog.data));
    for (const bytes of this.early ?? []) console.output(bytes);
    this.early = undefined;
  }

  /** Newest first. */
  async exits(count: number): Promise<ExitRecord[]> {
    return (await this.request('ringside/exits', { count })).exits.map(exitFromWire);
  }

  /** All architectural fields of one exit, decoded. Error when it is not in the log any more. */
  async exitFields(seq: number): Promise<DecodedField[]> {
    return (await this.request('ringside/exit', { seq })).fields;
  }

  async exitCounters(): Promise<ExitCounter[]> {
    return (await this.request('ringside/exitCounters', {})).counters;
  }

  /** One table's present entries; without `table` the root's. */
  async pagingTable(structure: PagingStructure, cpu: number, table?: TableReference): Promise<PagingEntry[]> {
    const wire = table && { address: toHex(table.address), level: table.level, base: toHex(table.base) };
    return (await this.request(`ringside/${structure}`, { cpu, table: wire })).entries.map(entryFromWire);
  }

  async pagingWalk(structure: PagingStructure, cpu: number, address: bigint): Promise<PagingWalk> {
    const input = toHex(address);
    const walk =
      structure === 'ept'
        ? this.request('ringside/eptWalk', { cpu, gpa: input })
        : this.request('ringside/pageWalk', { cpu, gva: input });
    return walkFromWire(await walk);
  }

  /** The vCPU that the Call Stack view has in focus. */
  focusedCpu(): number {
    const item = vscode.debug.activeStackItem;
    return item && item.session.id === this.session.id && 'threadId' in item ? Math.max(0, item.threadId - 1) : 0;
  }

  request<K extends RingsideRequest>(
    command: K,
    args: RingsideRequests[K]['arguments'],
  ): Promise<RingsideRequests[K]['body']> {
    return this.dap(command, args);
  }

  /** Any request of DAP; the caller knows its body. */
  async dap<T>(command: string, args: unknown): Promise<T> {
    return (await this.session.customRequest(command, args)) as T;
  }

  private async type(data: Uint8Array): Promise<void> {
    const { accepted } = await this.request('ringside/consoleInput', { data: toBase64(data) });
    if (accepted) return;
    void vscode.window.showWarningMessage(
      `${data.length} bytes were not typed into the guest: as much as fits waits for it already.`,
    );
  }

  private consoleOutput(bytes: Uint8Array): void {
    if (this.early) this.early.push(bytes);
    else this.console?.output(bytes);
  }

  private openConsole(): SerialConsole {
    const unlessEnded = (work: () => Promise<unknown>): void => {
      if (this.state !== 'ended') void work().catch(() => undefined); // the session is ending
    };
    this.console ??= this.consoles.create(
      this.session.name,
      (data) => unlessEnded(() => this.type(data)),
      ({ columns, rows }) => unlessEnded(() => this.request('ringside/consoleSize', { cols: columns, rows })),
    );
    return this.console;
  }

  private enter(state: SessionState): void {
    if (this.state === 'ended' || (this.state === state && state !== 'stopped')) return;
    this.state = state;
    this.stateEmitter.fire();
  }
}

/** Follows all sessions of type ringside and tells which one the views show. */
export class GuestSessions implements vscode.Disposable {
  private readonly sessions = new Map<string, GuestSession>();
  private readonly activeEmitter = new vscode.EventEmitter<void>();
  /** The shown session is another one, or the shown session's state or stop changed. */
  readonly onDidChangeActive = this.activeEmitter.event;
  private readonly exitsEmitter = new vscode.EventEmitter<ExitUpdate>();
  /** The shown session has new exits. */
  readonly onDidChangeExits = this.exitsEmitter.event;
  private readonly subscriptions: vscode.Disposable[] = [];
  /** The session that the views show. It stays after its end, until another one starts. */
  active: GuestSession | undefined;

  constructor(private readonly consoles: SerialConsoles) {
    this.subscriptions.push(
      vscode.debug.registerDebugAdapterTrackerFactory(debugType, {
        createDebugAdapterTracker: (session) => {
          const guest = this.track(session);
          return {
            onDidSendMessage: (message) => guest.received(message),
            onExit: () => guest.end(),
          };
        },
      }),
      vscode.debug.onDidStartDebugSession((session) => {
        if (session.type === debugType)
          void this.track(session)
            .attachConsole()
            .catch(() => undefined);
      }),
      vscode.debug.onDidChangeActiveDebugSession((session) => {
        const guest = session && this.sessions.get(session.id);
        if (guest) this.show(guest);
      }),
      vscode.debug.onDidChangeActiveStackItem(() => this.activeEmitter.fire()),
      vscode.debug.onDidTerminateDebugSession((session) => {
        this.sessions.get(session.id)?.end();
        this.sessions.delete(session.id);
      }),
    );
  }

  get(id: string): GuestSession | undefined {
    return this.sessions.get(id);
  }

  dispose(): void {
    for (const subscription of this.subscriptions) subscription.dispose();
    for (const guest of this.sessions.values()) guest.dispose();
  }

  private track(session: vscode.DebugSession): GuestSession {
    let guest = this.sessions.get(session.id);
    if (!guest) {
      const created = new GuestSession(session, this.consoles);
      guest = created;
      this.sessions.set(session.id, created);
      created.onDidChangeState(() => {
        if (this.active === created) this.activeEmitter.fire();
      });
      created.onDidChangeExits((update) => {
        if (this.active === created) this.exitsEmitter.fire(update);
      });
      void vscode.commands.executeCommand('setContext', 'ringside.used', true);
      this.show(created);
    }
    return guest;
  }

  private show(guest: GuestSession): void {
    if (this.active === guest) return;
    this.active = guest;
    this.activeEmitter.fire();
  }
}
