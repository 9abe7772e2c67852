/** Types of the expression language that exist without debug information: C's and <stdint.h>'s integers (LP64), and pointers. */
import { Encoding } from '../symbols/dwarf/constants';
import { strip, voidType, type Type } from '../symbols/dwarf/types';

const base = (name: string, size: number, encoding: number): Type => ({ kind: 'base', name, size, encoding });
const unsigned = (name: string, size: number): Type => base(name, size, Encoding.unsigned);
const signed = (name: string, size: number): Type => base(name, size, Encoding.signed);

export const INT = signed('int', 4);
export const LONG = signed('long', 8);
export const ULONG = unsigned('unsigned long', 8);

const table: Type[] = [
  ...[1, 2, 4, 8].flatMap((size) => [
    unsigned(`uint${size * 8}_t`, size),
    signed(`int${size * 8}_t`, size),
    unsigned(`u${size * 8}`, size),
    signed(`s${size * 8}`, size),
  ]),
  base('char', 1, Encoding.signedChar),
  base('signed char', 1, Encoding.signedChar),
  base('unsigned char', 1, Encoding.unsignedChar),
  base('bool', 1, Encoding.boolean),
  base('_Bool', 1, Encoding.boolean),
  base('float', 4, Encoding.float),
  base('double', 8, Encoding.float),
  unsigned('size_t', 8),
  signed('ssize_t', 8),
  unsigned('uintptr_t', 8),
  signed('intptr_t', 8),
  voidType,
];
const byName = new Map(table.map((type) => [type.name, type]));

/** 'unsigned long int' and its permutations to a type; undefined when the words are no integer type of C. */
function cInteger(words: string[]): Type | undefined {
  const counts = { unsigned: 0, signed: 0, char: 0, short: 0, int: 0, long: 0 };
  for (const word of words) {
    if (!(word in counts)) return undefined;
    counts[word as keyof typeof counts]++;
  }
  const size = counts.char ? 1 : counts.short ? 2 : counts.long ? 8 : 4;
  return counts.unsigned ? unsigned(words.join(' '), size) : signed(words.join(' '), size);
}

/** A type of the language itself by its name, undefined for those that only debug information can know. */
export function builtinType(name: string): Type | undefined {
  return byName.get(name) ?? cInteger(name.split(' '));
}

/** Registers, symbols without type: an unsigned integer of `bits`, 8..64. */
export function unsignedOfBits(bits: number): Type {
  return byName.get(`uint${bits <= 8 ? 8 : bits <= 16 ? 16 : bits <= 32 ? 32 : 64}_t`)!;
}

/** x87 and vector registers as numbers: only comparisons and assignments take more than 64 bits. */
export function wideUnsigned(bits: number): Type {
  return unsigned(`uint${bits}_t`, bits / 8);
}

export function isWide(type: Type): boolean {
  const bare = strip(type);
  return bare.kind === 'base' && bare.encoding === Encoding.unsigned && bare.size > 8;
}

/** The type of a number as it is written: the first that holds it of int, long, unsigned long, then 128 and 256 bits. */
export function typeOfNumber(value: bigint, isUnsigned: boolean): Type {
  if (value >> 64n) return wideUnsigned(value >> 128n ? 256 : 128);
  return isUnsigned || value >> 63n ? ULONG : value >> 31n ? LONG : INT;
}

export function pointerTo(target: Type, size = 8): Type {
  const name = `${target.name} *`.replace('* *', '**');
  return { kind: 'pointer', symbol: '*', name, size, target: () => target };
}

export type Shape = 'integer' | 'pointer' | 'float' | 'aggregate' | 'none';

/** What operators may do with values of the type. */
export function shapeOf(type: Type): Shape {
  const bare = strip(type);
  switch (bare.kind) {
    case 'base':
      return bare.encoding === Encoding.float || bare.encoding === Encoding.complexFloat
        ? 'float'
        : bare.size <= 8
          ? 'integer'
          : 'aggregate';
    case 'enum':
      return 'integer';
    case 'pointer':
      return 'pointer';
    case 'array':
    case 'struct':
      return 'aggregate';
    default:
      return 'none';
  }
}

export function isSigned(type: Type): boolean {
  const bare = strip(type);
  if (bare.kind === 'enum') return bare.signed;
  return bare.kind === 'base' && (bare.encoding === Encoding.signed || bare.encoding === Encoding.signedChar);
}
