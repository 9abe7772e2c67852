/** One machine, in one mode of compiling, that runs random programs. Exceptions lead to the next block instead of to a handler. */
import type { CompileMode } from '../../../emulator-core/cpu/compiledCode';
import { State, Uop } from '../../../emulator-core/cpu/layout';
import type { Vcpu } from '../../../emulator-core/cpu/vcpu';
import { CODE, DATA, READ_ONLY, STATUS, TEMPLATE } from '../../differential/protocol';
import { SlowCompiler } from '../slowCompiler';
import { TestMachine } from '../testMachine';
import { VISIBLE, type Observations } from './observations';
import { STACK_TOP, type Episode, type Program } from './program';
import { BRANCH_TABLE, FEATURES, STACK, STACK_BYTES, USED, addressOf, enterSegments, enterWorld, ripOf } from './world';

/** What of a vCPU's state is compared at stops, as [from, to). Where blocks begin, rip and tags of caches are not up to date. */
const COMPARED = [[State.gpr, State.ripBase], ...VISIBLE, [State.globalTag, State.bounce]] as const;
/** Exceptions of a program whose description is kept. */
const REMEMBERED = 6;

/**
 * 'away': as 'auto', but compiled elsewhere, which takes its time. 'observed': as 'always', with a look at the machine where each block
 * begins. 'steps': interpreted, each instruction for itself.
 */
export type SideMode = CompileMode | 'away' | 'observed' | 'steps';

/** How a machine compiles in a mode; undefined: as the mode says. */
const COMPILE: Partial<Record<SideMode, CompileMode>> = { away: 'auto', observed: 'always', steps: 'off' };

/** Looks that it takes until something compiled elsewhere is there: runs of the core. */
const AWAY = 3;

export class Side {
  readonly t: TestMachine;
  program!: Program;
  /** Exceptions so far: their number, a hash of what they found, and the last ones as text. */
  faults = 0;
  /** Blocks that steps have come to the end of, at least: control went elsewhere than on. Branches not taken are not seen. */
  blocksRun = 0;
  faultHash = 0;
  lastFaults: string[] = [];
  private readonly u8: Uint8Array;
  private readonly words: Uint32Array;

  /** @param observations what 'observed' notes and 'steps' compares */
  constructor(
    readonly mode: SideMode,
    private readonly observations: Observations,
    codeCache?: number,
  ) {
    const compiler = mode === 'away' ? () => new SlowCompiler(AWAY) : undefined;
    const compile = COMPILE[mode] ?? (mode as CompileMode);
    this.t = new TestMachine({ features: FEATURES, compile, compiler });
    const { machine, cpu } = this.t;
    const { memory } = machine;
    if (codeCache !== undefined) Object.assign(memory, { uopEnd: memory.uopBase + codeCache * Uop.bytes });
    this.u8 = machine.memory.u8;
    this.words = new Uint32Array(this.u8.buffer, cpu.base + State.gpr, 32);
    machine.deliver = (c) => this.fault(c);
    if (mode === 'observed') machine.core.compiled.observeBlocks((uop) => observations.note(this, uop));
  }

  get cpu(): Vcpu {
    return this.t.cpu;
  }
  get icount(): number {
    return this.t.machine.core.retired;
  }
  /** Instructions that compiled code has retired. */
  get compiled(): number {
    return this.t.machine.core.compiledInstructions;
  }

  load(program: Program): void {
    const { t } = this;
    this.program = program;
    if (this.mode === 'auto' || this.mode === 'away') {
      t.machine.core.code.heat = program.heat;
      t.machine.core.compiled.hotter = 2 * program.heat;
    }
    t.write(CODE, program.code);
    t.write(DATA, TEMPLATE);
    t.write(READ_ONLY, TEMPLATE.subarray(0, 0x1000));
    t.write(BRANCH_TABLE, program.table);
    t.write(STACK, new Uint8Array(STACK_BYTES));
    enterWorld(t, program.world);
    this.over = false;
    this.faults = this.faultHash = this.blocksRun = 0;
    this.lastFaults = [];
  }

  begin(episode: Episode): void {
    const { t, cpu, program, u8 } = this;
    enterSegments(t, program.world);
    u8.set(episode.gpr, cpu.base + State.gpr);
    u8.set(episode.fpr, cpu.base + State.fpr);
    u8.set(episode.ymm, cpu.base + State.ymm);
    cpu.set32(State.mxcsr, episode.mxcsr);
    cpu.set32(State.fcw, episode.fcw);
    cpu.set32(State.fsw, 0);
    cpu.set32(State.ftw, episode.ftw);
    cpu.setGpr(4, BigInt(STACK_TOP - program.world.dataBase));
    if (episode.data) t.write(DATA, episode.data);
    cpu.rflags = episode.rflags;
    cpu.rip = ripOf(program.world, CODE + program.blocks[episode.block]);
    cpu.pending = undefined;
    cpu.shadowUntil = -1;
    cpu.debugTraps = 0;
    cpu.activity = 'active';
    cpu.modeChanged();
    t.machine.core.flushAllTranslations();
  }

  /** The program has halted or reset the machine, as it can in ring 0 when it jumps into the middle of its instructions. */
  over = false;

  /** Runs `count` instructions; what it returned when that was not the whole of them. */
  run(count: number): string | undefined {
    if (this.over) return undefined;
    this.compareBlocks();
    const before = this.icount;
    const [at, faults] = [this.offset(), this.faults];
    const result = this.t.machine.run(count);
    // Blocks without an instruction begin where the budget is at its end, too.
    this.compareBlocks();
    // After an exception it goes on in the same block.
    if (this.mode === 'steps' && this.faults === faults && this.leaves(at)) this.blocksRun++;
    const done = this.icount - before;
    this.over = result === 'idle' || done < 0;
    if (this.over) return undefined;
    const { end } = this.t.machine;
    const why = end ? ` (${JSON.stringify(end, (_, v: unknown) => (typeof v === 'bigint' ? v.toString(16) : v))})` : '';
    return result === 'budget' && done === count
      ? undefined
      : `run(${count}) ended with '${result}'${why} after ${done}`;
  }

  /** Between two instructions, where each is run for itself: with the blocks that were noted here. */
  private compareBlocks(): void {
    if (this.mode === 'steps') this.observations.compare(this);
  }

  /** Where rip is in the program's code. */
  private offset(): number {
    return addressOf(this.program.world, this.cpu.rip) - CODE;
  }
  /** Control went from the instruction at an offset to elsewhere than it or behind it, as far as the program has one there. */
  private leaves(at: number): boolean {
    const behind = this.program.followers.get(at);
    const now = this.offset();
    return behind !== undefined && now !== behind && now !== at;
  }

  private mix(value: number): void {
    this.faultHash = Math.imul(this.faultHash ^ value, 0x9e3779b1) ^ (this.faultHash >>> 15);
  }

  /** What an operating system would do: note it, and go on somewhere else. */
  private fault(cpu: Vcpu): void {
    const { vector, error, address } = cpu.pending!;
    const { program } = this;
    const { world } = program;
    cpu.pending = undefined;
    const { icount } = this.t.machine.core;
    const { rip, rflags } = cpu;
    this.faults++;
    this.mix(vector);
    this.mix(error ?? -1);
    this.mix(Number((address ?? 0n) & 0xffffffffn));
    this.mix(Number((address ?? 0n) >> 32n));
    this.mix(icount);
    this.mix(Number(rip & 0xffffffffn));
    this.mix(Number(rip >> 32n));
    this.mix(rflags);
    for (const word of this.words) this.mix(word);
    if (this.lastFaults.length === REMEMBERED) this.lastFaults.shift();
    this.lastFaults.push(
      `vector ${vector} error ${error ?? '-'} address ${(address ?? 0n).toString(16)} at ${rip.toString(16)}, icount ${icount}, rflags ${rflags.toString(16)}`,
    );
    enterSegments(this.t, world);
    cpu.rip = ripOf(world, CODE + this.behind(addressOf(world, rip) - CODE));
    const stack = Number(cpu.gpr(4) & 0xffffffffn) + world.dataBase - STACK;
    if (!(stack >= 0x100 && stack <= STACK_BYTES - 0x80)) cpu.setGpr(4, BigInt(STACK_TOP - world.dataBase));
    cpu.rflags = (rflags & (STATUS | (1 << 18))) | 2;
    cpu.modeChanged();
    this.compareBlocks();
  }

  /** Where it goes on after an exception at an offset of the code: behind the instruction; from elsewhere, at one block or another. */
  private behind(offset: number): number {
    const { followers, blocks } = this.program;
    return followers.get(offset) ?? blocks[this.faults % blocks.length];
  }

  /** Puts the state into words where it differs from another machine's. */
  differences(other: Side): string[] {
    const found: string[] = [];
    const [a, b] = [this.cpu, other.cpu];
    const say = (what: string, mine: unknown, theirs: unknown): void => {
      if (mine !== theirs) found.push(`${what}: ${String(mine)} (${this.mode}), ${String(theirs)} (${other.mode})`);
    };
    say('icount', this.icount, other.icount);
    say('rflags', a.rflags.toString(16), b.rflags.toString(16));
    say('over', this.over, other.over);
    say('activity', a.activity, b.activity);
    say('pending exception', a.pending?.vector, b.pending?.vector);
    say('exceptions', `${this.faults} ${this.faultHash}`, `${other.faults} ${other.faultHash}`);
    for (const [from, to] of COMPARED) {
      if (!Buffer.compare(this.u8.subarray(a.base + from, a.base + to), other.u8.subarray(b.base + from, b.base + to)))
        continue;
      for (let at = from; at < to; at += 8) {
        say(`${nameOf(at)}`, a.get64(at).toString(16), b.get64(at).toString(16));
      }
    }
    for (const [from, to] of USED) {
      const [mine, theirs] = [this, other].map((side) => side.t.machine.memory.ram.subarray(from, to));
      if (!Buffer.compare(mine, theirs)) continue;
      for (let i = 0; i < mine.length && found.length < 40; i++)
        say(`byte at ${(from + i).toString(16)}`, mine[i], theirs[i]);
    }
    if (found.length && this.faultHash !== other.faultHash) {
      found.push(...[this, other].flatMap((side) => side.lastFaults.map((text) => `${side.mode}: ${text}`)));
    }
    return found;
  }
}

function nameOf(offset: number): string {
  if (offset < State.zero) return `r${offset / 8}`;
  if (offset === State.rip) return 'rip';
  if (offset >= State.ymm) return `ymm${(offset - State.ymm) >> 5}+${(offset - State.ymm) & 31}`;
  if (offset >= State.fpr && offset < State.fcw) return `fpr${(offset - State.fpr) >> 4}+${offset & 15}`;
  return `state ${offset.toString(16)}`;
}
