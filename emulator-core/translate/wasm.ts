/**
 * A small WebAssembly emitter: typed expressions and functions. It knows nothing of x86.
 * Opcodes: WebAssembly Core Specification, "Binary Format".
 */

import { Bytes, sleb, slebNumber, uleb } from './wasmBytes';

export type Type = 0x7f | 0x7e | 0x7b; // i32, i64, v128
export const I32: Type = 0x7f;
export const I64: Type = 0x7e;
export const V128: Type = 0x7b;
const VOID_BLOCK = 0x40;
/** Bytes that mostly are enough for what loads locals in front of a function, and for their declarations. */
const ROOM_BEFORE = 1024;
const ROOM_FOR_LOCALS = 64;

/** A function as a module has it: parameters and result are i32. */
export interface FunctionBody {
  readonly parameters: number;
  /** Declarations of locals, and the code without its final `end`. Not to be changed. */
  body(): Uint8Array;
}

/** One function body under construction. Locals are numbered after the parameters. */
export class Fn implements FunctionBody {
  readonly code: Bytes;
  private readonly locals: Type[] = [];
  /** Blocks, loops and ifs that are open where code is emitted now. */
  depth = 0;
  /** @param room bytes of code that there is room for at first */
  constructor(
    readonly parameters: number,
    room?: number,
  ) {
    this.code = new Bytes(room);
  }

  local(type: Type): number {
    this.locals.push(type);
    return this.parameters + this.locals.length - 1;
  }

  /** Another one with the same locals, without code, but room for as much and some before it. */
  begun(): Fn {
    const fn = new Fn(this.parameters, this.code.length + ROOM_BEFORE);
    fn.locals.push(...this.locals);
    return fn;
  }

  /** Takes the value on the stack into a local. */
  setLocal(local: number): void {
    this.code.push(0x21);
    uleb(this.code, local);
  }

  body(): Uint8Array {
    const groups: [count: number, type: Type][] = [];
    for (const type of this.locals) {
      const last = groups[groups.length - 1];
      if (last && last[1] === type) last[0]++;
      else groups.push([1, type]);
    }
    const bytes = new Bytes(this.code.length + ROOM_FOR_LOCALS);
    uleb(bytes, groups.length);
    for (const [count, type] of groups) {
      uleb(bytes, count);
      bytes.push(type);
    }
    bytes.append(this.code.view);
    return bytes.view;
  }
}

/** A function as it is now, to be kept: with nothing of how it was made. */
export function finished(f: FunctionBody): FunctionBody {
  const body = f.body().slice();
  return { parameters: f.parameters, body: () => body };
}

/**
 * An expression that leaves one value on the stack. `constant` lets operations fold. Of an i64, `bits`: it is known to be below 2 to the
 * power of it, undefined: it may have all 64; `low`: its low 32 bits as an i32, where they can be computed without the others.
 */
export interface Expr {
  readonly type: Type;
  readonly emit: (f: Fn) => void;
  readonly constant?: bigint;
  readonly bits?: number;
  readonly low?: () => Expr;
}

export const make = (type: Type, emit: (f: Fn) => void, bits?: number, low?: () => Expr): Expr => ({
  type,
  emit,
  bits,
  low,
});

/** Bits that a value can have. */
export function bitsOf({ bits }: Expr): number {
  return bits ?? 64;
}

/** A constant. Nearly all are small, so they are numbers, and BigInts only where they fold or have more than 32 bits. */
class Constant implements Expr {
  private big?: bigint;
  constructor(
    readonly type: Type,
    private readonly value: number | bigint,
  ) {}

  get constant(): bigint {
    return (this.big ??= BigInt(this.value));
  }
  get bits(): number {
    const { value } = this;
    if (value < 0) return 64;
    return typeof value === 'number' ? 32 - Math.clz32(value) : value.toString(2).length;
  }
  get low(): () => Expr {
    return () => i32c(Number(BigInt.asIntN(32, this.constant)));
  }

  emit(f: Fn): void {
    f.code.push(this.type === I32 ? 0x41 : 0x42);
    if (typeof this.value === 'number') slebNumber(f.code, this.value);
    else sleb(f.code, this.value);
  }
}

export function i32c(value: number): Expr {
  return new Constant(I32, value | 0);
}

export function i64c(value: bigint | number): Expr {
  if (typeof value === 'number' && value === (value | 0)) return new Constant(I64, value);
  const whole = BigInt.asIntN(64, BigInt(value));
  const small = whole >= -0x40000000n && whole < 0x40000000n;
  return new Constant(I64, small ? Number(whole) : whole);
}

const unary = (result: Type, opcode: number, bits?: number) => (a: Expr) =>
  make(
    result,
    (f) => {
      a.emit(f);
      f.code.push(opcode);
    },
    bits,
  );

/**
 * @param bits of the result, by those of the operands
 * @param low the same of the operands' low halves: the low half of the result
 */
const binary = (
  result: Type,
  opcode: number,
  fold?: (a: bigint, b: bigint) => bigint,
  bits?: (a: number, b: number) => number,
  low?: (a: Expr, b: Expr) => Expr,
) => {
  const constant = result === I32 ? (v: bigint) => i32c(Number(BigInt.asIntN(32, v))) : i64c;
  return (a: Expr, b: Expr): Expr => {
    if (fold && a.constant !== undefined && b.constant !== undefined) return constant(fold(a.constant, b.constant));
    const known = bits?.(bitsOf(a), bitsOf(b));
    return make(
      result,
      (f) => {
        a.emit(f);
        b.emit(f);
        f.code.push(opcode);
      },
      known !== undefined && known < 64 ? known : undefined,
      low && a.low && b.low ? () => low(a.low!(), b.low!()) : undefined,
    );
  };
};

const load =
  (result: Type, opcode: number, align: number, bits?: number, low?: (address: Expr, offset: number) => Expr) =>
  (address: Expr, offset: number) =>
    make(
      result,
      (f) => {
        address.emit(f);
        f.code.push(opcode, align);
        uleb(f.code, offset);
      },
      bits,
      low && (() => low(address, offset)),
    );

const store = (opcode: number, align: number) => (address: Expr, value: Expr, offset: number) => (f: Fn) => {
  address.emit(f);
  value.emit(f);
  f.code.push(opcode, align);
  uleb(f.code, offset);
};

const wrap = unary(I32, 0xa7);
const extend = unary(I64, 0xad, 32);

export const i32 = {
  eqz: unary(I32, 0x45),
  eq: binary(I32, 0x46),
  ne: binary(I32, 0x47),
  ltS: binary(I32, 0x48),
  ltU: binary(I32, 0x49),
  geS: binary(I32, 0x4e),
  leS: binary(I32, 0x4c),
  geU: binary(I32, 0x4f),
  add: binary(I32, 0x6a, (a, b) => a + b),
  sub: binary(I32, 0x6b, (a, b) => a - b),
  and: binary(I32, 0x71, (a, b) => a & b),
  or: binary(I32, 0x72, (a, b) => a | b),
  xor: binary(I32, 0x73, (a, b) => a ^ b),
  shl: binary(I32, 0x74),
  shrU: binary(I32, 0x76),
  mul: binary(I32, 0x6c, (a, b) => a * b),
  popcnt: unary(I32, 0x69),
  load: load(I32, 0x28, 2),
  load8u: load(I32, 0x2d, 0),
  load16u: load(I32, 0x2f, 1),
  store: store(0x36, 2),
  store8: store(0x3a, 0),
  store16: store(0x3b, 1),
  wrap: (a: Expr): Expr => a.low?.() ?? wrap(a),
};

const wideShl = binary(I64, 0x86, (a, b) => a << (b & 63n));
const wideShrU = binary(I64, 0x88, (a, b) => BigInt.asUintN(64, a) >> (b & 63n));

function shl(a: Expr, b: Expr): Expr {
  const whole = wideShl(a, b);
  const by = a.low && whole.constant === undefined ? b.constant : undefined;
  if (by === undefined || by < 0n || by > 31n) return whole;
  const bits = bitsOf(a) + Number(by);
  return { ...whole, bits: bits < 64 ? bits : undefined, low: () => i32.shl(a.low!(), i32c(Number(by))) };
}

function shrU(a: Expr, b: Expr): Expr {
  const whole = wideShrU(a, b);
  const narrow = a.low && bitsOf(a) <= 32 && whole.constant === undefined;
  const by = narrow ? b.constant : undefined;
  if (by === undefined || by < 0n || by > 31n) return whole;
  const bits = Math.max(0, bitsOf(a) - Number(by));
  return { ...whole, bits, low: () => i32.shrU(a.low!(), i32c(Number(by))) };
}

export const i64 = {
  eqz: unary(I32, 0x50),
  eq: binary(I32, 0x51),
  ne: binary(I32, 0x52),
  ltS: binary(I32, 0x53),
  ltU: binary(I32, 0x54),
  gtS: binary(I32, 0x55),
  gtU: binary(I32, 0x56),
  leS: binary(I32, 0x57),
  leU: binary(I32, 0x58),
  geU: binary(I32, 0x5a),
  clz: unary(I64, 0x79, 7),
  ctz: unary(I64, 0x7a, 7),
  popcnt: unary(I64, 0x7b, 7),
  add: binary(
    I64,
    0x7c,
    (a, b) => a + b,
    (a, b) => Math.max(a, b) + 1,
    i32.add,
  ),
  sub: binary(I64, 0x7d, (a, b) => a - b, undefined, i32.sub),
  mul: binary(I64, 0x7e, (a, b) => a * b, undefined, i32.mul),
  divS: binary(I64, 0x7f),
  divU: binary(I64, 0x80),
  remS: binary(I64, 0x81),
  remU: binary(I64, 0x82),
  and: binary(I64, 0x83, (a, b) => a & b, Math.min, i32.and),
  or: binary(I64, 0x84, (a, b) => a | b, Math.max, i32.or),
  xor: binary(I64, 0x85, (a, b) => a ^ b, Math.max, i32.xor),
  shl,
  shrS: binary(I64, 0x87, (a, b) => a >> (b & 63n)),
  shrU,
  rotl: binary(I64, 0x89),
  rotr: binary(I64, 0x8a),
  extendU: (a: Expr): Expr => ({ ...extend(a), low: () => a }),
  extendS: unary(I64, 0xac),
  extend8: unary(I64, 0xc2),
  extend16: unary(I64, 0xc3),
  extend32: unary(I64, 0xc4),
  load: load(I64, 0x29, 0),
  load8u: load(I64, 0x31, 0, 8, i32.load8u),
  load8s: load(I64, 0x30, 0),
  load16u: load(I64, 0x33, 0, 16, i32.load16u),
  load32u: load(I64, 0x35, 0, 32, i32.load),
  load32s: load(I64, 0x34, 0),
  store: store(0x37, 0),
  store8: store(0x3c, 0),
  store16: store(0x3d, 0),
  store32: store(0x3e, 0),
};

/** @param bits that its value is known to have at most */
export function get(local: number, type: Type, bits?: number): Expr {
  return make(
    type,
    (f) => {
      f.code.push(0x20);
      uleb(f.code, local);
    },
    bits,
  );
}

export function set(local: number, value: Expr): (f: Fn) => void {
  return (f) => {
    value.emit(f);
    f.code.push(0x21);
    uleb(f.code, local);
  };
}

/** `condition ? a : b`, both evaluated. */
export function select(condition: Expr, a: Expr, b: Expr): Expr {
  const bits = Math.max(bitsOf(a), bitsOf(b));
  return make(
    a.type,
    (f) => {
      a.emit(f);
      b.emit(f);
      condition.emit(f);
      f.code.push(0x1b);
    },
    bits < 64 ? bits : undefined,
    a.type === I64 && a.low && b.low ? () => select(condition, a.low!(), b.low!()) : undefined,
  );
}

/** if (condition) { then } else { otherwise }; the parts emit statements. */
export function ifElse(f: Fn, condition: Expr, then: () => void, otherwise?: () => void): void {
  condition.emit(f);
  f.code.push(0x04, VOID_BLOCK);
  f.depth++;
  then();
  if (otherwise) {
    f.code.push(0x05);
    otherwise();
  }
  f.depth--;
  f.code.push(0x0b);
}

/** A place to branch to: the depth of its block or loop. */
export type Label = number;

/** block { body }: a branch to its label goes on behind it. */
export function block(f: Fn, body: (label: Label) => void): void {
  enclose(f, 0x02, body);
}

/** loop { body }: a branch to its label goes back to its start. */
export function loopBlock(f: Fn, body: (label: Label) => void): void {
  enclose(f, 0x03, body);
}

function enclose(f: Fn, opcode: number, body: (label: Label) => void): void {
  f.code.push(opcode, VOID_BLOCK);
  f.depth++;
  body(f.depth);
  f.depth--;
  f.code.push(0x0b);
}

/** Branches to an enclosing block or loop. */
export function branch(f: Fn, label: Label): void {
  f.code.push(0x0c);
  uleb(f.code, f.depth - label);
}

/** Forgets the value on the stack. */
export function drop(f: Fn): void {
  f.code.push(0x1a);
}

/** Code that control does not reach. */
export function unreachable(f: Fn): void {
  f.code.push(0x00);
}

/** loop { body }: `again`, emitted inside, jumps to its start. Returns inside are fine. */
export function loop(f: Fn, body: (again: () => void) => void): void {
  loopBlock(f, (label) => body(() => branch(f, label)));
}

export function ret(f: Fn, value: Expr): void {
  value.emit(f);
  f.code.push(0x0f);
}

/** memory.copy: as if through a buffer. All i32. */
export function memoryCopy(f: Fn, to: Expr, from: Expr, bytes: Expr): void {
  for (const e of [to, from, bytes]) e.emit(f);
  f.code.push(0xfc, 0x0a, 0, 0);
}

/** memory.fill with the low byte of `value`. All i32. */
export function memoryFill(f: Fn, to: Expr, value: Expr, bytes: Expr): void {
  for (const e of [to, value, bytes]) e.emit(f);
  f.code.push(0xfc, 0x0b, 0);
}

export function call(fnIndex: number, type: Type, ...args: Expr[]): Expr {
  return make(type, (f) => {
    for (const a of args) a.emit(f);
    f.code.push(0x10);
    uleb(f.code, fnIndex);
  });
}

/** return f(args) as a tail call. */
export function tailCall(f: Fn, fnIndex: number, ...args: Expr[]): void {
  for (const a of args) a.emit(f);
  f.code.push(0x12);
  uleb(f.code, fnIndex);
}

/** return table[index](args) as a tail call; all table functions have type 0. */
export function tailCallIndirect(f: Fn, index: Expr, ...args: Expr[]): void {
  for (const a of args) a.emit(f);
  index.emit(f);
  f.code.push(0x13, 0, 0);
}
