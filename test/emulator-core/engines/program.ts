/** Random programs: blocks with all kinds of branches between them, and episodes: states that they are started in. */
import { STATUS } from '../../differential/protocol';
import { Random, Values } from '../../differential/values';
import { Assembler, TooFar, type Placed } from './assembler';
import { emitBody, loadRegister, type Anchors, type Pools } from './body';
import { PAGE, STACK, STACK_BYTES, chooseWorld, type World } from './world';

export interface Episode {
  /** Block that it begins at. */
  block: number;
  /** General registers, then R0-R7 and YMM0-YMM15 as they lie in the vCPU's state. */
  gpr: Uint8Array;
  fpr: Uint8Array;
  ymm: Uint8Array;
  rflags: number;
  mxcsr: number;
  fcw: number;
  ftw: number;
  /** Data memory gets it when it begins. */
  data?: Uint8Array;
  /** Instructions between two comparisons. */
  slices: number[];
}

export interface Program {
  seed: number;
  world: World;
  code: Uint8Array;
  table: Uint8Array;
  instructions: Placed[];
  /** Offset behind each instruction, by its offset. */
  followers: ReadonlyMap<number, number>;
  /** Offsets of the blocks in the code, in order. */
  blocks: number[];
  episodes: Episode[];
  /** How often a block is entered before the machine in mode auto compiles it. */
  heat: number;
}

/** Most instructions between two comparisons. */
const SLICES = [8, 8, 100, 100, 100, 1000, 5000, 5000];

/** Where the stack pointer is when a program starts and after each exception. */
export const STACK_TOP = STACK + STACK_BYTES - 0x100;

export function makeProgram(seed: number, pools: Record<32 | 64, Pools>): Program {
  const random = new Random(seed);
  for (;;) {
    const world = chooseWorld(random);
    const a = new Assembler(world);
    let blocks: number[];
    try {
      blocks = emitBlocks(random, a, pools);
      a.finish();
    } catch (error) {
      // Another one, of the same numbers.
      if (error instanceof TooFar) continue;
      throw error;
    }
    const followers = new Map(a.instructions.map(({ at, length }) => [at, at + length]));
    const values = new Values(random);
    const episodes = Array.from({ length: 3 + random.below(6) }, () =>
      makeEpisode(random, values, world, blocks.length),
    );
    return {
      seed, world, code: a.code, table: a.table, instructions: a.instructions, followers, blocks, episodes, heat: random.pick([1, 2, 3, 5, 9, 20, 60]),
    }; // prettier-ignore
  }
}

function makeEpisode(random: Random, values: Values, world: World, blocks: number): Episode {
  const words = new Uint32Array(256);
  const take = (bytes: number): Uint8Array => new Uint8Array(words.slice(0, bytes / 4).buffer);
  values.writeMany('int', words, 0, 128);
  // Regions of such code are left alone where 64-bit code has left something in upper halves.
  if (world.bitness !== 64 && random.chance(0.85)) for (let r = 0; r < 16; r++) words[r * 2 + 1] = 0;
  const gpr = take(128);
  values.writeMany('f80', words, 0, 128);
  for (let r = 0; r < 8; r++) if (random.chance(0.4)) words[r * 4 + 2] = 0xffff;
  const fpr = take(128);
  const kind = random.pick(['int', 'int', 'f32', 'f64'] as const);
  values.writeMany(kind, words, 0, 512);
  const ymm = take(512);
  let data: Uint8Array | undefined;
  if (random.chance(0.3)) {
    for (let at = 0; at < 0x2000; at += 512) {
      values.writeMany(random.pick(['int', 'int', 'f32', 'f64'] as const), words, 0, 512);
      data ??= new Uint8Array(0x2000);
      data.set(take(512), at);
    }
  }
  const masks = random.chance(0.85) ? 0x1f80 : random.u32() & 0x1f80;
  const alignment = random.chance(0.04) ? 1 << 18 : 0;
  return {
    block: random.below(blocks),
    gpr,
    fpr,
    ymm,
    rflags: (random.u32() & STATUS & ~0x400) | (random.chance(0.15) ? 0x400 : 0) | alignment | 2,
    mxcsr: masks | (random.chance(0.5) ? 0 : random.u32() & 0x603f),
    fcw: random.chance(0.85) ? 0x37f : 0x340 | (random.u32() & 0xc3f),
    ftw: random.pick([0xffff, 0, 0xaaaa]),
    data,
    slices: Array.from({ length: 2 + random.below(7) }, () => 1 + random.below(random.pick(SLICES))),
  };
}

/** Returns the offsets of the blocks. Functions stand behind what calls them. */
function emitBlocks(random: Random, a: Assembler, pools: Record<32 | 64, Pools>): number[] {
  const count = 8 + random.below(20);
  const functions = 1 + random.below(5);
  const main = count - functions * 2;
  const offsets: number[] = [];
  const anchors: Anchors = [];
  for (let block = 0; block < count; block++) {
    a.place(block);
    offsets.push(a.at);
    emitBody(random, a, pools, anchors, 1 + random.below(random.chance(0.3) ? 9 : 4));
    const inFunction = block >= main;
    if (inFunction && (count - block) % 2 === 1) {
      emitReturn(random, a);
      gap(random, a);
    } else if (emitEnd(random, a, { block, count, main, inFunction })) gap(random, a);
  }
  // What runs over the end begins anew.
  a.branch([0xe9], a.near, 0);
  return offsets;
}

/** Somewhere behind what does not fall through: near, in the next page, or across a page's end. */
function gap(random: Random, a: Assembler): void {
  const n = random.below(10);
  const rest = PAGE - (a.at % PAGE);
  let to = a.at + random.below(20);
  if (n === 0) to = a.at + rest + random.below(40);
  else if (n === 1 && rest > 60) to = a.at + rest - random.below(40);
  else if (n === 2) to = a.at + random.below(300);
  if (to + 700 < a.code.length) a.at = to;
}

interface Place {
  block: number;
  count: number;
  main: number;
  inFunction: boolean;
}

/** Labels that a block may branch to: mostly near ones, forward more often than back. */
function targetOf(random: Random, { block, count, main, inFunction }: Place): number {
  if (random.chance(0.02)) return random.below(count);
  if (inFunction) return Math.min(count - 1, block + 1);
  const to = random.chance(0.6) ? block + 1 + random.below(4) : block - random.below(5);
  return ((to % main) + main) % main;
}

/** Ends a block with a branch of some kind, or none. True: control does not fall through. */
function emitEnd(random: Random, a: Assembler, place: Place): boolean {
  const { block, count, main } = place;
  const { world } = a;
  const to = targetOf(random, place);
  const back = a.labels[to] !== undefined && a.at - a.labels[to] < 120;
  const short = back ? random.chance(0.8) : to === block + 2 && random.chance(0.3);
  const n = random.below(100);
  if (n < 38) {
    const cc = random.below(16);
    if (short) a.branch([0x70 + cc], 1, to);
    else a.branch([0x0f, 0x80 + cc], a.near, to);
    return false;
  }
  if (n < 50 && back) {
    if (random.chance(0.4)) a.branch([random.pick([0xe0, 0xe1, 0xe2, 0xe2, 0xe3])], 1, to);
    else {
      // A counted loop of a register that its body may change.
      const r = random.pick([0, 1, 2, 3, 5, 6, 7]);
      a.emit(0x83, 0xe0 + r, 0x1f); // and r, 31
      if (world.bitness === 64 || random.chance(0.5))
        a.emit(0xff, 0xc8 + r); // dec
      else a.emit(0x48 + r);
      a.branch([0x0f, random.pick([0x85, 0x85, 0x8f, 0x89])], a.near, to);
    }
    return false;
  }
  if (n < 58) {
    if (short) a.branch([0xeb], 1, to);
    else a.branch([0xe9], a.near, to);
    return true;
  }
  if (n < 76) {
    // A function behind this place, at its first block.
    const first = main + 2 * random.below((count - main) / 2);
    const callee = first > block ? first : undefined;
    if (callee === undefined) return false;
    if (random.chance(0.75)) a.branch([0xe8], a.near, callee);
    else {
      const r = random.pick([0, 1, 2, 3, 5, 6, 7]);
      a.addressOf(world.bitness === 64 ? [0x48, 0xb8 + r] : [0xb8 + r], callee);
      a.emit(0xff, 0xd0 + r);
    }
    return false;
  }
  if (n < 82) {
    const r = random.pick([0, 1, 2, 3, 5, 6, 7]);
    a.addressOf(world.bitness === 64 ? [0x48, 0xb8 + r] : [0xb8 + r], to);
    if (random.chance(0.7)) a.emit(0xff, 0xe0 + r);
    else {
      a.emit(0x50 + r); // push
      a.emit(0xc3);
    }
    return true;
  }
  if (n < 90) {
    emitTableBranch(random, a, [to, targetOf(random, place), targetOf(random, place), targetOf(random, place)]);
    return true;
  }
  return false;
}

/** jmp [table + (register & 3) * pointer]. */
function emitTableBranch(random: Random, a: Assembler, labels: readonly number[]): void {
  const { world } = a;
  const table = a.addressTable(labels) - world.dataBase;
  const word = (value: number, bytes: number): number[] =>
    Array.from({ length: bytes }, (_, i) => (value >>> (8 * i)) & 255);
  if (world.bitness === 16) {
    a.emit(0x83, 0xe3, 3); // and bx, 3
    a.emit(0x01, 0xdb); // add bx, bx
    a.emit(0xff, 0xa7, ...word(table, 2));
    return;
  }
  const r = random.pick([0, 1, 2, 3, 5, 6, 7]);
  a.emit(0x83, 0xe0 + r, 3); // and r32, 3
  a.emit(0xff, 0x24, (world.bitness === 64 ? 0xc5 : 0x85) | (r << 3), ...word(table, 4));
}

function emitReturn(random: Random, a: Assembler): void {
  // Now and then with the stack pointer as it was set.
  if (random.chance(0.02)) loadRegister(a, 4, a.world.bitness, BigInt(STACK_TOP - 8 - a.world.dataBase));
  if (random.chance(0.8)) a.emit(0xc3);
  else a.emit(0xc2, random.below(3) * (a.world.bitness / 8), 0);
}
