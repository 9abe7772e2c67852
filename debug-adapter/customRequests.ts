/** One row per custom request: its handler. Types and names are in protocol.ts. */
import type { Debuggee } from './debuggee';
import { fromBase64, toBase64 } from './memoryReference';
import type { ExitItem, RingsideRequest, RingsideRequests, TableReference } from './protocol';
import type { ExitRecord } from './target';
import { fromHex, toWire } from './wire';

type Handlers = {
  [K in RingsideRequest]: (debuggee: Debuggee, args: RingsideRequests[K]['arguments']) => RingsideRequests[K]['body'];
};

const MAX_EXITS = 10_000;
/** 16 bits, as in struct virtio_console_config and struct winsize. */
const MAX_CHARACTERS = 0xffff;

function table(reference: TableReference | undefined): { address: bigint; level: number; base: bigint } | undefined {
  if (!reference) return undefined;
  const { level } = reference;
  if (!Number.isInteger(level) || level < 0 || level > 5) throw new Error(`table.level: expected 0 to 5, got ${level}`);
  return { address: fromHex(reference.address, 'table.address'), level, base: fromHex(reference.base, 'table.base') };
}

/** vCPU of a request. Throws an Error for one that is not there. */
function cpuOf({ target }: Debuggee, cpu = 0): number {
  if (!target.vcpus().some((vcpu) => vcpu.index === cpu)) throw new Error(`cpu: no vCPU ${cpu}`);
  return cpu;
}

/** An exit with where its instruction is in the sources. */
export function exitItem({ symbols }: Debuggee, exit: ExitRecord): ExitItem {
  const line = symbols.lineAt(exit.rip);
  return { ...toWire(exit), symbol: symbols.describeAddress(exit.rip), file: line?.file, line: line?.line };
}

export const customRequests: Handlers = {
  'ringside/exits': (debuggee, { count, before }) => {
    if (!Number.isInteger(count) || count < 0)
      throw new Error(`count: expected a number from 0, got ${JSON.stringify(count)}`);
    return { exits: debuggee.target.exits(Math.min(count, MAX_EXITS), before).map((exit) => exitItem(debuggee, exit)) };
  },
  'ringside/exit': ({ target }, { seq }) => {
    const [exit] = target.exits(1, seq + 1);
    if (!exit || exit.seq !== seq) throw new Error(`exit ${seq} is not in the log any more`);
    return { fields: target.describeExit(exit) };
  },
  'ringside/exitCounters': ({ target }) => ({ counters: target.exitCounters(), icount: target.icount() }),
  'ringside/ept': (debuggee, args) => ({
    entries: toWire(debuggee.target.ept(cpuOf(debuggee, args.cpu), table(args.table))),
  }),
  'ringside/eptWalk': (debuggee, args) =>
    toWire(debuggee.target.eptWalk(cpuOf(debuggee, args.cpu), fromHex(args.gpa, 'gpa'))),
  'ringside/pageTables': (debuggee, args) => ({
    entries: toWire(debuggee.target.pageTables(cpuOf(debuggee, args.cpu), table(args.table))),
  }),
  'ringside/pageWalk': (debuggee, args) =>
    toWire(debuggee.target.pageWalk(cpuOf(debuggee, args.cpu), fromHex(args.gva, 'gva'))),
  'ringside/vmcs': (debuggee, args) => ({ fields: debuggee.target.vmcs(cpuOf(debuggee, args.cpu)) }),
  'ringside/devices': ({ target }) => ({ fields: target.devices() }),
  'ringside/consoleAttach': ({ console }) => {
    const { data, missing } = console.attach();
    return { data: toBase64(data), missing };
  },
  'ringside/screen': ({ target, screen }, { since }) => screen.update(target.screen?.(), since),
  'ringside/key': ({ target }, { code, down }) => {
    if (typeof code !== 'string') throw new Error(`code: expected a key such as "KeyA", got ${JSON.stringify(code)}`);
    return { accepted: target.key?.(code, down === true) ?? false };
  },
  'ringside/pointer': ({ target }, args) => {
    const [dx, dy, wheel, buttons] = (['dx', 'dy', 'wheel', 'buttons'] as const).map((name) => {
      const value = args[name] ?? 0;
      if (!Number.isInteger(value)) throw new Error(`${name}: expected a whole number, got ${JSON.stringify(value)}`);
      return value;
    });
    if (buttons < 0 || buttons > 31) throw new Error(`buttons: expected a mask from 0 to 31, got ${buttons}`);
    return { accepted: target.pointer?.(dx, dy, wheel, buttons) ?? false };
  },
  'ringside/consoleSize': ({ target }, { cols, rows }) => {
    for (const [name, value] of Object.entries({ cols, rows }))
      if (!Number.isInteger(value) || value < 1 || value > MAX_CHARACTERS)
        throw new Error(`${name}: expected a number from 1 to ${MAX_CHARACTERS}, got ${JSON.stringify(value)}`);
    return { accepted: target.consoleSize?.(cols, rows) ?? false };
  },
  'ringside/consoleInput': ({ target }, { data }) => ({ accepted: target.consoleInput(fromBase64(data)) }),
};
