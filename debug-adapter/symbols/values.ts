import { Encoding } from './dwarf/constants';
import { Enumerator, strip, Type } from './dwarf/types';
import { toBytes } from './location';

/** A part of a value: a member, an element, or what a pointer points to. */
export interface Child {
  name: string;
  type: Type;
  /** Bytes from the start of the parent; for `dereference`, from the address that the pointer holds. */
  offset: number;
  bitOffset?: number;
  bitSize?: number;
  dereference?: boolean;
}

/** Characters of a string shown at most. */
export const MAX_STRING = 200;
/** Elements of one page of an array at most. */
export const MAX_PAGE = 1000;
const MAX_PREVIEW = 8;

function unsignedOf(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
  return value;
}

/** A bit field's bits, moved to the lowest position; `bitOffset` counts from the lowest bit of bytes[0]. */
export function extractBits(bytes: Uint8Array, bitOffset: number, bitSize: number): bigint {
  return BigInt.asUintN(bitSize, unsignedOf(bytes) >> BigInt(bitOffset));
}

function isSigned(type: Type): boolean {
  if (type.kind === 'enum') return type.signed;
  return type.kind === 'base' && (type.encoding === Encoding.signed || type.encoding === Encoding.signedChar);
}

function isCharacter(type: Type): boolean {
  if (type.kind !== 'base' || type.size !== 1) return false;
  return (
    type.encoding === Encoding.signedChar || type.encoding === Encoding.unsignedChar || type.encoding === Encoding.utf
  );
}

/** Whether values are pointers to, or arrays of, characters. */
export function isString(type: Type): boolean {
  const bare = strip(type);
  if (bare.kind === 'array') return isCharacter(strip(bare.element()));
  return bare.kind === 'pointer' && isCharacter(strip(bare.target()));
}

function hexOf(value: bigint, digits = 1): string {
  return '0x' + value.toString(16).padStart(digits, '0');
}

/**
 * One line for a value of a type.
 * @param bytes the value, little-endian, as long as the type (or the bytes that hold its bit field)
 * @param hexMode integers in hexadecimal
 * @param bits position and width, for a bit field
 */
export function formatValue(
  type: Type,
  bytes: Uint8Array,
  hexMode = false,
  bits?: { bitOffset: number; bitSize: number },
): string {
  const bare = strip(type);
  switch (bare.kind) {
    case 'base':
    case 'enum':
    case 'pointer': {
      const size = bits ? Math.ceil((bits.bitOffset + bits.bitSize) / 8) : bare.size;
      if (bytes.length < size) return `<${size} bytes expected, ${bytes.length} read>`;
      if (bits)
        return formatScalar(
          bare,
          extractBits(bytes.subarray(0, size), bits.bitOffset, bits.bitSize),
          bits.bitSize,
          hexMode,
        );
      if (bare.kind === 'base' && bare.encoding === Encoding.float) return formatFloat(bytes.subarray(0, size));
      if (bare.kind === 'base' && bare.encoding === Encoding.complexFloat) {
        const half = size / 2;
        return `${formatFloat(bytes.subarray(0, half))} + ${formatFloat(bytes.subarray(half, size))}i`;
      }
      return formatScalar(bare, unsignedOf(bytes.subarray(0, size)), size * 8, hexMode);
    }
    case 'array':
      return formatArray(bare, bytes, hexMode);
    case 'struct':
      return formatStruct(bare, bytes, hexMode);
    case 'function':
      return `{${bare.name}}`;
    default:
      return 'void';
  }
}

function formatScalar(type: Type, unsigned: bigint, bits: number, hexMode: boolean): string {
  const value = isSigned(type) ? BigInt.asIntN(bits, unsigned) : unsigned;
  if (type.kind === 'pointer') return hexOf(unsigned, type.size * 2);
  if (type.kind === 'enum') return formatEnum(type.enumerators(), value, hexMode ? hexOf(unsigned) : String(value));
  if (type.kind === 'base' && type.encoding === Encoding.boolean && unsigned <= 1n) return unsigned ? 'true' : 'false';
  if (type.kind === 'base' && type.encoding === Encoding.address) return hexOf(unsigned, type.size * 2);
  const number = hexMode ? hexOf(unsigned) : String(value);
  const isText = isCharacter(type) || (type.kind === 'base' && type.encoding === Encoding.utf);
  return isText && unsigned < 0x110000n ? `${number} '${escape(Number(unsigned), "'")}'` : number;
}

/** The enumerator's name; for sets of flags, all of them; else the number. */
function formatEnum(enumerators: Enumerator[], value: bigint, number: string): string {
  const exact = enumerators.find((enumerator) => enumerator.value === value);
  if (exact) return exact.name;
  const isFlag = (flag: bigint): boolean => flag > 0n && (flag & (flag - 1n)) === 0n;
  if (value > 0n && enumerators.every((enumerator) => enumerator.value === 0n || isFlag(enumerator.value))) {
    const set = enumerators.filter((enumerator) => (enumerator.value & value) !== 0n);
    const rest = set.reduce((left, enumerator) => left & ~enumerator.value, value);
    if (set.length > 0) return [...set.map(({ name }) => name), ...(rest ? [hexOf(rest)] : [])].join(' | ');
  }
  return number;
}

function formatFloat(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const number = decodeReal(bytes);
  if (number !== undefined) return bytes.length === 4 ? shortest(number) : String(number);
  if (bytes.length < 10) return hexOf(unsignedOf(bytes));
  // x87 double extended: explicit integer bit, 15-bit exponent. SDM Vol. 1, "Floating-Point Data Types".
  const head = view.getUint16(8, true);
  const sign = head & 0x8000 ? -1 : 1;
  const exponent = head & 0x7fff;
  const significand = view.getBigUint64(0, true);
  if (exponent === 0x7fff) return BigInt.asUintN(63, significand) === 0n ? String(sign * Infinity) : 'NaN';
  return String(sign * Number(significand) * 2 ** (exponent - 16383 - 63));
}

/** The number in 4 or 8 bytes of IEEE 754; undefined for other lengths. */
export function decodeReal(bytes: Uint8Array): number | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return bytes.length === 4 ? view.getFloat32(0, true) : bytes.length === 8 ? view.getFloat64(0, true) : undefined;
}

/** The shortest decimal that is this single-precision number. */
function shortest(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  for (let digits = 1; digits < 10; digits++) {
    const text = Number(value.toPrecision(digits));
    if (Math.fround(text) === value) return String(text);
  }
  return String(value);
}

function escape(code: number, quote: string): string {
  const known: Record<number, string> = { 0: '\\0', 9: '\\t', 10: '\\n', 13: '\\r', 27: '\\e', 92: '\\\\' };
  if (known[code]) return known[code];
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return `\\${code.toString(8).padStart(3, '0')}`;
  const character = String.fromCodePoint(code);
  return character === quote ? `\\${quote}` : character;
}

/** Text up to the first NUL in double quotes, with '...' when it goes on behind what is shown. */
export function formatString(bytes: Uint8Array, isWhole: boolean): string {
  const nul = bytes.indexOf(0);
  const end = nul >= 0 ? nul : bytes.length;
  const shown = bytes.subarray(0, Math.min(end, MAX_STRING));
  const text = Array.from(new TextDecoder().decode(shown), (character) => escape(character.codePointAt(0)!, '"')).join(
    '',
  );
  const cut = end > MAX_STRING || (nul < 0 && !isWhole);
  return `"${text}"${cut ? '...' : ''}`;
}

function formatArray(type: Extract<Type, { kind: 'array' }>, bytes: Uint8Array, hexMode: boolean): string {
  const element = strip(type.element());
  if (isCharacter(element)) return formatString(bytes, true);
  const size = element.size ?? 0;
  const count = type.count ?? 0;
  const shown: string[] = [];
  for (let i = 0; size > 0 && i < Math.min(count, MAX_PREVIEW) && (i + 1) * size <= bytes.length; i++) {
    if (element.kind === 'struct' || element.kind === 'array') return `[${count}]`;
    shown.push(formatValue(element, bytes.subarray(i * size, (i + 1) * size), hexMode));
  }
  if (shown.length === 0) return `[${count}]`;
  return `[${count}] {${shown.join(', ')}${count > shown.length ? ', ...' : ''}}`;
}

/** The first members, as far as they are scalars or text. */
function formatStruct(type: Extract<Type, { kind: 'struct' }>, bytes: Uint8Array, hexMode: boolean): string {
  const members = type.members();
  if (type.size === undefined) return '<incomplete type>';
  const shown: string[] = [];
  for (const { name, type: of, offset, bitOffset, bitSize } of members.slice(0, MAX_PREVIEW)) {
    const bare = strip(of);
    const isShort = bare.kind !== 'struct' && (bare.kind !== 'array' || isString(bare));
    const part = bytes.subarray(offset, bitSize === undefined ? offset + (bare.size ?? 0) : undefined);
    const bits = bitSize === undefined ? undefined : { bitOffset: bitOffset ?? 0, bitSize };
    if (name)
      shown.push(
        `${name} = ${isShort && !(bare.kind === 'array' && !bare.count) ? formatValue(of, part, hexMode, bits) : '{...}'}`,
      );
  }
  return `{${shown.join(', ')}${members.length > MAX_PREVIEW ? ', ...' : ''}}`;
}

/** How many parts a value has, for paging: named (members) and indexed (elements). */
export function childCount(type: Type): { named: number; indexed: number } {
  const bare = strip(type);
  if (bare.kind === 'struct') return { named: bare.members().length, indexed: 0 };
  if (bare.kind === 'array') return { named: 0, indexed: bare.count ?? 0 };
  if (bare.kind === 'pointer' && pointeeIsVisible(bare.target())) {
    const target = strip(bare.target());
    return { named: target.kind === 'struct' ? target.members().length : 1, indexed: 0 };
  }
  return { named: 0, indexed: 0 };
}

function pointeeIsVisible(target: Type): boolean {
  const bare = strip(target);
  return bare.kind !== 'void' && bare.kind !== 'function' && bare.size !== undefined;
}

/**
 * The parts of a value: members of a struct (anonymous ones as '<anonymous union>' ...), elements of an array, what a pointer points to.
 * A pointer to a struct has the struct's members as its parts. `start` and `count` choose a page, of at most 1000.
 */
export function children(type: Type, start = 0, count = 100): Child[] {
  const bare = strip(type);
  const page = Math.max(0, Math.min(count, MAX_PAGE));
  const from = Math.max(0, start);
  if (bare.kind === 'struct') {
    return bare
      .members()
      .slice(from, from + page)
      .map(({ name, type: of, offset, bitOffset, bitSize, inherited }) => {
        const bits = bitSize === undefined ? {} : { bitOffset: bitOffset ?? 0, bitSize };
        const keyword = strip(of).kind === 'struct' ? (strip(of) as { keyword: string }).keyword : 'member';
        return { name: inherited ? `<${of.name}>` : name || `<anonymous ${keyword}>`, type: of, offset, ...bits };
      });
  }
  if (bare.kind === 'array') {
    const element = bare.element();
    const size = element.size;
    if (size === undefined) return [];
    const result: Child[] = [];
    for (let i = from; i < Math.min(bare.count ?? 0, from + page); i++) {
      result.push({ name: `[${i}]`, type: element, offset: i * size });
    }
    return result;
  }
  if (bare.kind === 'pointer' && pointeeIsVisible(bare.target())) {
    const target = strip(bare.target());
    if (target.kind !== 'struct') {
      return from === 0 && page > 0 ? [{ name: '*', type: bare.target(), offset: 0, dereference: true }] : [];
    }
    return children(target, from, page).map((child) => ({ ...child, dereference: true }));
  }
  return [];
}

/**
 * Bytes that hold a number as a value of a scalar type, for writing to a variable.
 * undefined when the type is no scalar or the value does not fit (signed or unsigned) into its width.
 */
export function encodeValue(type: Type, value: bigint | number, bitSize?: number): Uint8Array | undefined {
  const bare = strip(type);
  if (bare.kind !== 'base' && bare.kind !== 'enum' && bare.kind !== 'pointer') return undefined;
  if (bare.kind === 'base' && bare.encoding === Encoding.float) {
    const bytes = new Uint8Array(bare.size);
    const view = new DataView(bytes.buffer);
    if (bare.size === 4) view.setFloat32(0, Number(value), true);
    else if (bare.size === 8) view.setFloat64(0, Number(value), true);
    else return undefined;
    return bytes;
  }
  if (typeof value === 'number' && !Number.isInteger(value)) return undefined;
  const bits = bitSize ?? bare.size * 8;
  const number = BigInt(value);
  if (bits <= 0 || number >= 1n << BigInt(bits) || number < -(1n << BigInt(bits - 1))) return undefined;
  return toBytes(BigInt.asUintN(bits, number), bare.size);
}
