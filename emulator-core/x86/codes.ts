/**
 * Joins iced-x86's Codes (one per encoding) with the instruction table: operand kinds and sizes come from the Code's name.
 */
import { Code } from 'iced-x86';
import type { Bits, VectorFile, Width } from '../translate/builder';
import { INSTRUCTIONS, type Instruction } from './instructions';

/** What one operand of a Code can be. An r/m operand has both sizes. */
export interface CodeOperand {
  register?: Bits;
  vector?: VectorFile;
  memory?: Width;
  immediate?: Bits;
}

export interface CodeInfo {
  code: number;
  /** As iced-x86's. */
  name: string;
  vex: boolean;
  row: Instruction;
  rowIndex: number;
  operands: CodeOperand[];
  operandBits: Bits;
  /** A conditional branch: Jcc, JrCXZ or LOOPcc. */
  conditional: boolean;
  /** CALL, near or far. */
  call: boolean;
  /** A near branch that names its target, at a distance that has 32 bits at most. */
  direct: boolean;
}

const FIXED: Record<string, Bits> = {
  AL: 8, CL: 8, AX: 16, DX: 16, EAX: 32, RAX: 64, Sreg: 16,
  ES: 16, CS: 16, SS: 16, DS: 16, FS: 16, GS: 16,
}; // prettier-ignore

function parseOperand(token: string): CodeOperand | undefined {
  const fixed = FIXED[token];
  if (fixed) return { register: fixed };
  if (token === '1') return { immediate: 8 };
  if (token === 'm') return { memory: 64 };
  if (token === 'st0' || token === 'sti') return { register: 64 };
  // x87 memory operands: values, and images whose size is in bytes.
  const x87 = /^m(\d+)(fp|int|bcd|byte)$/.exec(token);
  if (x87) return { memory: Number(x87[1]) as Bits };
  // Far pointers: the offset's size counts.
  const far = /^(ptr|m)16(16|32|64)$/.exec(token);
  if (far) return far[1] === 'm' ? { memory: Number(far[2]) as Bits } : { immediate: Number(far[2]) as Bits };
  const vector = /^([xy]?mm)(?:m(\d+))?$/.exec(token);
  if (vector) return { vector: vector[1] as VectorFile, memory: vector[2] ? (Number(vector[2]) as Width) : undefined };
  // Gathers address memory by a vector of indices; MASKMOV by rDI.
  if (/^vm\d\d[xy]$/.test(token) || token === 'mem') return { memory: 64 };
  const m = /^(rm|r|m|moffs|imm|rel)(\d+)(?:m(\d+))?$/.exec(token);
  if (!m) return undefined;
  const bits = Number(m[2]) as Bits;
  if (m[1] === 'rm') return { register: bits, memory: bits };
  if (m[1] === 'r') return { register: bits, memory: m[3] ? (Number(m[3]) as Bits) : undefined };
  if (m[1] === 'm' || m[1] === 'moffs') return { memory: bits };
  return { immediate: bits };
}

function describe(code: number, name: string, row: Instruction, rowIndex: number): CodeInfo {
  const vex = name.startsWith('VEX_');
  const tokens = name.split('_').slice(vex ? 2 : 1);
  const operands: CodeOperand[] = [];
  for (const token of tokens) {
    const operand = parseOperand(token);
    if (!operand) break; // what follows the operands tells encodings apart
    operands.push(operand);
  }
  const first = operands[0];
  const vectors = operands.some((o) => o.vector);
  const size = vectors ? (operands.find((o) => o.register)?.register ?? 64) : (first?.register ?? first?.memory);
  let operandBits = (row.operandBits ?? size ?? first?.immediate ?? 32) as Bits;
  if (tokens[0]?.startsWith('rel')) operandBits = tokens[0] === 'rel16' ? 16 : (Number(tokens[1]) as Bits);
  // Immediates are sign-extended to the size of the operand they combine with; beside vectors they are bytes.
  if (size && !vectors) {
    for (const operand of operands.slice(1)) if (operand.immediate) operand.immediate = size as Bits;
  }
  const conditional = /^(J(?!mp)|Loop)/.test(row.mnemonic);
  const call = row.mnemonic === 'Call';
  const direct = (conditional || call || row.mnemonic === 'Jmp') && operands[0]?.immediate !== undefined;
  return { code, name, row, rowIndex, operands, operandBits, vex, conditional, call, direct };
}

/** Encodings of instruction sets that the processor has not: EVEX, Knights Corner's, AMD's XOP and 3DNow!. */
const OTHER_ENCODINGS = /^(EVEX|MVEX|VEX_KNC|XOP|D3NOW)_/;

function build(): (CodeInfo | undefined)[] {
  const byMnemonic = new Map<string, { row: Instruction; index: number }[]>();
  INSTRUCTIONS.forEach((row, index) => {
    const list = byMnemonic.get(row.mnemonic);
    if (list) list.push({ row, index });
    else byMnemonic.set(row.mnemonic, [{ row, index }]);
  });
  const table: (CodeInfo | undefined)[] = [];
  for (const [name, code] of Object.entries(Code)) {
    if (typeof code !== 'number' || OTHER_ENCODINGS.test(name)) continue;
    const [mnemonic, ...rest] = name.replace(/^VEX_/, '').split('_');
    const candidates = byMnemonic.get(mnemonic);
    if (!candidates) continue;
    const operands = rest.join('_');
    const found = candidates.find(({ row }) => !row.operands || row.operands.test(operands));
    if (found) table[code] = describe(code, name, found.row, found.index);
  }
  return table;
}

/** By iced-x86 Code; undefined where no row covers it (the instruction is unimplemented). */
export const CODES: readonly (CodeInfo | undefined)[] = build();
