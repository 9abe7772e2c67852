/**
 * How an instruction ends that gives control back to the run loop. Blocks are charged when they are entered: what of one does not
 * retire goes back to the budget here.
 */
import { SlowResult } from '../translate/abi';
import { carry } from './halves';
import { State, Uop } from './layout';
import type { Vcpu } from './vcpu';

/** The instruction at micro-op `uop` has not happened: rip points at it and it is not counted. Returns SlowResult.abort. */
export function abortInstruction(cpu: Vcpu, uop: number): number {
  const { i32 } = cpu.memory;
  setRip(cpu, i32[(uop + Uop.ip) >> 2]);
  cpu.set32(State.budget, cpu.get32(State.budget) + i32[(uop + Uop.left) >> 2]);
  cpu.debugHits = 0;
  return SlowResult.abort;
}

/**
 * The instruction at micro-op `uop` is done, and rip is behind it, or at `rip` where the assist put it. Returns what tells a handler
 * to return to the run loop.
 */
export function completeInstruction(cpu: Vcpu, uop: number, rip?: bigint): number {
  const { i32 } = cpu.memory;
  if (rip === undefined) setRip(cpu, i32[(uop + Uop.ip) >> 2] + i32[(uop + Uop.length) >> 2]);
  else cpu.rip = rip;
  cpu.set32(State.budget, cpu.get32(State.budget) + i32[(uop + Uop.left) >> 2] - 1);
  return 1;
}

/** To an offset, not negative, from where the micro-ops' page begins. */
function setRip(cpu: Vcpu, offset: number): void {
  const base = cpu.get32(State.ripBase);
  const low = (base + offset) | 0;
  cpu.set32(State.rip, low);
  cpu.set32(State.rip + 4, carry(base, cpu.get32(State.ripBase + 4), low));
}
