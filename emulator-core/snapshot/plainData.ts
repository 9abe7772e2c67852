/**
 * Plain data (what structuredClone takes of numbers, strings, lists, objects and typed arrays) as bytes and back. A value is a byte that
 * says its kind, then, little-endian:
 *
 *   undefined, null, false, true   nothing more
 *   number                         a 64-bit float
 *   integer                        a 32-bit signed integer: a number that is one
 *   bigint                         64 bits: one from 0 to 2^64 - 1
 *   wide bigint                    128 bits, two's complement: any other
 *   string                         u32 bytes, UTF-8
 *   list                           u32 elements, the elements
 *   object                         u32 members; of each its name as a string without the kind, then its value
 *   typed array                    a byte for its type, u32 bytes, the bytes
 */
import { Writer } from '../writer';
import { SnapshotError } from './snapshotError';

const Kind = {
  undefined: 0,
  null: 1,
  false: 2,
  true: 3,
  number: 4,
  integer: 5,
  bigint: 6,
  string: 7,
  list: 8,
  object: 9,
  typedArray: 10,
  wideBigint: 11,
} as const;

const TYPED_ARRAYS = [
  Uint8Array,
  Int8Array,
  Uint16Array,
  Int16Array,
  Uint32Array,
  Int32Array,
  BigUint64Array,
  BigInt64Array,
  Float64Array,
] as const;
type TypedArray = InstanceType<(typeof TYPED_ARRAYS)[number]>;

/** Lists and objects inside each other. */
const MAX_DEPTH = 32;
/** Values in one piece of data. */
const MAX_VALUES = 500_000;

/** @throws Error for what is no plain data: a mistake of the program's */
export function encodePlain(value: unknown): Uint8Array {
  const writer = new PlainWriter();
  writer.value(value, 'the state');
  return writer.out.done();
}

class PlainWriter {
  readonly out = new Writer();

  /** @param path for the message */
  value(value: unknown, path: string): void {
    if (value === undefined) return this.kind(Kind.undefined);
    if (value === null) return this.kind(Kind.null);
    switch (typeof value) {
      case 'boolean':
        return this.kind(value ? Kind.true : Kind.false);
      case 'number':
        return this.number(value);
      case 'bigint':
        return this.bigint(value, path);
      case 'string':
        this.kind(Kind.string);
        return this.string(value);
      case 'object':
        return this.object(value, path);
      default:
        throw new Error(`${path}: a ${typeof value} is no plain data`);
    }
  }

  private number(value: number): void {
    if (value === (value | 0) && !Object.is(value, -0)) this.out.u8(Kind.integer).i32(value);
    else this.out.u8(Kind.number).f64(value);
  }

  private bigint(value: bigint, path: string): void {
    const wide = BigInt.asUintN(64, value) !== value;
    if (BigInt.asIntN(128, value) !== value) throw new Error(`${path}: ${value} does not fit into 128 bits`);
    this.kind(wide ? Kind.wideBigint : Kind.bigint);
    this.out.u64(BigInt.asUintN(64, value));
    if (wide) this.out.u64(BigInt.asUintN(64, value >> 64n));
  }

  private object(value: object, path: string): void {
    if (Array.isArray(value)) {
      this.out.u8(Kind.list).u32(value.length);
      for (let i = 0; i < value.length; i++) this.value(value[i], `${path}[${i}]`);
      return;
    }
    const type = TYPED_ARRAYS.findIndex((each) => value instanceof each);
    if (type >= 0) {
      const array = value as TypedArray;
      const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
      this.out.u8(Kind.typedArray).u8(type).u32(bytes.length).bytes(bytes);
      return;
    }
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype !== Object.prototype && prototype !== null) throw new Error(`${path}: an object of a class`);
    const members = Object.entries(value);
    this.out.u8(Kind.object).u32(members.length);
    for (const [name, member] of members) {
      this.string(name);
      this.value(member, `${path}.${name}`);
    }
  }

  private string(text: string): void {
    const bytes = new TextEncoder().encode(text);
    this.out.u32(bytes.length).bytes(bytes);
  }
  private kind(kind: number): void {
    this.out.u8(kind);
  }
}

/**
 * What encodePlain() made bytes of. Typed arrays are copies.
 * @param where name of the file and such, and the offset of `bytes` in it, for messages
 * @throws SnapshotError with the offset and what was expected there
 */
export function decodePlain(bytes: Uint8Array, where: { name: string; offset: number }): unknown {
  const reader = new Reader(bytes, where);
  const value = reader.value(0);
  reader.end();
  return value;
}

class Reader {
  private readonly view: DataView;
  private at = 0;
  private values = 0;

  constructor(
    private readonly bytes: Uint8Array,
    private readonly where: { name: string; offset: number },
  ) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  value(depth: number): unknown {
    if (++this.values > MAX_VALUES) throw this.error(`more than ${MAX_VALUES} values`);
    if (depth > MAX_DEPTH) throw this.error(`lists and objects more than ${MAX_DEPTH} deep`);
    const kind = this.bytes[this.take(1, 'a value')];
    switch (kind) {
      case Kind.undefined:
        return undefined;
      case Kind.null:
        return null;
      case Kind.false:
        return false;
      case Kind.true:
        return true;
      case Kind.number:
        return this.view.getFloat64(this.take(8, 'a number'), true);
      case Kind.integer:
        return this.view.getInt32(this.take(4, 'an integer'), true);
      case Kind.bigint:
        return this.view.getBigUint64(this.take(8, 'a bigint'), true);
      case Kind.wideBigint: {
        const at = this.take(16, 'a wide bigint');
        return (this.view.getBigInt64(at + 8, true) << 64n) | this.view.getBigUint64(at, true);
      }
      case Kind.string:
        return this.string();
      case Kind.list: {
        const count = this.count('elements');
        const list: unknown[] = [];
        for (let i = 0; i < count; i++) list.push(this.value(depth + 1));
        return list;
      }
      case Kind.object:
        return this.object(depth);
      case Kind.typedArray:
        return this.typedArray();
      default:
        this.at--;
        throw this.error(`expected the kind of a value, 0 to ${Kind.wideBigint}, got ${kind}`);
    }
  }

  end(): void {
    if (this.at < this.bytes.length) throw this.error(`${this.bytes.length - this.at} bytes more than expected`);
  }

  private object(depth: number): unknown {
    const count = this.count('members');
    const object: Record<string, unknown> = {};
    for (let i = 0; i < count; i++) {
      const name = this.string();
      if (name === '__proto__' || Object.hasOwn(object, name)) throw this.error(`the member '${name}' again`);
      object[name] = this.value(depth + 1);
    }
    return object;
  }

  private typedArray(): unknown {
    const type = this.bytes[this.take(1, 'the type of an array')];
    const make = TYPED_ARRAYS[type];
    if (!make) throw this.error(`expected the type of an array, 0 to ${TYPED_ARRAYS.length - 1}, got ${type}`);
    const length = this.u32('a length');
    if (length % make.BYTES_PER_ELEMENT) throw this.error(`${length} bytes are no whole ${make.name}`);
    const at = this.take(length, `${length} bytes of an array`);
    return new make(this.bytes.slice(at, at + length).buffer);
  }

  private string(): string {
    const length = this.u32('the length of a string');
    const at = this.take(length, `${length} bytes of text`);
    return new TextDecoder().decode(this.bytes.subarray(at, at + length));
  }

  /** A number of things of at least a byte each. */
  private count(what: string): number {
    const count = this.u32(`a number of ${what}`);
    const left = this.bytes.length - this.at;
    if (count > left) throw this.error(`${count} ${what} in ${left} bytes`);
    return count;
  }
  private u32(what: string): number {
    return this.view.getUint32(this.take(4, what), true);
  }

  private take(count: number, what: string): number {
    const { at } = this;
    if (at + count > this.bytes.length) throw this.error(`expected ${what}, the data ends`);
    this.at += count;
    return at;
  }

  private error(text: string): SnapshotError {
    const { name, offset } = this.where;
    return new SnapshotError(`${name}, offset 0x${(offset + this.at).toString(16)}: ${text}`);
  }
}
