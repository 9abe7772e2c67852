/** Activation: registers what the other files offer, nothing else. */
import * as vscode from 'vscode';
import { SerialConsoles } from './console';
import { registerExitPlace } from './exitPlace';
import { registerLaunch, type LaunchProvider } from './launch';
import { GuestSessions } from './session';
import { registerSnapshots } from './snapshots';
import { DisplayViews } from './views/display';
import { createEptView } from './views/ept';
import { createPageTablesView } from './views/pageTables';
import { registerPagingCommands, type PagingView } from './views/paging';
import { VmExitsView } from './views/vmExits';

/** What tests may look at. */
export interface RingsideApi {
  launch: LaunchProvider;
  sessions: GuestSessions;
  consoles: SerialConsoles;
  vmExits: VmExitsView;
  ept: PagingView;
  pageTables: PagingView;
}

export function activate(context: vscode.ExtensionContext): RingsideApi {
  const consoles = new SerialConsoles();
  const sessions = new GuestSessions(consoles);
  const launch = registerLaunch(context, (session, event) => sessions.get(session.id)?.received(event));
  const vmExits = new VmExitsView(sessions);
  const ept = createEptView(sessions);
  const pageTables = createPageTablesView(sessions);
  registerExitPlace(context, sessions);
  registerSnapshots(context, sessions);
  context.subscriptions.push(
    consoles,
    sessions,
    vmExits,
    ept,
    pageTables,
    new DisplayViews(context.extensionUri, sessions),
    ...registerPagingCommands(),
    vscode.commands.registerCommand('ringside.showConsole', () => consoles.show()),
    vscode.commands.registerCommand('ringside.sendTerminalSize', () => consoles.sendSize()),
  );
  return { launch, sessions, consoles, vmExits, ept, pageTables };
}
