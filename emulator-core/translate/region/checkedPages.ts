/**
 * Pages that a block or a loop of a region has found in the soft TLB: the next access through the same registers mostly goes to the
 * same page, and then needs no look at the TLB, which changes outside of regions only.
 */
import { PAGE, State, Uop } from '../../cpu/layout';
import { uopOf, type KnownBlock, type UopMemory } from './regionPlan';

/** The registers that an address is made of, and the page of its displacement, as one number. */
export type AddressKey = number;

/** More than any offset in State. */
const SLOTS = 1 << 14;

const STACK_POINTER = State.gpr + 4 * 8;
/** Accesses by way of the stack pointer. */
export const STACK_KEY: AddressKey = keyOf(STACK_POINTER, State.zero, 0);

/** How a block accesses memory through the same registers. */
export interface Accesses {
  reads: boolean;
  writes: boolean;
  count: number;
}

function keyOf(base: number, index: number, page: number): AddressKey {
  return (page * SLOTS + index) * SLOTS + base;
}

/** Of the micro-op's memory operand. */
export function operandKey(memory: UopMemory, uop: number): AddressKey {
  // The low half tells enough: displacements of 64 bits are rare.
  const page = memory.i32[(uop + Uop.displacement) >> 2] >> Math.log2(PAGE);
  return keyOf(memory.i32[(uop + Uop.base) >> 2], memory.u16[(uop + Uop.index) >> 1], page);
}

/** Accesses of a block through the same registers, where there are several. */
export function repeatedAccesses(memory: UopMemory, block: KnownBlock): Map<AddressKey, Accesses> {
  const found = new Map<AddressKey, Accesses>();
  note(memory, block, found);
  for (const [key, { count }] of found) if (count === 1) found.delete(key);
  return found;
}

/**
 * Accesses of a loop's blocks, but for those through registers that it loads: where these point to is likely to be another page each
 * time, as in a linked list.
 */
export function loopAccesses(memory: UopMemory, blocks: readonly KnownBlock[]): Map<AddressKey, Accesses> {
  const found = new Map<AddressKey, Accesses>();
  const loaded = new Set<number>();
  for (const block of blocks) {
    note(memory, block, found);
    for (const [i, { info, form }] of block.forms.entries()) {
      const loads = form.operands.length > 1 && form.operands[1].kind === 'm' && form.operands[0].kind === 'r';
      if (loads || info.row.mnemonic === 'Pop') loaded.add(memory.i32[(uopOf(block, i) + Uop.r0) >> 2] & ~7);
    }
  }
  if (loaded.has(STACK_POINTER)) found.delete(STACK_KEY);
  for (const uop of blocks.flatMap((block) => block.forms.map((_, i) => uopOf(block, i)))) {
    const [base, index] = [memory.i32[(uop + Uop.base) >> 2], memory.u16[(uop + Uop.index) >> 1]];
    if (loaded.has(base) || loaded.has(index)) found.delete(operandKey(memory, uop));
  }
  return found;
}

function note(memory: UopMemory, block: KnownBlock, found: Map<AddressKey, Accesses>): void {
  const add = (key: AddressKey, reads: boolean, writes: boolean): void => {
    const known = found.get(key);
    if (!known) found.set(key, { reads, writes, count: 1 });
    else {
      known.reads ||= reads;
      known.writes ||= writes;
      known.count++;
    }
  };
  for (const [i, { form, uses }] of block.forms.entries()) {
    const { writes, stack } = uses();
    if (stack) add(STACK_KEY, true, true);
    if (form.operands.some(({ kind }) => kind === 'm')) add(operandKey(memory, uopOf(block, i)), !writes, writes);
  }
}
