/** A running machine with everything that was made to look into it. Exists from a successful launch to the end of the session. */
import type { Breakpoints } from './breakpoints';
import type { Evaluator } from './evaluate';
import type { GuestConsole } from './guestConsole';
import type { LinuxKernel } from './introspection/linux/kernel';
import type { ScreenChanges } from './screen';
import type { SessionSnapshots } from './snapshotFiles';
import type { StackWalker } from './stack';
import type { Stepper } from './stepping';
import type { SymbolStore } from './symbols/symbolStore';
import type { RunRequest, Target } from './target';
import type { Variables } from './variables';

export interface Debuggee {
  target: Target;
  symbols: SymbolStore;
  evaluator: Evaluator;
  stack: StackWalker;
  stepper: Stepper;
  variables: Variables;
  console: GuestConsole;
  screen: ScreenChanges;
  breakpoints: Breakpoints;
  kernel: LinuxKernel;
  snapshots: SessionSnapshots;
  /** Starts a run that the client did not ask for (a command of the debug console); it gets a `continued` event. */
  run(request: RunRequest): void;
}
