/**
 * What a machine is wherever a block of compiled code begins, and so where another ended: noted when it runs everything compiled, and
 * compared when another does the same instructions one by one. Page and descriptor tables are left to the comparison where both stop.
 */
import { State, Uop } from '../../../emulator-core/cpu/layout';
import { Flag } from '../../../emulator-core/cpu/vcpu';
import type { Side } from './side';
import { WRITTEN } from './world';

/** What of a vCPU's state guests and debuggers can see beside registers, rip and flags, as [from, to). */
export const VISIBLE: readonly (readonly [number, number])[] = [
  [State.cpl, State.budget],
  [State.tlb, State.codeTag],
  [State.stackMask, State.slowAddress],
  [State.linearMask, State.linkFrom],
  [State.segments, State.globalTag],
  [State.flatSegment, State.vectorA],
];
const REGISTERS = 16;
/** Blocks of a run that are told of: one error leads to the next. */
const SHOWN = 3;

interface Observation {
  icount: number;
  /** Exceptions so far: the instruction after one has the count of the one before. */
  faults: number;
  /** General registers, in halves. */
  registers: Uint32Array;
  rip: bigint;
  /** Without RF, which is clear already where the instruction that it is set for begins. */
  rflags: number;
  /** Hashes of the rest: the ranges of VISIBLE, then of WRITTEN. */
  hashes: number[];
}

function hashesOf({ t, cpu }: Side): number[] {
  const { u32, ramBase } = t.machine.memory;
  const hash = (base: number, [from, to]: readonly [number, number]): number => {
    let value = 0;
    for (let i = (base + from) >> 2, end = (base + to) >> 2; i < end; i++) {
      value = Math.imul(value ^ u32[i], 0x9e3779b1);
      value ^= value >>> 15;
    }
    return value;
  };
  return [...VISIBLE.map((range) => hash(cpu.base, range)), ...WRITTEN.map((range) => hash(ramBase, range))];
}

function observe(side: Side, icount: number, rip: bigint): Observation {
  const { cpu, faults } = side;
  const at = (cpu.base + State.gpr) >> 2;
  const registers = side.t.machine.memory.u32.slice(at, at + 2 * REGISTERS);
  return { icount, faults, registers, rip, rflags: cpu.rflags & ~Flag.RF, hashes: hashesOf(side) };
}

function differences(a: Observation, b: Observation): string[] {
  const found: string[] = [];
  const say = (name: string, mine: number | bigint, other: number | bigint): void => {
    if (mine !== other) found.push(`${name} ${mine.toString(16)}, not ${other.toString(16)}`);
  };
  a.registers.forEach((half, i) => say(`${i & 1 ? 'upper' : 'lower'} half of r${i >> 1}`, half, b.registers[i]));
  say('rip', a.rip, b.rip);
  say('rflags', a.rflags, b.rflags);
  a.hashes.forEach((hash, i) => {
    if (hash === b.hashes[i]) return;
    const memory = i >= VISIBLE.length;
    const [at] = memory ? WRITTEN[i - VISIBLE.length] : VISIBLE[i];
    found.push(`${memory ? 'memory' : 'state'} from ${at.toString(16)} on`);
  });
  return found;
}

export class Observations {
  private list: Observation[] = [];
  private next = 0;
  private wrong: string[] = [];

  /** Of a block of compiled code that is about to begin. */
  note(side: Side, uop: number): void {
    const { cpu, t } = side;
    const { i32 } = t.machine.memory;
    // As handlers know it: the block has been charged.
    const icount = Number(cpu.get64(State.icountEnd)) - cpu.get32(State.budget) - i32[(uop + Uop.left) >> 2];
    const rip = BigInt.asUintN(64, cpu.get64(State.ripBase) + BigInt(i32[(uop + Uop.ip) >> 2]));
    this.list.push(observe(side, icount, rip));
  }

  /** The machine that steps is between two instructions: is it as it was noted? */
  compare(side: Side): void {
    let mine: Observation | undefined;
    for (; this.next < this.list.length; this.next++) {
      const noted = this.list[this.next];
      if (noted.icount !== side.icount || noted.faults !== side.faults) return;
      mine ??= observe(side, side.icount, side.cpu.rip);
      const found = differences(noted, mine);
      if (!found.length || this.wrong.length >= SHOWN) continue;
      this.wrong.push(`where a block begins after ${noted.icount} instructions: ${found.join(', ')} (steps)`);
    }
  }

  /**
   * What was wrong since the last time, how many blocks were compared, and what is to be said when the machine that steps has gone all
   * the way and one is left.
   */
  take(): { wrong: string[]; compared: number; left: string[] } {
    const { list, next, wrong } = this;
    const left = list
      .slice(next, next + 1)
      .map(({ icount }) => `a block begins after ${icount} instructions, where steps do not come by`);
    this.list = [];
    this.next = 0;
    this.wrong = [];
    return { wrong, compared: next, left };
  }
}
