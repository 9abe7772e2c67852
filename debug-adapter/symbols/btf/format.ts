import { Growing } from '../dwarf/growing';
import { hashName, isName } from '../nameHash';
import { SharedWork } from '../sharedWork';

/** BTF_KIND_*. Linux, Documentation/bpf/btf.rst, "Type Encoding". */
export const Kind = {
  int: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  forward: 7,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  function: 12,
  prototype: 13,
  variable: 14,
  dataSection: 15,
  float: 16,
  declarationTag: 17,
  typeTag: 18,
  enum64: 19,
} as const;

/** Bytes behind the common part of a type: a fixed number, and so many for each of its members, parameters or values. */
const EXTRA = new Map<number, [fixed: number, each: number]>([
  [Kind.int, [4, 0]],
  [Kind.pointer, [0, 0]],
  [Kind.array, [12, 0]],
  [Kind.struct, [0, 12]],
  [Kind.union, [0, 12]],
  [Kind.enum, [0, 8]],
  [Kind.forward, [0, 0]],
  [Kind.typedef, [0, 0]],
  [Kind.volatile, [0, 0]],
  [Kind.const, [0, 0]],
  [Kind.restrict, [0, 0]],
  [Kind.function, [0, 0]],
  [Kind.prototype, [0, 8]],
  [Kind.variable, [4, 0]],
  [Kind.dataSection, [0, 12]],
  [Kind.float, [0, 0]],
  [Kind.declarationTag, [4, 0]],
  [Kind.typeTag, [0, 0]],
  [Kind.enum64, [0, 12]],
]);

const MAGIC = 0xeb9f;
const VERSION = 1;
const HEADER_BYTES = 24;
const TYPE_BYTES = 12;
/** Types read between two pauses. */
const STEP = 1024;
const MAX_NAME = 4096;

const utf8 = new TextDecoder();
const hex = (value: number): string => '0x' + value.toString(16);

/** The common part of a type: struct btf_type. */
export interface RawType {
  id: number;
  kind: number;
  name: string;
  /** Number of members, values or parameters. */
  count: number;
  /** Bit 31 of `info`: its meaning is the kind's. */
  flag: boolean;
  /** In bytes, or the id of another type: as the kind says. */
  sizeOrType: number;
  /** Offset in `view` of what follows. */
  extra: number;
}

/** What a name may be that of: kinds of types, and enumerators by the id of their enumeration. */
export interface NamedType {
  id: number;
  kind: number;
  /** Of an enumerator: which of its enumeration's values; -1 for types. */
  value: number;
}

/**
 * BTF data: where each type is and which have which name, in numbers; types themselves are read when asked for. Nothing in it is
 * trusted: what is malformed ends the list of types, and `problem` says where and why.
 * Source: Linux, Documentation/bpf/btf.rst.
 */
export class BtfData {
  readonly view: DataView;
  /** What is wrong with the data, if anything. */
  problem: string | undefined;
  private readonly reading = new SharedWork(() => this.read());
  private types = { start: 0, end: 0 };
  private strings: Uint8Array = new Uint8Array(0);
  /** Offsets of types in `view`, from id 1 on. */
  private readonly offsets = new Growing((length) => new Uint32Array(length));
  /** By the hash of a name: index + 1 of its last entry. */
  private readonly heads = new Map<number, number>();
  private readonly nexts = new Growing((length) => new Uint32Array(length));
  private readonly names = new Growing((length) => new Uint32Array(length));
  private readonly ids = new Growing((length) => new Uint32Array(length));
  private readonly values = new Growing((length) => new Int32Array(length));

  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.problem = this.readHeader(bytes);
  }

  private readHeader(bytes: Uint8Array): string | undefined {
    const { view } = this;
    if (bytes.length < HEADER_BYTES) return `a header of ${HEADER_BYTES} bytes expected, there are ${bytes.length}`;
    const magic = view.getUint16(0, true);
    if (magic !== MAGIC) return `magic ${hex(magic)} at offset 0x0, expected ${hex(MAGIC)} (little-endian)`;
    if (bytes[2] !== VERSION) return `version ${bytes[2]} at offset 0x2, expected ${VERSION}`;
    const [length, typeOffset, typeLength, stringOffset, stringLength] = [4, 8, 12, 16, 20].map((at) =>
      view.getUint32(at, true),
    ) as [number, number, number, number, number];
    if (length < HEADER_BYTES)
      return `header length ${hex(length)} at offset 0x4, expected at least ${hex(HEADER_BYTES)}`;
    for (const [what, offset, size] of [
      ['types', typeOffset, typeLength],
      ['strings', stringOffset, stringLength],
    ] as const) {
      if (length + offset + size > bytes.length) {
        return `${what} at ${hex(length + offset)} + ${hex(size)} lie outside the data (${hex(bytes.length)} bytes)`;
      }
    }
    this.types = { start: length + typeOffset, end: length + typeOffset + typeLength };
    this.strings = bytes.subarray(length + stringOffset, length + stringOffset + stringLength);
    return undefined;
  }

  /** Finds all types and their names. */
  prepare(): Generator<void, void> {
    return this.reading.run();
  }

  get ready(): boolean {
    return this.reading.done;
  }

  /** Types there are: ids are 1 to `count`, 0 is void. */
  get count(): number {
    return this.offsets.length;
  }

  private *read(): Generator<void, void> {
    const { view, types } = this;
    let budget = STEP;
    for (let at = types.start; at < types.end;) {
      if (budget-- <= 0) {
        budget = STEP;
        yield;
      }
      const id = this.offsets.length + 1;
      if (at + TYPE_BYTES > types.end) {
        this.problem = `type ${id} at offset ${hex(at)} does not fit in the types, which end at ${hex(types.end)}`;
        return;
      }
      const info = view.getUint32(at + 4, true);
      const kind = (info >>> 24) & 0x1f;
      const count = info & 0xffff;
      const extra = EXTRA.get(kind);
      if (!extra) {
        this.problem = `type ${id} at offset ${hex(at)}: kind ${kind}, expected 1 to 19`;
        return;
      }
      const next = at + TYPE_BYTES + extra[0] + extra[1] * count;
      if (next > types.end) {
        this.problem = `type ${id} at offset ${hex(at)}: its ${count} parts reach to ${hex(next)}, the types end at ${hex(types.end)}`;
        return;
      }
      this.offsets.push(at);
      this.addName(view.getUint32(at, true), id, -1);
      if (kind === Kind.enum || kind === Kind.enum64) {
        budget -= count;
        for (let i = 0; i < count; i++) this.addName(view.getUint32(at + TYPE_BYTES + i * extra[1], true), id, i);
      }
      at = next;
    }
  }

  private addName(name: number, id: number, value: number): void {
    if (name === 0 || name >= this.strings.length) return;
    const hash = hashName(this.strings, name);
    this.nexts.push(this.heads.get(hash) ?? 0);
    this.names.push(name);
    this.ids.push(id);
    this.values.push(value);
    this.heads.set(hash, this.ids.length);
  }

  /** What has a name, in the order of ids. */
  named(name: string): NamedType[] {
    const text = new TextEncoder().encode(name);
    const found: NamedType[] = [];
    for (let i = text.length > 0 ? (this.heads.get(hashName(text)) ?? 0) : 0; i > 0; i = this.nexts.items[i - 1]!) {
      if (!isName(this.strings, this.names.items[i - 1]!, text)) continue;
      const id = this.ids.items[i - 1]!;
      found.push({ id, kind: this.kindOf(id), value: this.values.items[i - 1]! });
    }
    return found.reverse();
  }

  private kindOf(id: number): number {
    return (this.view.getUint32(this.offsets.items[id - 1]! + 4, true) >>> 24) & 0x1f;
  }

  /** A type by its id; undefined for 0 (void) and ids that no type has. */
  type(id: number): RawType | undefined {
    if (!(id >= 1 && id <= this.offsets.length)) return undefined;
    const at = this.offsets.items[id - 1]!;
    const info = this.view.getUint32(at + 4, true);
    return {
      id,
      kind: (info >>> 24) & 0x1f,
      name: this.string(this.view.getUint32(at, true)),
      count: info & 0xffff,
      flag: info >>> 31 !== 0,
      sizeOrType: this.view.getUint32(at + 8, true),
      extra: at + TYPE_BYTES,
    };
  }

  /** A string by its offset; '' when there is none. */
  string(offset: number): string {
    if (offset === 0 || offset >= this.strings.length) return '';
    const end = this.strings.indexOf(0, offset);
    const limit = Math.min(end < 0 ? this.strings.length : end, offset + MAX_NAME);
    return utf8.decode(this.strings.subarray(offset, limit));
  }
}
