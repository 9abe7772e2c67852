/** From the attributes of launch.json to what an engine and the adapter need: checked, sizes parsed, files read. */
import type { ByteSource } from '../emulator-core/boot/byteSource';
import { isElf } from '../emulator-core/boot/elf';
import type { Host } from './engine';
import { MODE_LIMITS, type EmbeddedLaunch, type LaunchFile, type LaunchModule } from './engines/launch';
import { messageOf } from './errors';
import { closest } from './expression/compile';
import { openDisks, type DiskAttributes } from './launchDisks';
import { openNetworks, type NetworkAttributes, type VsockAttributes } from './launchNetwork';
import { openShares, type ShareAttributes } from './launchShares';
import { readSnapshot } from './snapshotFiles';
import { baseName } from './symbols/paths';
import { checkConfiguration, LaunchError, type Schema } from './launchSchema';

export { LaunchError } from './launchSchema';

export interface SymbolSource {
  name: string;
  contents: Uint8Array | ByteSource;
  /** Address at run time less address as linked. */
  offset: bigint;
}

export type ConsoleChoice = 'terminal' | 'debugConsole' | { file: string };

export interface LaunchPlan {
  engine: EmbeddedLaunch;
  symbols: SymbolSource[];
  sourceMap: [from: string, to: string][];
  console: ConsoleChoice;
  attachConsole: boolean;
  /** Makes a path of the session's absolute. */
  resolve(path: string): string;
  /** Where snapshots go, and come from, that name no file. */
  snapshot: string;
}

const UNITS: Record<string, number> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };
const MIN_MEMORY = 2 ** 20;
/** RAM, device memory and the machine's own tables share a 4 GiB address space. */
const MAX_MEMORY = 3 * 2 ** 30;

/** Parses '256M', '64K', '1G', '0x100000' or a number of bytes. Throws a LaunchError that names the attribute. */
export function parseSize(value: unknown, attribute: string): number {
  const fail = (): never => {
    throw new LaunchError(
      `${attribute}: expected a size such as 256M (bytes, or a number with K, M or G), got ${JSON.stringify(value)}`,
    );
  };
  const text = typeof value === 'number' ? String(value) : typeof value === 'string' ? value.trim() : fail();
  const found = /^(0x[0-9a-f]+|[0-9]+)\s*([kmg]?)(?:i?b)?$/i.exec(text);
  if (!found) return fail();
  const size = Number(found[1]) * UNITS[found[2].toUpperCase()];
  if (!Number.isSafeInteger(size)) return fail();
  return size;
}

/**
 * Makes a plan of a launch configuration.
 * @param schema configurationAttributes.launch of package.json
 * @param names exits and exceptions that `exits` may name
 * @throws LaunchError that names the attribute and what it takes
 */
export async function planLaunch(
  configuration: Record<string, unknown>,
  schema: Schema,
  names: readonly string[],
  host: Host,
): Promise<LaunchPlan> {
  const checked = checkConfiguration(configuration, schema);
  rejectUnsupported(checked);

  const folder = configuration.__workspaceFolder;
  const base = typeof folder === 'string' && folder !== '' ? folder : host.cwd();
  const resolve = (path: string): string => host.resolve(base, path);
  const get = async <T>(path: string, attribute: string, how: (name: string) => Promise<T | undefined>) => {
    const name = resolve(path);
    let contents: T | undefined;
    try {
      contents = await how(name);
    } catch (error) {
      throw new LaunchError(`${attribute}: can't read '${name}': ${messageOf(error)}`);
    }
    if (!contents) throw new LaunchError(`${attribute}: there is no file '${name}'`);
    return { name, contents };
  };
  const read = async (path: string, attribute: string): Promise<LaunchFile> => {
    const { name, contents } = await get(path, attribute, (file) => host.readFile(file));
    return { name, bytes: contents };
  };
  const open = (file: string): Promise<Uint8Array | ByteSource | undefined> =>
    host.openFile ? host.openFile(file) : host.readFile(file);

  const memory = parseSize(checked.memory ?? '256M', 'memory');
  if (memory < MIN_MEMORY || memory > MAX_MEMORY) {
    throw new LaunchError(`memory: expected 1M to 3G, got ${JSON.stringify(checked.memory)}`);
  }
  if (memory % 4096 !== 0)
    throw new LaunchError(`memory: expected a multiple of 4K, got ${JSON.stringify(checked.memory)}`);

  const exits = (checked.exits ?? []) as string[];
  exits.forEach((name, i) => {
    if (names.includes(name)) return;
    const near = closest(name, names);
    const hint = near ? `did you mean "${near}"?` : `known are ${names.join(', ')}`;
    throw new LaunchError(`exits[${i}]: no VM exit or exception is called ${JSON.stringify(name)}; ${hint}`);
  });

  const kernel = await read(checked.kernel as string, 'kernel');
  if (kernel.bytes.length === 0) throw new LaunchError(`kernel: '${kernel.name}' is empty`);
  const initrd = checked.initrd ? await read(checked.initrd as string, 'initrd') : undefined;

  const modules: LaunchModule[] = [];
  for (const [i, each] of ((checked.modules ?? []) as (string | { file: string; cmdline?: string })[]).entries()) {
    const { file, cmdline = '' } = typeof each === 'string' ? { file: each } : each;
    modules.push({ ...(await read(file, `modules[${i}]`)), cmdline });
  }

  const symbols: SymbolSource[] = [];
  const wanted = (checked.symbols ?? []) as (string | { file: string; offset?: string | number })[];
  for (const [i, each] of wanted.entries()) {
    const { file, offset = 0 } = typeof each === 'string' ? { file: each } : each;
    symbols.push({ ...(await get(file, `symbols[${i}]`, open)), offset: signedBigInt(offset) });
  }
  if (wanted.length === 0 && isElf(kernel.bytes))
    symbols.push({ name: kernel.name, contents: kernel.bytes, offset: 0n });

  const snapshot = resolve((checked.snapshot as string) || `${baseName(kernel.name)}.snapshot`);
  const chosen = (checked.from as string | undefined) ?? 'boot';
  const from = chosen === 'snapshot' ? snapshot : chosen;
  const start = from === 'boot' ? undefined : await get(from, 'from', (file) => readSnapshot(host, file));

  const cpu = (checked.cpu ?? {}) as { model?: string; features?: string[] };
  const output = (checked.console ?? 'terminal') as ConsoleChoice;
  const shares = await openShares((checked.shares ?? []) as ShareAttributes[], host, resolve);
  // Last, since they stay open.
  const disks = await openDisks((checked.disks ?? []) as DiskAttributes[], host, resolve);
  const networks = await openNetworks(checked as { network?: NetworkAttributes; vsock?: VsockAttributes }, host).catch(
    (error: unknown) => {
      for (const { image } of disks) image.close?.();
      throw error;
    },
  );
  return {
    engine: {
      kernel,
      ...(initrd ? { initrd } : {}),
      modules,
      cmdline: (checked.cmdline as string | undefined) ?? '',
      boot: (checked.boot ?? 'auto') as EmbeddedLaunch['boot'],
      linuxEntry: (checked.linuxEntry ?? 'auto') as EmbeddedLaunch['linuxEntry'],
      disks,
      shares,
      ...networks,
      memory,
      cpus: (checked.cpus as number | undefined) ?? 1,
      mode: (checked.mode as EmbeddedLaunch['mode'] | undefined) ?? 'bare',
      cpu: { vendor: 'intel', ...(cpu.model ? { model: cpu.model } : {}), features: cpu.features ?? [] },
      exits,
      record: (checked.record as boolean | undefined) ?? true,
      ...(start ? { from: start.contents } : {}),
      stopOnEntry: (checked.stopOnEntry as boolean | undefined) ?? true,
      virtioConsole: (checked.virtioConsole as boolean | undefined) ?? false,
      // Where nobody says, as the process does.
      ...(configuration.compile ? { compile: checked.compile as EmbeddedLaunch['compile'] } : {}),
      debugExit: (checked.debugExit as boolean | undefined) ?? true,
      ...displayMode(checked.display as string | undefined),
    },
    symbols,
    sourceMap: Object.entries((checked.sourceMap ?? {}) as Record<string, string>)
      .sort(([a], [b]) => b.length - a.length)
      .map(([from, to]) => [from, resolve(to)]),
    console: typeof output === 'object' ? { file: resolve(output.file) } : output,
    attachConsole: configuration.__attachConsole === true,
    resolve,
    snapshot,
  };
}

/** "800x600" as a mode; "text" is none. */
function displayMode(text = 'text'): Pick<EmbeddedLaunch, 'display'> {
  if (text === 'text') return {};
  const [width, height] = text.split('x').map(Number);
  for (const [name, value] of Object.entries({ width, height })) {
    const { min, max } = MODE_LIMITS[name as keyof typeof MODE_LIMITS];
    if (value < min || value > max) {
      throw new LaunchError(`display: expected a ${name} of ${min} to ${max} pixels, got ${value}`);
    }
  }
  return { display: { width, height } };
}

function signedBigInt(value: string | number): bigint {
  if (typeof value === 'number') return BigInt(value);
  return value.startsWith('-') ? -BigInt(value.slice(1)) : BigInt(value);
}

/** Values of interface.md that this version does not do: one row each. */
const SUPPORTED: {
  attribute: string;
  read: (c: Record<string, unknown>) => unknown;
  supported: unknown[];
  text: string;
}[] = [
  { attribute: 'engine', read: (c) => c.engine, supported: ['embedded'], text: '"embedded"' },
  { attribute: 'mode', read: (c) => c.mode, supported: ['bare', 'kvm'], text: '"bare" and "kvm"' },
  {
    attribute: 'cpu.vendor',
    read: (c) => (c.cpu as { vendor?: string })?.vendor,
    supported: ['intel'],
    text: '"intel" (VMX and EPT)',
  },
  {
    attribute: 'boot',
    read: (c) => c.boot,
    supported: ['auto', 'linux', 'pvh', 'multiboot', 'multiboot2', 'bios', 'raw'],
    text: 'auto, linux, pvh, multiboot, multiboot2, bios and raw',
  },
  {
    attribute: 'domains',
    read: (c) => (c.domains as unknown[] | undefined)?.length,
    supported: [0],
    text: 'a single guest (no domains)',
  },
  { attribute: 'gdbServer', read: (c) => c.gdbServer, supported: [0], text: '0 (off)' },
];

/** Attributes that are read as their length. */
const LISTS = new Set(['domains']);

function rejectUnsupported(configuration: Record<string, unknown>): void {
  for (const { attribute, read, supported, text } of SUPPORTED) {
    const value = read(configuration);
    if (value === undefined || supported.includes(value)) continue;
    const shown = LISTS.has(attribute) ? `a list of ${value as number}` : JSON.stringify(value);
    throw new LaunchError(`${attribute}: ${shown} is not available in this version, which supports ${text}`);
  }
}
