/** Where symbols are from, as modules of the Debug Adapter Protocol: files, and the guest's own table. */
import type { DebugProtocol as DAP } from '@vscode/debugprotocol';
import { baseName } from './symbols/paths';
import type { SymbolStore } from './symbols/symbolStore';

/** Files are numbered from 0. */
const RUNTIME_MODULE = 'runtime';

export function modulesOf({ files, runtime }: SymbolStore): DAP.Module[] {
  const modules: DAP.Module[] = files.map(({ name, offset }, id) => ({
    id,
    name: baseName(name),
    path: name,
    symbolStatus: offset === 0n ? 'Symbols loaded' : `Symbols loaded, offset ${showOffset(offset)}`,
  }));
  if (runtime) modules.push({ id: RUNTIME_MODULE, name: runtime.name, symbolStatus: runtime.status });
  return modules;
}

function showOffset(offset: bigint): string {
  return offset < 0n ? `-0x${(-offset).toString(16)}` : `0x${offset.toString(16)}`;
}

/** What the client knows of the modules. */
export class ModuleList {
  private known = new Map<DAP.Module['id'], string>();

  /** Modules that came or changed since the last call, with the reason that a `module` event takes. */
  changes(symbols: SymbolStore): { reason: 'new' | 'changed'; module: DAP.Module }[] {
    const before = this.known;
    const now = modulesOf(symbols);
    this.known = new Map(now.map((module) => [module.id, JSON.stringify(module)]));
    return now
      .filter(({ id }) => before.get(id) !== this.known.get(id))
      .map((module) => ({ reason: before.has(module.id) ? 'changed' : 'new', module }));
  }
}
