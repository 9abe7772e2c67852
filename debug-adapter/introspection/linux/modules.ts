/**
 * The modules of a stopped Linux kernel, as lsmod lists them.
 * Source: Linux, include/linux/module.h (struct module, module_use, module_memory), kernel/module/main.c (module_refcount),
 * kernel/module/procfs.c (what /proc/modules has).
 */
import { KernelMemory, type Field, type KernelContext, type KernelObject, type Struct } from './kernelMemory';

const MOST = 4096;
/** Users of all modules together. */
const MOST_USERS = 65536;
/** MODULE_REF_BASE: what the kernel itself holds of each that is loaded. */
const REF_BASE = 1;
/** enum module_state. */
const STATES = ['Live', 'Loading', 'Unloading', 'Unformed'];
/** enum mod_mem_type has seven so far. */
const MOST_PARTS = 16;

export interface KernelModule {
  name: string;
  /** Bytes. */
  size: number;
  /** undefined: the kernel was built without unloading. */
  references?: number;
  /** Modules that use it, newest first. */
  users: string[];
  state: string;
  /** Where its code is. */
  base: bigint;
}

/** Places of sizes, and of the base. */
function partsOf(module: Struct, memory: KernelMemory): { base: Field; sizes: Field[] } {
  const core = module.find('core_layout');
  if (core) {
    const names = ['core_layout', 'init_layout', 'data_layout'];
    const sizes = names.map((name) => module.find(`${name}.size`)).filter((field) => field !== undefined);
    return { base: module.field('core_layout.base'), sizes };
  }
  // From 6.4: an array with the memory of each type, that of code first.
  const all = module.field('mem');
  const part = memory.struct('module_memory');
  const base = part.field('base');
  const size = part.field('size');
  const count = Math.min(MOST_PARTS, Math.floor(all.size / part.size));
  return {
    base: { ...base, offset: all.offset + base.offset },
    sizes: Array.from({ length: count }, (_, i) => ({ ...size, offset: all.offset + i * part.size + size.offset })),
  };
}

/** Newest first, as the kernel's list is. @throws Error that says what was expected */
export async function listModules(context: KernelContext): Promise<KernelModule[]> {
  const memory = new KernelMemory(context, 'info modules');
  const head = memory.address('modules');
  const module = memory.struct('module');
  const link = module.field('list');
  const name = module.field('name');
  const state = module.field('state');
  const { base, sizes } = partsOf(module, memory);
  const references = module.find('refcnt');
  const users = module.find('source_list');
  const found: KernelModule[] = [];
  let all = 0;
  for await (const address of memory.list(head, link.offset, MOST, 'the list of modules')) {
    const one = await memory.object(module, address);
    found.push({
      name: one.text(name),
      size: sizes.reduce((sum, field) => sum + one.number(field), 0),
      ...(references ? { references: one.signed(references) - REF_BASE } : {}),
      users: users ? await usersOf(one, users, name, memory, MOST_USERS - all) : [],
      state: STATES[one.number(state)] ?? `state ${one.number(state)}`,
      base: one.pointer(base),
    });
    all += found.at(-1)!.users.length;
  }
  return found;
}

/** Names of the modules that a list of struct module_use leads to. */
async function usersOf(
  module: KernelObject,
  users: Field,
  name: Field,
  memory: KernelMemory,
  most: number,
): Promise<string[]> {
  const use = memory.struct('module_use');
  const link = use.field('source_list');
  const source = use.field('source');
  const what = `struct module of a user of ${module.text(name)}`;
  const names: string[] = [];
  for await (const address of memory.list(module.at(users), link.offset, most, `the users of ${module.text(name)}`)) {
    const user = (await memory.object(use, address)).pointer(source);
    names.push(await memory.text(user + BigInt(name.offset), name.size, what));
  }
  return names;
}

/** A line for each, as lsmod's, with state and place. */
export async function moduleLines(context: KernelContext): Promise<string> {
  const modules = await listModules(context);
  if (modules.length === 0) return 'no modules are loaded';
  const lines = modules.map(({ name, size, references, users, state, base }) => {
    const used = `${references ?? '-'} ${users.join(',')}`.trimEnd();
    return `${name.padEnd(24)} ${String(size).padStart(9)}  ${state.padEnd(9)} 0x${base.toString(16).padStart(context.wide ? 16 : 8, '0')}  ${used}`;
  });
  const place = 'Address'.padEnd(context.wide ? 18 : 10);
  return [`${'Module'.padEnd(24)} ${'Size'.padStart(9)}  ${'State'.padEnd(9)} ${place}  Used by`, ...lines].join('\n');
}
