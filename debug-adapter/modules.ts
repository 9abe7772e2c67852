/** The guest's own symbols as a module of the Debug Adapter Protocol. */
import type { DebugProtocol as DAP } from '@vscode/debugprotocol';
import type { RuntimeSymbols } from './symbols/runtimeSymbols';

/** Files are numbered from 0. */
const RUNTIME_MODULE = 'runtime';

export function runtimeModule({ name, status }: RuntimeSymbols): DAP.Module {
  return { id: RUNTIME_MODULE, name, symbolStatus: status };
}
