/**
 * Pages that a region has found in the soft TLB already: an access through the same registers mostly goes to the same page again, and
 * then needs no look at the TLB. The TLB changes outside of regions only, and what a region knows is forgotten where it is left.
 */
import { PAGE, State, Uop } from '../../cpu/layout';
import type { MachineMemory } from '../../mmu/memory';
import type { RegionPlan } from './regionPlan';

/** The registers that an address is made of, and the page of its displacement. */
export type AddressKey = string;

/** Accesses by way of the stack pointer. */
export const STACK_KEY: AddressKey = keyOf(State.gpr + 4 * 8, State.zero, 0);

/** Pages known at a time: each takes two locals. */
const MAX_PAGES = 4;

/** How a region accesses memory through the same registers. */
export interface Accesses {
  reads: boolean;
  writes: boolean;
}

function keyOf(base: number, index: number, page: number): AddressKey {
  return `${base} ${index} ${page}`;
}

/** Of the micro-op's memory operand. */
export function operandKey(memory: MachineMemory, uop: number): AddressKey {
  const displacement = Number(memory.i64[(uop + Uop.displacement) >> 3]);
  return keyOf(memory.i32[(uop + Uop.base) >> 2], memory.u16[(uop + Uop.index) >> 1], Math.floor(displacement / PAGE));
}

/** Which pages the region should know: those of addresses that come twice or more in one block. */
export function pagesToKnow(memory: MachineMemory, plan: RegionPlan): Map<AddressKey, Accesses> {
  const found = new Map<AddressKey, Accesses & { saved: number }>();
  const inBlock = new Set<AddressKey>();
  const note = (key: AddressKey, reads: boolean, writes: boolean): void => {
    let known = found.get(key);
    if (!known) found.set(key, (known = { reads: false, writes: false, saved: 0 }));
    known.reads ||= reads;
    known.writes ||= writes;
    if (inBlock.has(key)) known.saved++;
    inBlock.add(key);
  };
  for (const { instructions } of plan.blocks) {
    inBlock.clear();
    for (const { uop, form, writes, stack } of instructions) {
      if (stack) note(STACK_KEY, true, true);
      if (form.operands.some(({ kind }) => kind === 'm')) note(operandKey(memory, uop), !writes, writes);
    }
  }
  const worth = [...found].filter(([, { saved }]) => saved);
  worth.sort(([, a], [, b]) => b.saved - a.saved);
  return new Map(worth.slice(0, MAX_PAGES));
}
