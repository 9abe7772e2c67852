/** Runs random programs in every mode of compiling and compares the machines wherever they stop. */
import { disassemble } from '../../../emulator-core/x86/disassembler';
import { Random } from '../../differential/values';
import { CODE } from '../../differential/protocol';
import { makePools, type Pools } from './body';
import { Observations } from './observations';
import { makeProgram, type Program } from './program';
import { Side, type SideMode } from './side';
import { ripOf } from './world';

const MODES: readonly SideMode[] = ['off', 'always', 'auto', 'away', 'observed', 'steps'];
/** Programs after which machines are made anew. */
const MACHINE_PROGRAMS = 2000;
const NOP = 0x90;

export interface Difference {
  seed: number;
  /** What differs, and where. */
  text: string;
}

export interface Totals {
  programs: number;
  /**
   * Blocks of the programs; how many have been executed in each mode (see Side.blocksRun); and blocks of compiled code (which are shorter:
   * one begins wherever a region's edge leads) at whose beginning the machine has been compared.
   */
  blocks: number;
  blocksRun: number;
  blocksCompared: number;
  /** Instructions that each machine has run, and how many of them compiled code has run, by mode. */
  instructions: number;
  compiled: Record<string, number>;
  comparisons: number;
  exceptions: number;
  regions: number;
}

export class EngineComparison {
  private machines: Sides = this.newSides();
  private used = 0;
  readonly pools: Record<32 | 64, Pools>;
  readonly totals: Totals = {
    programs: 0, blocks: 0, blocksRun: 0, blocksCompared: 0, instructions: 0, compiled: {}, comparisons: 0, exceptions: 0, regions: 0,
  }; // prettier-ignore

  /** @param codeCache micro-ops that the machines' code caches hold, so that these are emptied often; undefined: as many as always */
  constructor(private readonly codeCache?: number) {
    this.pools = makePools(this.machines.sides[0].t.machine.model.features);
  }

  private newSides(): Sides {
    const observations = new Observations();
    return { sides: MODES.map((mode) => new Side(mode, observations, this.codeCache)), observations };
  }
  private renew(): void {
    this.machines = this.newSides();
    this.used = 0;
  }

  /** Makes and runs the program of a seed. */
  check(seed: number): Difference | undefined {
    if (this.used++ === MACHINE_PROGRAMS) this.renew();
    const program = makeProgram(seed, this.pools);
    const { totals, machines } = this;
    const { sides } = machines;
    const before = sides.map((side) => side.compiled);
    const start = sides[0].icount;
    const regions = sides[1].t.machine.core.compiled.statistics.regions;
    const found = runProgram(program, machines, totals);
    totals.programs++;
    totals.blocks += program.blocks.length;
    totals.blocksRun += sides[sides.length - 1].blocksRun;
    // A machine that was reset counts anew.
    const reset = sides[0].icount < start;
    totals.instructions += reset ? 0 : sides[0].icount - start;
    totals.exceptions += sides[0].faults;
    totals.regions += sides[1].t.machine.core.compiled.statistics.regions - regions;
    sides.forEach((side, i) => {
      totals.compiled[side.mode] = (totals.compiled[side.mode] ?? 0) + (reset ? 0 : side.compiled - before[i]);
    });
    if (!found) return undefined;
    const text = this.explain(program, found);
    this.renew();
    return { seed, text };
  }

  /** Whether it differs on machines that have run nothing before; if so, with as few instructions as that takes. */
  private explain(program: Program, found: Mismatch): string {
    const fresh = (candidate: Program): Mismatch | undefined => runProgram(candidate, this.newSides());
    const lines = [
      `seed ${program.seed} (${program.world.name}, ${JSON.stringify(program.world, (_, v: unknown) => (typeof v === 'bigint' ? v.toString(16) : v))})`,
    ];
    let again = fresh(program);
    let smallest = program;
    if (!again) {
      lines.push('Only after other programs on the same machines.');
      again = found;
    } else {
      smallest = { ...program, episodes: program.episodes.slice(0, again.episode + 1) };
      const last = { ...smallest, episodes: smallest.episodes.slice(-1) };
      if (fresh(last)) smallest = last;
      for (const one of program.instructions) {
        const code = smallest.code.slice();
        if (code.subarray(one.at, one.at + one.length).every((byte) => byte === NOP)) continue;
        code.fill(NOP, one.at, one.at + one.length);
        const candidate = { ...smallest, code };
        const differs = fresh(candidate);
        if (!differs) continue;
        smallest = candidate;
        again = differs;
      }
    }
    lines.push(
      `after ${again.icount} instructions of episode ${again.episode}, parts ${again.parts}:`,
      ...again.text.map((line) => '  ' + line),
    );
    return [...lines, ...listing(smallest)].join('\n');
  }
}

/** Its instructions but for those that were made NOPs. */
export function listing({ code, instructions, blocks, world }: Program): string[] {
  const lines: string[] = [];
  for (const { at, length } of instructions) {
    if (code.subarray(at, at + length).every((byte) => byte === NOP)) continue;
    const block = blocks.indexOf(at);
    const bytes = code.subarray(at, at + length);
    const [x] = disassemble(bytes, ripOf(world, CODE + at), world.bitness, 1);
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    lines.push(
      `  ${ripOf(world, CODE + at).toString(16)} ${hex.padEnd(24)} ${x?.text ?? '?'}${block >= 0 ? `   ; block ${block}` : ''}`,
    );
  }
  return lines;
}

/** A machine for each mode. */
interface Sides {
  sides: Side[];
  observations: Observations;
}

interface Mismatch {
  episode: number;
  icount: number;
  parts: string;
  text: string[];
}

/** How a machine runs `count` instructions: at once, in some parts, or each for itself. */
function partsOf(random: Random, count: number): number[] {
  const n = random.below(10);
  if (n < 6) return [count];
  if (n === 9 && count < 150) return ones(count);
  const parts: number[] = [];
  for (let left = count; left > 0;) {
    const part = Math.min(left, 1 + random.below(n < 8 ? count : 20));
    parts.push(part);
    left -= part;
  }
  return parts;
}

function ones(count: number): number[] {
  return new Array<number>(count).fill(1);
}

function runProgram(program: Program, { sides, observations }: Sides, totals?: Totals): Mismatch | undefined {
  const random = new Random(program.seed ^ 0x5eed);
  for (const side of sides) side.load(program);
  const zero = sides.map((side) => side.icount);
  const bases = new Set(zero);
  for (const [number, episode] of program.episodes.entries()) {
    for (const side of sides) side.begin(episode);
    let ran = 0;
    for (const count of episode.slices) {
      ran += count;
      const parts = sides.map(({ mode }) => (mode === 'steps' ? ones(count) : partsOf(random, count)));
      const wrong = sides.flatMap((side, i) => {
        for (const part of parts[i]) {
          const failed = side.run(part);
          if (failed) return [`${side.mode}: ${failed}`];
        }
        return [];
      });
      const seen = observations.take();
      if (totals) {
        totals.comparisons++;
        totals.blocksCompared += seen.compared;
      }
      const [reference, ...others] = sides;
      wrong.push(...seen.wrong, ...(reference.over ? [] : seen.left));
      const text = [...wrong, ...others.flatMap((other) => reference.differences(other))];
      // All machines have begun at the same instruction count.
      if (text.length || bases.size > 1) {
        const shown = parts.map(
          (list, i) => `${sides[i].mode} ${list.length > 12 ? `${list.length} parts` : list.join('+')}`,
        );
        return { episode: number, icount: ran, parts: shown.join(', '), text };
      }
      if (reference.over) return undefined;
    }
  }
  return undefined;
}
