/** The forms that a Code's instructions take: operands in registers or memory, kinds of address and stack, REP. */
import type { CodeInfo } from '../x86/codes';
import type { HandlerForm, MemoryKind, OperandForm } from './abi';

export const MEMORY: readonly MemoryKind[] = ['flat64', 'flat32', 'segment'];
export const STACK = ['flat64', 'segment'] as const;
export const REPEAT = [undefined, 'rep', 'repe', 'repne'] as const;

/** Picks a handler: r/m operand in memory?, address kind, stack kind, REP kind. */
export function variant(inMemory: boolean, memory: number, stack: number, repeat: number): number {
  return (((inMemory ? 1 : 0) * 3 + memory) * 2 + stack) * 4 + repeat;
}
export const VARIANTS = 2 * 3 * 2 * 4;

/** The form with the variant's number: the inverse of variant(). undefined when the Code has none with such operands. */
export function formOf(info: CodeInfo, number: number): HandlerForm | undefined {
  const repeat = number % 4;
  const stack = (number >> 2) % 2;
  const memory = (number >> 3) % 3;
  const base = baseForm(info, number >= VARIANTS / 2);
  return base && { ...base, memory: MEMORY[memory], stack: STACK[stack], repeat: REPEAT[repeat] };
}

/** What of a form the Code and its operands' kinds decide. */
export type BaseForm = Pick<HandlerForm, 'operands' | 'operandBits' | 'vex' | 'aligned'>;

export function baseForm(info: CodeInfo, inMemory: boolean): BaseForm | undefined {
  const operands = operandForms(info, inMemory);
  if (!operands) return undefined;
  const { operandBits, vex, row } = info;
  const aligned = row.unit !== undefined && row.unit !== 'mmx' && (row.aligned ?? !vex);
  return { operands, operandBits, vex, aligned };
}

const VECTOR_BITS = { mm: 64, xmm: 128, ymm: 256 } as const;

/** Operand forms with the r/m operand (if any) as register or memory; undefined when the Code has no such form. */
function operandForms(info: CodeInfo, inMemory: boolean): OperandForm[] | undefined {
  const forms: OperandForm[] = [];
  let memory = false;
  for (const [i, operand] of info.operands.entries()) {
    const slot = i as 0 | 1 | 2 | 3;
    if (operand.immediate) forms.push({ kind: 'i', bits: operand.immediate, slot });
    else if (operand.memory && (inMemory || !(operand.register || operand.vector))) {
      if (!inMemory) return undefined;
      memory = true;
      forms.push({ kind: 'm', bits: operand.memory, slot });
    } else if (operand.vector)
      forms.push({ kind: 'r', bits: VECTOR_BITS[operand.vector], vector: operand.vector, slot });
    else forms.push({ kind: 'r', bits: operand.register!, slot });
  }
  return inMemory === memory ? forms : undefined;
}
