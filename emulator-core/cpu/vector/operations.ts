/**
 * Vector operations that handlers call for: what WebAssembly's vectors cannot do directly. One function each, over the operands
 * and the result in the vCPU's area.
 */
import type { MachineMemory } from '../../mmu/memory';
import { AES_OPERATIONS } from './aes';
import { FLOAT_VECTOR_OPERATIONS } from './float';
import { INTEGER_VECTOR_OPERATIONS } from './integers';
import { STRING_VECTOR_OPERATIONS } from './strings';
import { SHA_OPERATIONS } from './sha';

/**
 * `cpu`: address of the vCPU's area: operands at State.vectorA, vectorB, vectorC, result at State.vectorResult, all little-endian
 * and 32 bytes wide. `argument`: 0 .. 65535, as the row gives it. Returns 0, or the vector of the exception to raise (then
 * nothing but MXCSR's flags may have changed).
 */
export type VectorOperation = (memory: MachineMemory, cpu: number, argument: number) => number;

const OPERATIONS = {
  ...FLOAT_VECTOR_OPERATIONS,
  ...INTEGER_VECTOR_OPERATIONS,
  ...STRING_VECTOR_OPERATIONS,
  ...AES_OPERATIONS,
  ...SHA_OPERATIONS,
} satisfies Record<string, VectorOperation>;

export type VectorOperationName = Extract<keyof typeof OPERATIONS, string>;
/** A name's place is its number in the generated handlers. */
export const VECTOR_OPERATION_NAMES = Object.keys(OPERATIONS) as VectorOperationName[];
export const VECTOR_OPERATIONS: readonly VectorOperation[] = Object.values(OPERATIONS);
