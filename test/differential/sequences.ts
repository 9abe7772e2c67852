/** Sequences of several instructions: what one leaves (flags kept as values, x87 and vector registers, memory) the next ones take up. */
import { RflagsBits } from 'iced-x86';
import { encode, type Encoded } from './encode';
import type { Form } from './forms';
import type { Sequence } from './generate';
import { SLOT } from './protocol';
import { isLoose } from './processors';
import type { Random } from './values';

const MOST = 6;
/** The register that memory operands are addressed by, and nothing else is done with. */
const BASE = 3;
/** Bytes behind the code that stay HLT. */
const TAIL = 8;

const suitability = new Map<Form, boolean>();

/** Straight-line code on registers and one place in memory, all of whose results are defined but for flags. */
function suitable(form: Form): boolean {
  let known = suitability.get(form);
  if (known === undefined) {
    const { row, name } = form.info;
    known =
      !row.endsBlock &&
      !row.undefinedResults?.some((result) => result.destination) &&
      !form.string &&
      !form.opcode.isStackInstruction &&
      !form.opcode.isPrivileged &&
      !isLoose(form) &&
      !/^(Xlat|In_|Out_|Std|Cld|Mov_Sreg|Popf|Enter|Leave|Clzero|Xsetbv|Xgetbv)/.test(name) &&
      !form.operands.some((operand) => /^(mem_offs|mem_vsib|br|farbr|seg_reg)/.test(operand));
    suitability.set(form, known);
  }
  return known;
}

/** Status flags, as iced-x86 numbers them, that may be undefined after the instruction. */
function undefinedAfter(one: Encoded): number {
  let bits = 0;
  for (const { flags } of one.form.info.row.undefinedResults ?? [])
    for (const name of flags?.split(' ') ?? []) bits |= (RflagsBits as unknown as Record<string, number>)[name];
  return bits;
}

/** Two to six instructions of a mode; undefined when the forms have none that go together. */
export function severalInstructions(
  random: Random,
  forms: readonly Form[],
  mode: 32 | 64,
  rip: number,
): Sequence | undefined {
  const instructions: Encoded[] = [];
  const wanted = 2 + random.below(MOST - 1);
  let length = 0;
  let loose = 0;
  for (let attempt = 0; attempt < 60 && instructions.length < wanted; attempt++) {
    const form = random.pick(forms);
    if (form.mode !== mode || !suitable(form)) continue;
    const one = encode(random, form, rip + length, SLOT - TAIL - length, { base: BASE });
    // What is undefined must not be looked at.
    if (!one || one.flagsRead & loose) continue;
    // A count of zero leaves flags alone.
    const certain = form.operands.includes('cl') ? 0 : one.flagsWritten;
    loose = (loose & ~certain) | undefinedAfter(one);
    instructions.push(one);
    length += one.bytes.length;
  }
  if (instructions.length < 2) return undefined;
  const code = new Uint8Array(length);
  let at = 0;
  for (const one of instructions) {
    code.set(one.bytes, at);
    at += one.bytes.length;
  }
  return { name: `sequences ${mode}`, mode, rip, instructions, code };
}
