import { Attribute, Encoding, Tag } from './constants';
import { AttributeValue } from './forms';
import { DebugInfo } from './info';
import { Cursor } from './reader';
import { Die, messageOf } from './unit';

/**
 * C types. What leads to other types is a function, so that types are read only as far as someone looks.
 * Sizes are in bytes; undefined where the program does not say (incomplete types).
 */
export type Type =
  | { kind: 'void'; name: string; size: undefined }
  | { kind: 'base'; name: string; size: number; encoding: number }
  | { kind: 'pointer'; symbol: '*' | '&' | '&&'; name: string; size: number; target: () => Type }
  | { kind: 'array'; name: string; size: number | undefined; element: () => Type; count: number | undefined }
  | {
      kind: 'struct';
      keyword: 'struct' | 'union' | 'class';
      name: string;
      size: number | undefined;
      members: () => Member[];
    }
  | { kind: 'enum'; name: string; size: number; signed: boolean; enumerators: () => Enumerator[] }
  | { kind: 'typedef'; name: string; size: number | undefined; target: () => Type }
  | { kind: 'qualified'; qualifier: string; name: string; size: number | undefined; target: () => Type }
  | {
      kind: 'function';
      name: string;
      size: undefined;
      result: () => Type;
      parameters: () => Type[];
      variadic: boolean;
    };

export interface Member {
  /** '' for an anonymous struct or union. */
  name: string;
  type: Type;
  /** Bytes from the start of the aggregate. */
  offset: number;
  /** Bit fields: position of the lowest bit relative to `offset`, and width. */
  bitOffset?: number;
  bitSize?: number;
  /** A base class. */
  inherited?: boolean;
}

export interface Enumerator {
  name: string;
  value: bigint;
}

export const voidType: Type = { kind: 'void', name: 'void', size: undefined };

const MAX_DEPTH = 24;
const MAX_MEMBERS = 20_000;
const MAX_DIMENSIONS = 16;

/** Follows typedefs and qualifiers to the type beneath. */
export function strip(type: Type): Type {
  for (let i = 0; i < MAX_DEPTH && (type.kind === 'typedef' || type.kind === 'qualified'); i++) type = type.target();
  return type.kind === 'typedef' || type.kind === 'qualified' ? voidType : type;
}

/** Reads types from debugging information entries; each once. */
export class TypeReader {
  private readonly cache = new Map<number, Type>();

  constructor(private readonly info: DebugInfo) {}

  /** The type that a DW_AT_type of `die` (or of what it completes) names; void when it has none. */
  typeOf(die: Die): Type {
    const found = this.info.attribute(die, Attribute.type);
    return found ? this.target(found.die, found.value) : voidType;
  }

  private target(die: Die, value: AttributeValue): Type {
    const offset = this.info.targetOffset(die.unit, value);
    return offset === undefined ? voidType : this.at(offset);
  }

  /** The type at a DIE offset; void (and a warning) when there is none that can be read. */
  at(offset: number): Type {
    let type = this.cache.get(offset);
    if (!type) {
      try {
        const die = this.info.die(offset);
        type = die ? this.read(this.definition(die)) : voidType;
      } catch (error) {
        this.info.sections.warnings.add(messageOf(error));
        type = voidType;
      }
      this.cache.set(offset, type);
    }
    return type;
  }

  /** What a DIE with DW_AT_signature stands for: the type of a type unit. DWARF 5, 3.1.4 "Type Unit Entries". */
  private definition(die: Die): Die {
    const offset = this.info.targetOffset(die.unit, die.attributes.get(Attribute.signature));
    return (offset === undefined ? undefined : this.info.die(offset)) ?? die;
  }

  private read(die: Die): Type {
    const name = die.unit.string(die.attributes.get(Attribute.name)) ?? '';
    const byteSize = die.unit.number(die.attributes.get(Attribute.byteSize));
    const target = once(() => this.typeOf(die));
    switch (die.tag) {
      case Tag.baseType: {
        const encoding = die.unit.number(die.attributes.get(Attribute.encoding)) ?? Encoding.unsigned;
        return { kind: 'base', name, size: byteSize ?? 0, encoding };
      }
      case Tag.pointerType:
      case Tag.referenceType:
      case Tag.rvalueReferenceType:
      case Tag.ptrToMemberType: {
        const symbol = die.tag === Tag.referenceType ? '&' : die.tag === Tag.rvalueReferenceType ? '&&' : '*';
        const size = byteSize ?? die.unit.addressSize;
        return named({ kind: 'pointer', symbol, name: '', size, target }, (type) => declare(type, ''));
      }
      case Tag.typedef:
        return sized({ kind: 'typedef', name, size: undefined, target }, () => target().size);
      case Tag.constType:
        return this.qualified('const', target);
      case Tag.volatileType:
        return this.qualified('volatile', target);
      case Tag.restrictType:
        return this.qualified('restrict', target);
      case Tag.atomicType:
        return this.qualified('_Atomic', target);
      case Tag.arrayType:
        return this.array(die, byteSize, target);
      case Tag.structureType:
        return this.aggregate(die, 'struct', name, byteSize);
      case Tag.unionType:
        return this.aggregate(die, 'union', name, byteSize);
      case Tag.classType:
        return this.aggregate(die, 'class', name, byteSize);
      case Tag.enumerationType:
        return this.enumeration(die, name, byteSize);
      case Tag.subroutineType:
      case Tag.subprogram: {
        const parameters = once(() => {
          const types: Type[] = [];
          for (const child of die.unit.children(die, 256)) {
            if (child.tag === Tag.formalParameter) types.push(this.typeOf(child));
          }
          return types;
        });
        let variadic = false;
        for (const child of die.unit.children(die, 256)) variadic ||= child.tag === Tag.unspecifiedParameters;
        return named({ kind: 'function', name: '', size: undefined, result: target, parameters, variadic }, (type) =>
          declare(type, ''),
        );
      }
      case Tag.unspecifiedType:
        return { kind: 'void', name: name || 'void', size: undefined };
      default:
        return voidType;
    }
  }

  private qualified(qualifier: string, target: () => Type): Type {
    const type: Type = { kind: 'qualified', qualifier, name: '', size: undefined, target };
    return sized(
      named(type, (self) => declare(self, '')),
      () => target().size,
    );
  }

  private array(die: Die, byteSize: number | undefined, element: () => Type): Type {
    const counts: (number | undefined)[] = [];
    for (const child of die.unit.children(die, MAX_DIMENSIONS)) {
      if (child.tag === Tag.subrangeType) counts.push(elementCount(child));
      else if (child.tag === Tag.enumerationType) counts.push(undefined);
    }
    if (counts.length === 0) counts.push(undefined);
    // An array of several dimensions is an array of arrays.
    let inner = element;
    for (let i = counts.length - 1; i >= 0; i--) {
      const count = counts[i];
      const of = inner;
      const size = (): number | undefined => {
        if (i === 0 && byteSize !== undefined) return byteSize;
        const each = of().size;
        return each === undefined || count === undefined ? undefined : each * count;
      };
      const type: Type = { kind: 'array', name: '', size: undefined, element: of, count };
      const array = sized(
        named(type, (self) => declare(self, '')),
        size,
      );
      inner = () => array;
    }
    return inner();
  }

  private aggregate(die: Die, keyword: 'struct' | 'union' | 'class', name: string, byteSize: number | undefined): Type {
    const definition = once((): Die => {
      if (!die.attributes.has(Attribute.declaration)) return die;
      for (const other of name ? this.info.findTypes(name, die.unit) : []) if (other.tag === die.tag) return other;
      return die;
    });
    const members = once(() => {
      try {
        return this.members(definition());
      } catch (error) {
        this.info.sections.warnings.add(messageOf(error));
        return [];
      }
    });
    const type: Type = { kind: 'struct', keyword, name: `${keyword} ${name || '{...}'}`, size: byteSize, members };
    if (byteSize !== undefined) return type;
    return sized(type, () => {
      const complete = definition();
      return complete.unit.number(complete.attributes.get(Attribute.byteSize));
    });
  }

  private members(die: Die): Member[] {
    const members: Member[] = [];
    for (const child of die.unit.children(die, MAX_MEMBERS)) {
      if (child.tag !== Tag.member && child.tag !== Tag.inheritance) continue;
      // A static member has no place in the aggregate.
      if (child.attributes.has(Attribute.external) || child.attributes.has(Attribute.declaration)) continue;
      const { unit, attributes } = child;
      const type = this.typeOf(child);
      const name = unit.string(attributes.get(Attribute.name)) ?? '';
      const offset = memberOffset(child);
      const bitSize = unit.number(attributes.get(Attribute.bitSize));
      const member: Member = { name, type, offset };
      if (child.tag === Tag.inheritance) member.inherited = true;
      if (bitSize !== undefined) {
        const dataBitOffset = unit.number(attributes.get(Attribute.dataBitOffset));
        const fromTop = unit.number(attributes.get(Attribute.bitOffset));
        // DWARF 2 and 3 count from the most significant bit of a storage unit of DW_AT_byte_size (or the type's size).
        const storage = unit.number(attributes.get(Attribute.byteSize)) ?? type.size ?? 0;
        const bit = dataBitOffset ?? offset * 8 + (fromTop === undefined ? 0 : storage * 8 - fromTop - bitSize);
        member.offset = Math.floor(bit / 8);
        member.bitOffset = bit - member.offset * 8;
        member.bitSize = bitSize;
      }
      members.push(member);
    }
    return members;
  }

  private enumeration(die: Die, name: string, byteSize: number | undefined): Type {
    const enumerators = once(() => {
      const list: Enumerator[] = [];
      try {
        for (const child of die.unit.children(die)) {
          const value = child.attributes.get(Attribute.constValue);
          if (child.tag !== Tag.enumerator || value?.class !== 'constant') continue;
          list.push({ name: child.unit.string(child.attributes.get(Attribute.name)) ?? '', value: value.value });
        }
      } catch (error) {
        this.info.sections.warnings.add(messageOf(error));
      }
      return list;
    });
    const underlying = die.attributes.has(Attribute.type) ? strip(this.typeOf(die)) : undefined;
    const signed =
      underlying?.kind === 'base'
        ? underlying.encoding === Encoding.signed || underlying.encoding === Encoding.signedChar
        : enumerators().some(({ value }) => value < 0n);
    return {
      kind: 'enum',
      name: `enum ${name || '{...}'}`,
      size: byteSize ?? underlying?.size ?? 4,
      signed,
      enumerators,
    };
  }
}

/** Number of elements of a DW_TAG_subrange_type; undefined when only run time knows, 0 for a flexible array. */
function elementCount(die: Die): number | undefined {
  const count = die.attributes.get(Attribute.count);
  if (count) return clampCount(die.unit.number(count));
  const upper = die.attributes.get(Attribute.upperBound);
  if (!upper) return 0;
  if (upper.class !== 'constant') return undefined;
  // GCC writes the bound of `type name[0]` as all ones.
  const bound = upper.size >= 4 ? BigInt.asIntN(upper.size * 8, upper.value) : upper.value;
  return bound < -1n ? undefined : clampCount(Number(bound) + 1);
}

function clampCount(count: number | undefined): number | undefined {
  return count !== undefined && count >= 0 && count <= 2 ** 48 ? count : undefined;
}

/** DW_AT_data_member_location: a constant or, in old files, DW_OP_plus_uconst. */
function memberOffset(die: Die): number {
  const value = die.attributes.get(Attribute.dataMemberLocation);
  if (value?.class === 'constant') return die.unit.number(value) ?? 0;
  if (value?.class === 'block' && value.value[0] === 0x23) {
    return new Cursor(value.value, 1, value.value.length, 'member location').uleb();
  }
  return 0;
}

/** How many types one declaration may mention: types can refer to each other in circles. */
const MAX_MENTIONED = 500;

/** C declaration of something of a type: `int (*inner)(char)`. With '' the type's own name. */
export function declare(type: Type, inner: string, budget = { left: MAX_MENTIONED }): string {
  if (budget.left-- <= 0) return '...';
  const spaced = /^[\w*&(]/.test(inner) ? ` ${inner}` : inner;
  switch (type.kind) {
    case 'pointer': {
      const target = type.target();
      const declarator = type.symbol + (/^\w/.test(inner) && target.kind !== 'function' ? ` ${inner}` : inner);
      const bound = target.kind === 'array' || target.kind === 'function';
      return declare(target, bound ? `(${declarator})` : declarator, budget);
    }
    case 'array':
      return declare(type.element(), `${inner}[${type.count || ''}]`, budget);
    case 'function': {
      const parameters = type.parameters().map((parameter) => declare(parameter, '', budget));
      if (type.variadic) parameters.push('...');
      return declare(type.result(), `${inner}(${parameters.join(', ') || 'void'})`, budget);
    }
    case 'qualified':
      return declareQualified(type, inner, budget);
    default:
      return type.name + (inner.startsWith('[') ? ` ${inner}` : spaced);
  }
}

/** Qualifiers in the usual order, each once, before the type or, of pointers, behind the asterisk. */
function declareQualified(type: Type, inner: string, budget: { left: number }): string {
  const found = new Set<string>();
  while (type.kind === 'qualified' && budget.left-- > 0) {
    found.add(type.qualifier);
    type = type.target();
  }
  const qualifiers = ['const', 'volatile', 'restrict', '_Atomic'].filter((each) => found.has(each)).join(' ');
  if (type.kind === 'pointer') return declare(type, qualifiers + (inner === '' ? '' : ` ${inner}`), budget);
  const text = declare(type, inner, budget);
  // The compiler qualifies an array and its elements alike.
  return type.kind === 'array' && text.startsWith(`${qualifiers} `) ? text : `${qualifiers} ${text}`;
}

/** A function that computes once. Throws when it is asked for while it computes. */
export function once<T>(compute: () => T): () => T {
  let value: T;
  let done = false;
  let running = false;
  return () => {
    if (!done) {
      if (running) throw new Error('a type contains itself');
      running = true;
      try {
        value = compute();
        done = true;
      } finally {
        running = false;
      }
    }
    return value;
  };
}

/** Makes `name` computed on first use. */
export function named<T extends Type>(type: T, name: (type: T) => string): T {
  const get = once(() => name(type));
  Object.defineProperty(type, 'name', { get: safely(get, '...'), enumerable: true });
  return type;
}

/** Makes `size` computed on first use; a type that contains itself has none. */
export function sized<T extends Type>(type: T, size: () => number | undefined): T {
  Object.defineProperty(type, 'size', { get: safely(once(size), undefined), enumerable: true });
  return type;
}

function safely<T>(get: () => T, otherwise: T): () => T {
  return () => {
    try {
      return get();
    } catch {
      return otherwise;
    }
  };
}
