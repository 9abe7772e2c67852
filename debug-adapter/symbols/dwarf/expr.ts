import { Encoding } from './constants';
import { Cursor, DwarfError } from './reader';

/** Where a value is, or what it is. DWARF 5, 2.6 "Location Descriptions". */
export type Location =
  | { kind: 'memory'; address: bigint }
  | { kind: 'register'; register: number }
  /** The value itself (DW_OP_stack_value), as unsigned bits. */
  | { kind: 'value'; value: bigint }
  /** The value's bytes (DW_OP_implicit_value, DW_AT_const_value). */
  | { kind: 'implicit'; bytes: Uint8Array }
  | { kind: 'pieces'; pieces: Piece[] }
  | { kind: 'optimized out'; reason: string };

/** A part of a value, in order; `bitOffset`: where in the source location it begins. */
export interface Piece {
  bits: number;
  bitOffset: number;
  location: Location;
}

export interface TypedEncoding {
  encoding: number;
  size: number;
}

/** What an expression may ask for. Addresses are those of the running machine. */
export interface ExpressionEnvironment {
  addressSize: number;
  is64: boolean;
  /** Added to addresses as linked (DW_OP_addr). */
  bias: bigint;
  register(dwarfNumber: number): Promise<bigint | undefined>;
  read(address: bigint, length: number): Promise<Uint8Array>;
  cfa(): Promise<bigint | undefined>;
  frameBase(): Promise<bigint | undefined>;
  /** Entry of .debug_addr, as linked. */
  indexedAddress(index: number): bigint;
  /** The base type at an offset relative to the unit; undefined when there is none. */
  baseType(offset: number): TypedEncoding | undefined;
}

const MAX_STEPS = 10_000;
const MAX_STACK = 1_000;
const MAX_PIECES = 1_000;

/** Ends an evaluation whose value is not available; becomes 'optimized out'. */
class Unavailable extends Error {}

interface Entry {
  value: bigint;
  /** undefined: the generic type, unsigned and as wide as an address. */
  type?: TypedEncoding;
}

/**
 * Evaluates a location expression. DWARF 5, 2.5 "DWARF Expressions" and 7.7.1 "DWARF Expressions" (opcodes).
 * @param initial values on the stack at the beginning (frame information pushes the CFA)
 * @returns 'optimized out' with a reason where the machine no longer has the value
 * @throws DwarfError when the expression is malformed or runs too long
 */
export async function evaluateExpression(
  expression: Uint8Array,
  environment: ExpressionEnvironment,
  initial: bigint[] = [],
): Promise<Location> {
  if (expression.length === 0) return { kind: 'optimized out', reason: 'no location here' };
  try {
    return await new Machine(expression, environment, initial).run();
  } catch (error) {
    if (error instanceof Unavailable) return { kind: 'optimized out', reason: error.message };
    throw error;
  }
}

class Machine {
  private readonly stack: Entry[];
  private readonly cursor: Cursor;
  private readonly mask: number;

  constructor(
    expression: Uint8Array,
    private readonly environment: ExpressionEnvironment,
    initial: bigint[],
  ) {
    this.cursor = new Cursor(expression, 0, expression.length, 'location expression');
    this.stack = initial.map((value) => ({ value }));
    this.mask = environment.addressSize * 8;
  }

  private push(value: bigint, type?: TypedEncoding): void {
    if (this.stack.length >= MAX_STACK) throw new DwarfError('location expression: its stack overflows');
    this.stack.push({ value: BigInt.asUintN(type ? type.size * 8 : this.mask, value), type });
  }

  private popEntry(): Entry {
    const entry = this.stack.pop();
    if (!entry) throw new DwarfError('location expression: its stack is empty');
    return entry;
  }

  private pop(): bigint {
    return this.popEntry().value;
  }

  private pick(depth: number): Entry {
    const entry = this.stack[this.stack.length - 1 - depth];
    if (!entry) throw new DwarfError(`location expression: its stack has no entry ${depth}`);
    return entry;
  }

  private signed(entry: Entry): bigint {
    return BigInt.asIntN(entry.type ? entry.type.size * 8 : this.mask, entry.value);
  }

  private async registerValue(number: number): Promise<bigint> {
    const value = await this.environment.register(number);
    if (value === undefined) throw new Unavailable(`register ${number} is not known in this frame`);
    return value;
  }

  private async load(address: bigint, size: number): Promise<bigint> {
    const bytes = size > 0 && size <= 8 ? await this.environment.read(address, size) : new Uint8Array(0);
    if (bytes.length < size || size === 0) {
      throw new Unavailable(`${size} bytes at 0x${address.toString(16)} cannot be read`);
    }
    let value = 0n;
    for (let i = size - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
    return value;
  }

  private type(offset: number): TypedEncoding | undefined {
    if (offset === 0) return undefined;
    const type = this.environment.baseType(offset);
    if (!type || type.size < 1 || type.size > 16)
      throw new DwarfError(`location expression: no base type at ${offset}`);
    if (type.encoding === Encoding.float || type.encoding === Encoding.complexFloat) {
      throw new Unavailable('computed in floating point');
    }
    return type;
  }

  async run(): Promise<Location> {
    const pieces: Piece[] = [];
    let bitsSoFar = 0;
    /** Set when the operations so far name a place that is not a memory address on the stack. */
    let location: Location | undefined;
    const cursor = this.cursor;
    for (let steps = 0; cursor.remaining > 0; steps++) {
      if (steps >= MAX_STEPS) throw new DwarfError(`location expression: no end after ${MAX_STEPS} operations`);
      const op = cursor.u8();
      if (op === 0x93 || op === 0x9d) {
        // DW_OP_piece, DW_OP_bit_piece
        const bits = op === 0x93 ? cursor.uleb() * 8 : cursor.uleb();
        const bitOffset = op === 0x93 ? 0 : cursor.uleb();
        location ??= this.stack.length > 0 ? { kind: 'memory', address: this.pop() } : optimizedOut();
        pieces.push({ bits, bitOffset, location });
        bitsSoFar += bits;
        if (pieces.length > MAX_PIECES || bitsSoFar > 2 ** 31) throw new DwarfError('location expression: too large');
        location = undefined;
        continue;
      }
      location = (await this.place(op)) ?? location;
    }
    if (pieces.length > 0) return { kind: 'pieces', pieces };
    return location ?? { kind: 'memory', address: this.pop() };
  }

  /** Operations that name a place or value; every other one works on the stack. */
  private async place(op: number): Promise<Location | undefined> {
    const cursor = this.cursor;
    if (op >= 0x50 && op <= 0x6f) return { kind: 'register', register: op - 0x50 };
    switch (op) {
      case 0x90: // regx
        return { kind: 'register', register: cursor.uleb() };
      case 0x9e: // implicit_value
        return { kind: 'implicit', bytes: cursor.bytes(cursor.uleb()) };
      case 0x9f: // stack_value
        return { kind: 'value', value: this.pop() };
      case 0xa0: // implicit_pointer
      case 0xf2:
        cursor.offset(this.environment.is64);
        cursor.skipLeb();
        return { kind: 'optimized out', reason: 'a pointer to something that was optimized out' };
      case 0xa3: // entry_value
      case 0xf3:
        cursor.skip(cursor.uleb());
        throw new Unavailable('known only at the entry of the function');
      case 0xfa: // GNU_parameter_ref
      case 0xfd: // GNU_variable_value
        throw new Unavailable('known only to the caller');
      case 0x9b: // form_tls_address
      case 0xe0: // GNU_push_tls_address
        throw new Unavailable('thread-local');
      case 0x97: // push_object_address
      case 0x98: // call2
      case 0x99: // call4
      case 0x9a: // call_ref
        throw new Unavailable(`operation 0x${op.toString(16)} is not supported`);
      default:
        await this.operate(op);
        return undefined;
    }
  }

  private async operate(op: number): Promise<void> {
    const { cursor, environment } = this;
    if (op >= 0x30 && op <= 0x4f) return this.push(BigInt(op - 0x30)); // lit0..31
    if (op >= 0x70 && op <= 0x8f) {
      const offset = cursor.slebBig();
      return this.push((await this.registerValue(op - 0x70)) + offset); // breg0..31
    }
    switch (op) {
      case 0x03: // addr
        return this.push(cursor.unsigned(environment.addressSize) + environment.bias);
      case 0xa1: // addrx
      case 0xfb: // GNU_addr_index
        return this.push(environment.indexedAddress(cursor.uleb()) + environment.bias);
      case 0xa2: // constx
      case 0xfc: // GNU_const_index
        return this.push(environment.indexedAddress(cursor.uleb()));
      case 0x06: // deref
        return this.push(await this.load(this.pop(), environment.addressSize));
      case 0x94: // deref_size
        return this.push(await this.load(this.pop(), cursor.u8()));
      case 0xa6: // deref_type
      case 0xf6: {
        const size = cursor.u8();
        const type = this.type(cursor.uleb());
        return this.push(await this.load(this.pop(), size), type);
      }
      case 0x08:
        return this.push(BigInt(cursor.u8()));
      case 0x09:
        return this.push(BigInt(cursor.i8()));
      case 0x0a:
        return this.push(BigInt(cursor.u16()));
      case 0x0b:
        return this.push(BigInt.asIntN(16, BigInt(cursor.u16())));
      case 0x0c:
        return this.push(BigInt(cursor.u32()));
      case 0x0d:
        return this.push(BigInt(cursor.i32()));
      case 0x0e:
      case 0x0f:
        return this.push(cursor.u64());
      case 0x10:
        return this.push(cursor.ulebBig());
      case 0x11:
        return this.push(cursor.slebBig());
      case 0xa4: // const_type
      case 0xf4: {
        const type = this.type(cursor.uleb());
        const bytes = cursor.bytes(cursor.u8());
        return this.push(littleEndian(bytes), type);
      }
      case 0xa5: // regval_type
      case 0xf5: {
        const register = cursor.uleb();
        const type = this.type(cursor.uleb());
        return this.push(await this.registerValue(register), type);
      }
      case 0xa8: // convert
      case 0xf7: {
        const type = this.type(cursor.uleb());
        const entry = this.popEntry();
        const encoding = entry.type?.encoding;
        const isSigned = encoding === Encoding.signed || encoding === Encoding.signedChar;
        return this.push(isSigned ? this.signed(entry) : entry.value, type);
      }
      case 0xa9: // reinterpret
      case 0xf9: {
        const type = this.type(cursor.uleb());
        return this.push(this.pop(), type);
      }
      case 0x12: // dup
        return this.copy(0);
      case 0x13: // drop
        this.pop();
        return;
      case 0x14: // over
        return this.copy(1);
      case 0x15: // pick
        return this.copy(cursor.u8());
      case 0x16: {
        // swap
        const a = this.popEntry();
        const b = this.popEntry();
        this.stack.push(a, b);
        return;
      }
      case 0x17: {
        // rot
        const a = this.popEntry();
        const b = this.popEntry();
        const c = this.popEntry();
        this.stack.push(a, c, b);
        return;
      }
      case 0x19: {
        // abs
        const entry = this.popEntry();
        const value = this.signed(entry);
        return this.push(value < 0n ? -value : value, entry.type);
      }
      case 0x1f: {
        // neg
        const entry = this.popEntry();
        return this.push(-entry.value, entry.type);
      }
      case 0x20: {
        // not
        const entry = this.popEntry();
        return this.push(~entry.value, entry.type);
      }
      case 0x23: {
        // plus_uconst
        const entry = this.popEntry();
        return this.push(entry.value + cursor.ulebBig(), entry.type);
      }
      case 0x28: {
        // bra
        const distance = cursor.u16();
        if (this.pop() !== 0n) this.jump(distance);
        return;
      }
      case 0x2f: // skip
        return this.jump(cursor.u16());
      case 0x91: {
        // fbreg
        const offset = cursor.slebBig();
        const base = await environment.frameBase();
        if (base === undefined) throw new Unavailable('the frame base is not known');
        return this.push(base + offset);
      }
      case 0x92: {
        // bregx
        const register = cursor.uleb();
        const offset = cursor.slebBig();
        return this.push((await this.registerValue(register)) + offset);
      }
      case 0x96: // nop
      case 0xf0: // GNU_uninit
        return;
      case 0x9c: {
        // call_frame_cfa
        const cfa = await environment.cfa();
        if (cfa === undefined) throw new Unavailable('the frame address is not known');
        return this.push(cfa);
      }
      default:
        return this.binary(op);
    }
  }

  private copy(depth: number): void {
    const { value, type } = this.pick(depth);
    this.push(value, type);
  }

  private jump(distance: number): void {
    const target = this.cursor.position + (distance >= 0x8000 ? distance - 0x10000 : distance);
    if (target < 0 || target > this.cursor.end) throw new DwarfError('location expression: a jump leads out of it');
    this.cursor.position = target;
  }

  private binary(op: number): void {
    const isBinary = (op >= 0x1a && op <= 0x27) || (op >= 0x29 && op <= 0x2e);
    if (!isBinary) throw new DwarfError(`location expression: unknown operation 0x${op.toString(16)}`);
    const right = this.popEntry();
    const left = this.popEntry();
    const type = left.type;
    const bits = BigInt(type ? type.size * 8 : this.mask);
    const [a, b] = [left.value, right.value];
    const [sa, sb] = [this.signed(left), this.signed(right)];
    const unsignedDivision = type !== undefined && type.encoding !== Encoding.signed;
    const compare = (holds: boolean): void => this.push(holds ? 1n : 0n);
    switch (op) {
      case 0x1a:
        return this.push(a & b, type);
      case 0x1b: // div: signed for the generic type
        if (b === 0n) throw new Unavailable('division by zero');
        return this.push(unsignedDivision ? a / b : sa / sb, type);
      case 0x1c:
        return this.push(a - b, type);
      case 0x1d: // mod: unsigned for the generic type
        if (b === 0n) throw new Unavailable('division by zero');
        return this.push(type && !unsignedDivision ? sa % sb : a % b, type);
      case 0x1e:
        return this.push(a * b, type);
      case 0x21:
        return this.push(a | b, type);
      case 0x22:
        return this.push(a + b, type);
      case 0x24:
        return this.push(b >= bits ? 0n : a << b, type);
      case 0x25:
        return this.push(b >= bits ? 0n : a >> b, type);
      case 0x26:
        return this.push(sa >> (b >= bits ? bits : b), type);
      case 0x27:
        return this.push(a ^ b, type);
      case 0x29:
        return compare(a === b);
      case 0x2a:
        return compare(unsignedDivision ? a >= b : sa >= sb);
      case 0x2b:
        return compare(unsignedDivision ? a > b : sa > sb);
      case 0x2c:
        return compare(unsignedDivision ? a <= b : sa <= sb);
      case 0x2d:
        return compare(unsignedDivision ? a < b : sa < sb);
      default:
        return compare(a !== b);
    }
  }
}

function optimizedOut(): Location {
  return { kind: 'optimized out', reason: 'this part has no location' };
}

function littleEndian(bytes: Uint8Array): bigint {
  let value = 0n;
  for (let i = bytes.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
  return value;
}
