/** What every protocol's loader gets, and checks that several of them share. */
import type { BootModule, BootRequest, EntryState } from './boot';
import type { Placement } from './placement';
import { cString } from '../writer';

export interface BootContext {
  request: BootRequest;
  placement: Placement;
  /** The ACPI RSDP, for protocols that hand over a copy. */
  rsdp: Uint8Array;
}

/** Puts the guest into memory and says how the boot processor starts. @throws BootError, ElfError */
export type ProtocolLoader = (context: BootContext) => EntryState;

/** The command line as NUL-terminated bytes. @throws BootError when it contains a NUL */
export function cmdlineBytes({ request, placement }: BootContext, cmdline = request.cmdline): Uint8Array {
  if (cmdline.includes('\0')) throw placement.error('"cmdline" contains a NUL character, which would end it');
  return cString(cmdline);
}

/** Refuses what a protocol has no way to hand over. @throws BootError naming the attribute */
export function refuseExtras({ request, placement }: BootContext, protocol: string, refused: 'all' | 'modules'): void {
  if (request.modules.length) throw placement.error(`"modules": the ${protocol} protocol has no modules`);
  if (refused === 'modules') return;
  if (request.initrd) throw placement.error(`"initrd": the ${protocol} protocol has no initial RAM disk`);
  if (request.cmdline) throw placement.error(`"cmdline": the ${protocol} protocol has no command line`);
}

/** An image's name and arguments as one string, as boot loaders pass it to multiboot images and modules. */
export function commandString(name: string, cmdline: string): string {
  const base = name.slice(Math.max(name.lastIndexOf('/'), name.lastIndexOf('\\')) + 1).replaceAll(' ', '_');
  return cmdline ? `${base} ${cmdline}` : base;
}

export interface PlacedModule {
  start: number;
  end: number;
  text: string;
}

/** Loads the initial RAM disk, if any, as first module, then the modules, from `floor` up, each on a page of its own. */
export function placeModules(context: BootContext, floor: number): PlacedModule[] {
  const { request, placement } = context;
  const modules: BootModule[] = [...request.modules];
  if (request.initrd) modules.unshift({ name: 'initrd', data: request.initrd, cmdline: '' });
  return modules.map((m) => {
    // An empty module still has an address.
    const options = { alignment: 0x1000, floor: Math.max(floor, 0x100000), upward: true };
    const start = placement.allocate(`module ${m.name}`, m.data, options, Math.max(1, m.data.length));
    return { start, end: start + m.data.length, text: commandString(m.name, m.cmdline) };
  });
}
