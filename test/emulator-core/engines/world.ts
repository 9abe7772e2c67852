/**
 * The modes that random programs run in, and where they find their memory: the places that test/differential aims at, with page tables
 * of 4 KiB pages so that there are pages that are missing, read-only, and dirty for the first time.
 */
import { coreFeatures } from '../../../emulator-core/cpu/cpuFeatures';
import { SegmentIndex, State } from '../../../emulator-core/cpu/layout';
import { Cr0, Cr4, Efer } from '../../../emulator-core/cpu/vcpu';
import { CODE, DATA, DATA_BYTES, READ_ONLY } from '../../differential/protocol';
import type { Random } from '../../differential/values';
import { Selector, TestMachine } from '../testMachine';

export const PAGE = 4096;
/** Code, writable in most programs; nothing is mapped behind. */
export const CODE_PAGES = 4;
export const STACK = 0x206000;
export const STACK_BYTES = 0x2000;
/** Tables of branch targets: behind what is in the read-only page otherwise. */
export const BRANCH_TABLE = READ_ONLY + 0x800;

/** In 64-bit mode the first 2 MiB-aligned pieces of memory are seen from here as well. */
export const UPPER = 0xffffffff80000000n;

const Tables = { pml4: 0x1000, pointers: 0x2000, directory: 0x3000, pages: 0x4000, upper: 0x9000, directory32: 0xd000, pages32: 0xe000 } as const; // prettier-ignore
/** Tables and descriptors. */
const SYSTEM: readonly [number, number] = [Tables.pml4, Tables.pages32 + PAGE];
/** Physical memory that instructions of a program can write to, as [from, to). */
export const WRITTEN: readonly (readonly [number, number])[] = [
  [DATA, DATA + DATA_BYTES],
  [READ_ONLY, READ_ONLY + PAGE],
  [STACK, STACK + STACK_BYTES],
  [CODE, CODE + CODE_PAGES * PAGE],
];
/** And what else changes: accessed and dirty bits, types of descriptors. */
export const USED = [SYSTEM, ...WRITTEN];

export interface World {
  name: string;
  bitness: 16 | 32 | 64;
  protectedMode: boolean;
  long: boolean;
  paging: boolean;
  cpl: 0 | 3;
  /** Bases of CS; of DS, ES and SS; and what FS and GS are further. Without meaning in 64-bit mode, but for the last. */
  codeBase: number;
  dataBase: number;
  furtherBase: number;
  codeLimit: number;
  dataLimit: number;
  /** What rip has above the code's low address. */
  codeHigh: bigint;
  writableCode: boolean;
}

type Kind = '64' | '32' | 'compat' | '32 segments' | '16' | 'real';
const KINDS: readonly Kind[] = ['64', '64', '64', '64', '64', '32', '32', 'compat', '32 segments', '32 segments', '16', 'real']; // prettier-ignore

export function chooseWorld(random: Random): World {
  const kind = random.pick(KINDS);
  const long = kind === '64' || kind === 'compat';
  const segments = kind === '32 segments';
  const narrow = kind === '16' || kind === 'real';
  const cpl = kind === 'real' ? 0 : random.chance(0.5) ? 3 : 0;
  // Without paging there must be a limit: code outside of memory ends the machine.
  const codeLimit = narrow ? 0xffff : segments && random.chance(0.5) ? CODE_PAGES * PAGE - 0x801 : 0xffffffff;
  const codeBase = narrow || codeLimit !== 0xffffffff || (segments && random.chance(0.5)) ? CODE : 0;
  return {
    name: `${kind}, CPL ${cpl}`,
    bitness: kind === '64' ? 64 : narrow ? 16 : 32,
    protectedMode: kind !== 'real',
    long,
    paging: long || (kind !== 'real' && (codeLimit === 0xffffffff || random.chance(0.6))),
    cpl,
    codeBase,
    dataBase: narrow ? 0x1f8000 : segments ? 0x1f0000 : 0,
    furtherBase: random.pick([0, 0x40, 0x123]),
    codeLimit,
    dataLimit: narrow ? 0xffff : segments ? random.pick([0x17fff, 0x17fff, 0x11fff, 0x107ff, 0xffffffff]) : 0xffffffff,
    codeHigh: kind === '64' && random.chance(0.5) ? UPPER : 0n,
    writableCode: random.chance(0.8),
  };
}

/** rip of an address in code memory. */
export function ripOf(world: World, address: number): bigint {
  return world.codeHigh + BigInt(address - world.codeBase);
}
/** The code address that an rip means, if it can be one. */
export function addressOf(world: World, rip: bigint): number {
  return Number((rip - world.codeHigh) & 0xffffffffn) + world.codeBase;
}

/** All features, so that every row is there. */
export const FEATURES = coreFeatures('intel').map((name) => '+' + name);

export function enterWorld(t: TestMachine, world: World): void {
  const { cpu } = t;
  t.write(SYSTEM[0], new Uint8Array(SYSTEM[1] - SYSTEM[0]));
  t.enter(world.long ? '64' : world.protectedMode ? '32' : 'real', world.cpl);
  mapPages(t, world);
  const cr0 =
    Cr0.MP | Cr0.ET | Cr0.NE | Cr0.WP | Cr0.AM | (world.protectedMode ? Cr0.PE : 0) | (world.paging ? Cr0.PG : 0);
  cpu.set64(State.cr0, BigInt(cr0 >>> 0));
  cpu.set64(State.cr3, BigInt(world.long ? Tables.pml4 : Tables.directory32));
  const cr4 = Cr4.OSFXSR | Cr4.OSXMMEXCPT | Cr4.OSXSAVE | Cr4.FSGSBASE | (world.long ? Cr4.PAE : 0);
  cpu.set64(State.cr4, BigInt(cr4));
  cpu.set64(State.efer, world.long ? BigInt(Efer.LME | Efer.LMA | Efer.NXE) : 0n);
  cpu.set64(State.xcr0, 7n);
  enterSegments(t, world);
  t.machine.core.flushAllTranslations();
}

/** Segment registers as a program begins with them. */
export function enterSegments(t: TestMachine, world: World): void {
  const { cpu } = t;
  const { bitness, cpl, codeBase, dataBase, furtherBase } = world;
  const dpl = world.cpl << 5;
  const set = (
    name: 'cs' | 'ds' | 'es' | 'ss' | 'fs' | 'gs',
    selector: number,
    base: number,
    limit: number,
    rights: number,
  ) => cpu.setSegment(SegmentIndex[name], selector, BigInt(base), limit, rights | dpl);
  const selectors = { 64: [Selector.code64, Selector.userCode64], 32: [Selector.code32, Selector.userCode32], 16: [Selector.code16, Selector.code16] }; // prettier-ignore
  set('cs', selectors[bitness][cpl ? 1 : 0], codeBase, world.codeLimit, { 64: 0xa09b, 32: 0xc09b, 16: 0x9b }[bitness]);
  const data = cpl ? Selector.userData : Selector.data;
  const rights = bitness === 16 ? 0x93 : 0xc093;
  for (const name of ['ds', 'es'] as const) set(name, data, dataBase, world.dataLimit, rights);
  set('ss', data, dataBase, Math.max(world.dataLimit, 0x17fff), rights);
  for (const name of ['fs', 'gs'] as const) set(name, data, dataBase + furtherBase, world.dataLimit, rights);
  cpu.modeChanged();
}

function mapPages(t: TestMachine, world: World): void {
  const entry = (table: number, index: number, value: number): void =>
    world.long ? t.write64(table + index * 8, BigInt(value)) : t.write32(table + index * 4, value);
  const user = 7;
  const readOnly = 5;
  // The piece of 2 MiB that everything lies in; 32-bit page tables have 4 MiB in one.
  const table = world.long ? Tables.pages : Tables.pages32;
  const first = world.long ? DATA >> 12 : 0;
  if (world.long) {
    entry(Tables.pml4, 0, Tables.pointers | user);
    entry(Tables.pml4, 511, Tables.upper | user);
    entry(Tables.pointers, 0, Tables.directory | user);
    entry(Tables.upper, 510, Tables.directory | user);
    t.write(Tables.directory, new Uint8Array(PAGE));
    entry(Tables.directory, 1, Tables.pages | user);
  } else entry(Tables.directory32, 0, Tables.pages32 | user);
  const map = (from: number, bytes: number, rights: number): void => {
    for (let at = from; at < from + bytes; at += PAGE) entry(table, (at >> 12) - first, at | rights);
  };
  map(DATA, DATA_BYTES, user);
  map(READ_ONLY, PAGE, readOnly);
  map(STACK, STACK_BYTES, user);
  map(CODE, CODE_PAGES * PAGE, world.writableCode ? user : readOnly);
}
