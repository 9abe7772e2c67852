/**
 * Syntax tree to a closure. All names and types are resolved once, here; the closure only reads registers and memory and computes.
 * Integers are computed in 64 bits: unsigned when one operand is an unsigned 64-bit value, else signed; narrower ones are widened first.
 */
import type { AddressSpace } from '../target';
import { strip, type Type } from '../symbols/dwarf/types';
import type { Access } from './access';
import { parse, type Node, type TypeName } from './parser';
import type { RegisterNames, RegisterPart } from './registers';
import { ExpressionError } from './tokens';
import {
  builtinType,
  INT,
  isSigned,
  isWide,
  pointerTo,
  LONG,
  shapeOf,
  typeOfNumber,
  ULONG,
  unsignedOfBits,
  wideUnsigned,
} from './types';

/** Where a value lives, so that it can be taken the address of, written, watched or opened. */
export type Place =
  | { kind: 'memory'; space: AddressSpace; address: (access: Access) => bigint; bitOffset?: number; bitSize?: number }
  | { kind: 'register'; part: RegisterPart };

export interface Compiled {
  type: Type;
  /** The value as an integer of its type: negative for negative ones. Throws ExpressionError where memory is not mapped. */
  value: (access: Access) => bigint;
  place?: Place;
  /** Addresses made from this value are of this space. */
  space: AddressSpace;
  /** Shown in hexadecimal: comes from a register, an address or a hexadecimal number. */
  hex: boolean;
  /** A constant whose value is known now. */
  constant?: bigint;
  /** `target = value`: the place is written with what `value` gives. */
  assigns?: boolean;
  /** A value with bytes but no place and no integer (a struct in registers ...). */
  bytes?: Uint8Array;
}

/** What names mean. */
export interface Names {
  registers: RegisterNames;
  /** Width of pointers in bytes. */
  pointerSize: number;
  /** Local or global variable of the debug information, its place already found. */
  variable?(name: string): Compiled | undefined;
  /** Address of a symbol. */
  symbol?(name: string): bigint | undefined;
  /** Type by name, of the debug information. */
  type?(name: string): Type | undefined;
  /** Names with a fixed value: IA32_LSTAR ... */
  constant?(name: string): bigint | undefined;
  /** Whether a bare name is a field of the exit or exception that a condition looks at. */
  isField?(name: string): boolean;
  /** For the error: names like this one. */
  suggest?(name: string): string | undefined;
}

const wrap = (value: bigint, type: Type): bigint => {
  const bare = strip(type);
  const size = bare.size ?? 8;
  if (bare.kind === 'base' && bare.encoding === 2) return value === 0n ? 0n : 1n;
  return isSigned(type) ? BigInt.asIntN(size * 8, value) : BigInt.asUintN(size * 8, value);
};

function computed(
  type: Type,
  hex: boolean,
  value: (access: Access) => bigint,
  space: AddressSpace = 'virtual',
): Compiled {
  return { type, value, hex, space };
}

function constantOf(type: Type, value: bigint, hex: boolean): Compiled {
  return { type, value: () => value, hex, space: 'virtual', constant: value };
}

/** A value of a type at an address. */
export function inMemory(
  type: Type,
  space: AddressSpace,
  address: (access: Access) => bigint,
  bits?: { bitOffset: number; bitSize: number },
): Compiled {
  const shape = shapeOf(type);
  const place: Place = { kind: 'memory', space, address, ...bits };
  const base = { type, place, space: 'virtual' as const, hex: shape === 'pointer' };
  const size = strip(type).size ?? 0;
  if (shape === 'aggregate' || shape === 'none') {
    return {
      ...base,
      value: () => {
        throw new ExpressionError(`a value of type '${type.name}' is no number`);
      },
    };
  }
  return {
    ...base,
    value: (access) => {
      const at = address(access);
      const raw = access.memory(
        space,
        at,
        bits ? Math.min(8, 2 ** Math.ceil(Math.log2(Math.ceil((bits.bitOffset + bits.bitSize) / 8)))) : size,
      );
      if (raw === undefined) throw new ExpressionError(`can't read ${size} bytes at ${showAddress(space, at)}`);
      if (!bits) return wrap(raw, type);
      const field = BigInt.asUintN(bits.bitSize, raw >> BigInt(bits.bitOffset));
      return isSigned(type) ? BigInt.asIntN(bits.bitSize, field) : field;
    },
  };
}

/** A value of a type in (a part of) a register. */
function inRegister(part: RegisterPart, type: Type): Compiled {
  const scalar = shapeOf(type) === 'integer';
  const value = (access: Access): bigint => {
    if (!scalar) throw new ExpressionError(`a value of type '${type.name}' is no number`);
    return wrap(BigInt.asUintN(part.width, access.register(part.name) >> BigInt(part.shift)), type);
  };
  return { type, value, place: { kind: 'register', part }, space: 'virtual', hex: false };
}

/** An address as a memory reference: '0x1000', 'phys:0x1000'. */
export function showAddress(space: AddressSpace, address: bigint): string {
  const prefix = space === 'physical' ? 'phys:' : space === 'host' ? 'host:' : '';
  return `${prefix}0x${BigInt.asUintN(64, address).toString(16)}`;
}

class Compiler {
  constructor(private readonly names: Names) {}

  compile(node: Node): Compiled {
    switch (node.kind) {
      case 'number':
        return constantOf(typeOfNumber(node.value, node.unsigned), node.value, node.hex);
      case 'register':
        return this.register(node.name, node.column);
      case 'name':
        return this.name(node.name, node.column);
      case 'space': {
        const operand = this.scalar(node.operand);
        const space = node.space === 'phys' ? 'physical' : node.space === 'host' ? 'host' : 'virtual';
        return { ...computed(operand.type, true, operand.value, space), constant: operand.constant };
      }
      case 'unary':
        return this.unary(node.operator, node.operand, node.column);
      case 'binary':
        return this.binary(node.operator, node.left, node.right, node.column);
      case 'conditional': {
        const test = this.scalar(node.test);
        const then = this.compile(node.then);
        const otherwise = this.compile(node.otherwise);
        const type = shapeOf(then.type) === 'integer' ? this.common(then, otherwise) : then.type;
        const value = (access: Access): bigint =>
          wrap(test.value(access) !== 0n ? then.value(access) : otherwise.value(access), type);
        return computed(type, then.hex || otherwise.hex, value, then.space);
      }
      case 'cast': {
        const type = this.typeNamed(node.type, node.column);
        const operand = this.decay(this.compile(node.operand));
        if (shapeOf(type) === 'aggregate' || shapeOf(type) === 'none') {
          throw new ExpressionError(
            `can't cast to '${type.name}'; cast to a pointer to it and dereference`,
            node.column,
          );
        }
        this.requireScalar(operand, node.operand.column);
        const hex = shapeOf(type) === 'pointer' || (operand.hex && !isSigned(type)) || /^u(int)?\d+/.test(type.name);
        const value = operand.value;
        return { ...computed(type, hex, (access) => wrap(value(access), type), operand.space) };
      }
      case 'sizeof': {
        const type = node.type ? this.typeNamed(node.type, node.column) : this.compile(node.operand!).type;
        const { size } = strip(type);
        if (size === undefined) throw new ExpressionError(`the size of '${type.name}' is not known`, node.column);
        return constantOf(ULONG, BigInt(size), false);
      }
      case 'member':
        return this.member(node.operand, node.member, node.arrow, node.column);
      case 'index': {
        const operand = this.compile(node.operand);
        const index = this.scalar(node.index);
        const bare = strip(operand.type);
        if (bare.kind === 'array' && operand.place?.kind === 'memory') {
          return this.element(operand.place.space, operand.place.address, bare.element(), index, node.column);
        }
        if (bare.kind === 'array' && operand.place?.kind === 'register')
          return this.lane(operand.place.part, bare, index, node.column);
        if (bare.kind === 'pointer')
          return this.element(operand.space, operand.value, bare.target(), index, node.column);
        throw new ExpressionError(`'[' needs an array or a pointer, not '${operand.type.name}'`, node.column);
      }
      case 'assign': {
        const target = this.compile(node.target);
        if (!target.place)
          throw new ExpressionError(
            "the left side of '=' must be a register, a variable or memory",
            node.target.column,
          );
        this.requireScalar(target, node.target.column);
        const value = this.scalar(node.value);
        return { ...target, value: value.value, assigns: true };
      }
    }
  }

  private register(name: string, column: number): Compiled {
    if (name.toLowerCase() === 'icount') return computed(ULONG, false, (access) => BigInt(access.icount));
    const lanes = this.names.registers.findLanes(name);
    if (lanes) return inRegister(lanes.part, lanes.type);
    const part = this.names.registers.find(name);
    if (!part) {
      const dot = name.indexOf('.');
      const near =
        dot < 0
          ? closest(
              name,
              this.names.registers.all.map((info) => info.name),
            )
          : undefined;
      throw new ExpressionError(`no register '$${name}'${near ? `; did you mean $${near}?` : ''}`, column);
    }
    const { shift, width } = part;
    const id = part.name;
    const place: Place = { kind: 'register', part };
    if (width > 64) {
      const value = (access: Access): bigint => access.register(id);
      return { type: wideUnsigned(width), value, place, space: 'virtual', hex: true };
    }
    const whole = shift === 0 && width === part.info.width;
    const type = unsignedOfBits(width);
    const low = BigInt(shift);
    const value = whole
      ? (access: Access): bigint => access.register(id)
      : (access: Access): bigint => BigInt.asUintN(width, access.register(id) >> low);
    return { type, value, place, space: 'virtual', hex: true };
  }

  /** One lane of a vector register. Which one must be known when the expression is compiled. */
  private lane(part: RegisterPart, array: Extract<Type, { kind: 'array' }>, index: Compiled, column: number): Compiled {
    const { constant } = index;
    const count = array.count ?? 0;
    if (constant === undefined || constant < 0n || constant >= BigInt(count))
      throw new ExpressionError(`expected a lane, 0 to ${count - 1}`, column);
    const type = array.element();
    const width = (strip(type).size ?? 0) * 8;
    return inRegister({ ...part, shift: part.shift + Number(constant) * width, width }, type);
  }

  private name(name: string, column: number): Compiled {
    if (this.names.isField?.(name)) {
      return computed(ULONG, true, (access) => {
        const value = access.field(name);
        if (value === undefined) throw new ExpressionError(`this stop has no field '${name}'`, column);
        return value;
      });
    }
    const variable = this.names.variable?.(name);
    if (variable) return variable;
    const constant = this.names.constant?.(name);
    if (constant !== undefined) return constantOf(ULONG, constant, true);
    const address = this.names.symbol?.(name);
    if (address !== undefined) return constantOf(ULONG, address, true);
    if (name === 'true' || name === 'false') return constantOf(INT, name === 'true' ? 1n : 0n, false);
    if (name === 'NULL') return constantOf(ULONG, 0n, true);
    const near = this.names.registers.find(name) ? `$${name}` : this.names.suggest?.(name);
    throw new ExpressionError(`no variable or symbol '${name}'${near ? `; did you mean ${near}?` : ''}`, column);
  }

  private unary(operator: '-' | '+' | '~' | '!' | '*' | '&', operandNode: Node, column: number): Compiled {
    if (operator === '&') {
      const operand = this.compile(operandNode);
      if (operand.place?.kind === 'memory' && operand.place.bitSize === undefined) {
        const { space, address } = operand.place;
        return computed(pointerTo(operand.type, this.names.pointerSize), true, address, space);
      }
      if (operand.constant !== undefined && operandNode.kind === 'name') return operand; // a symbol is its address
      throw new ExpressionError("'&' needs something in memory", column);
    }
    if (operator === '*') {
      const operand = this.decay(this.compile(operandNode));
      const bare = strip(operand.type);
      if (bare.kind === 'pointer') {
        if (shapeOf(bare.target()) === 'none')
          throw new ExpressionError(`can't dereference '${operand.type.name}'; cast it first: *(uint32_t*)...`, column);
        const target = inMemory(bare.target(), operand.space, this.asAddress(operand));
        // *(uint32_t *)0xfee00030: written with this language's own type, so it is about bits rather than quantities.
        const raw = bare.target() === builtinType(bare.target().name) && !isSigned(bare.target());
        return { ...target, hex: target.hex || raw };
      }
      this.requireScalar(operand, operandNode.column);
      // An untyped address (a register, a symbol, a number): a machine word there.
      return {
        ...inMemory(unsignedOfBits(this.names.pointerSize * 8), operand.space, this.asAddress(operand)),
        hex: true,
      };
    }
    const operand = this.scalar(operandNode);
    const { value } = operand;
    if (operator === '!') return computed(INT, false, (access) => (value(access) === 0n ? 1n : 0n));
    const type = this.common(operand, operand);
    if (operator === '+') return computed(type, operand.hex, value);
    const operation = operator === '-' ? (v: bigint): bigint => -v : (v: bigint): bigint => ~v;
    const result = computed(type, operand.hex && type === ULONG, (access) => wrap(operation(value(access)), type));
    return operand.constant === undefined
      ? result
      : constantOf(type, wrap(operation(operand.constant), type), operand.hex);
  }

  private binary(operator: string, leftNode: Node, rightNode: Node, column: number): Compiled {
    const compare = COMPARISONS[operator];
    if (compare) return this.comparison(compare, this.comparable(leftNode), this.comparable(rightNode));
    const left = this.scalar(leftNode);
    const right = this.scalar(rightNode);
    const [l, r] = [left.value, right.value];
    if (operator === '&&') return computed(INT, false, (access) => (l(access) !== 0n && r(access) !== 0n ? 1n : 0n));
    if (operator === '||') return computed(INT, false, (access) => (l(access) !== 0n || r(access) !== 0n ? 1n : 0n));

    const pointer = this.pointerArithmetic(operator, left, right, column);
    if (pointer) return pointer;

    const shifts = operator === '<<' || operator === '>>';
    const type = shifts ? this.common(left, left) : this.common(left, right);
    const widen = type === ULONG ? (v: bigint): bigint => BigInt.asUintN(64, v) : (v: bigint): bigint => v;
    const operation = ARITHMETIC[operator];
    const hex = left.hex || (right.hex && !shifts);
    const space = left.space !== 'virtual' ? left.space : right.space;
    const value = (access: Access): bigint => {
      const y = r(access);
      if ((operator === '/' || operator === '%') && y === 0n) throw new ExpressionError('division by zero', column);
      return wrap(operation(widen(l(access)), shifts ? y & 63n : widen(y)), type);
    };
    const result = computed(type, hex, value, space);
    if (left.constant !== undefined && right.constant !== undefined) result.constant = value(undefined as never);
    return result;
  }

  /** An operand of a comparison: a scalar, or the unsigned number in a vector register. */
  private comparable(node: Node): Compiled {
    const operand = this.decay(this.compile(node));
    if (operand.place?.kind === 'register' && operand.place.part.info.parse && isWide(operand.type)) {
      const { name } = operand.place.part.info;
      throw new ExpressionError(`$${name} holds a floating-point value; comparing these is not offered`, node.column);
    }
    if (!isWide(operand.type)) this.requireScalar(operand, node.column);
    return operand;
  }

  private comparison(compare: (a: bigint, b: bigint) => boolean, left: Compiled, right: Compiled): Compiled {
    if (isWide(left.type) || isWide(right.type)) {
      const bits = 8 * Math.max(strip(left.type).size ?? 8, strip(right.type).size ?? 8);
      const value = (operand: Compiled, access: Access): bigint => BigInt.asUintN(bits, operand.value(access));
      return computed(INT, false, (access) => (compare(value(left, access), value(right, access)) ? 1n : 0n));
    }
    const unsigned = this.common(left, right) === ULONG;
    const [l, r] = [left.value, right.value];
    const needsWrap = unsigned && (isSigned(left.type) || isSigned(right.type));
    if (right.constant !== undefined) {
      const constant = needsWrap ? BigInt.asUintN(64, right.constant) : right.constant;
      const wrapLeft = needsWrap && isSigned(left.type);
      if (!wrapLeft) return computed(INT, false, (access) => (compare(l(access), constant) ? 1n : 0n));
    }
    if (!needsWrap) return computed(INT, false, (access) => (compare(l(access), r(access)) ? 1n : 0n));
    const u = (v: bigint): bigint => BigInt.asUintN(64, v);
    return computed(INT, false, (access) => (compare(u(l(access)), u(r(access))) ? 1n : 0n));
  }

  /** pointer ± integer, pointer − pointer; undefined when neither side is a pointer. */
  private pointerArithmetic(operator: string, left: Compiled, right: Compiled, column: number): Compiled | undefined {
    const [a, b] = [strip(left.type), strip(right.type)];
    if (a.kind !== 'pointer' && b.kind !== 'pointer') return undefined;
    if (operator !== '+' && operator !== '-') {
      if (operator === '&' || operator === '|' || operator === '^' || operator === '%') return undefined; // alignment masks
      throw new ExpressionError(`'${operator}' does not work on pointers`, column);
    }
    const [pointer, other] = a.kind === 'pointer' ? [left, right] : [right, left];
    const target = (strip(pointer.type) as Extract<Type, { kind: 'pointer' }>).target();
    const size = BigInt(strip(target).size ?? 1);
    const [p, o] = [pointer.value, other.value];
    if (operator === '-' && a.kind === 'pointer' && b.kind === 'pointer') {
      return computed(LONG, false, (access) => BigInt.asIntN(64, p(access) - o(access)) / (size || 1n));
    }
    if (operator === '-' && b.kind === 'pointer')
      throw new ExpressionError("can't subtract a pointer from a number", column);
    const sign = operator === '-' ? -1n : 1n;
    const { type } = pointer;
    return computed(type, true, (access) => wrap(p(access) + sign * size * o(access), type), pointer.space);
  }

  private member(operandNode: Node, name: string, arrow: boolean, column: number): Compiled {
    const operand = this.compile(operandNode);
    let bare = strip(operand.type);
    let address: ((access: Access) => bigint) | undefined;
    let space: AddressSpace = 'virtual';
    if (bare.kind === 'pointer') {
      // '.' on a pointer is taken for '->', as other debuggers do.
      address = this.asAddress(operand);
      space = operand.space;
      bare = strip(bare.target());
    } else if (operand.place?.kind === 'memory') {
      if (arrow && bare.kind === 'struct')
        throw new ExpressionError(`'->' needs a pointer; '${operand.type.name}' is none: use '.'`, column);
      ({ address, space } = operand.place);
    }
    if (bare.kind !== 'struct' || !address) {
      throw new ExpressionError(`'${arrow ? '->' : '.'}' needs a struct or union, not '${operand.type.name}'`, column);
    }
    const found = findMember(bare, name);
    if (!found) {
      const near = closest(
        name,
        bare.members().map((each) => each.name),
      );
      throw new ExpressionError(
        `'${bare.name}' has no member '${name}'${near ? `; did you mean ${near}?` : ''}`,
        column,
      );
    }
    const base = address;
    const offset = BigInt(found.offset);
    const bits = found.bitSize === undefined ? undefined : { bitOffset: found.bitOffset ?? 0, bitSize: found.bitSize };
    return inMemory(found.type, space, (access) => BigInt.asUintN(64, base(access) + offset), bits);
  }

  private element(
    space: AddressSpace,
    base: (access: Access) => bigint,
    type: Type,
    index: Compiled,
    column: number,
  ): Compiled {
    const { size } = strip(type);
    if (!size) throw new ExpressionError(`elements of '${type.name}' have no known size`, column);
    const scale = BigInt(size);
    return inMemory(type, space, (access) => BigInt.asUintN(64, base(access) + scale * index.value(access)));
  }

  private asAddress(operand: Compiled): (access: Access) => bigint {
    const { value } = operand;
    return isSigned(operand.type) ? (access): bigint => BigInt.asUintN(64, value(access)) : value;
  }

  /** An array stands for the address of its first element. */
  private decay(operand: Compiled): Compiled {
    const bare = strip(operand.type);
    if (bare.kind !== 'array' || operand.place?.kind !== 'memory') return operand;
    const { space, address } = operand.place;
    return computed(pointerTo(bare.element(), this.names.pointerSize), true, address, space);
  }

  private scalar(node: Node): Compiled {
    const operand = this.decay(this.compile(node));
    this.requireScalar(operand, node.column);
    return operand;
  }

  private requireScalar(operand: Compiled, column: number): void {
    const shape = shapeOf(operand.type);
    if (shape === 'integer' || shape === 'pointer') return;
    if (isWide(operand.type) && operand.constant !== undefined)
      throw new ExpressionError('number does not fit in 64 bits', column);
    if (shape === 'float') throw new ExpressionError('arithmetic on floating-point values is not offered', column);
    throw new ExpressionError(`a value of type '${operand.type.name}' is no number`, column);
  }

  private common(left: Compiled, right: Compiled): Type {
    const wide = (operand: Compiled): boolean => !isSigned(operand.type) && (strip(operand.type).size ?? 8) >= 8;
    return wide(left) || wide(right) ? ULONG : LONG;
  }

  private typeNamed({ name, pointers }: TypeName, column: number): Type {
    let type = builtinType(name) ?? this.names.type?.(name);
    if (!type) throw new ExpressionError(`no type '${name}'`, column);
    for (let i = 0; i < pointers; i++) type = pointerTo(type, this.names.pointerSize);
    return type;
  }
}

const COMPARISONS: Readonly<Record<string, (a: bigint, b: bigint) => boolean>> = {
  '==': (a, b) => a === b,
  '!=': (a, b) => a !== b,
  '<': (a, b) => a < b,
  '>': (a, b) => a > b,
  '<=': (a, b) => a <= b,
  '>=': (a, b) => a >= b,
};

const ARITHMETIC: Readonly<Record<string, (a: bigint, b: bigint) => bigint>> = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '/': (a, b) => a / b,
  '%': (a, b) => a % b,
  '&': (a, b) => a & b,
  '|': (a, b) => a | b,
  '^': (a, b) => a ^ b,
  '<<': (a, b) => a << b,
  '>>': (a, b) => a >> b,
};

type Struct = Extract<Type, { kind: 'struct' }>;

/** A member by name, also inside anonymous structs and unions and base classes. */
function findMember(
  type: Struct,
  name: string,
  depth = 0,
): { type: Type; offset: number; bitOffset?: number; bitSize?: number } | undefined {
  if (depth > 16) return undefined;
  for (const member of type.members()) {
    if (member.name === name && !member.inherited) return member;
    const bare = strip(member.type);
    if ((member.name === '' || member.inherited) && bare.kind === 'struct') {
      const inner = findMember(bare, name, depth + 1);
      if (inner) return { ...inner, offset: member.offset + inner.offset };
    }
  }
  return undefined;
}

/** The name that differs least from `name`, when it is close enough to be a slip of the keyboard. */
export function closest(name: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(name.length / 3)) + 1;
  const wanted = name.toLowerCase();
  for (const candidate of candidates) {
    if (!candidate || Math.abs(candidate.length - name.length) >= least) continue;
    const distance = editDistance(wanted, candidate.toLowerCase(), least);
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best;
}

/** Characters to insert, remove or replace to make `b` of `a`; when they are `limit` or more, some number that is not less. */
function editDistance(a: string, b: string, limit: number): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    let least = i;
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
      if (next[j] < least) least = next[j];
    }
    // From row to row it does not become less.
    if (least >= limit) return least;
    row = next;
  }
  return row[b.length];
}

/** Whether a name is a type in these names. */
export function isTypeName(names: Names): (name: string) => boolean {
  return (name) => builtinType(name) !== undefined || (names.type?.(name) !== undefined && !names.variable?.(name));
}

export function compileNode(node: Node, names: Names): Compiled {
  const compiled = new Compiler(names).compile(node);
  if (isWide(compiled.type) && compiled.constant !== undefined)
    throw new ExpressionError('number does not fit in 64 bits', node.column);
  return compiled;
}

/** Parses and resolves an expression. Throws ExpressionError with column and reason. */
export function compile(text: string, names: Names): Compiled {
  return compileNode(parse(text, isTypeName(names)), names);
}

/** All bare names of an expression, so that what they mean can be found before it is compiled. */
export function namesIn(node: Node, into = new Set<string>()): Set<string> {
  if (node.kind === 'name') into.add(node.name);
  for (const value of Object.values(node)) {
    if (value && typeof value === 'object' && 'kind' in value) namesIn(value as Node, into);
  }
  return into;
}
