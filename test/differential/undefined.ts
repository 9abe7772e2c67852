/** What the manuals leave undefined in a case: flags, registers and bytes of memory that are not compared. */
import type { UndefinedResult } from '../../emulator-core/x86/instructions/instruction';
import type { Encoded, MemoryUse } from './encode';
import type { Sequence } from './generate';
import { Case } from './protocol';

const FLAG_BITS: Record<string, number> = { CF: 1, PF: 4, AF: 0x10, ZF: 0x40, SF: 0x80, OF: 0x800 };

/** Flag names ('OF SF') as RFLAGS bits. */
export function flagBits(names: string): number {
  return names.split(' ').reduce((bits, name) => bits | FLAG_BITS[name], 0);
}

/** Count of a shift or rotate; undefined when it is not known before the instruction runs. */
function count(sequence: Sequence, one: Encoded, cases: Buffer, at: number): number | undefined {
  const mask = one.form.info.operandBits === 64 ? 63 : 31;
  if (one.immediate !== undefined) return one.immediate & mask;
  if (sequence.instructions.length > 1) return undefined;
  return cases[at + Case.gpr + 8] & mask;
}

function applies(result: UndefinedResult, sequence: Sequence, one: Encoded, cases: Buffer, at: number): boolean {
  if (!result.when) return true;
  const n = count(sequence, one, cases, at);
  if (n === undefined) return true;
  const size = one.form.info.operandBits;
  switch (result.when) {
    case 'count is not 0':
      return n !== 0;
    case 'count is over 1':
      return n > 1;
    case 'count is the size or more':
      return n >= size;
    case 'count is over the size':
      return n > size;
  }
}

function results(sequence: Sequence, cases: Buffer, at: number): { one: Encoded; result: UndefinedResult }[] {
  return sequence.instructions.flatMap((one) =>
    (one.form.info.row.undefinedResults ?? [])
      .filter((result) => applies(result, sequence, one, cases, at))
      .map((result) => ({ one, result })),
  );
}

export function undefinedFlags(sequence: Sequence, cases: Buffer, at: number): number {
  let bits = 0;
  for (const { result } of results(sequence, cases, at)) if (result.flags) bits |= flagBits(result.flags);
  return bits;
}

/** General registers, one bit each. */
export function undefinedRegisters(sequence: Sequence, cases: Buffer, at: number): number {
  let bits = 0;
  for (const { one, result } of results(sequence, cases, at))
    if (result.destination && !one.form.memory && one.destination >= 0) bits |= 1 << one.destination;
  return bits;
}

/**
 * Bytes of stored images that depend on the processor: instruction and data pointers and opcode of the x87 FPU, which AMD
 * processors keep for unmasked exceptions only (APM Vol. 2, "Media and x87 Processor State"), and MXCSR_MASK.
 */
const IMAGES: readonly (readonly [name: RegExp, ranges: readonly (readonly [from: number, to: number])[]])[] = [
  [/^Fn(stenv|save)_m(14|94)byte/, [[6, 14]]],
  [/^Fn(stenv|save)_m(28|108)byte/, [[12, 28]]],
  [/^(Fxsave|Xsave)/, [[6, 24], [28, 32]]],
]; // prettier-ignore

/** Linear address that a memory use has with the case's registers (exact where it lies in data memory). */
export function addressOf(use: MemoryUse, cases: Buffer, at: number): number {
  if (use.fixed !== undefined) return use.fixed;
  const wide = use.addressBits === 64;
  const register = (n: number): number => {
    if (n < 0) return 0;
    const low = cases.readUInt32LE(at + Case.gpr + n * 8);
    return wide ? low + cases.readInt32LE(at + Case.gpr + n * 8 + 4) * 0x100000000 : low;
  };
  let address = register(use.base) + register(use.index) * use.scale + use.displacement;
  if (!wide) address = modulo(address, 2 ** use.addressBits);
  if (use.segment !== 'none') address += cases.readUInt32LE(at + (use.segment === 'fs' ? Case.fsBase : Case.gsBase));
  return address;
}
const modulo = (a: number, b: number): number => a - Math.floor(a / b) * b;

/** True for addresses of bytes that are not compared. */
export function undefinedMemory(sequence: Sequence, cases: Buffer, at: number): (address: number) => boolean {
  const ranges: [number, number][] = [];
  for (const one of sequence.instructions) {
    const image = IMAGES.find(([name]) => name.test(one.form.info.name));
    if (image) {
      const start = addressOf(one.memory[0], cases, at);
      for (const [from, to] of image[1]) ranges.push([start + from, start + to]);
    }
  }
  // SDM Vol. 2, PUSH: the upper half of a 32-bit slot is written as zero or not at all.
  if (/^Pushd_[CDEFGS]S/.test(sequence.instructions[0].form.info.name)) {
    const top = cases.readUInt32LE(at + Case.gpr + 4 * 8);
    ranges.push([top - 2, top]);
  }
  for (const { one, result } of results(sequence, cases, at))
    if (result.destination && one.form.memory) {
      const start = addressOf(one.memory[0], cases, at);
      ranges.push([start, start + one.memory[0].bytes]);
    }
  return (address) => ranges.some(([from, to]) => address >= from && address < to);
}
