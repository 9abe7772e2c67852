/** String comparison. SDM Vol. 2, 4.1 "Imm8 Control Byte Operation for PCMPESTRI / PCMPESTRM / PCMPISTRI / PCMPISTRM". */
import type { MachineMemory } from '../../mmu/memory';
import { State } from '../layout';
import { Flag } from '../vcpu';
import type { VectorOperation } from './operations';

/** Fields of the control byte. */
const WORDS = 1;
const SIGNED = 2;
const NEGATE = 0x10;
/** Negation leaves places beyond the second string alone. */
const MASKED = 0x20;
/** Index: the most significant. Mask: one element each, not one bit. */
const OUTPUT = 0x40;
const Aggregation = { equalAny: 0, ranges: 1, equalEach: 2, equalOrdered: 3 } as const;

type Elements = readonly number[];

function elements(memory: MachineMemory, at: number, control: number): number[] {
  const signed = (control & SIGNED) !== 0;
  if (control & WORDS) {
    return Array.from({ length: 8 }, (_, i) =>
      signed ? memory.view.getInt16(at + 2 * i, true) : memory.u16[(at >> 1) + i],
    );
  }
  return Array.from({ length: 16 }, (_, i) => (signed ? memory.view.getInt8(at + i) : memory.u8[at + i]));
}

/** IntRes1 for place `j` of the second string. `set`, `text`: valid elements of the first and second one. */
function matches(set: Elements, text: Elements, j: number, count: number, aggregation: number): boolean {
  switch (aggregation) {
    case Aggregation.equalAny:
      return j < text.length && set.includes(text[j]);
    case Aggregation.ranges:
      if (j >= text.length) return false;
      for (let i = 0; i + 1 < set.length; i += 2) if (text[j] >= set[i] && text[j] <= set[i + 1]) return true;
      return false;
    case Aggregation.equalEach:
      return j < text.length && j < set.length ? text[j] === set[j] : j >= text.length && j >= set.length;
    default:
      for (let i = 0; i < set.length && j + i < count; i++) {
        if (j + i >= text.length || text[j + i] !== set[i]) return false;
      }
      return true;
  }
}

/** Compares A's low part (valid: `first` elements) with its high part (`second`); see compareExplicit for the result. */
function compare(memory: MachineMemory, cpu: number, control: number, first: number, second: number): number {
  const count = control & WORDS ? 8 : 16;
  const set = elements(memory, cpu + State.vectorA, control).slice(0, first);
  const text = elements(memory, cpu + State.vectorA + 16, control).slice(0, second);
  let found = 0;
  for (let j = 0; j < count; j++) {
    let bit = matches(set, text, j, count, (control >> 2) & 3);
    if (control & NEGATE && !(control & MASKED && j >= text.length)) bit = !bit;
    if (bit) found |= 1 << j;
  }

  const { u8, u64 } = memory;
  const result = cpu + State.vectorResult;
  u8.fill(0, result, result + 32);
  const width = 16 / count;
  if (control & OUTPUT) {
    for (let j = 0; j < count; j++) if (found & (1 << j)) u8.fill(0xff, result + j * width, result + (j + 1) * width);
  } else u64[result >> 3] = BigInt(found);
  const lowest = 31 - Math.clz32(found & -found);
  const index = found === 0 ? count : control & OUTPUT ? 31 - Math.clz32(found) : lowest;
  u64[(result + 16) >> 3] = BigInt(index);
  const flags =
    (found ? Flag.CF : 0) |
    (text.length < count ? Flag.ZF : 0) |
    (set.length < count ? Flag.SF : 0) |
    (found & 1 ? Flag.OF : 0);
  u64[(result + 24) >> 3] = BigInt(flags);
  return 0;
}

/**
 * PCMPESTRI, PCMPESTRM: A holds both strings (low part: the first operand), B their lengths, signed, of which the absolute value
 * counts. Argument: the control byte. Result: the mask, then the index (64 bits) and the flags CF, ZF, SF and OF in place.
 */
const compareExplicit: VectorOperation = (memory, cpu, argument) => {
  const count = argument & WORDS ? 8n : 16n;
  const length = (i: number): number => {
    const value = memory.i64[(cpu + State.vectorB + 8 * i) >> 3];
    const absolute = value < 0n ? -value : value;
    return Number(absolute < count ? absolute : count);
  };
  return compare(memory, cpu, argument, length(0), length(1));
};

/** PCMPISTRI, PCMPISTRM: as compareExplicit, but an element of zero ends a string. */
const compareImplicit: VectorOperation = (memory, cpu, argument) => {
  const length = (at: number): number => {
    const list = elements(memory, at, argument);
    const end = list.indexOf(0);
    return end < 0 ? list.length : end;
  };
  return compare(memory, cpu, argument, length(cpu + State.vectorA), length(cpu + State.vectorA + 16));
};

export const STRING_VECTOR_OPERATIONS = { compareExplicit, compareImplicit };
