import { Encoding } from './dwarf/constants';
import { Location, Piece } from './dwarf/expr';
import { strip, Type } from './dwarf/types';
import type { FrameContext } from './location';
import { FunctionPrototype } from './typeSource';

/** DWARF numbers of rdi, rsi, rdx, rcx, r8 and r9. System V ABI, AMD64 supplement, "Parameter Passing" and Figure 3.36. */
const INTEGER_REGISTERS = [5, 4, 1, 2, 8, 9];
const RSP = 7;
const WORD = 8;
/** Larger values, and those that are not made of integers, are passed on the stack. */
const MAX_IN_REGISTERS = 16;

export interface EntryArgument {
  name: string;
  type: Type;
  /** Where the value is in a frame that stands at the function's first instruction. */
  locate(context: FrameContext): Promise<Location>;
}

/**
 * The parameters of a function of 64-bit code as its caller has placed them. They are there when the first instruction is about to be
 * executed; after it, only debug information knows.
 */
export function entryArguments({ result, parameters }: FunctionPrototype): EntryArgument[] {
  let next = 0;
  let stack = WORD; // above the return address
  if (needsMemory(result)) next++; // the address of the result comes first
  return parameters.map(({ name, type }): EntryArgument => {
    const size = type.size ?? 0;
    if (isFloating(type)) {
      const reason = 'passed in a vector register';
      return { name, type, locate: () => Promise.resolve({ kind: 'optimized out', reason }) };
    }
    const words = Math.max(1, Math.ceil(size / WORD));
    if (size > MAX_IN_REGISTERS || next + words > INTEGER_REGISTERS.length) {
      const offset = BigInt(stack);
      stack += words * WORD;
      return { name, type, locate: (context) => onStack(context, offset) };
    }
    const registers = INTEGER_REGISTERS.slice(next, next + words);
    next += words;
    return { name, type, locate: () => Promise.resolve(inRegisters(registers, size)) };
  });
}

function inRegisters(registers: number[], size: number): Location {
  if (registers.length === 1) return { kind: 'register', register: registers[0]! };
  const pieces = registers.map((register, i): Piece => {
    return { bits: Math.min(WORD, size - i * WORD) * 8, bitOffset: 0, location: { kind: 'register', register } };
  });
  return { kind: 'pieces', pieces };
}

async function onStack(context: FrameContext, offset: bigint): Promise<Location> {
  const rsp = await context.register(RSP);
  if (rsp === undefined) return { kind: 'optimized out', reason: 'the stack pointer is not known' };
  return { kind: 'memory', address: BigInt.asUintN(64, rsp + offset) };
}

function needsMemory(type: Type): boolean {
  const bare = strip(type);
  return bare.kind === 'struct' && (bare.size ?? 0) > MAX_IN_REGISTERS;
}

function isFloating(type: Type): boolean {
  const bare = strip(type);
  return bare.kind === 'base' && bare.encoding === Encoding.float;
}
