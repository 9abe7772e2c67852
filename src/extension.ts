/** Activation: registers what the other files offer, nothing else. */
import * as vscode from 'vscode';
import { SerialConsoles } from './console';
import { registerExitPlace } from './exitPlace';
import { registerLaunch } from './launch';
import { GuestSessions } from './session';
import { createEptView } from './views/ept';
import { createPageTablesView } from './views/pageTables';
import { registerPagingCommands } from './views/paging';
import { VmExitsView } from './views/vmExits';

/** What tests may look at. */
export interface RingsideApi {
  sessions: GuestSessions;
  consoles: SerialConsoles;
}

export function activate(context: vscode.ExtensionContext): RingsideApi {
  const consoles = new SerialConsoles();
  const sessions = new GuestSessions(consoles);
  registerLaunch(context);
  registerExitPlace(context, sessions);
  context.subscriptions.push(
    consoles,
    sessions,
    new VmExitsView(sessions),
    createEptView(sessions),
    createPageTablesView(sessions),
    ...registerPagingCommands(),
    vscode.commands.registerCommand('ringside.showConsole', () => consoles.show()),
  );
  return { sessions, consoles };
}
